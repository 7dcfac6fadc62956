"""Putting lists together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dataflows_memory import ranking


def test_scores_are_scaled_from_nothing_or_from_the_last_of_the_list() -> None:
    assert ranking.scaled({1: 4.0, 2: 2.0}, depth=100) == {1: 1.0, 2: 0.5}
    assert ranking.scaled({1: 4.0, 2: 3.0, 3: 2.0}, depth=3) == {1: 1.0, 2: 0.5, 3: 0.0}
    assert ranking.scaled({1: 0.5, 2: -0.5}, depth=100) == {1: 1.0, 2: 0.0}
    assert ranking.scaled({1: 0.0}, depth=100) == {1: 1.0}
    assert ranking.scaled({}, depth=100) == {}


def test_lists_are_added_by_weight_and_equals_are_in_the_order_of_their_numbers() -> None:
    total = ranking.together([(0.5, {1: 1.0, 2: 0.4}), (0.5, {2: 0.6, 3: 1.0})])
    assert total == pytest.approx({1: 0.5, 2: 0.5, 3: 0.5})
    assert ranking.best(total, 2) == [1, 2]


def test_words_side_by_side_count_more() -> None:
    texts = {1: " oil price rise ", 2: " price rise oil "}
    found = ranking.with_pairs({1: 1.0, 2: 1.0}, ["oil", "price"], texts, {"oil": 2.0, "price": 1.0}, 3)
    assert found[1] == pytest.approx(1.0 + ranking.PAIR * 1.0)
    assert found[2] == 1.0


def test_a_question_moves_towards_what_was_found() -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(6, 8))
    question, *items = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = [1, 3]
    sums = {n: (float(question @ x), float(sum(items[f] @ x for f in found))) for n, x in enumerate(items)}
    move = ranking.moved(found, *({n: pair[which] for n, pair in sums.items()} for which in (0, 1)))
    towards = question + ranking.TOWARDS * (items[1] + items[3]) / 2
    assert move(sums) == pytest.approx({n: towards @ x / np.linalg.norm(towards) for n, x in enumerate(items)})
    assert move({7: (math.nan, math.nan)}) == {}


def test_groups_lift_their_members() -> None:
    found = ranking.with_groups({1: 0.5, 2: 0.5, 3: 0.5}, {1: "a", 2: "a", 3: "b"})
    assert found[1] == found[2] > found[3] == 0.5


def test_hits_that_differ_come_before_what_says_the_same() -> None:
    vectors = {1: np.array([1, 0]), 2: np.array([1, 0.01]), 3: np.array([0, 1])}
    scores = {1: 1.0, 2: 0.99, 3: 0.5}
    assert ranking.spread([1, 2, 3], scores, vectors, 2, share=0.5) == [1, 3]
    assert ranking.spread([1, 2, 3], scores, vectors, 2, share=1.0) == [1, 2]
    assert ranking.spread([1, 2, 4], {**scores, 4: 0.1}, vectors, 3, share=0.5) == [1, 2, 4]  # without a vector: last


def test_age_halves() -> None:
    assert ranking.faded({1: 1.0, 2: 1.0}, {1: 0.0, 2: 60.0}, 60.0) == {1: 1.0, 2: 0.5}
