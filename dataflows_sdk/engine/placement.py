"""Where a new run lines up: its queue, its place there, and what keeps a second one of it from being made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from dataflows_sdk.errors import DefinitionError

DEFAULT_QUEUE = "default"
MAX_PRIORITY = 1000
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Placement:
    """What is said of a run when it is started.

    Attributes:
        queue: where it lines up.
        priority: higher ones go first; one step is worth the queue's `ageing` in waiting time.
        key: whose run it is: a customer, a tenant. Limits and fairness within the queue are by it.
        delay: how long it waits before it lines up.
        slot: only one unfinished run of the workflow has it.
        key_lasts: for how long its idempotency key is refused to others; None: as long as the run exists.
    """

    queue: str = DEFAULT_QUEUE
    priority: int = 0
    key: str | None = None
    delay: timedelta | None = None
    slot: str | None = None
    key_lasts: timedelta | None = None
    #: its payload is a list that grows item by item until it begins
    batched: bool = False

    @property
    def direct(self) -> bool:
        """Whether the process that starts it may begin it at once, without a queue."""
        return self.queue == DEFAULT_QUEUE and self.delay is None and self.priority == 0


#: what a run has of which nothing is said
PLAIN = Placement()


def check_placement(queue: object, priority: object) -> Placement:
    """A queue and a priority; DefinitionError for anything else."""
    return Placement(check_queue(queue), check_priority(priority))


def check_queue(name: object) -> str:
    """A queue's name; DefinitionError for anything else."""
    if name == "*" or (isinstance(name, str) and "," in name):
        raise DefinitionError(f"{name!r} is no name of a queue: '*' stands for all of them, a comma between them")
    return check_text("queue", name, _MAX_NAME)


def check_priority(value: object) -> int:
    """A priority; DefinitionError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not -MAX_PRIORITY <= value <= MAX_PRIORITY:
        raise DefinitionError(f"a priority is a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}, not {value!r}")
    return value


def check_text(what: str, value: object, longest: int) -> str:
    """A printable text that is not empty; DefinitionError for anything else."""
    if not isinstance(value, str) or not value or len(value) > longest or not value.isprintable():
        raise DefinitionError(f"{what} is a printable text of 1 to {longest} characters, not {value!r}")
    return value
