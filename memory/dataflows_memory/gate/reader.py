"""Runs queries of agents: checked, under a role that sees nothing else, in bounded time, with a bounded answer."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from dataflows_memory.gate.checking import ROWS, Checked, check_query
from dataflows_memory.gate.relations import Allowed, Relation, near, relations_of
from dataflows_memory.gate.role import NONE, Keeper
from dataflows_sdk.core.durations import Duration, format_duration, parse_duration
from dataflows_sdk.core.shown import Sheet, ShownAsTable
from dataflows_sdk.errors import DefinitionError, QueryError, QueryRefusedError, StoreUnavailableError
from dataflows_sdk.store.database import Database
from dataflows_sdk.store.guarded import Found, TooLongError, read_guarded
from dataflows_sdk.store.statements import RefusedError

_SIZE = 200_000
_CELL = 4_000
#: of PostgreSQL: a name that is not there, a type that does not fit, a grammar it does not like
_OF_THE_TEXT = ("42", "22", "21", "0A")
_CANCELLED, _DENIED = "57014", "42501"


@dataclass(frozen=True, slots=True)
class Answer(ShownAsTable):
    """What a query gave.

    Attributes:
        columns: names, in order; a name may stand twice.
        types: PostgreSQL's, one for each column.
        rows: lists of values that JSON has; moments, decimals that no float holds and the like are texts.
        truncated: whether there were more rows, or texts were cut.
        note: for a model, what was cut and how it was read; may be empty.
        sql: the statement that ran.
        seconds: what it took.
        as_of: the moment at which the tables were read; None for now.
        guard: what kept the query in its place, besides the check of its text.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[list[Any]]
    truncated: bool
    note: str
    sql: str
    seconds: float
    as_of: datetime | None
    guard: str

    def to_json(self) -> dict[str, Any]:
        """All of it as values of JSON."""
        return {
            "columns": list(self.columns),
            "types": list(self.types),
            "rows": self.rows,
            "truncated": self.truncated,
            "note": self.note,
            "sql": self.sql,
            "seconds": round(self.seconds, 3),
            "as_of": None if self.as_of is None else self.as_of.isoformat(),
        }

    def _sheet(self) -> Sheet:
        notes = [self.note] if self.note else []
        return Sheet("", self.rows, self.columns, total=None if self.truncated else len(self.rows), notes=notes)


