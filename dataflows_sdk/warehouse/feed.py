"""What was changed, write by write: a feed that a cursor goes along, which passes nothing over and waits for nobody.

A cursor holds the snapshot in which everything was told (decision 0019): what is new is visible now and was not in it.
So a write is told as soon as it is committed, and one that commits late, after others that began later, is not missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from dataflows_sdk.core.shown import MOST_ROWS, Sheet, ShownAsTable, counted
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.store.database import Database
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.catalogue import Catalogue
from dataflows_sdk.warehouse.columns import shortened
from dataflows_sdk.warehouse.reading import Reader, RowChange
from dataflows_sdk.warehouse.rows import Row
from dataflows_sdk.warehouse.shape import PROVENANCE

_OURS = frozenset(name for name, _ in PROVENANCE)
#: writes that are read at a time
_PAGE = 1_000
#: transactions after which it is dearer to look over the writes of other tables again than to keep a newer cursor
_FAR = 10_000
#: the write that an older cursor of "now" named
_NO_WRITE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the feed.

    Attributes:
        seen: the snapshot in which everything was told; None: nothing was.
        last: the largest number of a write that was told.
        floor, beyond: writes up to the one, of transactions from the other on, were told, too: they come out of a dump,
            of a server that had counted further.
        until: the snapshot up to which is being told; None between two.
        write, skip: the write that was told last in it, and how many of its rows.
        since: what is older is not told, before *until*; as ISO text.
        restored: *seen* is a snapshot of another server: writes above *last* are to be told.
    """

    seen: str | None = None
    last: int = 0
    floor: int = 0
    beyond: int = 0
    until: str | None = None
    write: int = 0
    skip: int = 0
    since: str | None = None
    restored: bool = False

    def __str__(self) -> str:
        place = [self.seen or "", self.last, self.floor, self.beyond]
        if self.until is not None:
            place += [self.until, self.write, self.skip, self.since or "", int(self.restored)]
        return "/".join(map(str, place))

    @staticmethod
    def parse(text: str) -> Cursor | None:
        """The cursor that a text is; None if it is none."""
        older = text.split(".")
        if len(older) == 3 and all(map(_is_number, older)):
            return _older(int(older[0]), int(older[1]))
        parts = text.split("/")
        numbers = [part for at, part in enumerate(parts) if at not in (0, 4, 7)]
        snapshots = [part for at, part in enumerate(parts) if at in (0, 4) and part]
        if len(parts) not in (4, 9) or not all(map(_is_number, numbers)):
            return None
        if not all(_is_snapshot(part) for part in snapshots) or (len(parts) == 9 and not parts[4]):
            return None
        seen, last, floor, beyond = parts[0] or None, *map(int, parts[1:4])
        if len(parts) == 4:
            return Cursor(seen, last, floor, beyond)
        since = parts[7] or None
        try:
            if since is not None:
                datetime.fromisoformat(since)
        except ValueError:
            return None
        return Cursor(seen, last, floor, beyond, parts[4], int(parts[5]), int(parts[6]), since, parts[8] == "1")


def _older(xid: int, write: int) -> Cursor:
    """A cursor as it was before it held a snapshot: a transaction and a write; that transaction may be told twice."""
    first = xid + 1 if write == _NO_WRITE else xid
    return Cursor(f"{first}:{first}:", 0 if write == _NO_WRITE else write) if first else Cursor()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= _NO_WRITE


def _is_snapshot(text: str) -> bool:
    first, _, rest = text.partition(":")
    after, colon, running = rest.partition(":")
    numbers = [first, *(running.split(",") if running else ()), after]
    if not colon or not all(map(_is_number, numbers)):
        return False
    low, *open_, high = map(int, numbers)
    return 0 < low <= high and all(low <= each < high for each in open_) and sorted(set(open_)) == open_


def far(earlier: str | None, later: str) -> bool:
    """Whether two cursors are so far apart that the later one is worth keeping though nothing was told in between."""
    one, other = Cursor.parse(earlier or ""), Cursor.parse(later)
    if one is None or one.seen is None or other is None or other.seen is None:
        return True
    return not 0 <= int(other.seen.partition(":")[0]) - int(one.seen.partition(":")[0]) < _FAR


