"""Reading what an endpoint answered to ``/v1/embeddings``, and believing none of it."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from dataflows_memory.embedding.embedder import import_numpy, normalised
from dataflows_sdk.errors import EmbeddingError

if TYPE_CHECKING:
    from dataflows_memory.embedding.embedder import Vectors


def read_answer(body: bytes, asked: int, dimension: int | None, what: str) -> tuple[Vectors, int]:
    """The vectors in the order in which they were asked for, and the tokens that were counted.

    Args:
        body: of an answer with status 200.
        asked: how many texts were sent.
        dimension: how long each vector has to be; None where that is not known yet.
        what: endpoint and model, for errors.

    Raises:
        EmbeddingError: anything but as many vectors as asked, each at its index, of one length, finite and not zero.
    """
    np = import_numpy()
    try:
        answer = json.loads(body)
    except ValueError:
        raise EmbeddingError(
            f"{what} answered with status 200 and no JSON: {_start(body)}; is the base_url right?"
        ) from None
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise EmbeddingError(f"{what} answered without a list of vectors in `data`: {_start(body)}")
    if len(data) != asked:
        raise EmbeddingError(f"{what} gave {len(data)} vectors for {asked} texts: none of them is used")
    rows: list[Any] = [None] * asked
    for place, item in enumerate(data):
        if not isinstance(item, dict):
            raise EmbeddingError(f"{what}: data[{place}] is no object: {_start(item)}")
        index = item.get("index", place)
        known = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < asked
        if not known or rows[index] is not None:
            wrong = "there twice" if known else f"not between 0 and {asked - 1}"
            raise EmbeddingError(
                f"{what}: data[{place}] has the index {_start(index)}, which is {wrong}: "
                "whose vector it is cannot be known"
            )
        rows[index] = _vector(item.get("embedding"), f"{what}: vector {index} of {asked}")
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise EmbeddingError(f"{what} gave vectors of {len(lengths)} lengths: {', '.join(map(str, lengths))}")
    if not lengths[0]:
        raise EmbeddingError(f"{what} gave vectors without a number in them")
    if dimension is not None and lengths[0] != dimension:
        raise EmbeddingError(
            f"{what} gave vectors of {lengths[0]} numbers, expected {dimension}: another model answers there, or it "
            "does not know `dimensions`; vectors of two lengths cannot be compared, so none is used"
        )
    return normalised(np.stack(rows), what), _tokens(answer)


def _vector(value: Any, what: str) -> Any:
    np = import_numpy()
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise EmbeddingError(f"{what} is no base64: {_start(value)}") from None
        if len(raw) % 4:
            raise EmbeddingError(f"{what} has {len(raw)} bytes in base64, which is no number of float32")
        return np.frombuffer(raw, dtype="<f4").astype(np.float64)
    if not isinstance(value, list) or any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in value):
        raise EmbeddingError(f"{what} is no list of numbers: {_start(value)}")
    try:
        return np.array(value, dtype=np.float64)
    except OverflowError:
        raise EmbeddingError(f"{what} has a number that is too large for a float") from None


def _tokens(answer: dict[str, Any]) -> int:
    """Compatible endpoints leave the usage out, or half of it; that is no reason to throw vectors away."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return 0
    for name in ("total_tokens", "prompt_tokens"):
        count = usage.get(name)
        if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
            return count
    return 0


def _start(value: Any) -> str:
    text = value[:300].decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return repr(text if len(text) <= 200 else text[:200] + "…")
