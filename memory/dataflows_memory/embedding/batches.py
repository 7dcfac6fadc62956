"""What to send, when to wait and when to give up: the part of an embedder over HTTP that does no I/O.

`conversation` is a generator. It yields what is to be done next (`Ask`, `Wait`) and is sent what came of it (a `Reply`
for an Ask), so that a blocking and an awaiting client drive the same code.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from dataflows_memory.embedding.answers import read_answer
from dataflows_memory.embedding.embedder import Usage, clean_texts, import_numpy
from dataflows_sdk.core.retry import Retry, next_delay
from dataflows_sdk.errors import EmbeddingError, EmbeddingRefusedError

if TYPE_CHECKING:
    from dataflows_memory.embedding.embedder import Vectors


@dataclass(frozen=True, slots=True)
class Ask:
    """Send these texts."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of an Ask: an answer with its status, or (status None) why there is none."""

    status: int | None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    lost: str = ""


#: what a conversation yields, is sent, and returns
Conversation: TypeAlias = "Generator[Ask | Wait, Reply | None, Vectors]"


@dataclass(frozen=True, slots=True)
class Terms:
    """How texts are sent, and how failures are met."""

    what: str
    batch: int
    batch_tokens: int
    max_tokens: int
    refuse_too_long: bool
    retry: Retry
    longest_wait: float
    redact: Callable[[str], str]


class _TooMuch(Exception):
    """The endpoint takes less at a time; `.error` is what to raise where less is not possible."""

    def __init__(self, error: EmbeddingError) -> None:
        super().__init__()
        self.error = error


#: no text has more letters per token, but for runs of spaces; a longer one is cut before it is sent
_LETTERS_PER_TOKEN = 8
#: what is left of a text that an endpoint found too long
_KEPT = 0.7
_TOO_MUCH = re.compile(
    r"maximum context length|context[_ ]length|context window|too long|too large|too many (tokens|inputs)"
    r"|array too long|max_tokens_per_request"
    r"|maximum (allowed )?(batch|input|number of tokens|request)|max(imum)? \d+ tokens"
    r"|exceeds? .{0,40}(token|length|batch|limit)|batch size",
    re.IGNORECASE,
)
#: 429 says "slow down"; with these words it says "pay"
_NO_MONEY = re.compile(r"insufficient_quota|exceeded your current quota|billing", re.IGNORECASE)
_WAYS_OUT = {
    401: "the API key is wrong or missing: pass api_key= or set OPENAI_API_KEY",
    403: "the API key may not use this model",
    404: "the base_url or the name of the model is wrong",
}


def conversation(texts: Sequence[str], terms: Terms, usage: Usage, dimension: Callable[[], int | None]) -> Conversation:
    """Embed texts: batches, retries, smaller batches where the endpoint wants them.

    Args:
        texts: what to embed.
        terms: how.
        usage: counts what is done.
        dimension: how long a vector has to be, None as long as that is not known.

    Returns:
        The vectors, in order.

    Raises:
        EmbeddingError: see `Embedder.embed`.
    """
    np = import_numpy()
    sent = clean_texts(texts)
    longest = terms.max_tokens * _LETTERS_PER_TOKEN
    shortened = {position for position, text in enumerate(sent) if len(text) > longest}
    if shortened and terms.refuse_too_long:
        first = min(shortened)
        raise EmbeddingRefusedError(
            f"texts[{first}] has {len(sent[first]):,} letters, more than {terms.max_tokens:,} tokens can be: cut it "
            'into chunks first, or have only its beginning read with too_long="shorten"'
        )
    for position in shortened:
        sent[position] = sent[position][:longest]
    done: dict[int, Any] = {}
    pending = deque(_batches(sent, terms))
    while pending:
        batch = pending.popleft()
        try:
            expected = dimension() or next((len(vector) for vector in done.values()), None)
            vectors, tokens = yield from _ask(tuple(sent[i] for i in batch), terms, usage, expected)
        except _TooMuch as too_much:
            if len(batch) > 1:
                half = len(batch) // 2
                pending.extendleft((batch[half:], batch[:half]))
                continue
            only = batch[0]
            if terms.refuse_too_long or len(sent[only]) == 1:
                too_much.error.done = done
                raise too_much.error from None
            shortened.add(only)
            sent[only] = _shorter(sent[only])
            pending.appendleft(batch)
        except EmbeddingError as error:
            error.done = done
            raise
        else:
            usage.add(texts=len(batch), tokens=tokens, shortened=len(shortened.intersection(batch)))
            done.update(zip(batch, vectors, strict=True))
    if not done:
        return np.zeros((0, dimension() or 0), dtype=np.float32)  # type: ignore[no-any-return]
    return np.stack([done[position] for position in range(len(sent))])  # type: ignore[no-any-return]


