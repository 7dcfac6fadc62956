"""A run in the memory of the process that owns it.

`LiveRun` keeps the books: which steps are recorded, who asked for what in which order, which branches are active and
what the others wait for. It does no I/O; the engine and the faces of the step API do, and tell it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.current import current_step
from dataflows_sdk.engine import state as journal
from dataflows_sdk.engine.decide import Waiting, decide_order
from dataflows_sdk.engine.state import RunState, StepRecord
from dataflows_sdk.engine.units import Event, RunHead
from dataflows_sdk.errors import Cancelled, DefinitionError, NotInWorkflowError, StepCollisionError

if TYPE_CHECKING:
    from dataflows_sdk.engine.definitions import Workflow

#: the scope in which the code of this context runs
current_branch: ContextVar[Branch | None] = ContextVar("dataflows_branch", default=None)


def current_run() -> LiveRun | None:
    """The run whose code runs in this context, or None outside of one."""
    branch = current_branch.get()
    return None if branch is None else branch.live


_QUOTED = str.maketrans({"%": "%25", "/": "%2F", "[": "%5B", "]": "%5D", "#": "%23", "\n": "%0A", "\0": "%00"})
_MAX_NAME = 500
_MAX_CHECKED = 10_000


def quote(name: str) -> str:
    """A name as it stands in a key: the signs that build keys are escaped."""
    if name.isalnum():
        return name
    return name.translate(_QUOTED)


_checked: set[str] = set()


def check_name(name: object) -> str:
    """A step's name, or DefinitionError."""
    if name in _checked:
        return name
    if not isinstance(name, str):
        raise DefinitionError(f"a step's name is a string, not {type(name).__name__} {name!r}")
    if not name or len(name) > _MAX_NAME:
        raise DefinitionError(f"a step's name has 1 to {_MAX_NAME} characters, not {len(name)}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DefinitionError(f"the step's name {name!r} holds a lone surrogate, which PostgreSQL refuses") from None
    if len(_checked) < _MAX_CHECKED:
        _checked.add(name)
    return name


class Frame:
    """One call of a step verb."""

    __slots__ = ("branch", "ended", "extra", "foreign", "key", "n", "name", "op", "record", "since", "started")

    def __init__(self, branch: Branch, op: str, name: str, key: str, n: int | None) -> None:
        self.branch = branch
        self.op = op
        self.name = name
        self.key = key
        self.n = n
        self.record: StepRecord | None = None
        self.foreign = False
        #: more members of its records, as JSON text that begins with a comma
        self.extra = ""
        #: its outcome is decided; nothing more is said of its beginning
        self.ended = False
        #: the `step.started` that is not yet written
        self.started: Event | None = None
        #: in nanoseconds of the wall clock, for observers: since when it does what is not recorded
        self.since = 0


class Branch:
    """A scope: the workflow's own code, or one branch of a map, parallel or gather.

    A step's identity is (run, path of its scope, name, occurrence in the scope); the path is fixed when the branch
    is created, so that parallel code finds its steps again in whatever order they run (rule R1 of the design).
    """

    __slots__ = ("actor", "cancelled", "counts", "expected", "last", "live", "n", "path", "used", "who")

    def __init__(self, live: LiveRun, path: str) -> None:
        #: None once the run is over here: a cycle of references would wait for the collector
        self.live: LiveRun | None = live
        self.path = path
        self.actor: object | None = None
        self.n = 0
        self.counts: dict[str, int] = {}
        self.who: dict[str, object] = {}
        self.used: set[str] = set()
        self.expected = live.expected.get(path, {})
        self.last = max(self.expected) if self.expected else 0
        #: set when this branch lost a race
        self.cancelled = False

    def replaying(self) -> bool:
        """Whether something is recorded that this scope's code has not asked for yet."""
        return self.n < self.last


class Pending:
    """Something a branch waits for."""

    __slots__ = ("branch", "frame", "looked", "match", "message", "op", "settle", "timer", "until")

    def __init__(
        self,
        frame: Frame,
        op: str,
        until: datetime | None = None,
        message: str | None = None,
        match: dict[str, Any] | None = None,
    ) -> None:
        self.frame = frame
        self.branch = frame.branch
        self.op = op
        self.until = until
        self.message = message
        self.match = match
        self.timer: asyncio.TimerHandle | None = None
        #: the inbox was read since this wait began; before that the run is not let go of
        self.looked = message is None
        #: told the outcome or the exception, on the engine's loop
        self.settle: Callable[[Any, BaseException | None], None] = lambda _result, _error: None

    def waiting(self) -> Waiting:
        frame = self.frame
        return Waiting(frame.key, self.op, frame.name, self.until, self.message)


class LiveRun:
    """One run, owned by this process."""

    def __init__(self, workflow: Workflow, head: RunHead, state: RunState, parent: UUID | None = None) -> None:
        self.workflow = workflow
        self.head = head
        self.state = state
        self.parent = parent
        self.parent_key: str | None = None
        #: steps recorded by earlier activations that were not asked for yet
        self.records = state.steps
        self.expected = journal.ordinals(state) if state.steps or state.scopes else {}
        self.cut = state.seq
        self.root = Branch(self, "")
        #: in the order in which they began to wait
        self.pendings: dict[Pending, None] = {}
        #: branches that are neither waiting nor done; 0 means that the run only waits
        self.active = 1
        self.idle_since: datetime | None = None
        #: messages that a wait here took, whose record may still be on its way
        self.taken: set[int] = set()
        #: children that the run waits for, by the key of their step
        self.children: dict[str, UUID] = {}
        #: set when the engine shuts down: begin nothing new
        self.closing = False
        #: set from the decision to let go of the run on
        self.suspending = False
        self.cancel: dict[str, Any] | None = state.cancel
        #: raised by every verb once the run is being unwound
        self.stopping: BaseException | None = None
        #: how often its code went on as if nothing had happened
        self.ignored = 0
        self.shielded = False
        #: keys of branches that lost a race: whatever they are still about to do, they may not
        self.lost: tuple[str, ...] = ()
        #: compensations in the order in which their steps completed
        self.undos: list[tuple[int, str, str, Callable[..., Any], Any, Any]] = []
        self.task: asyncio.Task[Any] | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        #: only look: a verb that would have to do something stops the replay
        self.dry = False
        #: the moment that such a look has come to, and the steps that it has been told of
        self.point: Callable[[], tuple[datetime, list[str]]] | None = None
        self.replayed = 0
        self.ran = 0
        self.lock = threading.Lock()
        self.finished_at_seq = 0
        self.check: asyncio.TimerHandle | None = None
        self.last_progress = 0.0
        #: the observer's own notes
        self.observed: Any = None

    @property
    def id(self) -> UUID:
        return self.head.id

    @property
    def depth(self) -> int:
        """How many parents it has above it."""
        return int(self.state.created.get("depth") or 0)

    # --- verbs begin and end -----------------------------------------------------------------------------

    def enter(self, actor: object, op: str, name: str, key: object = None, *, ordered: bool = True) -> Frame:
        """A verb begins: give it its identity.

        Args:
            actor: the task or thread that asks, see `Face.actor`.

        Raises:
            StepCollisionError: the identity is taken, or two tasks use one name side by side.
            NonDeterminismError: another step is recorded at this place.
            NotInWorkflowError: called inside a step's function.
        """
        inside = current_step.get()
        if inside is not None and inside.active and inside._run == self.head.id:
            raise NotInWorkflowError(
                f"step {name!r} was asked for inside the function of step {inside.key!r}; steps do not nest: "
                "give the function of a map or parallel a parameter `step` to make it a branch with steps of its own"
            )
        check_name(name)
        branch = current_branch.get()
        if branch is None or branch.live is not self:
            branch = self.root
        with self.lock:
            frame = self._identify(branch, actor, op, name, key, ordered)
        if self.stopping is not None:
            raise self.stopping
        if self.lost and frame.record is None and frame.key not in self.state.scopes and self.is_lost(frame):
            raise Cancelled("another branch won the race")
        return frame

    def _identify(self, branch: Branch, actor: object, op: str, name: str, key: object, ordered: bool) -> Frame:
        base = quote(name)
        if key is not None:
            base = f"{base}[{quote(str(key))}]"
            if base in branch.used:
                raise StepCollisionError(
                    f"step {name!r} with key {key!r} stands twice in one scope; keys of one name must differ"
                )
            branch.used.add(base)
            full = branch.path + base
        else:
            holder = branch.who.get(base)
            if holder is not actor:
                if holder is not None and _alive(holder):
                    raise StepCollisionError(
                        f"step {name!r} is used by two parallel tasks of one scope, so that nobody could tell them "
                        "apart after a crash; give each a key= of its own, or open branches with step.map, "
                        "step.parallel or step.gather"
                    )
                branch.who[base] = actor
            count = branch.counts.get(base, 0) + 1
            branch.counts[base] = count
            full = branch.path + base if count == 1 else f"{branch.path}{base}#{count}"
        if branch.actor is None:
            branch.actor = actor
        own = branch.actor is actor
        n: int | None = None
        if own and ordered:
            branch.n = n = branch.n + 1
            if branch.expected:
                decide_order(branch.expected, n, full, full in self.records)
        frame = Frame(branch, op, name, full, n)
        frame.record = self.records.pop(full, None)
        if not own:
            frame.foreign = True
            self.active += 1
        return frame

    def enter_item(self, branch: Branch, op: str, name: str, key: str, full: str) -> Frame:
        """A branch of a group that is a step by itself: its identity was fixed when the group was opened."""
        frame = Frame(branch, op, f"{name}[{key}]", full, None)
        frame.record = self.records.pop(full, None)
        if self.stopping is not None:
            raise self.stopping
        return frame

    def is_lost(self, frame: Frame) -> bool:
        """Whether a verb belongs to a branch that lost a race, or to something inside of one."""
        key = frame.key
        return any(key.startswith(lost) and key[len(lost) :][:1] in ("", "/", "[", "?") for lost in self.lost)

    def leave(self, frame: Frame) -> None:
        """A verb is over."""
        frame.ended = True
        if frame.foreign:
            with self.lock:
                self.active -= 1

    def retire(self) -> None:
        """The run is over here: let go of what refers back to it, so that it need not wait for the collector."""
        self.task = None
        self.root.live = None
        self.root.actor = None
        self.root.who.clear()
        self.tasks.clear()

    # --- waiting -----------------------------------------------------------------------------------------

    def waiting(self) -> list[Waiting]:
        return [pending.waiting() for pending in self.pendings]

    def messages(self) -> set[str]:
        """Names of the messages that somebody here waits for."""
        return {pending.message for pending in self.pendings if pending.message is not None}


def _alive(actor: object) -> bool:
    if isinstance(actor, asyncio.Task):
        return not actor.done()
    return actor.is_alive() if isinstance(actor, threading.Thread) else True


def leftovers(live: LiveRun) -> Iterable[StepRecord]:
    """Recorded steps of sequential code that were never asked for, oldest first."""
    found = [record for record in live.records.values() if record.data.get("n") is not None and record.done]
    return sorted(found, key=lambda record: record.first_seq)
