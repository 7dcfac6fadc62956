"""Models that are asked through OpenAI's chat API, at OpenAI or at any endpoint that is compatible with it."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dataflows_memory.endpoint import OPENAI, checked_url, key_of, need_openai, public_url
from dataflows_memory.models.costs import Price
from dataflows_memory.models.reading import read_answer, read_stream
from dataflows_memory.models.replies import Reply
from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.redact import REDACTOR, Secret
from dataflows_sdk.core.retry import Retry, next_delay
from dataflows_sdk.errors import DefinitionError, ModelError, ModelRefusedError

if TYPE_CHECKING:
    import openai

_LOG = logging.getLogger("dataflows.models")
_RETRY = Retry(5, initial_delay="500ms", max_delay="30s")
#: a 429 that waiting does not help
_NO_MONEY = re.compile(r"insufficient_quota|exceeded your current quota|billing", re.IGNORECASE)
_AGAIN = frozenset({408, 409, 425, 429})


class ChatModel:
    """A model that is asked through the ``openai`` package. Safe to use from several threads at once.

    Args:
        model: as the endpoint calls it.
        base_url: of the endpoint; None: ``OPENAI_BASE_URL``, then OpenAI.
        api_key: None: ``OPENAI_API_KEY``; an endpoint of your own may do without one. It is never logged nor recorded.
        price: of a million tokens, or a table of prices by model; None: money is not counted.
        name: by which runs that began with this model find it in another process; ``openai/<model>`` by default.
        temperature: as the endpoint counts it; None leaves it to the model.
        max_output: tokens of one answer.
        timeout: of one request, and between two pieces of a streamed answer.
        retry: after 408, 409, 425, 429 and 5xx, a timeout or a lost connection. ``Retry-After`` wins over its delays.
        longest_wait: a ``Retry-After`` beyond it is an error at once, which a step's own retries follow.

    Raises:
        DefinitionError: an argument that makes no sense, or no API key for OpenAI.
        MissingExtraError: ``openai`` is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | Secret | None = None,
        price: Price | Mapping[str, Price] | None = None,
        name: str | None = None,
        temperature: float | None = None,
        max_output: int | None = None,
        timeout: Duration = "120s",
        retry: Retry = _RETRY,
        longest_wait: Duration = "60s",
    ) -> None:
        need_openai("ChatModel")
        if not isinstance(model, str) or not model.strip():
            raise DefinitionError(f"model is the name of a model, not {model!r}")
        if max_output is not None and (isinstance(max_output, bool) or max_output < 1):
            raise DefinitionError(f"max_output is a number of tokens above 0, not {max_output!r}")
        found = price.get(model) if isinstance(price, Mapping) else price
        if found is not None and not isinstance(found, Price):
            raise DefinitionError(f"price of {model!r}: write Price(input=…, output=…), not {found!r}")
        if isinstance(price, Mapping) and found is None:
            raise DefinitionError(f"the table of prices has no {model!r}; it has: {', '.join(price) or 'nothing'}")
        self.model = model
        self.name = name or f"openai/{model}"
        self.price = found
        self._url = checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI)
        self._key = key_of(api_key, self._url)
        self._options = {
            key: value
            for key, value in (("temperature", temperature), ("max_completion_tokens", max_output))
            if value is not None
        }
        self._timeout = parse_duration(timeout).total_seconds()
        self._longest_wait = parse_duration(longest_wait).total_seconds()
        self._retry = retry
        self._what = f"the model {model!r} at {public_url(self._url)}"
        self._lock = threading.Lock()
        self._client: openai.OpenAI | None = None

    def __repr__(self) -> str:
        return f"ChatModel({self.model!r}, name={self.name!r}, base_url={public_url(self._url)!r})"

    def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        form: Mapping[str, Any] | None = None,
        on_text: Callable[[str | None], None] | None = None,
    ) -> Reply:
        """Ask for the next message of a conversation.

        Args:
            messages: as OpenAI's chat API has them.
            tools: that the model may call, as `ToolBox.openai` gives them.
            form: a ``response_format``.
            on_text: hears every piece of text as it comes; None says that the answer begins anew after a lost
                connection.

        Raises:
            ModelError: no answer.
            ModelRefusedError: trying again would not help.
        """
        request: dict[str, Any] = {"model": self.model, "messages": list(messages), **self._options}
        if tools:
            request["tools"] = list(tools)
        if form is not None:
            request["response_format"] = dict(form)
        attempt = 0
        while True:
            attempt += 1
            try:
                reply = self._once(request, on_text)
            except ModelError as error:
                delay = next_delay(self._retry, attempt, error, random.random(), datetime.now(UTC))  # noqa: S311
                if delay is None or delay > self._longest_wait:
                    raise
                _LOG.info("%s; asked again in %.1f s", error, delay)
                if on_text is not None:
                    on_text(None)
                time.sleep(delay)
                continue
            money = None if self.price is None else self.price.of(reply.used)
            return replace(reply, used=replace(reply.used, money=money))

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _once(self, request: dict[str, Any], on_text: Callable[[str | None], None] | None) -> Reply:
        import httpx
        import openai

        create = self._opened().chat.completions.with_raw_response.create
        try:
            if on_text is None:
                return read_answer(create(**request).content, self._what)
            streamed = create(**request, stream=True, stream_options={"include_usage": True}).parse()
            with streamed:
                return read_stream(streamed, on_text, self._what)
        except (openai.OpenAIError, httpx.HTTPError) as error:
            raise self._explained(error) from None

    def _opened(self) -> openai.OpenAI:
        import openai

        with self._lock:
            if self._client is None:
                # retries are ours: they are told, and follow what the other side asks for
                self._client = openai.OpenAI(
                    base_url=self._url, api_key=self._key.reveal() or "none", max_retries=0, timeout=self._timeout
                )
            return self._client

    def _explained(self, error: Exception) -> ModelError:
        import openai

        if isinstance(error, openai.APIStatusError):
            status, said = error.status_code, self._redact(" ".join(error.response.text[:2_000].split()))[:500]
            message = f"{self._what} answered {status}: {said or '(nothing)'}"
            refused = 400 <= status < 500 and status not in _AGAIN
            if status == 429 and _NO_MONEY.search(said):
                refused, message = True, f"{message}; the account has no credit left, so that waiting does not help"
            kept = {key.lower(): value for key, value in error.response.headers.items() if "retry-after" in key.lower()}
            with contextlib.suppress(KeyError, ValueError):
                kept["retry-after"] = f"{float(kept['retry-after-ms']) / 1000:g}"
            return (ModelRefusedError if refused else ModelError)(message, status, kept)
        if isinstance(error, openai.APITimeoutError):
            return ModelError(f"{self._what} did not answer within {self._timeout:g} s")
        cause = error.__cause__ or error
        return ModelError(self._redact(f"{self._what} was lost: {type(cause).__name__}: {cause}"))

    def _redact(self, text: str) -> str:
        key = self._key.reveal()
        return REDACTOR.redact_text(text.replace(key, "***") if key else text)


def check_model(model: Any) -> ChatModel:
    """A model, or the name of one.

    Raises:
        DefinitionError: it is neither.
    """
    if isinstance(model, str):
        return ChatModel(model)
    if not isinstance(model, ChatModel):
        raise DefinitionError(f"model is a ChatModel or the name of a model of OpenAI, not {model!r:.100}")
    return model
