"""Looks all the time whether a queue has more runs under way than it may."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import psycopg

from storm.driver import CAPS
from storm.named import named


class Watcher(threading.Thread):
    """Two views, every 75 ms: the heads of the runs, and who wrote in a transaction that it came in.

    Args:
        url: of the database.
        capped: whether the queues have limits; otherwise it only says how many there were.
    """

    def __init__(self, url: str, *, capped: bool) -> None:
        super().__init__(daemon=True)
        self._url, self._capped = url, capped
        self._ended = threading.Event()
        self.looks = 0
        self.most: Counter[tuple[str, str]] = Counter()
        self.violations: list[str] = []

    def run(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        while not self._ended.wait(0.075):
            try:
                if connection is None or connection.closed:
                    connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
                for view in ("busy", "inside"):
                    self._look(view, connection.execute(named("look")[view]).fetchall())
                self.looks += 1
            except psycopg.Error:
                if connection is not None:
                    connection.close()
                time.sleep(0.1)
        if connection is not None:
            connection.close()

    def _look(self, view: str, rows: list[tuple[str, str, int]]) -> None:
        whole: Counter[str] = Counter()
        for queue, key, count in rows:
            whole[queue] += count
            self._compare(view, queue, f"key {key}", count, CAPS[queue][1])
        for queue, count in whole.items():
            self._compare(view, queue, "all", count, CAPS[queue][0])

    def _compare(self, view: str, queue: str, what: str, count: int, most: int | None) -> None:
        self.most[queue, what] = max(self.most[queue, what], count)
        if self._capped and most is not None and count > most:
            self.violations.append(f"cap: {count} of at most {most} runs in queue {queue!r} ({what}), seen as {view}")

    def stop(self) -> None:
        self._ended.set()
        self.join(20)
