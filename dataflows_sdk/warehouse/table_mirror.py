"""Mirrors of the warehouse's tables in DuckDB: today's rows, past versions, and the views that are made of both.

Like the journal's, they are exact: what is new is found by the transactions that an earlier snapshot did not see. A
write notes its transaction, today's rows point to the write that made them so, past versions to the one that ended
them.

Whoever changes rows by hand notes no write. In a table of up to `SMALL` bytes that is found all the same, by the rows'
own transactions and their number; a larger one is read again when somebody says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from dataflows_sdk.errors import QueryError
from dataflows_sdk.store.copying import Moment, Rows
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.store.table_copying import Relation, Tables
from dataflows_sdk.warehouse.intake import Batch, Intake, filled
from dataflows_sdk.warehouse.kinds import Digits, field_of, kind_of, quoted
from dataflows_sdk.warehouse.table_views import PLACES, TableViews

#: bytes up to which a table is looked through at every refresh
SMALL = 64 * 1024 * 1024
#: more writes than that, and everything is read again
_WRITES = 20_000

TODAY, PAST = "warehouse", "warehouse_past"
#: where the mirrors of a schema are
_PLACE = dict(zip((TODAY, PAST), PLACES, strict=True))
#: the column that tells the write which brought a row into a table
_BY = {TODAY: "_write", PAST: "_ended_by"}
_NEEDED = {TODAY: {"id", "_write", "_synced_at"}, PAST: {"id", "_ended_by", "_synced_at", "_valid_to"}}


@dataclass(frozen=True, slots=True)
class Want:
    """What a query reads of a table."""

    name: str
    history: bool = False
    past: bool = False


@dataclass(frozen=True, slots=True)
class Copied:
    """A table that is here: as what it was read, when, and what its decimals need."""

    relation: Relation
    moment: Moment
    digits: Mapping[str, Digits]


def folded(name: str) -> str:
    """A name as DuckDB compares it: letters of ASCII have no case."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in name)


def wants(mentioned: Collection[str], names: Iterable[str], *, past: bool) -> dict[str, Want]:
    """Which tables are meant by names that a query mentions, by those names.

    Args:
        mentioned: folded names.
        names: of the tables that there are.
        past: whether the query asks for another time than now.
    """
    known = {folded(name): name for name in names}
    found: dict[str, Want] = {}
    for each in mentioned:
        base = each.removesuffix("_history")
        if each in known:
            found[each] = Want(known[each], past=past)
        elif base != each and base in known:
            found[each] = Want(known[base], history=True, past=past)
    return found


