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
        joined.conclude(lambda: record.statements(data, blobs), record.refused, record.arrived)
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
        head = self._live.head
        run, epoch = head.id, head.epoch
        self.seq = head.take()
        found: list[tuple[str, Sequence[Any]]] = []
        if blobs:
            blobs = sorted(blobs, key=lambda blob: blob.sha256)
            found.append(
                (
                    "put_blobs",
                    (
                        [b.sha256 for b in blobs],
                        [b.media for b in blobs],
                        [b.data for b in blobs],
                        [json.dumps(b.meta) for b in blobs],
                    ),
                )
            )
            found.append(("put_blob_refs", ([run] * len(blobs), [b.sha256 for b in blobs])))
        found.append(("fence", ([run], [epoch])))
        stamp = self._engine.stamp()
        found.append(
            ("append_events", (stamp, [run], [epoch], [self.seq], ["step.completed"], [self._frame.key], [data]))
        )
        return found

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
