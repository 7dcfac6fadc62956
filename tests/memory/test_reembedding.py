"""Another model for what is remembered, while the old one serves."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from dataflows_memory import reembedding
from dataflows_memory.desk import Memory
from dataflows_memory.items import New
from dataflows_memory.writing import OtherEmbedder
from dataflows_sdk.errors import DefinitionError, RecallError, RunFailed

from ..conftest import MakeContext, wait_until
from .fakes import FakeEmbedder


class Slow(FakeEmbedder):
    """Waits for leave before each lot, and fails when it is told to."""

    def __init__(self, name: str = "slow", dimension: int = 64) -> None:
        super().__init__(name, dimension)
        self.leave = threading.Semaphore(0)
        self.asked = 0

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        if not query:
            self.asked += 1
            assert self.leave.acquire(timeout=30)
        return super().embed(texts, query=query)


@pytest.fixture(autouse=True)
def small_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reembedding, "LOT", 4)


def vectors(memory: Memory, name: str) -> tuple[int, int]:
    """How many vectors an embedder has, and how many with neighbours."""
    ((id_,),) = memory._context._database.query("select id from dataflows_memory.embedder where name = $1", [name])
    return memory._context._database.query(f"select count(*), count(around) from dataflows_memory.vectors_{id_}")[0]  # type: ignore[return-value]


def test_the_old_one_serves_until_the_new_one_is_there(make_ctx: MakeContext, embedder: FakeEmbedder) -> None:
    memory = Memory(make_ctx(), embedder)
    memory.remember([f"fence number {n}" for n in range(6)])
    memory.remember("the gate is old", ref="gate")
    memory.remember("the gate is new", ref="gate")
    memory.remember([f"said {n} of the tower" for n in range(4)], to="talk")
    before = memory.recall("tower", 20)
    slow = Slow()
    run = memory.reembed(slow)
    slow.leave.release()
    wait_until(lambda: slow.asked == 2, "the second lot is asked for")
    assert memory.recall("gate", 1).embedder == embedder.name
    assert memory.recall("gate", 1)[0].text == "the gate is new"
    late = memory.remember("written late: a river")
    assert late.embedded == 1
    memory.remember("the fence fell", ref="fell")
    memory.forget(ref="fell")
    slow.leave.release(100)
    assert run.result(timeout=30) == {"collection": "default", "embedder": "slow", "embedded": 13, "dropped": 13}
    found = memory.recall("river", 1)
    assert (found[0].text, found.embedder) == ("written late: a river", "slow")
    assert "meaning" in found[0].parts
    assert vectors(memory, "slow") == (13, 4)
    assert vectors(memory, embedder.name) == (0, 0)
    assert max(Counter(slow.seen).values()) == 1  # nothing twice
    old = memory.recall("gate", 20, as_of=memory.history("gate")[0].valid_from)
    assert {"the gate is old"} == {hit.text for hit in old if "gate" in hit.text}
    assert "meaning" in next(hit for hit in old if "gate" in hit.text).parts
    assert {hit.text for hit in memory.recall("tower", 20)} == {hit.text for hit in before} | {found[0].text}
    # and on
    memory.remember("the tower fell", ref="tower")
    assert vectors(memory, "slow") == (14, 4)
    assert memory.reembed(slow).result(timeout=30)["embedded"] == 0


def test_what_was_embedded_is_not_paid_again(make_ctx: MakeContext, embedder: FakeEmbedder) -> None:
    memory = Memory(make_ctx(), embedder)
    memory.remember([f"fence number {n}" for n in range(12)])
    slow = Slow()
    run = memory.reembed(slow)
    slow.leave.release()
    wait_until(lambda: slow.asked == 2, "the second lot is asked for")
    slow.error = RecallError("the account is empty")
    slow.leave.release(100)
    with pytest.raises(RunFailed, match="the account is empty"):
        run.result(timeout=30)
    assert memory.recall("fence", 1).embedder == embedder.name
    slow.error = None
    assert memory.reembed(slow).result(timeout=30)["embedded"] == 8
    assert sorted(slow.seen) == sorted(f"fence number {n}" for n in range(12))


def test_what_was_found_by_words_is_found_by_meaning(make_ctx: MakeContext, embedder: FakeEmbedder) -> None:
    ctx = make_ctx()
    Memory(ctx, None).remember(["a red fence", "a blue gate"])
    memory = Memory(ctx, embedder)
    assert memory.recall("fence", 1).mode == "words"
    memory.reembed(embedder).result(timeout=30)
    assert memory.recall("fence", 1).mode == "hybrid"
    assert vectors(memory, embedder.name) == (2, 0)


def test_who_has_another_embedder_is_told_what_to_do(make_ctx: MakeContext, embedder: FakeEmbedder) -> None:
    ctx = make_ctx()
    memory = Memory(ctx, embedder)
    memory.remember("a red fence")
    home = memory._home("default")
    other = FakeEmbedder("other", 32)
    stranger = Memory(ctx, other)
    with pytest.raises(RecallError, match=r"embedded by 'fake-hashed-words', and this memory has 'other'.*reembed"):
        stranger.recall("fence")
    memory.use(other)
    assert memory.recall("fence").embedder == embedder.name  # it still has the one of before
    memory.remember("a blue gate", collection="new")
    assert memory.recall("gate", collection="new").embedder == "other"
    memory.reembed(other).result(timeout=30)
    assert stranger.recall("fence").embedder == "other"
    with pytest.raises(OtherEmbedder):  # whoever was about to write sees it in time, and begins again
        memory._keeper(home).put(memory._store.make_place(home, ""), [New("x", "text", "x")], memory._who())


def test_what_makes_no_sense(make_ctx: MakeContext, embedder: FakeEmbedder) -> None:
    memory = Memory(make_ctx(work=False), embedder)
    memory.remember("a red fence")
    with pytest.raises(DefinitionError, match="reembed\\(\\) wants an embedder"):
        memory.reembed("none")
    with pytest.raises(DefinitionError, match="'word2vec'"):
        memory.reembed("word2vec")
    with pytest.raises(RecallError, match="there is no collection 'nowhere'"):
        memory.reembed(embedder, collection="nowhere")
