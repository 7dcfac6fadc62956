"""What others give that is no good: odd scripts, embedders that lie, endpoints that are gone, and what is forgotten."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from dataflows_memory.desk import Memory
from dataflows_memory.embedding import OpenAIEmbedder
from dataflows_memory.models import ChatModel
from dataflows_sdk.context import Context
from dataflows_sdk.core.retry import NO_RETRY
from dataflows_sdk.errors import EmbeddingError, ItemNotFoundError, ModelError, RecallError

from ..conftest import wait_until
from .fakes import FakeEmbedder
from .openai_peer import EMBEDDINGS, Peer, Slow, Status, Text, serving


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as peer:
        yield peer


# --- texts ------------------------------------------------------------------------------------------------

SCRIPTS = {
    "thai": ("รั้วของโครงการถูกทาสีเขียวในเดือนพฤษภาคม", "รั้วของโครงการถูกทาสีเขียวในเดือนพฤษภาคม"),
    "arabic": ("تم طلاء السياج باللون الأخضر في مايو", "السياج الأخضر"),
    "chinese": ("五月份把篱笆漆成了绿色", "五月份把篱笆漆成了绿色"),
    "hebrew": ("הגדר נצבעה בירוק", "הגדר"),
    "emoji": ("deployed 🚀 to production 👩‍👩‍👧‍👦", "deployed 🚀"),
    "combining": ("cafe\u0301 Zu\u0308rich", "café Zürich"),
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("vectors", [True, False])
def test_every_script_is_kept_as_it_came_and_found(context: Context, script: str, vectors: bool) -> None:
    memory = Memory(context, FakeEmbedder() if vectors else None)
    text, question = SCRIPTS[script]
    memory.remember([text, "Something else entirely."])
    assert memory.recall(question)[0].item.text == text


@pytest.mark.parametrize("text", ["🙂", "🙂🙂🙂", "…", "\u200b", "ๆ", "\u0301"])
def test_a_text_without_a_word_is_kept(memory: Memory, text: str) -> None:
    (item,) = memory.remember(text).items
    assert memory.get(item).text == text
    memory.recall(text)


# --- embedders --------------------------------------------------------------------------------------------


class Lying(FakeEmbedder):
    """Gives something else than what was asked for."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.change: Callable[[Any], Any] | None = change

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        vectors = super().embed(texts, query=query)
        return vectors if self.change is None else self.change(vectors)


LIES: dict[str, Callable[[Any], Any]] = {
    "too short": lambda given: given[:, :7],
    "too long": lambda given: np.hstack([given, given]),
    "fewer": lambda given: given[:-1],
    "more": lambda given: np.vstack([given, given]),
    "nan": lambda given: np.full_like(given, np.nan),
    "infinite": lambda given: np.full_like(given, np.inf),
    "flat": lambda given: given.reshape(-1),
    "nothing": lambda given: None,
    "texts": lambda given: [["a"] * given.shape[1]] * given.shape[0],
}


@pytest.mark.parametrize("lie", LIES)
def test_vectors_that_are_none_are_refused_and_nothing_is_lost(context: Context, lie: str) -> None:
    embedder = Lying(LIES[lie])
    memory = Memory(context, embedder)
    with pytest.raises(EmbeddingError, match="fake-hashed-words"):
        memory.remember(["The fence is green.", "The roof leaks."])
    assert sum(each["items"] for each in memory.collections()) == 0
    embedder.change = None
    assert memory.remember(["The fence is green.", "The roof leaks."]).added == 2
    embedder.change = LIES[lie]
    with pytest.raises(EmbeddingError, match="fake-hashed-words"):
        memory.recall("fence")
    embedder.change = None
    assert memory.recall("fence")[0].item.text == "The fence is green."


