"""What is found, and why."""

from __future__ import annotations

import math
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows_memory import recall as recalling
from dataflows_memory.desk import Memory
from dataflows_memory.words import stems
from dataflows_sdk.context import Context
from dataflows_sdk.errors import RecallError

from .fakes import FakeEmbedder

WORDS = ["red", "blue", "fish", "gate", "rome", "oil", "price", "fence", "alpha", "beta", "tower", "river"]
TEXTS = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=12, unique=True
)


def bm25(texts: list[str], question: str) -> dict[str, float]:
    """By the book."""
    documents = {text: Counter(stems(text)) for text in texts}
    average = sum(sum(document.values()) for document in documents.values()) / len(documents)
    scores: dict[str, float] = {}
    for text, document in documents.items():
        score, length = 0.0, sum(document.values())
        for term, times in Counter(stems(question)).items():
            n = sum(term in other for other in documents.values())
            idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            tf = document[term]
            score += times * idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / average))
        if score > 0:
            scores[text] = score
    return scores


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    TEXTS,
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True),
    st.sampled_from(["everything", "what few have", "what many have"]),
    st.booleans(),
)
def test_words_are_weighed_as_the_book_says(
    words_only: Memory, monkeypatch: pytest.MonkeyPatch, texts: list[str], asked: list[str], among: str, rare: bool
) -> None:
    monkeypatch.setattr(recalling, "BY_HAND", 1_000 if among == "what few have" else 0)
    monkeypatch.setattr(recalling, "POSTINGS", 1 if rare else 12_000)
    monkeypatch.setattr("dataflows_memory.ranking.PAIR", 0.0)
    if known := [hit.item.id for hit in everything(words_only)]:
        words_only.forget(*known)
    words_only.remember(texts, meta={"here": True})
    found = words_only.recall(" ".join(asked), 100, where=None if among == "everything" else {"here": True})
    wanted = bm25(texts, " ".join(asked))
    scores = {hit.text: hit.parts["words"].score for hit in found}
    if len(asked) <= 2 or not rare:  # of more words, the common ones are counted only where rarer ones lead
        assert scores == pytest.approx(wanted)
    else:
        assert scores == pytest.approx({text: wanted[text] for text in scores})
    assert [hit.parts["words"].score for hit in found] == sorted(scores.values(), reverse=True)


def everything(memory: Memory) -> Any:
    if not memory.collections():
        return ()
    return memory.recall(" ".join(WORDS), 1_000)


def test_score_parts_say_why(memory: Memory) -> None:
    memory.remember(["the red fence costs 900 euros", "a blue gate", "the price of oil"])
    found = memory.recall("what does the fence cost")
    best = found[0]
    assert best.text == "the red fence costs 900 euros"
    assert (found.mode, found.embedder, found.among, found.note) == ("hybrid", "fake-hashed-words", 3, "")
    assert best.parts["words"].rank == 1
    assert 0 < best.parts["meaning"].score <= 1
    assert re.search(r"1\.000  \[1\] the red fence .* words #1 \(\S+\), meaning #1 \(\S+\)", str(found))


def test_without_an_embedder_it_says_so(words_only: Memory, context: Context) -> None:
    words_only.remember("the red fence")
    found = words_only.recall("fences")
    assert (len(found), found.mode, found.embedder) == (1, "words", None)
    assert "Recall is by words only: no embedder is wanted." in str(found)
    with_embedder = Memory(context, FakeEmbedder())
    assert "was written without an embedder" in with_embedder.recall("fences").note


def test_conditions_on_properties(memory: Memory) -> None:
    for number in range(6):
        memory.remember(
            f"task number {number}", meta={"n": number, "kind": {"of": "even" if number % 2 == 0 else "odd"}}
        )
    memory.remember("task without")

    def numbers(where: dict[str, Any]) -> list[int]:
        return sorted(hit.item.meta["n"] for hit in memory.recall("task number", 10, where=where) if hit.item.meta)

    assert numbers({"n": 3}) == [3]
    assert numbers({"n": {"gt": 3}}) == [4, 5]
    assert numbers({"n": {"gte": 2, "lt": 4}}) == [2, 3]
    assert numbers({"n": [1, 5]}) == [1, 5]
    assert numbers({"kind.of": "even", "n": {"ne": 0}}) == [2, 4]
    assert numbers({"n": {"exists": True}}) == list(range(6))
    assert len(memory.recall("task", 10, where={"n": {"exists": False}})) == 1
    assert numbers({"n": {"gt": 99}}) == []


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"nope": 1}, "no item has the property 'nope'; there are: 'n'"),
        ({"n": {"like": 1}}, "has no condition 'like'"),
        ({"n": {"in": 1}}, "give a list"),
        ({"n": {}}, "has no condition"),
        ({"": 1}, "is no name of a property"),
        ({"n": {"gt": object()}}, "no text, number"),
        ({"n": {"gt": float("nan")}}, "no number of JSON"),
        ({"n": {"gt": '1) || (@ == "x'}}, None),
    ],
)
def test_conditions_that_make_no_sense(memory: Memory, where: dict[str, Any], message: str | None) -> None:
    memory.remember("task", meta={"n": 1})
    if message is None:  # a value is a value, whatever it looks like
        assert len(memory.recall("task", where=where)) == 0
        return
    with pytest.raises(RecallError, match=message):
        memory.recall("task", where=where)


