"""The memory's part of a database: its schema, its collections, its tables of vectors, its statements."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors import RecallError
from dataflows_sdk.store.database import Database, DatabaseError
from dataflows_sdk.store.sqlfiles import statement

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Connection

log = logging.getLogger("dataflows.memory")

_PACKAGE = "dataflows_memory"
_SCHEMA = "dataflows_memory"
_PLACE = re.compile(r"\{(\w+)\}")
#: PostgreSQL's code for a lock that was not to be had in time
_LOCKED = "55P03"
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


@dataclass(frozen=True, slots=True)
class Vectors:
    """The table of the vectors of one embedder."""

    id: int
    name: str
    dimension: int

    @property
    def words(self) -> dict[str, str]:
        """What is put into statements for it."""
        return {
            "vectors": f"{_SCHEMA}.vectors_{self.id}",
            "index": f"vectors_{self.id}",
            "length": str(self.dimension),
        }


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as it is in the database."""

    id: int
    name: str
    language: str
    around: int
    vectors: Vectors | None


@dataclass(frozen=True, slots=True)
class Ground:
    """What every question needs to know.

    Attributes:
        collection: where it looks.
        places: the numbers of the scopes that everybody sees.
        follows: whether tables are followed there, whose changes may have to be read first.
        now: by the server's clock.
    """

    collection: Collection
    places: dict[str, int]
    follows: bool
    now: datetime


