"""Where boxes go: nothing overlaps, edges lead to the right, the same graph looks the same."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows_sdk.drawing.layered import Layout, layout

WIDE, HIGH = 100.0, 30.0
EDGES = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=40)


def laid_out(count: int, edges: list[tuple[int, int]]) -> Layout[int]:
    return layout(dict.fromkeys(range(count), (WIDE, HIGH)), edges)


@given(st.integers(0, 16), EDGES)
@settings(max_examples=150)
def test_any_graph(count: int, edges: list[tuple[int, int]]) -> None:
    found = laid_out(count, edges)
    assert set(found.places) == set(range(count))
    places = list(found.places.values())
    for number, (x, y) in enumerate(places):
        assert WIDE / 2 - 0.1 <= x <= found.width - WIDE / 2 + 0.1
        assert HIGH / 2 - 0.1 <= y <= found.height - HIGH / 2 + 0.1
        for other_x, other_y in places[:number]:
            assert abs(x - other_x) >= WIDE - 0.2 or abs(y - other_y) >= HIGH - 0.2, "boxes overlap"
    drawn = {(a, b) for a, b in edges if a != b and a < count and b < count}
    assert set(found.paths) == drawn
    assert found.back <= drawn
    for (a, b), path in found.paths.items():
        (x1, y1), (x2, y2) = path[0], path[-1]
        sign = -1 if (a, b) in found.back else 1
        assert (x1, y1) == (round(found.places[a][0] + sign * WIDE / 2, 1), found.places[a][1])
        assert (x2, y2) == (round(found.places[b][0] - sign * WIDE / 2, 1), found.places[b][1])
        steps = [x for x, _ in path]
        assert steps == sorted(steps, reverse=sign < 0)
    assert laid_out(count, edges) == found


@given(st.integers(2, 12))
def test_a_cycle_has_one_edge_that_leads_back(count: int) -> None:
    found = laid_out(count, [(number, (number + 1) % count) for number in range(count)])
    assert len(found.back) == 1


def test_a_chain_is_straight_and_a_tree_has_no_crossing() -> None:
    chain = laid_out(5, [(number, number + 1) for number in range(4)])
    assert {y for _, y in chain.places.values()} == {HIGH / 2}
    assert laid_out(15, [((number - 1) // 2, number) for number in range(1, 15)]).crossings == 0


def test_what_leads_nowhere_stands_before_what_needs_it() -> None:
    found = laid_out(5, [(0, 1), (1, 2), (2, 3), (4, 3)])
    assert found.places[4][0] == found.places[2][0]


def test_two_thousand_boxes_are_laid_out_while_somebody_waits() -> None:
    edges = [(number, after) for number in range(2_000) for after in (number + 40, number + 41) if after < 2_000]
    begun = time.process_time()
    found = layout(dict.fromkeys(range(2_000), (WIDE, HIGH)), edges)
    assert time.process_time() - begun < 5
    assert len(found.places) == 2_000