def test_an_error_in_the_middle_of_a_batch_loses_nothing_and_pays_nothing_twice(context: Context, peer: Peer) -> None:
    embedder = OpenAIEmbedder(
        "text-embedding-3-small", base_url=peer.url, api_key=peer.key, batch=1, retry=NO_RETRY, timeout="10s"
    )
    memory = Memory(context, embedder)
    memory.remember("before")
    peer.script(Slow(0, path=EMBEDDINGS), Status(500, "in the middle", path=EMBEDDINGS))
    with pytest.raises(EmbeddingError, match="500"):
        memory.remember(["one fish", "two fish", "red fish"])
    assert [hit.item.text for hit in memory.recall("fish")] == ["before"]
    assert memory.remember(["one fish", "two fish", "red fish"]).added == 3
    embedder.close()


# --- endpoints --------------------------------------------------------------------------------------------


@pytest.fixture
def nowhere() -> str:
    """The address of an endpoint that is gone."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}/v1"


def test_an_endpoint_that_is_gone_is_named(ctx: Context, nowhere: str) -> None:
    embedder = OpenAIEmbedder("text-embedding-3-small", base_url=nowhere, api_key="k", retry=NO_RETRY)
    with pytest.raises(EmbeddingError, match=nowhere):
        Memory(ctx, embedder).remember("lost?")
    memory = Memory(ctx, None)
    memory.remember("The fence is green.", collection="words")
    model = ChatModel("small", base_url=nowhere, api_key="k", retry=NO_RETRY)
    run = memory.asker(model).start("Which colour has the fence?", collection="words")
    with pytest.raises(TimeoutError):  # its step is tried again for as long as its retries say
        memory.asker(model).answered(run, timeout="10ms")
    run.cancel()
    with pytest.raises(ModelError, match=nowhere):
        model.complete([{"role": "user", "content": "Hello?"}])


def test_an_endpoint_that_is_slow_is_given_up(peer: Peer) -> None:
    model = ChatModel("small", base_url=peer.url, api_key=peer.key, retry=NO_RETRY, timeout="100ms")
    peer.script(Slow(60))
    with pytest.raises(ModelError, match=r"did not answer within 0\.1 s"):
        model.complete([{"role": "user", "content": "Hello?"}])
    peer.release.set()
    model.close()


# --- what was cited ---------------------------------------------------------------------------------------


def test_what_was_cited_can_be_forgotten_and_the_answer_stays_as_it_was(ctx: Context, peer: Peer) -> None:
    memory = Memory(ctx, None)
    (item,) = memory.remember("The fence of project Alpha was painted green in May.").items
    model = ChatModel("small", base_url=peer.url, api_key=peer.key, retry=NO_RETRY)
    peer.script(Text('It was "painted green" [1].'))
    answer = memory.ask("When was the fence painted?", model=model, timeout="60s")
    assert memory.forget(item) == 1
    (cited,) = memory.asker(model).answered(answer.run).citations
    assert (cited.item, cited.text) == (item, answer.citations[0].text)
    with pytest.raises(ItemNotFoundError, match=f"item {item}"):
        memory.get(item)
    with pytest.raises(ItemNotFoundError):
        memory.around(item)
    again = memory.ask("When was the fence painted?", model=model, timeout="60s")
    assert not again.found
    assert peer.count() == 1, "there is nothing left to ask about"


def test_what_is_forgotten_while_it_is_asked_about_is_no_error(ctx: Context, peer: Peer) -> None:
    memory = Memory(ctx, None)
    (item,) = memory.remember("The fence of project Alpha was painted green in May.").items
    model = ChatModel("small", base_url=peer.url, api_key=peer.key, retry=NO_RETRY)
    peer.script(Slow(60), Text('It was "painted green" [1].'))
    asker = memory.asker(model)
    run = asker.start("When was the fence painted?")
    wait_until(lambda: peer.count() == 1, "the model is asked")
    memory.forget(item)
    peer.release.set()
    answer = asker.answered(run, timeout="60s")
    assert answer.run == run.id


def test_conditions_are_a_mapping(memory: Memory) -> None:
    memory.remember("a", meta={"project": "alpha"})
    for where in ([("project", "eq", "alpha")], "project"):
        with pytest.raises(RecallError, match="is no mapping"):
            memory.recall("a", where=where)  # type: ignore[arg-type]