def _shorter(text: str) -> str:
    # a beginning of spaces alone would be refused as empty
    return text[: max(1, int(len(text) * _KEPT))].rstrip() or text.strip()[:1]


def _batches(texts: Sequence[str], terms: Terms) -> list[list[int]]:
    """Positions, by number and by guessed tokens: three bytes are at least about one token in any script."""
    batches: list[list[int]] = []
    room = 0
    for position, text in enumerate(texts):
        guess = len(text.encode()) // 3 + 1
        if not batches or len(batches[-1]) == terms.batch or guess > room:
            batches.append([])
            room = terms.batch_tokens
        batches[-1].append(position)
        room -= guess
    return batches


def _ask(
    texts: tuple[str, ...], terms: Terms, usage: Usage, dimension: int | None
) -> Generator[Ask | Wait, Reply | None, tuple[Vectors, int]]:
    attempt = 0
    while True:
        attempt += 1
        usage.add(requests=1)
        reply = yield Ask(texts)
        if reply is None:
            raise TypeError("an Ask is answered by a Reply")
        if reply.status == 200:
            return read_answer(reply.body, len(texts), dimension, terms.what)
        error = _error(reply, terms, attempt)
        if reply.status == 413 or (reply.status in {400, 422} and _TOO_MUCH.search(str(error))):
            raise _TooMuch(error)
        delay = next_delay(terms.retry, attempt, error, random.random(), datetime.now(UTC))  # noqa: S311
        if delay is None:
            raise error
        if delay > terms.longest_wait:
            raise EmbeddingError(
                f"{error}; it asks to wait {delay:g} s, longer than the {terms.longest_wait:g} s that are waited here",
                reply.status,
                error.headers,
            )
        usage.add(retries=1)
        yield Wait(delay)


def _error(reply: Reply, terms: Terms, attempt: int) -> EmbeddingError:
    tries = "" if attempt == 1 else f" at attempt {attempt}"
    if reply.status is None:
        return EmbeddingError(terms.redact(f"{terms.what} gave no answer{tries}: {reply.lost}"))
    said = terms.redact(" ".join(reply.body[:2_000].decode("utf-8", "replace").split()))[:500]
    message = f"{terms.what} answered {reply.status}{tries}: {said or '(nothing)'}"
    refused = 400 <= reply.status < 500 and reply.status not in {408, 425, 429}
    if reply.status == 429 and _NO_MONEY.search(said):
        refused, message = True, f"{message}; the account has no credit left, so that waiting does not help"
    if way := _WAYS_OUT.get(reply.status):
        message = f"{message}; {way}"
    return (EmbeddingRefusedError if refused else EmbeddingError)(message, reply.status, _headers(reply))


def _headers(reply: Reply) -> dict[str, str]:
    """What a retry reads; the rest may be anything, also a cookie."""
    kept = {name.lower(): value for name, value in reply.headers.items() if name.lower().startswith("retry-after")}
    with contextlib.suppress(KeyError, ValueError):
        kept["retry-after"] = f"{float(kept['retry-after-ms']) / 1000:g}"
    return kept
