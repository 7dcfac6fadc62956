"""Notifications of PostgreSQL on a connection and a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import psycopg
from psycopg import sql

from dataflows_sdk.errors import StoreUnavailableError
from dataflows_sdk.store.database import Connection, Database

log = logging.getLogger("dataflows.store")

_LOOK = 0.5
_LONGEST_PAUSE = 5.0


class Listener:
    """Gives what is told on a channel to a function, from `start` on until `stop`.

    What is told while the connection is broken is lost; it is made anew as soon as somebody answers.

    Args:
        take: gets the text of each notification, on the listener's thread.
    """

    def __init__(self, database: Database, channel: str, take: Callable[[str], None]) -> None:
        self._database = database
        self._channel = channel
        self._take = take
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="dataflows-listener", daemon=True)

    def start(self) -> None:
        """Listen; when this returns, nothing that is told is missed.

        Raises:
            StoreUnavailableError: nobody answers.
        """
        self._connection = self._connect()
        self._thread.start()

    def stop(self) -> None:
        """Listen no more. Idempotent."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_LOOK * 10)

    def _connect(self) -> Connection:
        connection = self._database.open()
        connection.execute(sql.SQL("listen {}").format(sql.Identifier(self._channel)))
        return connection

    def _loop(self) -> None:
        connection: Connection | None = self._connection
        pause = _LOOK
        while not self._stop.is_set():
            try:
                if connection is None:
                    connection = self._connect()
                pause = _LOOK
                for notify in connection.notifies(timeout=_LOOK):
                    self._give(notify.payload)
                    if self._stop.is_set():
                        break
            except (psycopg.Error, StoreUnavailableError) as error:
                log.warning("not listening for messages at the moment: %s", str(error).strip())
                if connection is not None:
                    connection.close()
                connection = None
                self._stop.wait(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
        if connection is not None:
            connection.close()

    def _give(self, text: str) -> None:
        try:
            self._take(text)
        except Exception:
            log.exception("a message could not be taken")