class Store:
    """Reads and writes; it knows statements, and nothing of what they are for. Thread-safe.

    Args:
        database: where the memory is.
        transaction: the connection of the step that is running, or one of its own, for writes.
        joined: whether a step is running that has written already, and whose writes have to be seen.
    """

    def __init__(
        self,
        database: Database,
        transaction: Callable[[], AbstractContextManager[Connection]],
        joined: Callable[[], bool],
    ) -> None:
        self.database = database
        self._transaction = transaction
        self._together: ContextVar[Connection | None] = ContextVar("together", default=None)
        self._joined = joined
        self._ready = False
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Bring the schema up to date, once."""
        if self._ready:
            return
        with self._lock:
            if not self._ready:
                self.database.migrate(_PACKAGE, _SCHEMA)
                self._ready = True

    def there(self) -> bool:
        """Whether the memory was ever used in this database; asking does not make it."""
        return self._ready or bool(self.ask("items", "there")[0][0])

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection which sees what the step has written that is running here."""
        together = self._together.get()
        if together is not None:
            yield together
            return
        with self._transaction() if self._joined() else self.database.connection() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """The connection of the step that is running, or one of its own, for writes."""
        together = self._together.get()
        if together is not None:
            with together.transaction():
                yield together
            return
        with self._transaction() as connection:
            yield connection

    @contextmanager
    def together(self) -> Iterator[Connection]:
        """Everything in this block, in this thread, is one transaction, which no step has a part in."""
        with self.database.connection() as connection, connection.transaction():
            token = self._together.set(connection)
            try:
                yield connection
            finally:
                self._together.reset(token)

    @staticmethod
    def run(
        connection: Connection,
        file: str,
        name: str,
        parameters: Sequence[Any] = (),
        vectors: Vectors | None = None,
    ) -> list[tuple[Any, ...]]:
        """Run a named statement."""
        prepare = False if (file, name) in _PLANNED else None
        return Database.execute(connection, text_of(file, name, vectors), parameters, prepare=prepare)

    def ask(
        self, file: str, name: str, parameters: Sequence[Any] = (), vectors: Vectors | None = None
    ) -> list[tuple[Any, ...]]:
        """Run a named statement on a connection of its own."""
        with self.reading() as connection:
            return self.run(connection, file, name, parameters, vectors)

    # --- collections -------------------------------------------------------------------------------------

    def collection(self, name: str) -> Collection | None:
        """What there is of this name."""
        self.prepare()
        found = self.ask("items", "collection", [name])
        if not found:
            return None
        return _collection(found[0])

    def ground(self, collection: str, scopes: Sequence[str] | None) -> Ground | None:
        """What a question needs to know, on one way to the server; None: there is no such collection.

        Args:
            collection: by its name.
            scopes: None for all.
        """
        self.prepare()
        found = self.ask("items", "ground", [collection, None if scopes is None else list(scopes)])
        if not found:
            return None
        *home, names, ids, follows, now = found[0]
        return Ground(_collection(home), dict(zip(names or (), ids or (), strict=True)), follows, now)

    def make_collection(self, name: str, language: str, around: int) -> Collection:
        """The collection of this name, made if there is none."""
        check_name("collection", name)
        self.prepare()
        self.ask("items", "make_collection", [name, language, around])
        made = self.collection(name)
        assert made is not None
        return made

    def vectors_for(self, embedder: str, dimension: int) -> Vectors:
        """The table of an embedder's vectors, made if there is none.

        Raises:
            RecallError: the database has no extension `vector`; or the embedder's vectors had another length.
        """
        found = self.ask("items", "embedder", [embedder])
        if not found:
            if not self.database.vector:
                raise RecallError(
                    "this database has no extension `vector`, which holds what texts mean: install pgvector on its "
                    "server (for example the package postgresql-17-pgvector), or connect() without an address; "
                    "Memory(embedder=None) remembers and finds by words alone"
                )
            self.ask("items", "make_embedder", [embedder, dimension])
            found = self.ask("items", "embedder", [embedder])
        id_, known = found[0]
        if known != dimension:
            raise RecallError(
                f"vectors of {embedder!r} have {known} numbers in this database and {dimension} now; another model "
                "needs another name"
            )
        vectors = Vectors(id_, embedder, dimension)
        with self.reading() as connection, connection.transaction():
            for part in text_of("items", "make_vectors", vectors).split(";"):
                Database.execute(connection, part)
        return vectors

    def index_near(self, vectors: Vectors, enough: int) -> None:
        """Make the index of what is near, where there are *enough* vectors that looking at each would be slow.

        Not concurrently: that would wait for every transaction of the server. Where somebody who writes takes long, the
        index is made another time.
        """
        self.ask("items", "analyze_vectors", (), vectors)
        ((there, count),) = self.ask("items", "vectors_index", (), vectors)
        if there or count < enough:
            return
        try:
            with self.database.connection() as connection, connection.transaction():
                self.run(connection, "items", "not_long")
                self.run(connection, "items", "make_vectors_index", (), vectors)
        except DatabaseError as error:
            if getattr(error, "sqlstate", None) != _LOCKED:
                raise
            log.info("the index of %s is made another time: others write", vectors.name)

    def places(self, collection: Collection, scopes: Sequence[str] | None, branch: str | None = None) -> dict[str, int]:
        """Scopes that there are, and their numbers: those of a branch, or those that everybody sees."""
        rows = self.ask("items", "places", [collection.id, None if scopes is None else list(scopes), branch])
        return dict(rows)

    def make_place(self, collection: Collection, scope: str, branch: str | None = None) -> int:
        """The number of a scope, made if there is none."""
        known = self.places(collection, [scope], branch)
        if scope not in known:
            check_name("scope", scope or "-")
            self.ask("items", "make_places", [collection.id, [scope], branch])
            known = self.places(collection, [scope], branch)
        return known[scope]

    def all_vectors(self, connection: Connection) -> list[Vectors]:
        """Every embedder that has a table."""
        return [Vectors(id_, "", dimension) for id_, dimension in self.run(connection, "items", "embedders")]


def _collection(row: Sequence[Any]) -> Collection:
    id_, name, language, around, embedder, embedder_name, dimension = row
    return Collection(id_, name, language, around, embedder and Vectors(embedder, embedder_name, dimension))


def check_name(what: str, name: object) -> None:
    """Refuse names that nobody can write again.

    Raises:
        RecallError: it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RecallError(f"{what}={name!r} is no name: 1 to 200 letters, none of them a control character")


#: what the best plan is depends on how many items are given, and on which conditions there are: planned each time
_PLANNED = frozenset({("recall", "words_among"), ("recall", "allowed"), ("branches", "allowed")})
#: parts of statements that several have
_PARTS = {
    "item": ("items", "item_columns"),
    **{part: ("recall", part) for part in ("scored", "bm25", "best", "found", "gathered")},
    **{part: ("branches", part) for part in ("lines", "seen", "hides", "standing")},
}


@cache
def text_of(file: str, name: str, vectors: Vectors | None = None) -> str:
    """A statement, with the table of an embedder and the parts that several have put in."""
    words = {} if vectors is None else vectors.words

    def put_in(found: re.Match[str]) -> str:
        part = _PARTS.get(found[1])
        return words[found[1]] if part is None else text_of(*part)

    return _PLACE.sub(put_in, statement(file, name, _PACKAGE))
