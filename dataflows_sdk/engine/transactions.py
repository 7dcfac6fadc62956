"""Steps whose SQL commits together with their record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dataflows_sdk.engine.faults import fault
from dataflows_sdk.engine.live import Frame, LiveRun
from dataflows_sdk.errors import OwnershipLost

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine


def transact(
    engine: Engine,
    live: LiveRun,
    frame: Frame,
    head: str,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Callable[[], Any]:
    """A function to be called in a thread: the user's SQL, the fence and the event, in one transaction."""
    run, epoch = live.head.id, live.head.epoch
    seqs: list[int] = []

    def work(connection: Any) -> tuple[Any, Any, float]:
        begun = time.perf_counter()
        value = fn(connection, *args, **kwargs)
        encoded = engine.values.encode(value, f"the result of step {frame.name!r}")
        fault("step.ran")
        return value, encoded, time.perf_counter() - begun

    def record(done: tuple[Any, Any, float]) -> list[tuple[str, Sequence[Any]]]:
        _, encoded, took = done
        seqs.append(live.head.take())
        data = f'{head},"took":{took:.6f},"value":{encoded.text}}}'
        statements: list[tuple[str, Sequence[Any]]] = []
        if encoded.blobs:
            blobs = sorted(encoded.blobs, key=lambda blob: blob.sha256)
            statements.append(
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
            statements.append(("put_blob_refs", ([run] * len(blobs), [b.sha256 for b in blobs])))
        statements.append(("fence", ([run], [epoch])))
        statements.append(
            (
                "append_events",
                (engine.stamp(), [run], [epoch], [seqs[-1]], ["step.completed"], [frame.key], [data]),
            )
        )
        return statements

    def refused() -> BaseException:
        live.head.lost = True
        return OwnershipLost()

    def arrived(connection: Any) -> bool:
        # The fence waits for the transaction itself, should the server still be at its commit.
        engine.database.run(connection, "journal", "fence", ([run], [epoch]))
        return bool(engine.database.run(connection, "journal", "witness", (run, seqs[-1], epoch)))

    def call() -> Any:
        value, _, _ = engine.database.fenced(work, record, refused, arrived)
        fault("commit.done")
        frame.ended = True
        if frame.started is not None and not frame.started.seq:
            frame.started.void = True
        return value

    return call
