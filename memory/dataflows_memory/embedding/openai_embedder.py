"""Embedding by OpenAI, or by any endpoint that is compatible with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from dataflows_memory.embedding.batches import Ask, Reply, Terms, Wait, conversation
from dataflows_memory.embedding.driving import adrive, drive
from dataflows_memory.embedding.embedder import Usage
from dataflows_memory.endpoint import OPENAI, checked_url, key_of, need_openai, public_url
from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.redact import REDACTOR, Secret
from dataflows_sdk.core.retry import Retry
from dataflows_sdk.errors import DefinitionError

if TYPE_CHECKING:
    import openai

    from dataflows_memory.embedding.embedder import Vectors

_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
_RETRY = Retry(6, initial_delay="500ms", max_delay="30s")
#: connections that are being closed
_ENDING: set[asyncio.Task[None]] = set()


class OpenAIEmbedder:
    """Embeds through the ``openai`` package: OpenAI itself or any endpoint that speaks its API.

    A text that is longer than the model takes is shortened: only its beginning counts, and `usage.shortened` says how
    often that was so. An empty text is refused. Where a request fails for good, `EmbeddingError.done` has the vectors
    of the batches before it. Safe to use from several threads and event loops at once.

    Args:
        model: as the endpoint calls it.
        dimensions: ask the model for shorter vectors; only some models can. None takes what it gives.
        base_url: of the endpoint; None: ``OPENAI_BASE_URL``, then OpenAI.
        api_key: None: ``OPENAI_API_KEY``; an endpoint of your own may do without one.
        name: of the vectors, where the name of the model does not say it: ``openai/<model>`` by default, with
            ``/<dimensions>`` where they are given. Two models must not share a name.
        batch: texts in a request.
        batch_tokens: tokens in a request, guessed from the bytes; a batch that the endpoint finds too large is halved.
        max_tokens: that the model reads of one text.
        too_long: ``"shorten"`` reads the beginning of a longer text, ``"refuse"`` raises.
        timeout: of one request.
        retry: after 408, 425, 429 and 5xx, a timeout or a lost connection. ``Retry-After`` wins over its delays.
        longest_wait: a ``Retry-After`` beyond it is an error at once, which a step's own retries follow.

    Raises:
        DefinitionError: an argument that makes no sense, or no API key for OpenAI.
        MissingExtraError: ``openai`` is not installed.
    """

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        dimensions: int | None = None,
        base_url: str | None = None,
        api_key: str | Secret | None = None,
        name: str | None = None,
        batch: int = 256,
        batch_tokens: int = 100_000,
        max_tokens: int = 8_191,
        too_long: Literal["shorten", "refuse"] = "shorten",
        timeout: Duration = "60s",
        retry: Retry = _RETRY,
        longest_wait: Duration = "60s",
    ) -> None:
        need_openai("OpenAIEmbedder")
        if not isinstance(model, str) or not model.strip():
            raise DefinitionError(f"model is the name of a model, not {model!r}")
        for what, number, most in (
            ("batch", batch, 2_048),
            ("batch_tokens", batch_tokens, None),
            ("max_tokens", max_tokens, None),
            ("dimensions", dimensions, None),
        ):
            if number is None:
                continue
            if isinstance(number, bool) or not isinstance(number, int) or number < 1 or number > (most or number):
                up_to = f"between 1 and {most:,}" if most else "above 0"
                raise DefinitionError(f"{what} is a whole number {up_to}, not {number!r}")
        if too_long not in {"shorten", "refuse"}:
            raise DefinitionError(f'too_long is "shorten" or "refuse", not {too_long!r}')
        self.model, self.dimensions = model, dimensions
        self._url = checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI)
        self._key = key_of(api_key, self._url)
        self._name = name or f"openai/{model}" + (f"/{dimensions}" if dimensions else "")
        self._dimension = dimensions or _DIMENSIONS.get(model)
        self._timeout = parse_duration(timeout).total_seconds()
        self._terms = Terms(
            what=f"the endpoint {public_url(self._url)} with the model {model!r}",
            batch=batch,
            batch_tokens=batch_tokens,
            max_tokens=max_tokens,
            refuse_too_long=too_long == "refuse",
            retry=retry,
            longest_wait=parse_duration(longest_wait).total_seconds(),
            redact=self._redact,
        )
        self._usage = Usage()
        self._lock = threading.Lock()
        self._client: openai.OpenAI | None = None
        # a connection belongs to the loop in which it was opened
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def name(self) -> str:
        """``openai/<model>``, with the dimensions where they were asked for."""
        return self._name

    @property
    def dimension(self) -> int:
        """How long a vector is; for a model that is not known here, the first look sends one word to find out."""
        if self._dimension is None:
            self.embed(["dimension"])
        assert self._dimension is not None
        return self._dimension

    @property
    def usage(self) -> Usage:
        """What was sent, embedded and counted so far."""
        return self._usage

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:  # noqa: ARG002
        """The vectors of the texts; see `Embedder.embed`. These models make no difference for a query.

        Raises:
            EmbeddingError: no vectors, or not for all; `.done` has those that were paid for.
            EmbeddingRefusedError: trying again would not help.
        """
        steps = conversation(texts, self._terms, self._usage, lambda: self._dimension)
        return self._learned(drive(steps, self._do))

    async def aembed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:  # noqa: ARG002
        """The same, awaited."""
        steps = conversation(texts, self._terms, self._usage, lambda: self._dimension)
        return self._learned(await adrive(steps, self._ado))

    def close(self) -> None:
        """Close the connections, those of event loops in their loops; the next call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
            others, self._clients = list(self._clients.items()), weakref.WeakKeyDictionary()
        for loop, other in others:
            with contextlib.suppress(RuntimeError):  # it ended, and its connections with it
                loop.call_soon_threadsafe(_close_there, loop, other)
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop, and those of the blocking face."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()
        self.close()

    def __repr__(self) -> str:
        return f"OpenAIEmbedder({self.model!r}, name={self._name!r}, base_url={public_url(self._url)!r})"

    def _learned(self, vectors: Vectors) -> Vectors:
        if self._dimension is None and len(vectors):
            self._dimension = int(vectors.shape[1])
        return vectors

    def _redact(self, text: str) -> str:
        key = self._key.reveal()
        return REDACTOR.redact_text(text.replace(key, "***") if key else text)

    def _options(self) -> dict[str, Any]:
        # retries are the conversation's: it counts them, and keeps what was paid for
        return {
            "base_url": self._url,
            "api_key": self._key.reveal() or "none",
            "max_retries": 0,
            "timeout": self._timeout,
        }

    def _request(self, ask: Ask) -> dict[str, Any]:
        # float or base64 is the client's choice: it asks for base64, and the answer is read either way
        wanted = {} if self.dimensions is None else {"dimensions": self.dimensions}
        return {"input": list(ask.texts), "model": self.model, **wanted}

    def _post(self, ask: Ask) -> Reply:
        import openai

        with self._lock:
            if self._client is None:
                self._client = openai.OpenAI(**self._options())
            client = self._client
        try:
            answer = client.embeddings.with_raw_response.create(**self._request(ask))
        except openai.OpenAIError as error:
            return _reply(error)
        return Reply(answer.status_code, answer.content, answer.headers)

    async def _apost(self, ask: Ask) -> Reply:
        import openai

        loop = asyncio.get_running_loop()
        with self._lock:
            client = self._clients.get(loop)
            if client is None:
                client = self._clients[loop] = openai.AsyncOpenAI(**self._options())
        try:
            answer = await client.embeddings.with_raw_response.create(**self._request(ask))
        except openai.OpenAIError as error:
            return _reply(error)
        return Reply(answer.status_code, answer.content, answer.headers)

    def _do(self, step: Ask | Wait) -> Reply | None:
        if isinstance(step, Ask):
            return self._post(step)
        self._sleep(step)
        return None

    async def _ado(self, step: Ask | Wait) -> Reply | None:
        if isinstance(step, Ask):
            return await self._apost(step)
        await self._asleep(step)
        return None

    def _sleep(self, wait: Wait) -> None:
        time.sleep(wait.seconds)

    async def _asleep(self, wait: Wait) -> None:
        await asyncio.sleep(wait.seconds)


def _close_there(loop: asyncio.AbstractEventLoop, client: openai.AsyncOpenAI) -> None:
    task = loop.create_task(client.close())
    _ENDING.add(task)  # a loop alone does not keep its tasks
    task.add_done_callback(_ENDING.discard)


def _reply(error: openai.OpenAIError) -> Reply:
    import openai

    if isinstance(error, openai.APIStatusError):
        return Reply(error.status_code, error.response.content, error.response.headers)
    if isinstance(error, openai.APITimeoutError):
        return Reply(None, lost="it took longer than the timeout")
    cause = error.__cause__ or error
    return Reply(None, lost=f"{type(cause).__name__}: {cause}")
