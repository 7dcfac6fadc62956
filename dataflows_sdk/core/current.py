"""The step whose function runs here, for that function: also where it runs in another process."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any
from uuid import UUID

from dataflows_sdk.core.ids import idempotency_key
from dataflows_sdk.errors import NotInWorkflowError


class StepInfo:
    """What a step's function may know of itself: `dataflows_sdk.current_step()`."""

    __slots__ = ("_run", "active", "attempt", "home", "joined", "key", "name")

    def __init__(self, run: UUID, key: str, name: str, attempt: int, home: Any = None) -> None:
        self._run = run
        self.key = key
        self.name = name
        #: 1 for the first attempt
        self.attempt = attempt
        #: whether its function is still running
        self.active = True
        #: the database of the run, where its function runs in the engine's process
        self.home = home
        #: the transaction of what the function wrote there, to be committed with the step's record
        self.joined: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (StepInfo, (self._run, self.key, self.name, self.attempt))

    @property
    def run_id(self) -> str:
        return str(self._run)

    @property
    def idempotency_key(self) -> str:
        """The same in every attempt and after every crash: give it to APIs that take one."""
        return idempotency_key(self._run, self.key)


#: the step whose function runs in this context
current_step: ContextVar[StepInfo | None] = ContextVar("dataflows_step", default=None)


def current_step_info() -> StepInfo:
    """Inside a step's function, wherever that runs: its key, its attempt, and its idempotency key.

    Raises:
        NotInWorkflowError: no step's function is running here.
    """
    info = current_step.get()
    if info is None or not info.active:
        raise NotInWorkflowError("current_step() is called inside a step's function")
    return info
