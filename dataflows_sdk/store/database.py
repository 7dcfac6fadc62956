"""A PostgreSQL database: is it fit, is its schema up to date, and plain reads from any thread."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dataflows_sdk.errors import (
    DefinitionError,
    StoreError,
    StoreExtensionError,
    StoreUnavailableError,
    StoreVersionError,
)
from dataflows_sdk.store.migrations import migrate, migrations
from dataflows_sdk.store.sqlfiles import statement, statements

T = TypeVar("T")
Connection = psycopg.Connection[Any]
#: whatever PostgreSQL refuses; ``.sqlstate`` says what it is
DatabaseError = psycopg.Error

OLDEST = 140000
#: for the engine's own connections: its statements are known, their plans need not be guessed again, and with small
#: tables' statistics a plan must not fall back to reading a table that has grown since, nor to collecting all that
#: waits in order to sort it, where an index has it in order
ENGINE_SETTINGS = {
    "application_name": "dataflows",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
_MAX_IDLE = 4


class Database:
    """Connections to one database. Thread-safe.

    Args:
        url: a PostgreSQL URL or libpq connection string.
    """

    def __init__(self, url: str) -> None:
        try:
            parameters = conninfo_to_dict(url)
        except psycopg.Error as error:
            raise StoreUnavailableError(
                f"{url!r} is no PostgreSQL address ({str(error).strip()}); "
                'write connect("postgresql://user:password@host:5432/database")'
            ) from None
        parameters.setdefault("application_name", "dataflows")
        self.conninfo = make_conninfo("", **parameters)
        self._name = (
            f"{parameters.get('host', 'localhost')}:{parameters.get('port', 5432)}/{parameters.get('dbname', '')}"
        )
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False
        # connections of users that lead here
        self._own: weakref.WeakSet[Connection] = weakref.WeakSet()
        #: the server's version, 180004 for 18.4
        self.server_version = 0
        #: whether the extension `vector` is there
        self.vector = False

    def __repr__(self) -> str:
        return f"<Database {self._name}>"

    # --- is it fit ---------------------------------------------------------------------------------------

    def prepare(self, *, vector: bool | None = None) -> tuple[datetime, float]:
        """Check the server and bring the schema up to date.

        Args:
            vector: True to insist on the extension `vector`; None to make it where that is possible.

        Returns:
            The server's time, and the seconds its answer took.

        Raises:
            StoreUnavailableError, StoreVersionError, StoreExtensionError, SchemaVersionError.
        """
        with self.connection() as connection:
            try:
                self._check(connection)
                migrate(connection)
                self.vector = self._vector(connection, vector)
                # Last, because the clock counts from here.
                begun = time.monotonic()
                row = connection.execute(statement("schema", "server")).fetchone()
                rtt = time.monotonic() - begun
            except psycopg.OperationalError as error:
                if not connection.closed:
                    raise
                raise StoreUnavailableError(
                    f"PostgreSQL at {self._name} cut the connection: {_line(error)}; is it restarting? Try again"
                ) from error
        assert row is not None
        return row[3], rtt

    def migrate(self, package: str, schema: str) -> None:
        """Bring the schema of a plug-in up to date.

        Args:
            package: has the folder ``migrations``.
            schema: of its own, where it is noted what was applied.

        Raises:
            SchemaVersionError: the database is newer than the plug-in, or an applied file was changed.
        """
        with self.connection() as connection:
            migrate(connection, migrations(package), schema)

    def _check(self, connection: Connection) -> None:
        row = connection.execute(statement("schema", "server")).fetchone()
        assert row is not None
        self.server_version, shown, standby, _ = row
        if self.server_version < OLDEST:
            raise StoreVersionError(f"{self._name} runs PostgreSQL {shown}; dataflows needs version 14 or later")
        if standby:
            raise StoreError(f"{self._name} is a read-only standby; connect to the primary")

    def _vector(self, connection: Connection, wanted: bool | None) -> bool:
        there, available = connection.execute(statement("schema", "have_vector")).fetchone() or (False, False)
        if there or wanted is False:
            return bool(there)
        if available:
            try:
                connection.execute(statement("schema", "create_vector"))
                return True
            except psycopg.errors.InsufficientPrivilege:
                if wanted:
                    raise StoreExtensionError(
                        f"the extension `vector` is not installed in {self._name} and this role may not create it; "
                        "as an administrator: create extension vector"
                    ) from None
                return False
            except psycopg.errors.UniqueViolation:
                return True  # another process made it at the same moment
        if wanted:
            raise StoreExtensionError(
                f"{self._name} has no extension `vector`; install pgvector on that server "
                "(for example the package postgresql-17-pgvector), or use connect() without an address, which brings it"
            )
        return False

    # --- connections -------------------------------------------------------------------------------------

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in autocommit mode; it goes back to the pool unless it broke.

        Raises:
            StoreUnavailableError: nobody answers.
        """
        connection = self._take()
        try:
            yield connection
        except BaseException:
            if connection.closed or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.close()
            raise
        finally:
            self._give(connection)

    def _take(self) -> Connection:
        with self._lock:
            if self._closed:
                raise StoreUnavailableError("the context is closed")
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
        return self.open()

    def open(self) -> Connection:
        """A new connection of the caller's own."""
        try:
            connection = psycopg.connect(self.conninfo, autocommit=True, connect_timeout=10)
            connection.execute("set timezone to 'UTC'")
        except psycopg.OperationalError as error:
            raise StoreUnavailableError(
                f"PostgreSQL does not answer at {self._name}: {_line(error)}; is it running, and is the address "
                "right? connect() without an address starts one of its own"
            ) from error
        return connection

    def fresh(self) -> None:
        """Close what is idle: statements that were prepared there may not fit any more."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _give(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed and not connection.closed and len(self._idle) < _MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle; connections in use close when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    # --- statements --------------------------------------------------------------------------------------

    def read(self, file: str, name: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a named statement and give its rows; once more on a new connection when an idle one had broken."""
        try:
            return self._read(file, name, parameters)
        except psycopg.OperationalError:
            self.fresh()
            try:
                return self._read(file, name, parameters)
            except psycopg.OperationalError as error:
                raise StoreUnavailableError(f"PostgreSQL does not answer at {self._name}: {error}") from error

    def _read(self, file: str, name: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self.connection() as connection:
            cursor = psycopg.RawCursor(connection)
            cursor.execute(statement(file, name), parameters)
            return cursor.fetchall() if cursor.description is not None else []

    def query(self, text: str, parameters: Sequence[Any] = (), *, prepare: bool | None = None) -> list[tuple[Any, ...]]:
        """Run a statement given as text, with ``$1`` for the first parameter, and give its rows.

        Raises:
            StoreUnavailableError: nobody answers.
            DatabaseError: PostgreSQL refuses it.
        """
        with self.connection() as connection:
            try:
                return self.execute(connection, text, parameters, prepare=prepare)
            except psycopg.OperationalError as error:
                if not connection.closed:
                    raise
                broken = error
        self.fresh()
        try:
            with self.connection() as connection:
                return self.execute(connection, text, parameters, prepare=prepare)
        except psycopg.OperationalError as error:
            raise StoreUnavailableError(f"PostgreSQL does not answer at {self._name}: {_line(error)}") from broken

    @staticmethod
    def execute(
        connection: Connection, text: str, parameters: Sequence[Any] = (), *, prepare: bool | None = None
    ) -> list[tuple[Any, ...]]:
        """The same on a connection of the caller's own."""
        cursor = psycopg.RawCursor(connection)
        cursor.execute(text, parameters, prepare=prepare)
        return cursor.fetchall() if cursor.description is not None else []

    @staticmethod
    def copy_in(connection: Connection, text: str, chunks: Iterable[bytes]) -> int:
        """COPY … FROM STDIN; gives the number of rows."""
        cursor = connection.cursor()
        with cursor.copy(text) as copy:
            for chunk in chunks:
                copy.write(chunk)
        return cursor.rowcount

    @staticmethod
    def run(connection: Connection, file: str, name: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a named statement on a connection of the caller's own."""
        return Database.execute(connection, statement(file, name), parameters)

    def within(
        self, connection: Any, statements: Sequence[tuple[str, str, Sequence[Any]]]
    ) -> list[list[tuple[Any, ...]]]:
        """Run named statements on a connection of the user's, in the transaction that is open there.

        Args:
            statements: file, name and parameters of each.

        Returns:
            the rows of each.

        Raises:
            DefinitionError: it is no connection of psycopg, is closed, or every statement on it commits by itself.
            StoreError: it leads to another database.
        """
        if not isinstance(connection, psycopg.Connection):
            raise DefinitionError(
                f"connection= is a psycopg.Connection, not {type(connection).__name__}; from SQLAlchemy: "
                "connection.connection.driver_connection"
            )
        if connection.closed:
            raise DefinitionError("connection= is closed")
        if connection.autocommit and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            raise DefinitionError(
                "connection= commits every statement by itself, so that there is no transaction to be part of; "
                "use `with connection.transaction():`"
            )
        if connection not in self._own:
            if self._identity(connection) != self.read("schema", "identity"):
                raise StoreError(f"connection= leads to another database than {self._name}")
            self._own.add(connection)
        return [self.run(connection, *each) for each in statements]

    @staticmethod
    def _identity(connection: Connection) -> list[tuple[Any, ...]]:
        if connection.execute("select to_regclass('dataflows.migration') is null").fetchone() == (True,):
            return []
        return Database.run(connection, "schema", "identity", ())

    def fenced(
        self,
        work: Callable[[Connection], T],
        record: Callable[[T], list[tuple[str, Sequence[Any]]]],
        refused: Callable[[], BaseException],
        arrived: Callable[[Connection], bool],
    ) -> T:
        """Run *work* in a transaction that also writes its record and commits only if the run is still ours.

        Args:
            work: gets the connection; its SQL is part of the transaction.
            record: from the work's value, the named statements of ``journal.sql`` to run in the same transaction.
            refused: makes the exception when ``fence`` says that the run is no longer ours.
            arrived: whether the record is there, asked when the connection broke during the commit, for as long as
                it takes until somebody answers: taking a commit for none would do the work twice.
        """
        value: list[T] = []
        try:
            with self.connection() as connection, connection.transaction():
                value.append(work(connection))
                self.append(connection, record(value[0]), refused)
        except psycopg.OperationalError as error:
            if not value:
                raise
            self.settle(error, arrived, refused)
        return value[0]

    @staticmethod
    def append(
        connection: Connection, statements: Sequence[tuple[str, Sequence[Any]]], refused: Callable[[], BaseException]
    ) -> None:
        """Run statements of ``journal.sql`` in the transaction that is open; *refused* makes what a fence raises."""
        for name, parameters in statements:
            cursor = psycopg.RawCursor(connection)
            cursor.execute(statement("journal", name), parameters, prepare=True)
            if name == "fence" and cursor.fetchall():
                raise refused()

    def settle(
        self, error: Exception, arrived: Callable[[Connection], bool], refused: Callable[[], BaseException]
    ) -> None:
        """A commit ended with *error*: return if it arrived after all, and raise the error if not; see `fenced`."""
        there = self._arrived(arrived)
        if there is None:
            raise refused() from None  # we are closing and shall never know: whoever has the run next looks
        if not there:
            raise error

    def _arrived(self, arrived: Callable[[Connection], bool]) -> bool | None:
        """Whether the record is there; None when this was closed before anybody answered."""
        attempt = 0
        while not self._closed:
            try:
                with self.connection() as connection, connection.transaction():
                    return arrived(connection)
            except (psycopg.OperationalError, StoreUnavailableError):
                time.sleep(min(1.0, 0.05 * 2 ** min(attempt, 5)))
                attempt += 1
        return None


def engine_statements() -> dict[str, str]:
    """What the engine's pipelined connections may run."""
    return {**statements("journal"), **statements("claim")}


def _line(error: Exception) -> str:
    """One line of a message; those of libpq come in several."""
    return " ".join(str(error).split())
