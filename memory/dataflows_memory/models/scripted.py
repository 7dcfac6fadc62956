"""A model that is none: it says what was written down for it. For tests, demos and these pages, without a key."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataflows_memory.models.chat import ChatModel
from dataflows_memory.models.costs import Price, Used
from dataflows_memory.models.replies import Call, Reply
from dataflows_sdk.errors import DefinitionError, ModelRefusedError

#: a text, or a tool with its arguments
Said = str | tuple[str, Mapping[str, Any]]


class ScriptedModel(ChatModel):
    """Says one answer after the other, whatever it is asked. It is no model, and its tokens are letters by four.

    Args:
        answers: in order: a text; ``("tool", {"argument": 1})``, a tool that is called; or a function that makes one of
            these from the conversation so far, for what stands on what tools gave.
        name: see `ChatModel`.
        price: of a million tokens.

    Raises:
        DefinitionError: an answer that is none of these.
    """

    def __init__(
        self,
        *answers: Said | Callable[[list[dict[str, Any]]], Said],
        name: str = "scripted",
        price: Price | None = None,
    ) -> None:
        for each in answers:
            if not callable(each):
                _check(each)
        self.model = self.name = name
        self.price = price
        self._answers = list(answers)
        self._lock = threading.Lock()
        #: the conversations that it was asked to go on with
        self.asked: list[list[dict[str, Any]]] = []

    def __repr__(self) -> str:
        return f"ScriptedModel({self.name!r}, {len(self._answers)} answers left)"

    def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),  # noqa: ARG002 - a script does not choose
        form: Mapping[str, Any] | None = None,  # noqa: ARG002
        on_text: Callable[[str | None], None] | None = None,
    ) -> Reply:
        """The next answer.

        Raises:
            ModelRefusedError: there is none left.
            DefinitionError: a function made something else.
        """
        with self._lock:
            self.asked.append([dict(each) for each in messages])
            if not self._answers:
                raise ModelRefusedError(f"the script of {self.name!r} has no further answer")
            answer, number = self._answers.pop(0), len(self.asked)
        if callable(answer):
            answer = answer([dict(each) for each in messages])
            _check(answer)
        said = answer if isinstance(answer, str) else json.dumps(answer[1])
        used = Used(len(json.dumps(list(messages), default=str)) // 4 + 1, len(said) // 4 + 1, calls=1)
        used = Used(used.input, used.output, 0, None if self.price is None else self.price.of(used), 1)
        if not isinstance(answer, str):
            return Reply("", (Call(f"call_{number}", answer[0], said),), "tool_calls", used, self.model)
        if on_text is not None:
            for piece in re.findall(r"\S+\s*|\s+", answer):
                on_text(piece)
        return Reply(answer, (), "stop", used, self.model)

    def close(self) -> None:
        """Nothing is open."""


def _check(answer: Any) -> None:
    if not isinstance(answer, str) and not (isinstance(answer, tuple) and len(answer) == 2):
        raise DefinitionError(f'an answer is a text, or ("tool", {{arguments}}), not {answer!r:.100}')