@pytest.mark.parametrize(
    ("question", "options", "message"),
    [
        ("", {}, "the question is empty"),
        ("x", {"k": 0}, "k=0"),
        ("x", {"collection": "nope"}, "no collection 'nope'; there are: 'default'"),
        ("x", {"scope": "nope"}, "nothing was ever remembered in scope 'nope' of 'default'; scopes: ''"),
        ("x", {"origin": "table"}, "none of text, document"),
        ("x", {"different": 2}, "from 0"),
    ],
)
def test_questions_that_make_no_sense(memory: Memory, question: str, options: dict[str, Any], message: str) -> None:
    memory.remember("x")
    with pytest.raises(RecallError, match=message):
        memory.recall(question, **options)


def test_scopes_are_kept_apart(memory: Memory) -> None:
    memory.remember("the code is 1111", scope="alice")
    memory.remember("the code is 2222", scope="bob")
    assert [hit.text for hit in memory.recall("code", scope="alice")] == ["the code is 1111"]
    assert len(memory.recall("code", scope=["alice", "bob"])) == 2
    assert len(memory.recall("code", scope=None)) == 2
    with pytest.raises(RecallError, match="scope ''"):
        memory.recall("code")


def test_time_age_and_order(memory: Memory) -> None:
    now = datetime.now(UTC)
    for days in (1, 10, 100):
        memory.remember(f"visit {days} days ago in rome", since=now - timedelta(days=days))
    assert memory.recall("visit in rome", recency="5d")[0].text == "visit 1 days ago in rome"
    assert len(memory.recall("visit", since=now - timedelta(days=50))) == 2
    memory.remember("a sale in rome", until=now + timedelta(days=1))
    assert "a sale in rome" in [hit.text for hit in memory.recall("sale rome")]
    assert "a sale in rome" not in [hit.text for hit in memory.recall("sale rome", as_of=now + timedelta(days=2))]


def test_what_is_over_by_now_does_not_stand_in_the_way(memory: Memory, database_url: str) -> None:
    now = datetime.now(UTC)
    memory.remember([f"sale number {n}" for n in range(30)], until=now + timedelta(days=1))
    memory.remember("the sale that stays")
    with psycopg.connect(database_url) as connection:  # time goes by
        connection.execute("update dataflows_memory.item set valid_from = valid_from - interval '9 days', "
                           "valid_to = valid_to - interval '2 days' where valid_to < 'infinity'")  # fmt: skip
    assert [hit.text for hit in memory.recall("sale number", 3)] == ["the sale that stays"]


def test_hits_that_differ_and_a_function_that_ranks(memory: Memory) -> None:
    memory.remember(["red fence one", "red fence two", "red fence three", "red river"])
    assert {hit.text for hit in memory.recall("red fence", 2, different=0.9)} >= {"red river"}
    reranked = memory.recall("red fence", 1, rerank=lambda question, texts: [text.count("river") for text in texts])
    assert reranked[0].text == "red river"


def test_the_index_of_what_is_near_answers_like_looking_at_each(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    texts = [" ".join(three) for three in permutations(WORDS, 3)]
    monkeypatch.setattr("dataflows_memory.base._GROWN", 500)
    monkeypatch.setattr("dataflows_memory.base.EXACT", 1_000)
    memory.remember(texts)
    exact = [hit.text for hit in memory.recall("alpha tower gate", 6)]
    monkeypatch.setattr(recalling, "EXACT", 100)
    indexed = [hit.text for hit in memory.recall("alpha tower gate", 6)]
    assert set(exact) == set(indexed) == {text for text in texts if set(text.split()) == {"alpha", "tower", "gate"}}
    with psycopg.connect(database_url) as connection:
        indexes = connection.execute("select indexname from pg_indexes where tablename = 'vectors_1'").fetchall()
    assert ("vectors_1_near",) in indexes


def test_runs_can_be_left_out(memory: Memory, database_url: str) -> None:
    memory.remember(["what a failed run said", "what a good run said"])
    run = "0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77"
    with psycopg.connect(database_url) as connection:
        connection.execute("update dataflows_memory.item set run = %s where text like '%%failed%%'", [run])
    assert [hit.text for hit in memory.recall("run said", without_runs=[run])] == ["what a good run said"]


def test_an_index_is_made_another_time_where_others_write(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr("dataflows_memory.base._GROWN", 10)
    monkeypatch.setattr("dataflows_memory.base.EXACT", 5)
    memory.remember("something")
    made = "select count(*) from pg_indexes where indexname = 'vectors_1_near'"
    with psycopg.connect(database_url) as other:
        other.execute("update dataflows_memory.vectors_1 set live = live")
        assert memory.remember([f"thing {n}" for n in range(10)]).added == 10
        assert other.execute(made).fetchone() == (0,)
    memory.remember([f"another thing {n}" for n in range(10)])
    with psycopg.connect(database_url) as other:
        assert other.execute(made).fetchone() == (1,)
