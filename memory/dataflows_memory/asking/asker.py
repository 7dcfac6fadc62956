"""Asking: starts the run, waits for it, and reads what it gave."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dataflows_memory.asking.answers import Answered
from dataflows_memory.asking.flow import Work, workflow_of
from dataflows_memory.conditions import conditions
from dataflows_memory.models.chat import ChatModel, check_model
from dataflows_memory.models.costs import Budget, check_budget
from dataflows_memory.models.meter import give_more, result_of
from dataflows_memory.store import check_name
from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.errors import DefinitionError, RecallError

if TYPE_CHECKING:
    from dataflows_memory.desk import Memory
    from dataflows_sdk.core.durations import Instant
    from dataflows_sdk.runs import Run

_LONGEST = 20_000


class Asker:
    """Answers questions with one model. Made by ``ctx.memory.asker``; a process that has one goes on with its runs.

    Args:
        memory: that is looked into.
        model: that is asked.
    """

    def __init__(self, memory: Memory, model: ChatModel | str) -> None:
        self._memory = memory
        self.model = check_model(model)
        context = memory._context
        work = Work(self.model, memory)
        context._closing.append(work.close)
        self._workflow = workflow_of(work)
        context.register(self._workflow)

    def __repr__(self) -> str:
        return f"<Asker of {self.model.name}>"

    def ask(self, question: str, *, timeout: Duration | None = None, **options: Any) -> Answered:
        """`start`, and wait for the answer.

        Args:
            question: in words.
            timeout: how long to wait; the run goes on after it.
            options: as for `start`.

        Raises:
            BudgetUsedUpError: the run waits for more; see `more`.
            StepFailed: the model did not answer; its cause is a `ModelError`.
            TimeoutError: there is no answer yet.
        """
        return self.answered(self.start(question, **options), timeout=timeout)

    def start(
        self,
        question: str,
        *,
        collection: str = "default",
        scope: str | Sequence[str] | None = "",
        where: Mapping[str, Any] | None = None,
        tables: Iterable[str] = (),
        hide: Mapping[str, Iterable[str]] | None = None,
        as_of: Instant | None = None,
        budget: Budget | Mapping[str, Any] | None = None,
        k: int = 8,
        floor: float = 0.3,
        rounds: int = 8,
        sql_attempts: int = 3,
        cache: bool | Duration = False,
        branch: str | None = None,
    ) -> Run:
        """Begin to answer a question: a run, whose steps are every recall, every query and every call of the model.

        Args:
            question: in words.
            collection, scope, where: what of the memory is looked into, as for `Memory.recall`. The model cannot leave
                it.
            tables: tables and views of the warehouse that may be read; none by default.
            hide: columns of them that may not be read, by table.
            as_of: answer for that moment; by default now.
            budget: tokens and money that may be used; see `Budget`.
            k: items that the model is shown at first.
            floor: the cosine below which an item that has no word in common with the question is not shown.
            rounds: calls of the model, at the most.
            sql_attempts: queries that may be refused or fail, before SQL is taken away.
            cache: the same question over the same things gives the earlier run, also one that failed: for so long, or
                (True) as long as that run is kept. What changed since does not count.
            branch: a fork whose memory is looked into; by default that of the code that asks.

        Raises:
            RecallError: the question is empty, or there is no such collection or scope.
            DefinitionError: there is no such table, or an argument makes no sense.
        """
        if not isinstance(question, str) or not question.strip():
            raise RecallError("the question is empty: ask('what you want to know')")
        if len(question) > _LONGEST:
            raise RecallError(f"the question has {len(question):,} letters, at most {_LONGEST:,} are asked")
        if "\0" in question:
            raise RecallError("the question has a NUL character, which PostgreSQL keeps in no text")
        for name, value, most in (("k", k, 100), ("rounds", rounds, 100), ("sql_attempts", sql_attempts, 100)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise DefinitionError(f"{name}={value!r} lies between 1 and {most}")
        memory = self._memory
        conditions(where or {})
        moment = memory._moment(as_of)
        named = [tables] if isinstance(tables, str) else list(tables)
        spec = {
            "question": question.encode("utf-8", "replace").decode(),
            "collection": self._collection(collection, scope, bool(named)),
            "scope": scope if scope is None or isinstance(scope, str) else list(scope),
            "where": dict(where or {}),
            "tables": named,
            "hide": {table: list(columns) for table, columns in (hide or {}).items()},
            "as_of": None if moment is None else moment.isoformat(),
            "branch": memory._branch_name() if branch is None else branch,
            "budget": check_budget(budget, self.model.price is not None).to_json(),
            "k": k,
            "floor": floor,
            "rounds": rounds,
            "sql_attempts": sql_attempts,
        }
        if named:
            from dataflows_memory.gate import readable

            readable(memory._context._database, named, hide=spec["hide"])  # type: ignore[arg-type]
        kept: dict[str, Any] = {}
        if cache is not False:
            content = json.dumps(spec, sort_keys=True, default=str)
            kept["idempotency_key"] = hashlib.sha256(f"{self.model.name} {content}".encode()).hexdigest()
            if cache is not True:
                kept["idempotency_ttl"] = parse_duration(cache)
        return memory._context.start(self._workflow, spec, **kept)

    def answered(self, run: Run | str, *, timeout: Duration | None = None) -> Answered:
        """The answer of a run, also of one that was started elsewhere; waits for it. Errors as for `ask`."""
        found = self._memory._context.get(run) if isinstance(run, str) else run
        if found.workflow != self._workflow.name:
            raise DefinitionError(f"run {found.id} is of {found.workflow!r}, and is no answer of {self.model.name}")
        return Answered.of_json(result_of(found, timeout, "more"), found.id)

    def more(self, run: Run | str, *, tokens: int | None = None, money: Decimal | float | str | None = None) -> Run:
        """Let a run use more than its budget; it goes on where it was.

        Raises:
            DefinitionError: nothing is given.
            RunFinishedError: the run is over.
        """
        found = self._memory._context.get(run) if isinstance(run, str) else run
        give_more(found, self.model, tokens, money)
        return found

    def _collection(self, collection: str, scope: str | Sequence[str] | None, tables: bool) -> str | None:
        """What is looked into; None where nothing was ever remembered and there are tables to ask."""
        check_name("collection", collection)
        scopes = None if scope is None else [scope] if isinstance(scope, str) else list(scope)
        try:
            self._memory._places(collection, scopes)
        except RecallError:
            if tables and (collection, scope) == ("default", ""):
                return None
            raise
        return collection
