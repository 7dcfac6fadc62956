"""What says nearly the same is reported, and kept."""

from __future__ import annotations

import pytest

from dataflows_memory import duplicates
from dataflows_memory.desk import Memory
from dataflows_sdk.errors import RecallError


@pytest.mark.parametrize("lot", [2, 1_000])
def test_pairs_are_told_the_most_alike_first(memory: Memory, monkeypatch: pytest.MonkeyPatch, lot: int) -> None:
    monkeypatch.setattr(duplicates, "_LOT", lot)
    memory.remember("one two three four five six seven eight", ref="a")
    memory.remember("nothing like the others at all", ref="b")
    memory.remember("one two three four five six seven nine", ref="c")
    memory.remember("eight seven six five four three two one", ref="d")
    memory.remember("one two three four five six seven eight", scope="elsewhere")
    found = memory.near_duplicates(0.8)
    assert [(each.older.ref, each.newer.ref) for each in found[:1]] == [("a", "d")]
    assert {(each.older.ref, each.newer.ref) for each in found} == {("a", "d"), ("a", "c"), ("c", "d")}
    assert found[0].likeness == pytest.approx(1, abs=1e-3)
    assert found[1].likeness == pytest.approx(7 / 8, abs=1e-3)
    assert "nine" in str(found[1]) + str(found[2])
    assert len(memory.near_duplicates(0.8, 1)) == 1
    assert memory.near_duplicates(0.8, origin="document") == []
    memory.forget(ref="d")
    assert memory.near_duplicates(0.95) == []


def test_what_makes_no_sense(memory: Memory, words_only: Memory) -> None:
    words_only.remember("a", collection="words")
    with pytest.raises(RecallError, match="collection 'words' has no vectors"):
        words_only.near_duplicates(collection="words")
    with pytest.raises(RecallError, match="there is no collection 'nowhere'"):
        memory.near_duplicates(collection="nowhere")
    memory.remember("a")
    for above, k in ((0, 1), (1.1, 1), (0.9, 0)):
        with pytest.raises(RecallError, match="a cosine up to 1"):
            memory.near_duplicates(above, k)
