"""What goes to the journal: units of work for the group-commit writer, as plain data."""

from __future__ import annotations

import threading
from asyncio import Future
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from dataflows_sdk.core.codec import Blob
from dataflows_sdk.store.wire import raw_uuid


class RunHead:
    """Our claim on a run: its epoch, and the seq of the last event that we know of."""

    __slots__ = ("_lock", "epoch", "id", "lost", "raw", "seq")

    def __init__(self, run_id: UUID, epoch: int, seq: int) -> None:
        self.id = run_id
        self.epoch = epoch
        self.seq = seq
        #: set when the fence refused a write of ours
        self.lost = False
        #: the id as an element of an array on the wire
        self.raw = raw_uuid(run_id)
        self._lock = threading.Lock()

    def take(self) -> int:
        """The next seq; transactions take theirs in a thread of their own."""
        with self._lock:
            self.seq += 1
            return self.seq


class Event:
    """One event to append. ``data`` is JSON text."""

    __slots__ = ("data", "key", "kind", "seq", "void")

    def __init__(self, kind: str, key: str, data: str) -> None:
        self.kind = kind
        self.key = key
        self.data = data
        #: given by the writer when the event is sent
        self.seq = 0
        #: a `step.started` whose step ended before it was sent is not written
        self.void = False


@dataclass(slots=True)
class NewRun:
    """A run to create, with the data of its first event."""

    id: UUID
    workflow: str
    version: str
    data: str
    owner: UUID | None = None
    status: str = "running"
    wake_at: datetime | None = None
    parent: UUID | None = None
    parent_key: str | None = None
    forked_from: UUID | None = None
    idempotency_key: str | None = None
    queue: str = "default"
    priority: int = 0
    #: whose run it is, for limits and fairness within the queue
    key: str | None = None
    #: what only one run of its workflow holds at a time
    slot: str | None = None
    #: when its idempotency key may be used again
    key_until: datetime | None = None
    #: the parent's epoch as we know it: a child is made only while its parent is ours
    parent_epoch: int = 0
    #: how many parents it has above it
    depth: int = 0
    #: the span within which it was started
    traceparent: str | None = None


@dataclass(slots=True, frozen=True)
class Message:
    """Something for the inbox of a run. ``payload`` is JSON text; ``dedupe`` makes sending it twice harmless."""

    run: UUID
    kind: str
    name: str
    payload: str
    dedupe: str


@dataclass(slots=True, frozen=True)
class Broadcast:
    """An event for every run that waits for it."""

    id: UUID
    name: str
    payload: str


@dataclass(slots=True, frozen=True)
class Version:
    """A version of a workflow: the code that runs."""

    workflow: str
    hash: str
    kind: str
    source: str
    spec: str
    info: str


@dataclass(slots=True, frozen=True)
class HeadChange:
    """The new standing of a run that this process lets go of."""

    status: str
    wake_at: datetime | None = None
    waits: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Unit:
    """Everything that must be written together, or not at all.

    ``settle`` is called once, on the engine's loop: with None after the commit, else with the exception. Code on that
    loop may have a ``future`` settled instead.
    """

    head: RunHead | None = None
    events: list[Event] = field(default_factory=list)
    change: HeadChange | None = None
    blobs: tuple[Blob, ...] = ()
    consumed: tuple[int, ...] = ()
    messages: tuple[Message, ...] = ()
    broadcasts: tuple[Broadcast, ...] = ()
    runs: tuple[NewRun, ...] = ()
    versions: tuple[Version, ...] = ()
    settle: Callable[[BaseException | None], None] | None = None
    future: Future[None] | None = None
    #: after the commit: ids of `runs` that were created (the others existed), statuses of the messages' runs
    created: frozenset[UUID] = frozenset()
    delivered: tuple[str | None, ...] = ()

    def owners(self) -> set[UUID]:
        """Whom the blobs belong to."""
        found = {run.id for run in self.runs} | {message.run for message in self.messages}
        found |= {broadcast.id for broadcast in self.broadcasts}
        if self.head is not None:
            found.add(self.head.id)
        return found
