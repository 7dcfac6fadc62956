"""Counts what a run uses, and lets it wait when its budget is used up; the journal knows both."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dataflows_memory.models.costs import Budget, Used, amount
from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.errors import BudgetUsedUpError, DefinitionError

if TYPE_CHECKING:
    from dataflows_memory.models.chat import ChatModel
    from dataflows_sdk.runs import Run

#: the event that lets a run go on
BUDGET = "budget"
_LOOK = 0.25


class Meter:
    """What a run has used so far. Made anew at every replay, from what the journal has.

    Args:
        budget: how much it may use.
        step: of the workflow.
    """

    def __init__(self, budget: Budget, step: Any) -> None:
        self.budget = budget
        self.used = Used()
        self._step = step
        self._waits = 0

    def add(self, used: Used) -> None:
        """A call was answered."""
        self.used += used

    async def ready(self) -> None:
        """Wait until another call may begin."""
        while not self.budget.left(self.used):
            self._waits += 1
            given = await self._step.wait_for_event(f"budget {self._waits}", event=BUDGET)
            self.budget = self.budget.more(given or {})


def give_more(run: Run, model: ChatModel | None, tokens: int | None, money: Decimal | float | str | None) -> None:
    """Let a run use more than its budget; one that waits for it goes on.

    Raises:
        DefinitionError: nothing is given.
        RunFinishedError: the run is over.
    """
    given: dict[str, Any] = {}
    if tokens is not None:
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
            raise DefinitionError(f"tokens={tokens!r}: how many more, a whole number above 0")
        given["tokens"] = tokens
    if money is not None:
        if model is not None and model.price is None:
            raise DefinitionError(f"nobody said the price of {model.name!r}, so that its money is not counted")
        given["money"] = str(amount("money", money))
    if not given:
        raise DefinitionError("say how much more: tokens=…, money=…")
    run.send_event(BUDGET, given)


def result_of(run: Run, timeout: Duration | None, how: str) -> Any:
    """What a run gives; an error where it waits because its budget is used up.

    Raises:
        BudgetUsedUpError: it waits; *how* says how to let it go on.
        TimeoutError: it is not over yet, and goes on.
    """
    seconds = None if timeout is None else parse_duration(timeout).total_seconds()
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = _LOOK if deadline is None else min(_LOOK, deadline - time.monotonic())
        try:
            run.wait(max(left, 0.001))
        except TimeoutError:
            if waits_for_budget(run):
                raise BudgetUsedUpError(
                    f"run {run.id} has used up its budget and waits; {how}(run, tokens=…) lets it go on",
                    run.id,
                ) from None
            if deadline is not None and time.monotonic() >= deadline:
                raise
        else:
            return run.result()


def waits_for_budget(run: Run) -> bool:
    """Whether a run waits for more tokens or money."""
    waiting: set[str] = set()
    for event in run.events():
        if event.kind == "step.waiting" and event.data.get("event") == BUDGET:
            waiting.add(event.key)
        elif event.kind == "step.completed":
            waiting.discard(event.key)
    return bool(waiting)
