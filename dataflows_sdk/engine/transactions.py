"""Steps whose SQL commits together with their record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dataflows_sdk.engine.faults import fault
from dataflows_sdk.engine.live import Frame, LiveRun
from dataflows_sdk.errors import OwnershipLost
from dataflows_sdk.store.joined import Lent

if TYPE_CHECKING:
    from dataflows_sdk.core.codec import Blob
    from dataflows_sdk.core.current import StepInfo
    from dataflows_sdk.engine.runner import Engine
    from dataflows_sdk.store.joined import JoinedTransaction


def transact(
    engine: Engine,
    live: LiveRun,
    frame: Frame,
    head: str,
    info: StepInfo,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Callable[[], Any]:
    """A function to be called in a thread: the user's SQL, the fence and the event, in one transaction."""

    def work(connection: Any) -> tuple[Any, Any, float]:
        begun = time.perf_counter()
        info.joined = Lent(connection)  # what it writes to the warehouse is part of it
        value = fn(connection, *args, **kwargs)
        encoded = engine.values.encode(value, f"the result of step {frame.name!r}")
        fault("step.ran")
        return value, encoded, time.perf_counter() - begun

    record = _Record(engine, live, frame)

    def statements(done: tuple[Any, Any, float]) -> list[tuple[str, Sequence[Any]]]:
        _, encoded, took = done
        return record.statements(f'{head},"took":{took:.6f},"value":{encoded.text}}}', encoded.blobs)

    def call() -> Any:
        value, _, _ = engine.database.fenced(work, statements, record.refused, record.arrived)
        record.done()
        if info.joined is not None:
            engine.on_rows(info.joined.marks)
        return value

    return call


def conclude(
    engine: Engine, live: LiveRun, frame: Frame, joined: JoinedTransaction, data: str, blobs: Sequence[Blob]
) -> Callable[[], int]:
    """A function to be called in a thread: commits what a step's function wrote, together with the step's record.

    It gives the seq of the record.
    """
    record = _Record(engine, live, frame)

    def call() -> int:
        joined.conclude(lambda: record.last(data, blobs), record.refused, record.arrived)
        record.done()
        engine.on_rows(joined.marks)
        return record.seq

    return call


class _Record:
    """The end of a step, as statements that are part of a transaction of its own."""

    def __init__(self, engine: Engine, live: LiveRun, frame: Frame) -> None:
        self._engine = engine
        self._live = live
        self._frame = frame
        self.seq = 0

    def statements(self, data: str, blobs: Sequence[Blob]) -> list[tuple[str, Sequence[Any]]]:
        """The record, where the fence is asked before the commit."""
        head = self._live.head
        self.seq = head.take()
        found = self._blobs(blobs)
        found.append(("fence", ([head.id], [head.epoch])))
        row = ([head.id], [head.epoch], [self.seq], ["step.completed"], [self._frame.key], [data])
        found.append(("append_events", (self._engine.stamp(), *row)))
        return found

    def last(self, data: str, blobs: Sequence[Blob]) -> list[tuple[str, Sequence[Any]]]:
        """The record, where the commit follows at once."""
        head = self._live.head
        self.seq = head.take()
        row = (head.id, head.epoch, self.seq, self._frame.key, data)
        return [*self._blobs(blobs), ("append_mine", (self._engine.stamp(), *row))]

    def _blobs(self, blobs: Sequence[Blob]) -> list[tuple[str, Sequence[Any]]]:
        if not blobs:
            return []
        blobs = sorted(blobs, key=lambda blob: blob.sha256)
        meta = [json.dumps(blob.meta) for blob in blobs]
        hashes = [blob.sha256 for blob in blobs]
        return [
            ("put_blobs", (hashes, [blob.media for blob in blobs], [blob.data for blob in blobs], meta)),
            ("put_blob_refs", ([self._live.head.id] * len(blobs), hashes)),
        ]

    def refused(self) -> BaseException:
        self._live.head.lost = True
        return OwnershipLost()

    def arrived(self, connection: Any) -> bool:
        # The fence waits for the transaction itself, should the server still be at its commit.
        head, database = self._live.head, self._engine.database
        database.run(connection, "journal", "fence", ([head.id], [head.epoch]))
        return bool(database.run(connection, "journal", "witness", (head.id, self.seq, head.epoch)))

    def done(self) -> None:
        fault("commit.done")
        self._frame.ended = True
        if self._frame.started is not None and not self._frame.started.seq:
            self._frame.started.void = True
