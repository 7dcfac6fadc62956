"""One PostgreSQL connection driven by an event loop through libpq's pipeline mode.

Statements between two syncs are one implicit transaction, and several transactions travel in one round trip. It is
the thinnest path from a coroutine to a commit: no cursor objects, no type discovery, one wake-up per round trip.
psycopg's own asynchronous connection is built on the same calls but waits for each statement.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import psycopg
from psycopg import pq

from dataflows_sdk.errors import StoreError, StoreUnavailableError

#: a statement's name and its parameters in binary format
Command: TypeAlias = tuple[str, Sequence[bytes | None]]
#: the rows of one statement, every value in text format
Rows: TypeAlias = list[tuple[bytes | None, ...]]

#: told the outcome of each transaction, or what broke the connection
Done: TypeAlias = Callable[["list[list[Rows] | StatementError] | None", "StoreUnavailableError | None"], None]

_OK = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class StatementError(StoreError):
    """PostgreSQL refused a statement."""

    def __init__(self, message: str, sqlstate: str, name: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.statement = name


class _Request:
    """What was sent together, and what came back so far."""

    __slots__ = ("done", "error", "names", "outcomes", "results", "syncs")

    def __init__(self, done: Done) -> None:
        self.done = done
        #: the statement of each result to come; None for a "prepare"
        self.names: deque[tuple[str, bool]] = deque()
        self.syncs = 0
        self.results: list[Rows] = []
        self.error: StatementError | None = None
        self.outcomes: list[list[Rows] | StatementError] = []


class Pipeline:
    """A connection for one event loop.

    Args:
        conninfo: a libpq connection string or URL.
        statements: SQL by name; each is prepared when it is used first.
        settings: session settings, for example ``{"jit": "off"}``.
    """

    def __init__(self, conninfo: str, statements: Mapping[str, str], settings: Mapping[str, str] | None = None) -> None:
        self._conninfo = conninfo
        self._statements = statements
        self._settings = dict(settings or {})
        self._connection: psycopg.Connection[Any] | None = None
        self._prepared: dict[str, bytes] = {}
        self._counter = 0
        self._requests: deque[_Request] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing = False
        self._fd = -1
        #: called with the payload of each notification
        self.on_notify: Any = None
        #: called when the connection breaks
        self.on_lost: Any = None

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def connect(self, *, listen: str | None = None) -> None:
        """Connect, in a thread because libpq's handshake blocks.

        Raises:
            StoreUnavailableError: nobody answers.
        """
        self._loop = asyncio.get_running_loop()
        try:
            connection = await asyncio.to_thread(self._open, listen)
        except psycopg.Error as error:
            raise StoreUnavailableError(f"PostgreSQL does not answer: {error}".strip()) from error
        self._connection = connection
        self._prepared = {}
        connection.pgconn.nonblocking = 1
        connection.pgconn.enter_pipeline_mode()
        self._fd = connection.pgconn.socket
        self._loop.add_reader(self._fd, self._on_readable)

    def _open(self, listen: str | None) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self._conninfo, autocommit=True, connect_timeout=10)
        try:
            for name, value in {**self._settings, "timezone": "UTC"}.items():
                connection.execute("select set_config(%s, %s, false)", (name, value))
            if listen is not None:
                connection.execute(psycopg.sql.SQL("listen {}").format(psycopg.sql.Identifier(listen)))
        except BaseException:
            connection.close()
            raise
        return connection

    def send(self, *transactions: Sequence[Command]) -> asyncio.Future[list[list[Rows] | StatementError]]:
        """Send transactions in one round trip; each is a sequence of commands.

        Returns:
            A future with one element per transaction: the rows of each of its statements, or the error which
            undid that transaction. When the connection breaks the future raises StoreUnavailableError, and what
            became of the transactions is not known.

        Raises:
            StoreUnavailableError: there is no connection; nothing was sent.
        """
        if self._loop is None:
            raise StoreUnavailableError("the connection to PostgreSQL is down")
        future: asyncio.Future[list[list[Rows] | StatementError]] = self._loop.create_future()

        def done(outcomes: list[list[Rows] | StatementError] | None, error: StoreUnavailableError | None) -> None:
            if future.done():
                return
            if outcomes is not None:
                future.set_result(outcomes)
            elif error is not None:
                future.set_exception(error)

        self.post(transactions, done)
        return future

    def post(self, transactions: Sequence[Sequence[Command]], done: Done) -> None:
        """Like `send`; *done* is called as soon as the answer is read, without a turn of the loop in between.

        Raises:
            StoreUnavailableError: there is no connection; nothing was sent and *done* is not called.
        """
        if self._connection is None:
            raise StoreUnavailableError("the connection to PostgreSQL is down")
        pgconn = self._connection.pgconn
        request = _Request(done)
        try:
            for transaction in transactions:
                for name, params in transaction:
                    prepared = self._prepared.get(name)
                    if prepared is None:
                        self._counter += 1
                        prepared = f"s{self._counter}".encode()
                        self._prepared[name] = prepared
                        pgconn.send_prepare(prepared, self._statements[name].encode())
                        request.names.append((name, False))
                    pgconn.send_query_prepared(prepared, params, [1] * len(params))
                    request.names.append((name, True))
                pgconn.pipeline_sync()
                request.syncs += 1
            self._requests.append(request)
            self._flush()
        except psycopg.Error as error:
            if request not in self._requests:
                self._requests.append(request)
            self._lost(error)

    def _flush(self) -> None:
        assert self._connection is not None
        assert self._loop is not None
        pgconn = self._connection.pgconn
        waiting = bool(pgconn.flush())
        if waiting != self._writing:
            self._writing = waiting
            if waiting:
                self._loop.add_writer(self._fd, self._on_writable)
            else:
                self._loop.remove_writer(self._fd)

    def _on_writable(self) -> None:
        if self._connection is None:
            return  # it was lost while this waited for its turn
        try:
            self._flush()
        except (psycopg.Error, OSError) as error:
            self._lost(error)

    def _on_readable(self) -> None:
        if self._connection is None:
            return  # as above
        pgconn = self._connection.pgconn
        try:
            pgconn.consume_input()
            while self._requests and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is not None:
                    self._take(result)
            while (notification := pgconn.notifies()) is not None:
                if self.on_notify is not None:
                    self.on_notify(notification.extra.decode())
        except (psycopg.Error, OSError) as error:
            self._lost(error)
            return
        if self._writing:
            self._on_writable()

    def _take(self, result: pq.abc.PGresult) -> None:
        request = self._requests[0]
        status = result.status
        if status == pq.ExecStatus.PIPELINE_SYNC:
            request.outcomes.append(request.error if request.error is not None else request.results)
            request.results, request.error = [], None
            request.syncs -= 1
            if not request.syncs:
                self._requests.popleft()
                request.done(request.outcomes, None)
            return
        name, is_query = request.names.popleft()
        if status in _OK:
            if is_query:
                columns = range(result.nfields)
                value = result.get_value
                request.results.append(
                    [tuple([value(row, column) for column in columns]) for row in range(result.ntuples)]
                )
            return
        # What was prepared in a transaction that failed may or may not exist: prepare it again under a new name.
        self._prepared.pop(name, None)
        if request.error is None:
            state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
            text = result.error_message.decode(errors="replace").strip()
            if status == pq.ExecStatus.FATAL_ERROR and not state:
                raise psycopg.OperationalError(text or "the connection broke")
            request.error = StatementError(f"{name}: {text}", state.decode(), name)

    def _lost(self, error: Exception) -> None:
        self._discard()
        requests, self._requests = self._requests, deque()
        for request in requests:
            request.done(None, StoreUnavailableError(f"the connection to PostgreSQL broke: {error}".strip()))
        if self.on_lost is not None:
            self.on_lost()

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None or self._loop is None:
            return
        # libpq may have closed the socket already, and a selector that is to forget half of it complains; it has
        # forgotten all of it then.
        with contextlib.suppress(OSError):
            self._loop.remove_reader(self._fd)
        if self._writing:
            with contextlib.suppress(OSError):
                self._loop.remove_writer(self._fd)
        self._writing = False
        connection.close()

    def close(self) -> None:
        """Close the connection; requests under way fail."""
        self._lost(StoreUnavailableError("closed"))
