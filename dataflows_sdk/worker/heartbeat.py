"""The heartbeat of a worker: what tells others that its runs are in good hands."""

from __future__ import annotations

import json
import logging
import os
import platform
import socket
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.clock import SystemClock

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine

log = logging.getLogger("dataflows.worker")


class Heartbeat(threading.Thread):
    """Says that this process is alive, whatever the engine's loop and the user's code are doing."""

    def __init__(self, engine: Engine, lease: timedelta) -> None:
        super().__init__(name="dataflows-heartbeat", daemon=True)
        self._engine = engine
        self._told = ""
        self._database = engine.database
        self._worker = engine.worker_id
        self._clock = engine.clock
        self._lease = lease
        self._ended = threading.Event()
        self._connection: Any = None
        self._key = int.from_bytes(engine.worker_id.bytes[8:], "big", signed=True)

    def start(self) -> None:
        """Register, then beat."""
        self._register()
        super().start()

    def _register(self) -> None:
        connection = self._database.open()
        begun = time.monotonic()
        self._told = self._info()
        self._put_versions(connection)
        self._database.run(connection, "claim", "hold_lock", (self._key,))
        self._database.run(
            connection,
            "claim",
            "register_worker",
            (self._worker, self._key, self._lease.total_seconds(), self._told),
        )
        self._connection = connection
        self._engine.lease_until = begun + self._lease.total_seconds()

    def _put_versions(self, connection: Any) -> None:
        """Whoever sees this worker can start by name what it knows."""
        if fresh := self._engine.unkept():
            names = ("workflow", "hash", "kind", "source", "spec", "info")
            columns = [[getattr(each, name) for each in fresh] for name in names]
            self._database.run(connection, "journal", "put_versions", columns)
            self._engine.kept(fresh)

    def _info(self) -> str:
        """What others may know of this worker."""
        engine = self._engine
        return json.dumps(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "python": platform.python_version(),
                "workflows": sorted(engine.catalog.names()),
                "versions": engine.catalog.versions(),
                "queues": None if engine.queues is None else list(engine.queues),
                "concurrency": engine.concurrency,
            }
        )

    def run(self) -> None:
        interval = self._lease.total_seconds() / 4
        pause = interval
        while not self._ended.wait(pause):
            try:
                if self._connection is None:
                    self._register()
                begun = time.monotonic()
                rows = self._database.run(self._connection, "claim", "heartbeat", (self._worker,))
                if not rows:
                    self._register_again()
                else:
                    self._engine.lease_until = begun + self._lease.total_seconds()
                    if isinstance(self._clock, SystemClock):
                        self._clock.sync(rows[0][0], time.monotonic() - begun)
                    self._tell()
                pause = interval
            except Exception as error:  # noqa: BLE001 - whatever it is, the next beat tries again
                log.debug("a heartbeat failed: %s", error)
                if self._engine.observer is not None:
                    self._engine.observer.heartbeat_failed()
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
                pause = min(0.25, interval)

    def _tell(self) -> None:
        """What this worker knows has changed."""
        info = self._info()
        if info != self._told:
            self._database.run(self._connection, "claim", "tell_worker", (self._worker, info))
            self._told = info

    def _register_again(self) -> None:
        """Somebody took our row for that of a dead process; its runs are theirs, new ones are ours again."""
        self._connection.close()
        self._connection = None
        self._register()

    def stop(self) -> None:
        """The last beat: the worker's row goes when it owns nothing."""
        self._ended.set()
        if self.is_alive():
            self.join(5)
        if self._connection is not None:
            try:
                self._database.run(self._connection, "claim", "retire_worker", (self._worker,))
            except Exception as error:  # noqa: BLE001 - the row is swept up by others
                log.debug("the worker's row stays: %s", error)
            self._connection.close()
