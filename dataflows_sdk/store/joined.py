"""A transaction that several hands write to: a step's function, and the engine with the step's record."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from dataflows_sdk.errors import NotInWorkflowError, StoreUnavailableError
from dataflows_sdk.store.database import Connection, Database
from dataflows_sdk.store.sqlfiles import statement


class JoinedTransaction:
    """What one attempt of a step writes to the database of its run, until the engine commits it with the record.

    It begins with the first write. Safe to use from several threads, one at a time.
    """

    __slots__ = ("_connection", "_database", "_later", "_lock", "_over", "_stack", "marks")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.RLock()
        self._stack: contextlib.ExitStack | None = None
        self._connection: Connection | None = None
        self._over = False
        self._later: list[tuple[str, Sequence[Any]]] = []
        #: whatever the writers want to remember of this transaction
        self.marks: set[str] = set()

    @contextmanager
    def work(self) -> Iterator[Connection]:
        """The connection, for one piece of work that is wholly part of the transaction or not at all.

        Raises:
            NotInWorkflowError: the attempt is over.
            StoreUnavailableError: nobody answers.
        """
        with self._lock:
            self._check()
            if self._connection is None:
                connection = self._begin()
                try:
                    yield connection
                except BaseException:
                    self._end()  # nothing else was written
                    raise
            else:
                with self._connection.transaction():  # a savepoint: an error of this piece does not undo the others
                    yield self._connection
            self._undo_if_over()

    def first(self, text: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]] | None:
        """Begin with one statement, in one way to the server and back; None if it has begun already.

        Where the statement gives no rows, nothing has begun.
        """
        with self._lock:
            self._check()
            if self._connection is not None:
                return None
            try:
                try:
                    rows = self._at_once(text, parameters)
                except psycopg.OperationalError:
                    if self._is_alive():
                        raise
                    self._end()  # the server went away while the connection lay idle; nothing of this was committed
                    rows = self._at_once(text, parameters)
            except BaseException:
                self._end()
                raise
            if not rows:
                self._end()
            self._undo_if_over()
            return rows

    def _is_alive(self) -> bool:
        return self._connection is not None and not self._connection.closed

    def _at_once(self, text: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        connection = self._begin(quietly=True)
        cursor = psycopg.RawCursor(connection)
        with connection.pipeline():
            connection.execute("begin")
            cursor.execute(text, parameters, prepare=True)
        return cursor.fetchall()

    def later(self, text: str, parameters: Sequence[Any]) -> None:
        """A statement whose rows nobody waits for: before the record."""
        with self._lock:
            self._later.append((text, parameters))

    def _check(self) -> None:
        if self._over:
            raise NotInWorkflowError("the attempt of the step is over: what its function still writes is refused")

    def _undo_if_over(self) -> None:
        if self._over:  # its time ran out meanwhile
            self._end()

    @property
    def begun(self) -> bool:
        """Whether there is something to commit."""
        return self._connection is not None

    def conclude(
        self,
        record: Callable[[], Sequence[tuple[str, Sequence[Any]]]],
        refused: Callable[[], BaseException],
        arrived: Callable[[Connection], bool],
    ) -> None:
        """Write the step's record and commit; see `Database.fenced` for the arguments."""
        with self._lock:
            self._over = True
            connection = self._connection
            assert connection is not None
            statements = [(statement("journal", name), parameters) for name, parameters in record()]
            try:
                with connection.pipeline():
                    for text, parameters in (*self._later, *statements):
                        psycopg.RawCursor(connection).execute(text, parameters, prepare=True)
                    connection.execute("commit")
            except psycopg.errors.DivisionByZero:
                self._end()
                raise refused() from None
            except psycopg.OperationalError as error:
                connection.close()
                self._end()
                self._database.settle(error, arrived, refused)
                return
            except BaseException:
                self._end()
                raise
            self._end()

    def abandon(self) -> None:
        """The attempt failed: undo what it wrote. What a thread of it writes from now on is refused."""
        self._over = True
        if self._lock.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._lock.release()

    def _begin(self, *, quietly: bool = False) -> Connection:
        stack = contextlib.ExitStack()
        connection = stack.enter_context(self._database.connection())
        if quietly:
            self._stack, self._connection = stack, connection
            return connection
        try:
            connection.execute("begin")
        except psycopg.OperationalError:
            # the server went away while the connection lay idle; nothing was sent before
            connection.close()
            stack.close()
            stack = contextlib.ExitStack()
            connection = stack.enter_context(self._database.connection())
            try:
                connection.execute("begin")
            except psycopg.OperationalError as error:
                connection.close()
                stack.close()
                raise StoreUnavailableError(f"PostgreSQL does not answer: {error}") from error
        self._stack, self._connection = stack, connection
        return connection

    def _end(self) -> None:
        stack, connection = self._stack, self._connection
        self._stack = self._connection = None
        if stack is None or connection is None:
            return
        try:
            if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.execute("rollback")
        except psycopg.Error:
            connection.close()
        finally:
            stack.close()


class Lent:
    """The transaction of a ``step.transaction``, for what its function writes besides its own SQL."""

    __slots__ = ("_connection", "marks")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.marks: set[str] = set()

    @contextmanager
    def work(self) -> Iterator[Connection]:
        """The connection, within a savepoint."""
        with self._connection.transaction():
            yield self._connection

    def first(self, text: str, parameters: Sequence[Any]) -> None:
        """It has begun already."""

    def later(self, text: str, parameters: Sequence[Any]) -> None:
        """A statement whose rows nobody waits for."""
        psycopg.RawCursor(self._connection).execute(text, parameters, prepare=True)
