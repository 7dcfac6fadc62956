"""The loop of an agent, as a workflow: each call of the model and each call of a tool is a step, and is paid once."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dataflows_memory.agents.telling import Teller
from dataflows_memory.models.costs import Budget
from dataflows_memory.models.meter import Meter
from dataflows_memory.models.replies import Call, Reply
from dataflows_memory.tools import Tool, ToolBox, result_text
from dataflows_sdk.approvals import ask_people
from dataflows_sdk.core.retry import NO_RETRY, Retry
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import (
    DataflowsError,
    DefinitionError,
    NonDeterminismError,
    RecordedError,
    StepCollisionError,
    StepTimeoutError,
    ToolArgumentError,
)

if TYPE_CHECKING:
    from dataflows_memory.models.chat import ChatModel
    from dataflows_sdk.context import Context

_RETRY = Retry(no_retry_on=(DefinitionError,))
_LONGEST = 4_000


@dataclass(frozen=True)
class Made:
    """What an agent is made of.

    Attributes:
        name: of it.
        model: that is asked.
        tools: that it may call.
        instructions: the message before all others; may be empty.
        form: a ``response_format`` for the last answer; None for text.
        check: reads the last answer; raises ValueError where it does not fit.
        approvers: who may agree to dangerous tools; empty for anybody.
        context: where it runs; it is not kept alive.
    """

    name: str
    model: ChatModel
    tools: ToolBox
    instructions: str
    form: Mapping[str, Any] | None
    check: Callable[[str], Any]
    approvers: tuple[str, ...]
    context: weakref.ref[Context]


def workflow_of(made: Made) -> Workflow:
    """The workflow of an agent; a process that knows it goes on with its runs."""

    async def agent(event: Any, step: Any) -> dict[str, Any]:
        return await _Loop(made, event.raw, step).run()

    return Workflow(f"agent {made.name}", agent, description=made.instructions or f"The agent {made.name}.")


class _Loop:
    """One task."""

    def __init__(self, made: Made, spec: dict[str, Any], step: Any) -> None:
        self._made, self._spec, self._step = made, spec, step
        self._meter = Meter(Budget(**spec["budget"]), step)
        self._tools: list[dict[str, Any]] = []

    async def run(self) -> dict[str, Any]:
        begun = await self._step.now()
        if "branch" in self._spec:
            await self._step.run("branch", self._on_branch)
        instructions = self._made.instructions
        messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
        messages.append({"role": "user", "content": self._spec["task"]})
        text, stopped, turn = "", "turns", 0
        for turn in range(1, self._spec["turns"] + 1):
            await self._meter.ready()
            asked = partial(self._asked, turn, list(messages))
            reply = Reply.of_json(await self._step.run(f"model {turn}", asked, retry=_RETRY))
            self._meter.add(reply.used)
            messages.append(reply.message())
            text = reply.text or text
            for place, call in enumerate(reply.calls, 1):
                told = await self._called(f"{turn}.{place}", call)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": told})
            if reply.calls:
                continue
            try:
                self._made.check(reply.text)
            except ValueError as error:
                wrong = f"That answer does not fit: {str(error)[:_LONGEST]}\nAnswer again, with nothing but the JSON."
                messages.append({"role": "user", "content": wrong})
                continue
            text, stopped = reply.text, "done"
            break
        seconds = (await self._step.now() - begun).total_seconds()
        return {
            "text": text,
            "stopped": stopped,
            "turns": turn,
            "tools": self._tools,
            "used": self._meter.used.to_json(),
            "seconds": seconds,
            "model": self._made.model.name,
        }

    def _on_branch(self) -> None:
        """From here on its tools see what the fork sees that has begun it."""
        self._within().memory._branches.bring(self._step.run_id, self._spec["branch"])

    def _within(self) -> Context:
        context = self._made.context()
        if context is None:
            raise DefinitionError("the context of the agent is gone")
        return context

    def _asked(self, turn: int, messages: list[dict[str, Any]]) -> dict[str, Any]:
        teller = Teller(self._within().messages, self._step.run_id, turn)
        tools = self._made.tools.openai()
        reply = self._made.model.complete(messages, tools=tools, form=self._made.form, on_text=teller)
        teller.flush()
        return reply.to_json()

    # --- tools -------------------------------------------------------------------------------------------

    async def _called(self, place: str, call: Call) -> str:
        tool = self._made.tools.get(call.name)
        if tool is None:
            # says which there are
            return self._note(call, self._made.tools.tell(call.name).text, error=True)
        try:
            tool.parameters.arguments(call.arguments)
        except ToolArgumentError as error:
            return self._note(call, f"{tool.name}: {error}", error=True)
        if tool.dangerous:
            message = f"May the agent {self._made.name!r} call {tool.name} with {call.arguments}?"
            answer = await ask_people(self._step, f"approve {place} {tool.name}", message, self._made.approvers)
            if answer.get("decision") != "approved":
                who, why = answer.get("responder") or "a person", answer.get("comment")
                told = f"{tool.name} was not called: {who} refused it" + (f": {why}" if why else ".")
                return self._note(call, told, error=True)
        name = f"tool {place} {tool.name}"
        try:
            told = await self._step.run(
                name,
                _calling(tool, call.arguments, f"{self._step.run_id}/{name}"),
                retry=NO_RETRY,
                timeout=tool.wait,
                # what a person agreed to once is not done twice because a process died
                uncertain="ask" if tool.dangerous else "retry",
            )
        except StepTimeoutError:
            return self._note(call, f"{tool.name} did not answer within {tool.wait:g} s.", error=True, step=name)
        except (NonDeterminismError, StepCollisionError):
            raise  # of the run, and not of the tool
        except Exception as error:  # noqa: BLE001 - whatever a tool raises, the model hears of it
            return self._note(call, _brief(error), error=True, step=name)
        return self._note(call, told, error=False, step=name)

    def _note(self, call: Call, told: str, *, error: bool, step: str | None = None) -> str:
        self._tools.append({"name": call.name, "arguments": call.arguments, "told": told, "error": error, "step": step})
        return told


def _calling(tool: Tool, given: str, key: str) -> Callable[[], Any]:
    """What the step of a tool calls: in a thread, or on the loop where the tool is a coroutine function.

    It raises what the tool raises, so that what the tool wrote with the step's record is undone. A run that a tool
    starts is started once, however often a process dies in its step.
    """
    if inspect.iscoroutinefunction(tool.function):

        async def awaited() -> str:
            return result_text(await tool.call(given, key=key), tool.limit)

        return awaited
    return lambda: result_text(tool.call(given, key=key), tool.limit)


def _brief(error: Exception) -> str:
    if isinstance(error, RecordedError):
        text = f"{error.type.rpartition(':')[2]}: {error}"  # after a replay, of a class that is not known here
    elif isinstance(error, DataflowsError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text) - _LONGEST:,} more characters)"
