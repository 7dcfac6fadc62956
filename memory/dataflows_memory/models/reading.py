"""Reading what the chat API answers; nothing of it is trusted to be there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from dataflows_memory.models.costs import Used
from dataflows_memory.models.replies import Call, Reply
from dataflows_sdk.errors import ModelError


def read_answer(body: bytes, what: str) -> Reply:
    """The message of an answer that came in one piece.

    Raises:
        ModelError: it is none.
    """
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        message = choice["message"]
        calls = tuple(
            Call(str(each["id"]), str(each["function"]["name"]), str(each["function"]["arguments"]))
            for each in message.get("tool_calls") or ()
        )
        text = message.get("content") or message.get("refusal") or ""
        finish, model = str(choice.get("finish_reason") or "stop"), str(answer.get("model") or "")
        return Reply(_text(text), calls, finish, _used(answer.get("usage")), model)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        shown = body[:200].decode("utf-8", "replace")
        raise ModelError(f"{what} gave an answer that is none ({type(error).__name__}: {error}): {shown}") from None


def read_stream(events: Iterable[Any], on_text: Callable[[str | None], None], what: str) -> Reply:
    """The message of an answer that comes in pieces.

    Raises:
        ModelError: it ended before it was whole.
    """
    texts: list[str] = []
    calls: dict[int, list[str]] = {}
    finish, model, used = "", "", Used()
    for event in events:
        model = event.model or model
        if event.usage is not None:
            used = _used(event.usage.model_dump())
        for choice in event.choices[:1]:
            finish = choice.finish_reason or finish
            delta = choice.delta
            if delta is None:
                continue
            if piece := delta.content or delta.refusal:
                texts.append(piece)
                on_text(piece)
            for part in delta.tool_calls or ():
                call = calls.setdefault(part.index, ["", "", ""])
                call[0] = part.id or call[0]
                if part.function is not None:
                    call[1] += part.function.name or ""
                    call[2] += part.function.arguments or ""
    if not finish:
        raise ModelError(f"{what} was lost in the middle of its answer, after {sum(map(len, texts)):,} characters")
    made = tuple(Call(*calls[at]) for at in sorted(calls))
    return Reply(_text("".join(texts)), made, finish, used, model)


def _text(given: Any) -> str:
    # half of a surrogate pair and NUL are no text that a database keeps
    return str(given).replace("\0", "").encode("utf-8", "replace").decode()


def _used(usage: Any) -> Used:
    """An endpoint that counts nothing is taken to have used nothing; there is no honest guess."""
    given = usage if isinstance(usage, dict) else {}
    details = given.get("prompt_tokens_details") or {}
    cached = int(details.get("cached_tokens") or 0)
    return Used(int(given.get("prompt_tokens") or 0), int(given.get("completion_tokens") or 0), cached, None, 1)
