"""An agent: a model, the tools that it may call, and runs that nothing makes it pay for twice."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dataflows_memory.agents.loop import Made, workflow_of
from dataflows_memory.agents.results import AgentResult, Piece
from dataflows_memory.agents.telling import follow, opened
from dataflows_memory.models.chat import ChatModel, check_model
from dataflows_memory.models.costs import Budget, check_budget
from dataflows_memory.models.meter import give_more, result_of
from dataflows_memory.tools import Tool, ToolBox, strict_schema
from dataflows_sdk.core.durations import Duration
from dataflows_sdk.engine.definitions import check_workflow_name
from dataflows_sdk.errors import DefinitionError, ToolError
from dataflows_sdk.warehouse.table import in_thread

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.runs import Run

_MOST_TURNS = 1_000
_LONGEST = 1_000_000


class Agents:
    """``ctx.agent``: call it to make an agent.

    Args:
        context: where agents run.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def __repr__(self) -> str:
        return "<agents: ctx.agent(model, tools)>"

    def __call__(
        self,
        model: ChatModel | str,
        tools: Iterable[Tool | Callable[..., Any]] = (),
        *,
        name: str = "agent",
        instructions: str = "",
        result: Any = None,
        turns: int = 20,
        budget: Budget | Mapping[str, Any] | None = None,
        approvers: Iterable[str] = (),
    ) -> Agent:
        """An agent. A process that makes one of the same name goes on with its runs after a crash.

        Args:
            model: a `ChatModel`, or the name of a model of OpenAI.
            tools: functions, or `Tool` objects; ``Tool.of(function, dangerous=True)`` asks a person before each call.
            name: of the agent: unique and stable, for its runs find it by that.
            instructions: what it is told before the task.
            result: a pydantic model or another type that its last answer has to fit; by default it is text.
            turns: how often the model is asked for one task, at the most.
            budget: tokens and money for one task; a run that used them up waits for `Agent.more`.
            approvers: who may agree to dangerous tools; by default anybody.

        Raises:
            DefinitionError: an argument makes no sense.
            ToolError: a tool that models cannot call, or two of one name.
            MissingExtraError: ``openai`` is not installed.
        """
        return Agent(
            self._context, check_model(model), tools, name, instructions, result, turns, budget, tuple(approvers)
        )