def _row_key(row: Row | None) -> str:
    """What tells a row from others, as far as the row itself says it."""
    return "" if row is None else ", ".join(f"{name}={row[name]}" for name in list(row)[:2] if name not in _OURS)


class Changes(list[RowChange], ShownAsTable):
    """Changes, those of a row in the order of its versions.

    Attributes:
        cursor: give it as ``since=`` to hear what comes after these. A text; keep it where you keep what you did with
            the changes.
    """

    def __init__(self, changes: Sequence[RowChange], cursor: str) -> None:
        super().__init__(changes)
        self.cursor = cursor

    def _sheet(self) -> Sheet:
        columns = ("table", "operation", "key", "changed", "at", "run", "step", "source")
        rows = [
            (each.table, each.operation, _row_key(each.row or each.before), ", ".join(each.changed), each.at, each.run,
             each.step, each.source)
            for each in self[:MOST_ROWS]
        ]  # fmt: skip
        return Sheet(counted(len(self), "change"), rows, columns, total=len(self), notes=[f"cursor {self.cursor}"])


class Feed:
    """Reads the writes of one database. Thread-safe."""

    def __init__(self, database: Database, catalogue: Catalogue, reader: Reader) -> None:
        self._database = database
        self._catalogue = catalogue
        self._reader = reader

    def now(self) -> Changes:
        """No changes, with the cursor of whoever wants to hear only what comes."""
        seen, last = self._database.query(_sql("from_here"))[0]
        return Changes([], str(Cursor(seen, last)))

    def changes(self, since: str | datetime | None, table: str | None, limit: int) -> Changes:
        """What was changed after a cursor or a moment; from the beginning on without."""
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise DefinitionError(f"limit is a whole number from 1 on, not {limit!r}")
        if table is not None:
            self._catalogue.get(table)
        if isinstance(since, datetime):
            cursor: Cursor | None = Cursor(since=since.isoformat())
        else:
            cursor = Cursor() if since is None else Cursor.parse(since)
        if cursor is None:
            raise DefinitionError(
                f"{shortened(since)} is no cursor of changes; it is what .cursor of the last ones gave"
            )
        found: list[RowChange] = []
        while len(found) < limit:
            old = cursor.until
            cursor, writes, most = self._writes(cursor, table, limit - len(found))
            for id_, name, at, run, step, source, size in writes:
                skip = cursor.skip if id_ == cursor.write else 0
                room = limit - len(found)
                origin = at, None if run is None else str(run), step, source
                rows = self._reader.of_write(name, id_, skip, room, origin)
                found += rows
                # a write whose table was dropped has none of its rows any more
                whole = len(rows) < room or skip + len(rows) >= size
                cursor = replace(cursor, write=id_, skip=0 if whole else skip + len(rows))
                if len(found) >= limit:
                    break
            else:
                if len(writes) < most:
                    cursor = _through(cursor)
                    if old is None:  # up to now; another moment was now when the cursor was given
                        break
        return Changes(found, str(cursor))

    def _writes(self, cursor: Cursor, table: str | None, room: int) -> tuple[Cursor, list[tuple[Any, ...]], int]:
        """The next writes, how many there may be, and the cursor in front of them, which knows how far it goes."""
        most = min(room, _PAGE)
        # the write in which the last page ended is read on
        after = cursor.write - 1 if cursor.skip else cursor.write
        place = [cursor.seen, cursor.until, table, after, cursor.since, cursor.floor, str(cursor.beyond)]
        rows = self._database.query(_sql("after"), [*place, cursor.last if cursor.restored else None, most])
        until, strange = rows[0][:2]
        if strange and not cursor.restored:
            until, floor, beyond = self._database.query(_sql("restored"))[0]
            restored = Cursor(cursor.seen, cursor.last, floor, int(beyond), until, restored=True)
            return self._writes(restored, table, room)
        return replace(cursor, until=until), [row[2:] for row in rows if row[2] is not None], most


def _through(cursor: Cursor) -> Cursor:
    """After everything up to a snapshot was told."""
    return Cursor(cursor.until, max(cursor.last, cursor.write), cursor.floor, cursor.beyond)


def _sql(name: str) -> str:
    return statement("writes", name, "dataflows_sdk.warehouse")