class Reader:
    """Answers queries over some tables and views of a database. Thread-safe.

    Args:
        database: where they are.
        allowed: what may be read; see `check_query`, and `readable` for what there is.
        rows: of an answer at the most.
        size: characters of all its texts.
        cell: characters of one text.
        timeout: of a query.
        role: False reads as the user of the database, in a read-only transaction: the check of the text is then all
            that keeps other tables apart.
    """

    def __init__(
        self,
        database: Database,
        allowed: Allowed | Iterable[Relation],
        *,
        rows: int = ROWS,
        size: int = _SIZE,
        cell: int = _CELL,
        timeout: Duration = "15s",
        role: bool = True,
    ) -> None:
        self.relations = tuple(relations_of(allowed).values())
        self._rows = rows
        self._size, self._cell = _bounded("size", size, 100), _bounded("cell", cell, 10)
        self._seconds = parse_duration(timeout).total_seconds()
        if not 0.01 <= self._seconds <= 3600:
            raise DefinitionError(f"timeout={timeout!r} lies between 10 milliseconds and an hour")
        self._keeper = Keeper(database, self.relations, want_role=role)

    @property
    def guard(self) -> str:
        """What keeps queries in their place besides the check of their text; known after the first."""
        return self._keeper.guard or NONE

    def query(self, text: str, *, as_of: datetime | None = None, rows: int | None = None) -> Answer:
        """Check a query and run it.

        Args:
            text: one SELECT, as a model wrote it.
            as_of: read the tables as they were at this moment.
            rows: at the most; never more than the reader's own bound.

        Raises:
            QueryRefusedError: the check, or PostgreSQL, does not want it; the message is for whoever wrote it.
            QueryError: it took too long.
            StoreUnavailableError: nobody answers.
        """
        bound = self._rows if rows is None else min(rows, self._rows)
        checked = check_query(text, self.relations, row_cap=bound, as_of=as_of)
        return self.run(checked)

    def run(self, checked: Checked) -> Answer:
        """Run what was checked; errors as for `query`."""
        begun = time.monotonic()
        found = self._guarded(checked)
        return self._answer(checked, found, time.monotonic() - begun)

    def close(self) -> None:
        """Close the connections."""
        self._keeper.close()

    def revoke(self) -> None:
        """Close, and drop the role that was made for these tables."""
        self._keeper.revoke()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _guarded(self, checked: Checked) -> Found:
        try:
            try:
                return self._once(checked)
            except StoreUnavailableError:
                self._keeper.fresh()
            except RefusedError as refused:
                if refused.sqlstate != _DENIED:
                    raise
                self._keeper.grant()
            return self._once(checked)
        except TooLongError as error:
            raise self._too_long() from error
        except RefusedError as refused:
            raise self._explained(checked, refused) from refused

    def _once(self, checked: Checked) -> Found:
        with self._keeper.connection() as connection:
            return read_guarded(
                connection,
                checked.sql,
                seconds=self._seconds,
                rows=checked.rows,
                size=self._size,
                cell=self._cell,
                role=self._keeper.role,
            )

    def _too_long(self) -> QueryError:
        return QueryError(
            f"the query was ended after {format_duration(self._seconds)}; ask for less: filter earlier, aggregate, "
            "join on keys"
        )

    def _explained(self, checked: Checked, refused: RefusedError) -> QueryError:
        state, message = refused.sqlstate, " ".join(refused.message.split())
        if state == _CANCELLED:
            return self._too_long()
        if state[:2] not in _OF_THE_TEXT:
            return QueryError(f"PostgreSQL could not answer: {message}")
        said = [each for each in (refused.detail, refused.hint) if each]
        if state == "42703":
            columns = [name for relation in checked.relations for name in relation.columns]
            missing = message.split('"')[1] if '"' in message else message.split(" ")[1]
            said.append(near(missing.rpartition(".")[2], columns))
        return QueryRefusedError(f"PostgreSQL says: {message}", instead=" ".join(said))

    def _answer(self, checked: Checked, found: Found, seconds: float) -> Answer:
        notes = []
        if found.more:
            notes.append(
                f"There are more rows; these are the first {len(found.rows)}. Aggregate, filter, or use offset."
            )
        if found.cut:
            notes.append(f"{len(found.cut)} texts were cut at {self._cell:,} characters.")
        if checked.as_of is not None:
            notes.append(f"Tables are read as they were at {checked.as_of.isoformat()}; now() is still now.")
        cut = set(found.cut)
        rows = [
            [value if (at, place) in cut else plain(value, found.columns[place][1]) for place, value in enumerate(row)]
            for at, row in enumerate(found.rows)
        ]
        return Answer(
            tuple(name for name, _ in found.columns),
            tuple(kind for _, kind in found.columns),
            rows,
            found.more or bool(found.cut),
            " ".join(notes),
            checked.sql,
            seconds,
            checked.as_of,
            self.guard,
        )


def plain(value: Any, kind: str) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            return str(value)
        if value == value.to_integral_value() and abs(value) < 2**53:
            return int(value)
        number = float(value)
        return number if Decimal(repr(number)) == value else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str) and kind in ("json", "jsonb"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def run_query(
    database: Database,
    text: str,
    allowed: Allowed | Iterable[Relation],
    *,
    as_of: datetime | None = None,
    rows: int = ROWS,
    timeout: Duration = "15s",
) -> Answer:
    """Check one query and run it; see `Reader`, which keeps its connections for the next."""
    with Reader(database, allowed, rows=rows, timeout=timeout) as reader:
        return reader.query(text, as_of=as_of)


def _bounded(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 100_000_000:
        raise DefinitionError(f"{name}={value!r} lies between {least} and 100,000,000")
    return value
