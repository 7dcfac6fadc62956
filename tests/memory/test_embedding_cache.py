"""What was embedded once is not embedded again; and which embedder a setting means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dataflows_memory.desk import Memory
from dataflows_memory.embedding import (
    Embedded,
    LocalEmbedder,
    LRUCache,
    OpenAIEmbedder,
    aembed_cached,
    choice,
    choose_embedder,
    content_hash,
    embed_cached,
)
from dataflows_sdk.context import Context
from dataflows_sdk.core.retry import Retry
from dataflows_sdk.errors import DefinitionError, EmbeddingError, EmbeddingRefusedError, MissingExtraError

from .fakes import FakeEmbedder
from .openai_peer import Change, Peer, Status, serving, words_vector


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as peer:
        yield peer


def embedder_of(peer: Peer, **options: Any) -> OpenAIEmbedder:
    return OpenAIEmbedder(
        **{"base_url": peer.url, "api_key": peer.key, "dimensions": 16, "retry": Retry(0), "timeout": 20, **options}
    )


class Awaited:
    """The same cache behind awaits, as a database is."""

    def __init__(self, cache: LRUCache) -> None:
        self.cache = cache

    async def get_many(self, embedder: str, hashes: Sequence[str]) -> Mapping[str, Any]:
        await asyncio.sleep(0)
        return self.cache.get_many(embedder, hashes)

    async def put_many(self, embedder: str, vectors: Mapping[str, Any]) -> None:
        await asyncio.sleep(0)
        self.cache.put_many(embedder, vectors)


def _blocking(embedder: OpenAIEmbedder, cache: LRUCache, texts: list[str], **options: Any) -> Embedded:
    try:
        return embed_cached(embedder, cache, texts, **options)
    finally:
        embedder.close()


def _awaiting(wrap: Callable[[LRUCache], Any]) -> Callable[..., Embedded]:
    async def run(embedder: OpenAIEmbedder, cache: LRUCache, texts: list[str], **options: Any) -> Embedded:
        try:
            return await aembed_cached(embedder, wrap(cache), texts, **options)
        finally:
            await embedder.aclose()

    return lambda *args, **options: asyncio.run(run(*args, **options))


@pytest.fixture(params=[_blocking, _awaiting(Awaited), _awaiting(lambda cache: cache)], ids=["sync", "async", "mixed"])
def run(request: pytest.FixtureRequest) -> Callable[..., Embedded]:
    return request.param  # type: ignore[no-any-return]


def sent(peer: Peer) -> list[str]:
    return [text for request in peer.requests for text in request.body["input"]]


def test_each_text_is_sent_once(peer: Peer, run: Callable[..., Embedded]) -> None:
    embedder, cache = embedder_of(peer), LRUCache()
    one = run(embedder, cache, ["a", "b", "a", "c", "b", "a"])
    assert sent(peer) == ["a", "b", "c"]
    assert (one.hits, one.misses, one.repeated) == (0, 3, 3)
    two = run(embedder, cache, ["c", "d", "a"])
    assert sent(peer) == ["a", "b", "c", "d"]
    assert (two.hits, two.misses, two.repeated) == (2, 1, 0)
    for text, vector in zip(["a", "b", "a", "c", "b", "a"], one.vectors, strict=True):
        assert vector == pytest.approx(words_vector(text, 16), abs=1e-6)
    assert (two.vectors[2] == one.vectors[0]).all()
    three = run(embedder, cache, ["a", "a"])
    assert (three.hits, three.misses, three.repeated) == (2, 0, 0)
    assert run(embedder, cache, []).vectors.shape == (0, 0)
    assert len(sent(peer)) == 4


def test_embedders_and_questions_are_kept_apart(peer: Peer, run: Callable[..., Embedded]) -> None:
    cache = LRUCache()
    run(embedder_of(peer), cache, ["a"])
    run(embedder_of(peer, model="other"), cache, ["a"])
    run(embedder_of(peer), cache, ["a"], query=True)
    assert sent(peer) == ["a", "a", "a"]
    assert content_hash("a") != content_hash("a", query=True)
    assert content_hash("half \ud83d") == content_hash("half \ufffd")


def test_what_was_paid_for_is_not_paid_again(peer: Peer, run: Callable[..., Embedded]) -> None:
    embedder, cache = embedder_of(peer, batch=1), LRUCache()
    run(embedder, cache, ["known"])
    peer.script(Change(lambda answer: answer), Status(500))
    with pytest.raises(EmbeddingError, match="500") as error:
        run(embedder, cache, ["a", "b", "a", "c", "known"])
    assert sorted(error.value.done) == [0, 2, 4]
    result = run(embedder, cache, ["a", "b", "a", "c", "known"])
    assert sent(peer) == ["known", "a", "b", "b", "c"]
    assert (result.hits, result.misses) == (3, 2)


def test_two_models_under_one_name(peer: Peer, run: Callable[..., Embedded]) -> None:
    cache = LRUCache()
    run(embedder_of(peer, name="mine"), cache, ["a"])
    with pytest.raises(EmbeddingError, match="share that name"):
        run(embedder_of(peer, name="mine", dimensions=8), cache, ["a", "b"])


def test_what_an_embedder_should_not_give_is_not_kept(run: Callable[..., Embedded]) -> None:
    class Lies(FakeEmbedder):
        def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
            return super().embed(texts, query=query) * float("nan")

        def close(self) -> None: ...

        async def aclose(self) -> None: ...

    cache = LRUCache()
    with pytest.raises(EmbeddingError, match="NaN"):
        run(Lies(), cache, ["a"])
    assert len(cache) == 0


def test_empty_texts_reach_neither_cache_nor_endpoint(peer: Peer, run: Callable[..., Embedded]) -> None:
    with pytest.raises(EmbeddingRefusedError, match=r"texts\[0\]"):
        run(embedder_of(peer), LRUCache(), [" "])
    assert peer.count() == 0


def test_what_was_not_used_for_longest_is_forgotten() -> None:
    cache = LRUCache(2)
    cache.put_many("e", {"a": [1.0], "b": [2.0]})
    cache.get_many("e", ["a"])
    cache.put_many("e", {"c": [3.0]})
    assert set(cache.get_many("e", ["a", "b", "c"])) == {"a", "c"}
    assert cache.get_many("other", ["a"]) == {}
    assert len(cache) == 2
    with pytest.raises(ValueError, match="read-only"):
        cache.get_many("e", ["a"])["a"][0] = 5
    for size in (0, True, 1.5):
        with pytest.raises(DefinitionError, match="size"):
            LRUCache(size)  # type: ignore[arg-type]


def test_a_memory_does_not_pay_again_either(ctx: Context, peer: Peer) -> None:
    memory = Memory(ctx, embedder_of(peer, batch=2))
    peer.script(Change(lambda answer: answer), Status(400))
    many = [f"fence number {n}" for n in range(4)]
    with pytest.raises(EmbeddingError, match="400"):
        memory.remember(many)
    assert memory.collections()[0]["items"] == 0
    assert memory.remember(many).added == 4
    sent = [text for request in peer.requests for text in request.body["input"]]
    assert sent == [*many[:2], *many[2:], *many[2:]]  # the second lot was refused
    asked = peer.count()
    for _ in range(2):
        memory.recall("fence number 3")
    assert peer.count() == asked + 1
    memory.forget(*memory.remember("fence number 9").items)
    memory.recall("fence number 3")
    assert peer.count() == asked + 3


# --- which embedder ---------------------------------------------------------------------------------------


def test_none_is_said_and_never_faked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "installed", lambda: None)
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 8)  # a key alone sends nobody's texts anywhere
    found = choose_embedder("auto")
    assert found.embedder is None
    assert "by words only" in found.reason
    assert "--no-deps" in found.reason
    for setting in ("none", None):
        assert choose_embedder(setting).embedder is None
    with pytest.raises(MissingExtraError, match="no model is installed"):
        choose_embedder("local")


def test_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(choice, "installed", lambda: tmp_path)
    assert isinstance(choose_embedder().embedder, LocalEmbedder)
    assert str(tmp_path) in repr(choose_embedder(f"local:{tmp_path}").embedder)
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 8)
    names = {
        "openai": "openai/text-embedding-3-small",
        "openai:text-embedding-3-large/256": "openai/text-embedding-3-large/256",
        "openai:org/model": "openai/org/model",
    }
    for setting, name in names.items():
        embedder = choose_embedder(setting).embedder
        assert isinstance(embedder, OpenAIEmbedder)
        assert embedder.name == name
    given = OpenAIEmbedder()
    assert choose_embedder(given).embedder is given
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(DefinitionError, match="OPENAI_API_KEY"):
        choose_embedder("openai")
    for bad in ("torch", "auto:x", "", 7, object(), "openai:m/0"):
        with pytest.raises(DefinitionError):
            choose_embedder(bad)  # type: ignore[arg-type]