class TableMirrors:
    """Copies of the warehouse's tables in the database ``dataflows`` of a DuckDB instance.

    Args:
        connection: to DuckDB.
        intake: reads rows for that connection.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, intake: Intake) -> None:
        self._connection = connection
        self._intake = intake
        self._copies: dict[tuple[str, str], Copied] = {}
        self._writes: Moment | None = None
        #: the views that there are, by name and what they were made of
        self._views: dict[str, object] = {}
        self._past_views: dict[str, tuple[object, str]] = {}
        #: numbers lost digits to a type that turned out too narrow
        self._spoiled = False
        #: rows that were deleted here and still take room
        self.dead = 0
        self._run("create")
        self._run("create_past")

    @property
    def names(self) -> set[str]:
        """Tables of which something is here."""
        return {name for name, _ in self._copies}

    def is_fresh(self, wanted: Collection[Want], now: Moment) -> bool:
        """Whether all that is *wanted* is as it is now."""
        return all(
            (copied := self._copies.get((want.name, schema))) is not None and copied.moment.sees_the_same(now)
            for want in wanted
            for schema in _schemas(want)
        ) and (
            not any(want.history for want in wanted) or (self._writes is not None and self._writes.sees_the_same(now))
        )

    def forget(self, names: Collection[str]) -> None:
        """Read some tables anew when they are asked for again."""
        for key in [key for key in self._copies if key[0] in names]:
            del self._copies[key]

    def drop(self) -> None:
        """Give the room back."""
        self._run("drop")

    def bring(
        self, wanted: Collection[Want], gone: Collection[str], seen: Tables | None, undo: list[Callable[[], None]]
    ) -> None:
        """Bring what is *wanted* to what is *seen*, and remove what is *gone*; *undo* gets how to roll that back."""
        before = (dict(self._copies), self._writes, dict(self._views), dict(self._past_views))

        def forget() -> None:
            self._copies, self._writes, self._views, self._past_views = before

        undo.append(forget)
        for name in gone:
            self._remove(name)
        if seen is None or not wanted:
            return
        relations = seen.relations(sorted({want.name for want in wanted}))
        found = {(each.table, each.schema): each for each in relations if not each.is_history}
        views = {each.table: each for each in relations if each.is_history}
        for want in wanted:
            if (want.name, TODAY) not in found:
                continue  # known by name, but not there: DuckDB says so
            for schema in _schemas(want):
                if (want.name, schema) not in found:
                    raise QueryError(f"the past of table {want.name!r} is gone: there is no {schema}.{want.name}")
                self._bring(found[want.name, schema], found.get((want.name, PAST)), seen)
            if want.history and not (self._writes is not None and self._writes.sees_the_same(seen.moment)):
                self._bring_writes(seen)
            if want.history or want.past:
                self._plan_views(want.name, views.get(want.name))

    def make_past_views(self) -> None:
        """Make the views of other times that `bring` found to be wanting; they are in a database of their own."""
        for name, (made_of, text) in self._past_views.items():
            if text:
                self._connection.execute(text)
                self._past_views[name] = (made_of, "")

    # --- one table ---------------------------------------------------------------------------------------

    def _bring(self, relation: Relation, past: Relation | None, seen: Tables) -> None:
        key = (relation.table, relation.schema)
        copied = self._copies.get(key)
        if missing := _NEEDED[relation.schema] - dict(relation.columns).keys():
            raise QueryError(
                f"{relation.schema}.{relation.table} lacks {', '.join(sorted(missing))}: it was altered by hand"
            )
        if (
            copied is None
            or not copied.relation.is_as(relation)
            or not copied.moment.leads_to(seen.moment)
            or not self._update(copied, relation, past, seen)
        ):
            self._load(relation, seen)
        if self._spoiled:
            self._spoiled = False
            self._load(relation, seen, self._copies[key].digits)
            self._spoiled = False
        self._copies[key] = replace(self._copies[key], moment=seen.moment)

    def _load(self, relation: Relation, seen: Tables, known: Mapping[str, Digits] | None = None) -> None:
        """Everything anew, with room for decimals that are *known* to be there."""
        names = [name for name, _ in relation.columns]
        decimals = {name: (known or {}).get(name, Digits()) for name, kind in relation.columns if kind == "numeric"}
        copied = Copied(relation, seen.moment, decimals)
        self._copies[relation.table, relation.schema] = copied
        self._run("replace", table=_place(relation), columns=_definitions(copied))
        for batch in self._intake.batches(seen.all_rows(relation, names)):
            if decimals:
                self._run("stage", columns=_definitions(copied, staged=True))
                self._run("stage_ended", kind="VARCHAR")
                self._insert(batch, relation, "staged")
                self._fit(relation)
                self._append(relation)
            else:
                self._insert(batch, relation, _place(relation))

    def _update(self, copied: Copied, relation: Relation, past: Relation | None, seen: Tables) -> bool:
        """Bring what changed; False when it is better to read everything."""
        if copied.moment.sees_the_same(seen.moment):
            return True
        writes, rows = seen.writes_since(relation.table, copied.moment)
        here: int = self._run("count", table=_place(relation))[0][0]
        if len(writes) > _WRITES or rows > max(10_000, here // 2):
            return False
        small = relation.size <= SMALL
        names = [name for name, _ in relation.columns]
        if writes or small:
            self._run("stage", columns=_definitions(copied, staged=True))
            self._run("stage_ended", kind="VARCHAR" if "id" in copied.digits else _kind(copied, "id"))
            if relation.schema == TODAY and small:
                self._stage(seen.rows_since(relation, names, copied.moment), relation, "staged")
            elif writes:
                self._stage(seen.rows_by(relation, names, _BY[relation.schema], writes), relation, "staged")
            if writes and relation.schema == TODAY and past is not None:
                self._stage(seen.rows_by(past, ["id"], _BY[PAST], writes), past, "ended", ["id"])
            self._fit(relation)
            if relation.schema == TODAY:
                kind = _kind(self._copies[relation.table, TODAY], "id")
                self.dead += self._run("forget", table=_place(relation), kind=kind)[0][0]
            self._append(relation)
        return not small or seen.count(relation) == self._run("count", table=_place(relation))[0][0]

    def _bring_writes(self, seen: Tables) -> None:
        earlier = self._writes
        if earlier is not None and not earlier.leads_to(seen.moment):
            earlier = None
        if earlier is None:
            self._run("empty_writes")
        fields = [field_of(kind) for kind in ("BIGINT", "VARCHAR", "VARCHAR")]
        self._intake.read(seen.writes(earlier), fields, "dataflows.internal_writes.writes")
        self._writes = seen.moment

    def _remove(self, name: str) -> None:
        self._run("remove", table=quoted(name), history=quoted(f"{name}_history"))
        for schema in _PLACE:
            self._copies.pop((name, schema), None)
        self._views.pop(name, None)
        if name in self._past_views:
            text = _filled("remove_past", {"history": quoted(f"{name}_history"), "table": quoted(name)})
            self._past_views[name] = (None, text)

    # --- rows --------------------------------------------------------------------------------------------

    def _stage(self, rows: Rows, relation: Relation, into: str, columns: Sequence[str] | None = None) -> None:
        for batch in self._intake.batches(rows):
            self._insert(batch, relation, into, columns)

    def _insert(self, batch: Batch, relation: Relation, into: str, columns: Sequence[str] | None = None) -> None:
        kinds = [
            kind_of(name, type_)  # text for decimals
            for name, type_ in relation.columns
            if columns is None or name in columns
        ]
        try:
            self._intake.insert(batch, [field_of(kind) for kind in kinds], into)
        except duckdb.ConversionException as error:
            raise QueryError(
                f"table {relation.table!r} has a value that DuckDB has no room for: {str(error).strip()}; "
                "ask PostgreSQL itself, or change the value"
            ) from error

    def _fit(self, relation: Relation) -> None:
        """Give the table types that hold the staged decimals."""
        key = (relation.table, relation.schema)
        copied = self._copies[key]
        digits = dict(copied.digits)
        for name, known in copied.digits.items():
            need = known
            for source in ("staged", "ended") if name == "id" else ("staged",):
                need |= Digits(*self._run("digits", c=quoted(name), source=source)[0])
            if need.kind != known.kind:
                self._spoiled |= known.kind == "DOUBLE"
                self._run("widen", table=_place(relation), c=quoted(name), kind=need.kind)
            digits[name] = need
        self._copies[key] = replace(copied, digits=digits)

    def _append(self, relation: Relation) -> None:
        copied = self._copies[relation.table, relation.schema]
        values = ", ".join(
            f"cast({quoted(name)} as {_kind(copied, name)})" if name in copied.digits else quoted(name)
            for name, _ in relation.columns
        )
        self._run("append", table=_place(relation), values=values)

    # --- views -------------------------------------------------------------------------------------------

    def _plan_views(self, name: str, history: Relation | None) -> None:
        today, past = self._copies[name, TODAY], self._copies[name, PAST]
        columns = [column for column, _ in today.relation.columns]
        before = [column for column, _ in past.relation.columns]
        views = TableViews(
            name, columns, before, [column for column, _ in history.columns] if history is not None else None
        )
        made_of = (_definitions(today), _definitions(past), views.shown)
        if self._views.get(name) != made_of:
            self._connection.execute(views.history("dataflows"))
            self._views[name] = made_of
        if self._past_views.get(name, (None, ""))[0] != made_of:
            self._past_views[name] = (made_of, views.of_other_times())

    # --- statements --------------------------------------------------------------------------------------

    def _run(self, name: str, **parts: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(_filled(name, parts)).fetchall()


def _schemas(want: Want) -> tuple[str, ...]:
    return (TODAY, PAST) if want.history or want.past else (TODAY,)


def _place(relation: Relation) -> str:
    return quoted("dataflows", _PLACE[relation.schema], relation.table)


def _kind(copied: Copied, name: str) -> str:
    found = copied.digits.get(name)
    return found.kind if found is not None else kind_of(name, dict(copied.relation.columns)[name])


def _definitions(copied: Copied, *, staged: bool = False) -> str:
    kinds = {
        name: "VARCHAR" if staged and name in copied.digits else _kind(copied, name)
        for name, _ in copied.relation.columns
    }
    return ", ".join(f"{quoted(name)} {kind}" for name, kind in kinds.items())


def _filled(name: str, parts: Mapping[str, str]) -> str:
    return filled(_sql(name), parts)


def _sql(name: str) -> str:
    return statement("table_mirror", name, "dataflows_sdk.warehouse")