class Agent:
    """Made by ``ctx.agent``."""

    def __init__(
        self,
        context: Context,
        model: ChatModel,
        tools: Iterable[Tool | Callable[..., Any]],
        name: str,
        instructions: str,
        result: Any,
        turns: int,
        budget: Budget | Mapping[str, Any] | None,
        approvers: tuple[str, ...],
    ) -> None:
        check_workflow_name(name)
        if not isinstance(instructions, str):
            raise DefinitionError(f"instructions are a text, not {instructions!r:.100}")
        if isinstance(tools, str | Tool) or callable(tools):
            raise ToolError(f"tools is a list of functions or tools, not {tools!r:.100}")
        self._context = context
        self.name, self.model = name, model
        self.tools = ToolBox(each if isinstance(each, Tool) else Tool.of(each) for each in tools)
        self._turns = _checked_turns(turns)
        self._budget = check_budget(budget, model.price is not None)
        self._typed = _Typed(result)
        made = Made(
            name, model, self.tools, instructions, self._typed.form, self._typed.read, approvers, weakref.ref(context)
        )
        self._workflow = workflow_of(made)
        context.register(self._workflow)
        context._closing.append(model.close)
        opened(context.messages)

    def __repr__(self) -> str:
        return f"<agent {self.name!r} of {self.model.name} with {', '.join(self.tools) or 'no tools'}>"

    def run(self, task: str, *, timeout: Duration | None = None, **options: Any) -> AgentResult:
        """`start`, and wait for the result.

        Args:
            task: in words.
            timeout: how long to wait; the run goes on after it.
            options: as for `start`.

        Raises:
            BudgetUsedUpError: the run waits for more; see `more`.
            StepFailed: the model did not answer; its cause is a `ModelError`.
            TimeoutError: there is no result yet.
        """
        return self.result(self.start(task, **options), timeout=timeout)

    async def arun(self, task: str, **options: Any) -> AgentResult:
        """`run`, to be awaited."""
        return await in_thread(self.run, task, **options)

    def start(
        self,
        task: str,
        *,
        turns: int | None = None,
        budget: Budget | Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Begin a task: a run, whose steps are every call of the model and of a tool.

        What a fork begins recalls and remembers on the branch of that fork.

        Args:
            task: in words.
            turns, budget: other ones than those of the agent.
            idempotency_key: a second start with the key gives the first one's run.

        Raises:
            DefinitionError: the task is empty, or an argument makes no sense.
        """
        if not isinstance(task, str) or not task.strip():
            raise DefinitionError("the task is empty: run('what is to be done')")
        if len(task) > _LONGEST or "\0" in task:
            raise DefinitionError(f"a task has at most {_LONGEST:,} letters, and no NUL character")
        allowed = self._budget if budget is None else check_budget(budget, self.model.price is not None)
        spec = {
            "task": task.encode("utf-8", "replace").decode(),
            "turns": self._turns if turns is None else _checked_turns(turns),
            "budget": allowed.to_json(),
        }
        branch = self._context.memory._branch_name()
        if branch is not None:
            spec["branch"] = branch
        return self._context.start(self._workflow, spec, idempotency_key=idempotency_key)

    def result(self, run: Run | str, *, timeout: Duration | None = None) -> AgentResult:
        """What a run came to, also one that was started elsewhere; waits for it. Errors as for `run`."""
        found = self._own(run)
        given = result_of(found, timeout, "more")
        value = self._typed.read(given["text"]) if given["stopped"] == "done" else None
        return AgentResult.of_json(given, found.id, value)

    def stream(self, run: Run | str, after: int = 0) -> Iterator[Piece]:
        """The text of a run, as it comes: an iterator that waits, and ends when the run is over.

        Pieces are kept for a week: who was cut off goes on behind the last one that he had.

        Args:
            run: that speaks.
            after: the id of the last piece that is known already; 0 begins with the first.
        """
        return follow(self._context.messages, self._own(run), after)

    def more(self, run: Run | str, *, tokens: int | None = None, money: Decimal | float | str | None = None) -> Run:
        """Let a run use more than its budget; it goes on where it was.

        Raises:
            DefinitionError: nothing is given.
            RunFinishedError: the run is over.
        """
        found = self._own(run)
        give_more(found, self.model, tokens, money)
        return found

    def _own(self, run: Run | str) -> Run:
        found = self._context.get(run) if isinstance(run, str) else run
        if found.workflow != self._workflow.name:
            raise DefinitionError(f"run {found.id} is of {found.workflow!r}, and not of the agent {self.name!r}")
        return found


class _Typed:
    """The type of the last answer."""

    def __init__(self, kind: Any) -> None:
        self._adapter: Any = None
        self.form: dict[str, Any] | None = None
        if kind is None or kind is str:
            return
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError

        try:
            self._adapter = TypeAdapter(kind)
            schema = self._adapter.json_schema()
        except PydanticUserError as error:
            raise DefinitionError(f"result={kind!r:.100} is no type of JSON: {str(error).splitlines()[0]}") from None
        if schema.get("type") != "object":
            raise DefinitionError(f"result={kind!r:.100}: models answer with an object; give a pydantic model")
        strict = strict_schema(schema)
        shape = {"name": "result", "schema": schema if strict is None else strict, "strict": strict is not None}
        self.form = {"type": "json_schema", "json_schema": shape}

    def read(self, text: str) -> Any:
        """The answer as its type; ValueError where it does not fit."""
        if self._adapter is None:
            return text
        plain = text.strip()
        if plain.startswith("```"):
            plain = plain.strip("`").removeprefix("json").strip()
        return self._adapter.validate_json(plain)  # its ValidationError is a ValueError


def _checked_turns(turns: Any) -> int:
    if isinstance(turns, bool) or not isinstance(turns, int) or not 1 <= turns <= _MOST_TURNS:
        raise DefinitionError(f"turns={turns!r} lies between 1 and {_MOST_TURNS:,}")
    return turns
