"""OpenAIEmbedder against a real server on loopback, through the official client."""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dataflows_memory.embedding import OpenAIEmbedder
from dataflows_sdk.core.retry import Retry, next_delay
from dataflows_sdk.errors import DefinitionError, EmbeddingError, EmbeddingRefusedError, NonRetryableError

from .openai_peer import Change, Drop, Peer, Raw, Slow, Status, serving, words_vector


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as peer:
        yield peer


class Patient(OpenAIEmbedder):
    """Notes how long it would wait."""

    waits: list[float]

    def _sleep(self, wait: Any) -> None:
        self.waits.append(wait.seconds)

    async def _asleep(self, wait: Any) -> None:
        self.waits.append(wait.seconds)


Made = Callable[..., Patient]


@pytest.fixture
def make(peer: Peer) -> Iterator[Made]:
    made = []

    def one(**options: Any) -> Patient:
        embedder = Patient(**{"base_url": peer.url, "api_key": peer.key, "dimensions": 16, "timeout": 20, **options})
        embedder.waits = []
        made.append(embedder)
        return embedder

    yield one
    for embedder in made:
        embedder.close()


@pytest.fixture(params=["embed", "aembed"])
def embed(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Both faces, one after the other."""
    if request.param == "embed":
        return lambda embedder, texts: embedder.embed(texts)

    async def awaited(embedder: OpenAIEmbedder, texts: list[str]) -> Any:
        try:
            return await embedder.aembed(texts)
        finally:
            await embedder.aclose()

    return lambda embedder, texts: asyncio.run(awaited(embedder, texts))


def test_vectors_in_order_with_length_one(peer: Peer, make: Made, embed: Callable[..., Any]) -> None:
    embedder = make(batch=3)
    texts = [f"text number {n}" for n in range(8)]
    vectors = embed(embedder, texts)
    assert vectors.shape == (8, 16)
    assert vectors.dtype == np.float32
    for text, vector in zip(texts, vectors, strict=True):
        assert vector == pytest.approx(words_vector(text, 16), abs=1e-6)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert [len(request.body["input"]) for request in peer.requests] == [3, 3, 2]
    assert embedder.usage.as_dict() | {"tokens": 0} == {
        "requests": 3,
        "retries": 0,
        "shortened": 0,
        "texts": 8,
        "tokens": 0,
    }
    assert embedder.usage.tokens > 8
    assert embedder.name == "openai/text-embedding-3-small/16"
    assert embed(embedder, []).shape == (0, 16)


def test_answers_in_another_order_and_as_floats(peer: Peer, make: Made) -> None:
    peer.script(Change(lambda answer: {**answer, "data": answer["data"][::-1]}))
    assert make().embed(["a", "b"])[0] == pytest.approx(words_vector("a", 16), abs=1e-6)

    def floats(answer: dict[str, Any]) -> dict[str, Any]:
        for item in answer["data"]:
            item["embedding"] = list(struct.unpack("<16f", base64.b64decode(item["embedding"])))
        del answer["usage"]
        return answer

    peer.script(Change(floats))
    assert make().embed(["a"])[0] == pytest.approx(words_vector("a", 16), abs=1e-6)


def test_a_failure_that_passes_is_met_with_patience(peer: Peer, make: Made, embed: Callable[..., Any]) -> None:
    embedder = make()
    peer.script(Status(429, retry_after=7), Status(500), Status(503), Drop(), Drop(after=30))
    assert embed(embedder, ["a"]).shape == (1, 16)
    assert embedder.waits[0] == 7
    assert all(0 < wait <= 30 for wait in embedder.waits)
    assert embedder.usage.requests == 6
    assert embedder.usage.retries == 5
    assert embedder.usage.texts == 1


def test_a_timeout_is_tried_again(peer: Peer, make: Made) -> None:
    embedder = make(timeout=0.2)
    peer.script(Slow(10))
    assert embedder.embed(["a"]).shape == (1, 16)
    assert embedder.usage.retries == 1
    peer.script(Slow(10), Slow(10))
    with pytest.raises(EmbeddingError, match="longer than the timeout") as error:
        make(timeout=0.2, retry=Retry(1)).embed(["a"])
    assert error.value.status is None


def test_what_was_paid_for_is_kept(peer: Peer, make: Made, embed: Callable[..., Any]) -> None:
    embedder = make(batch=2, retry=Retry(2))
    peer.script(Change(lambda answer: answer), Change(lambda answer: answer), *[Status(500, "boom")] * 3)
    with pytest.raises(EmbeddingError, match=r"500 at attempt 3.*boom") as error:
        embed(embedder, [f"t{n}" for n in range(6)])
    assert sorted(error.value.done) == [0, 1, 2, 3]
    assert error.value.done[3] == pytest.approx(words_vector("t3", 16), abs=1e-6)
    assert not isinstance(error.value, NonRetryableError)


def test_a_retry_after_that_is_too_long_is_for_the_step(peer: Peer, make: Made) -> None:
    peer.script(Status(429, retry_after=600))
    embedder = make()
    with pytest.raises(EmbeddingError, match="600 s") as error:
        embedder.embed(["a"])
    assert embedder.waits == []
    assert next_delay(Retry(3), 1, error.value, 0.0) == 600


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (Status(401, "no"), "pass api_key="),
        (Status(404, "The model does not exist"), "name of the model is wrong"),
        (Status(429, "You exceeded your current quota", code="insufficient_quota"), "no credit"),
        (Status(400, "bad"), "answered 400: .*bad"),
    ],
)
def test_what_no_retry_helps(peer: Peer, make: Made, behaviour: Status, message: str) -> None:
    peer.script(behaviour)
    with pytest.raises(EmbeddingRefusedError, match=message) as error:
        make().embed(["a"])
    assert isinstance(error.value, NonRetryableError)
    assert error.value.status == behaviour.status
    assert peer.count() == 1
    assert "127.0.0.1" in str(error.value)
    assert "text-embedding-3-small" in str(error.value)


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def answered(change: Callable[[list[dict[str, Any]]], Any]) -> Change:
    return Change(lambda answer: {**answer, "data": change(answer["data"])})


def first(**values: Any) -> Change:
    return answered(lambda data: [{**data[0], **values}, *data[1:]])


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (answered(lambda data: data[:1]), "1 vectors for 2 texts"),
        (answered(lambda data: [*data, data[0]]), "3 vectors for 2 texts"),
        (answered(lambda data: None), "without a list of vectors"),
        (answered(lambda data: [None, data[1]]), "no object"),
        (first(index=1), "there twice"),
        (first(index=2), "not between 0 and 1"),
        (first(index=True), "not between"),
        (first(embedding=packed(*[1.0] * 8)), "of 2 lengths: 8, 16"),
        (answered(lambda data: [{**item, "embedding": packed(1.0)} for item in data]), "of 1 numbers, expected 16"),
        (answered(lambda data: [{**item, "embedding": []} for item in data]), "without a number"),
        (first(embedding=packed(*[math.nan] * 16)), "vector 0 of 2 has NaN"),
        (first(embedding=[math.inf] * 16), "NaN or infinity"),
        (first(embedding=packed(*[0.0] * 16)), "all zeros"),
        (first(embedding=[None] * 16), "no list of numbers"),
        (first(embedding=["1"] * 16), "no list of numbers"),
        (first(embedding=[10**400] * 16), "too large"),
        (first(embedding="not base64!"), "no base64"),
        (first(embedding="QUJD"), "no number of float32"),
        (Raw(b"<html>hello</html>", content_type="text/html"), "no JSON: .*html.*base_url"),
        (Raw(b""), "no JSON"),
        (Raw(b"[]"), "without a list"),
    ],
)
def test_no_answer_is_believed(peer: Peer, make: Made, behaviour: Any, message: str) -> None:
    peer.script(behaviour)
    with pytest.raises(EmbeddingError, match=message):
        make().embed(["a", "b"])
    assert peer.count() == 1  # asking again would be paid again


def test_lengths_that_change_between_batches(peer: Peer, make: Made) -> None:
    embedder = make(model="some-model", dimensions=None, batch=1)
    peer.script(Change(lambda answer: answer), first(embedding=packed(1.0, 2.0, 3.0)))
    with pytest.raises(EmbeddingError, match="of 3 numbers, expected 8") as error:
        embedder.embed(["a", "b"])
    assert list(error.value.done) == [0]


def test_the_dimension_of_an_unknown_model_is_asked_for_once(peer: Peer, make: Made) -> None:
    embedder = make(model="some-model", dimensions=None)
    assert peer.count() == 0
    assert embedder.dimension == embedder.dimension == 8
    assert peer.count() == 1
    assert make(dimensions=None).dimension == 1536
    assert peer.count() == 1


def test_empty_texts_are_refused_before_anything_is_sent(peer: Peer, make: Made, embed: Callable[..., Any]) -> None:
    for bad in ("", " \n\t"):
        with pytest.raises(EmbeddingRefusedError, match=r"texts\[1\] of 2"):
            embed(make(), ["a", bad])
    with pytest.raises(TypeError, match=r"write \[text\]"):
        make().embed("abc")
    with pytest.raises(TypeError, match=r"texts\[0\] is a int"):
        make().embed([1])  # type: ignore[list-item]
    assert peer.count() == 0


def test_long_texts_are_shortened_or_refused(peer: Peer, make: Made) -> None:
    embedder = make()
    long = "word and " * 1_200_000  # ten megabytes
    assert embedder.embed(["short", long, "other"]).shape == (3, 16)
    assert embedder.usage.shortened == 1
    assert embedder.usage.texts == 3
    assert max(len(text) for request in peer.requests for text in request.body["input"]) < 70_000
    refusing = make(too_long="refuse")
    before = peer.count()
    with pytest.raises(EmbeddingRefusedError, match=r"texts\[1\] has 10,8.*chunks"):
        refusing.embed(["short", long])
    assert peer.count() == before
    # only the endpoint knows this one; the texts before it are kept
    with pytest.raises(EmbeddingRefusedError, match="maximum context length") as error:
        refusing.embed(["short", "ข" * 30_000])
    assert list(error.value.done) == [0]


def test_batches_that_are_too_large_are_halved(peer: Peer, make: Made) -> None:
    embedder = make()
    peer.script(Status(400, "Requested 400000 tokens, max 300000 tokens per request", code="max_tokens_per_request"))
    peer.script(Status(413, "too large"))
    assert embedder.embed([f"t{n}" for n in range(8)])[7] == pytest.approx(words_vector("t7", 16), abs=1e-6)
    assert [len(request.body["input"]) for request in peer.requests] == [8, 4, 2, 2, 4]
    few = make(batch_tokens=10)
    few.embed(["word " * 6, "b", "c"])
    assert [len(request.body["input"]) for request in peer.requests[5:]] == [1, 2]


def test_any_script_and_broken_unicode(peer: Peer, make: Made) -> None:
    texts = ["สวัสดี", "مرحبا بالعالم", "👨‍👩‍👧‍👦🇹🇭", "half \ud83d of a pair", "zero \0 byte"]
    assert make().embed(texts).shape == (5, 16)
    assert peer.requests[0].body["input"] == [*texts[:3], "half \ufffd of a pair", "zero \0 byte"]


def test_the_key_is_nowhere(peer: Peer, make: Made, caplog: pytest.LogCaptureFixture) -> None:
    secret = "sk-proj-Vb27XcRtHk55QaNsJd90"
    embedder = make(api_key=secret)
    with caplog.at_level(logging.DEBUG), pytest.raises(EmbeddingRefusedError) as error:
        embedder.embed(["a"])
    assert peer.requests[0].headers["authorization"] == f"Bearer {secret}"
    assert "Incorrect API key" in str(error.value)  # the peer repeats the key in full
    told: BaseException | None = error.value
    while told is not None:
        assert secret not in f"{told} {told!r} {vars(told)}"
        told = told.__cause__ or told.__context__
    assert secret not in repr(embedder) + caplog.text + str(vars(embedder))
    hidden = OpenAIEmbedder(base_url="http://ann:geheim7Q@127.0.0.1:9/v1?key=geheim8Q", api_key="x" * 8, retry=Retry(0))
    with pytest.raises(EmbeddingError, match="gave no answer") as down:
        hidden.embed(["a"])
    assert "geheim" not in str(down.value) + repr(hidden)
    hidden.close()


def test_arguments_that_make_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(DefinitionError, match="OPENAI_API_KEY"):
        OpenAIEmbedder()
    for options in (
        {"model": " "},
        {"batch": 0},
        {"batch": 3_000},
        {"batch": True},
        {"dimensions": 0},
        {"max_tokens": -1},
        {"too_long": "cut"},
        {"base_url": "127.0.0.1:9"},
    ):
        with pytest.raises(DefinitionError, match=next(iter(options))):
            OpenAIEmbedder(**{"api_key": "k" * 8, **options})  # type: ignore[arg-type]
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 8)
    assert OpenAIEmbedder(name="mine").name == "mine"


def test_several_threads_and_loops_share_one(peer: Peer, make: Made) -> None:
    from concurrent.futures import ThreadPoolExecutor

    embedder = make()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: embedder.embed([f"t{n}"])[0], range(12)))
    for n, vector in enumerate(made):
        assert vector == pytest.approx(words_vector(f"t{n}", 16), abs=1e-6)

    async def loop() -> Any:
        try:
            return await asyncio.gather(*(embedder.aembed([f"t{n}"]) for n in range(3)))
        finally:
            await embedder.aclose()

    for _ in range(2):
        assert len(asyncio.run(loop())) == 3
    assert embedder.usage.texts == 18
