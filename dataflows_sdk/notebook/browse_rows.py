"""The rows of a table of the warehouse as a list to browse, and who wrote them."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.shown import Sheet, counted, sheet_of
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook.browsing import Details, Field, Line, Page, Source

if TYPE_CHECKING:
    from dataflows_sdk.warehouse.rows import Row
    from dataflows_sdk.warehouse.table import Table

#: what a filter may say, and the operator of `Table.find`
_OPERATORS = {
    "is": "eq", "is not": "neq", "contains": "contains", "begins with": "starts_with", ">": "gt", ">=": "gte",
    "<": "lt", "<=": "lte", "is empty": "is_null", "is not empty": "not_null",
}  # fmt: skip
#: rows of pages that were shown, so that one is known again after it was deleted; and places at which pages begin
_KEPT = 2_000
#: what an order says behind the name of a column, and how `Table.find` writes it
_ORDERS = {" ↑": "", " ↓": "-"}

#: behind which row a page begins, and the moment of which it is; None for now
_Place = tuple[Mapping[str, Any], datetime | None]


class RowList(Source):
    """See `Table.browse`."""

    empty = "no rows"

    def __init__(self, table: Table, limit: int) -> None:
        self._table, self._limit = table, limit
        self._seen: OrderedDict[str, Row] = OrderedDict()
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._salt = secrets.token_bytes(8)
        self.title, self.code = table.name, f'ctx.warehouse["{table.name}"].find()'

    def fields(self) -> list[Field]:
        """The filters."""
        names = [each.name for each in self._table.columns]
        return [
            Field("column", "column", "", ("", *names)),
            Field("operator", "operator", "is", tuple(_OPERATORS)),
            Field("value", "value"),
            Field("order", "order", "", ("", *(f"{name}{sign}" for name in names for sign in _ORDERS))),
            Field("as_of", "as of"),
        ]

    def page(self, asked: Mapping[str, str], after: str | None) -> Page:
        """Rows by their key or a column; a page begins behind the row that the one before ended with."""
        place = None if after is None else self._places.get(after)
        if after is not None and place is None:
            raise DefinitionError(
                f"this list has no place {after!r:.60}, or had it too long ago: begin at its first page"
            )
        order = _order(asked.get("order"))
        past = self._table._warehouse.as_of(asked["as_of"]) if "as_of" in asked else None
        if past is not None and place is not None and place[1] is not None:
            past.moment = place[1]  # "2d" ago is not now what it was for the first page

        def find(where: Any) -> list[Row]:
            options: dict[str, Any] = {
                "order": order,
                "limit": self._limit + 1,
                "after": None if place is None else place[0],
            }
            if past is not None:
                return past.find(self._table.name, where, **options)
            return self._table.find(where, **options)

        rows = _found(asked, find)
        names = [each.name for each in self._table.columns]
        lines = [Line(self._keep(row), [row.get(name) for name in names]) for row in rows[: self._limit]]
        moment = None if past is None else past.moment
        following = self._behind(rows[self._limit - 1], order, moment) if len(rows) > self._limit else None
        return Page(names, lines, following, "" if moment is None else f"as of {moment:%Y-%m-%d %H:%M:%S} UTC")

    def details(self, identifier: str) -> Details:
        """A row with every version of it, and why it is as it is."""
        row = self._seen.get(identifier)
        if row is None:
            raise DefinitionError("this row was shown too long ago: look for it again")
        table = self._table
        parts = tuple(row[name] for name in table.shape.row_key)
        key = parts[0] if len(parts) == 1 else parts
        now = table.get(key)
        why = table.why(key)
        versions = table.history(key)
        names = [each.name for each in table.columns]
        sheets = [
            Sheet("row" if now is not None else "row, which is deleted", list((now or row).items())),
            sheet_of(versions, f"history: {counted(len(versions), 'version')}"),
        ]
        texts = [("why", str(why))] if why is not None else []
        if why is not None and why.trigger:
            sheets.append(Sheet("the run that wrote it began with", list(why.trigger.items())))
        texts.append(("in a cell", f'ctx.warehouse["{table.name}"].why({key!r})'))
        return Details(
            f"{table.name} {', '.join(str(row[name]) for name in table.shape.row_key or names[:1])}", sheets, texts
        )

    def _keep(self, row: Row) -> str:
        identifier = json.dumps([str(row[name]) for name in self._table.shape.row_key])
        self._seen[identifier] = row
        self._seen.move_to_end(identifier)
        if len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        return identifier

    def _behind(self, row: Row, order: str | None, moment: datetime | None) -> str:
        """A name for the place behind a row. It says nothing of the row, whose values may be secret."""
        by = dict.fromkeys([*([order.removeprefix("-")] if order else []), *self._table.shape.row_key])
        values = {name: row[name] for name in by}
        made = hashlib.sha256(self._salt + repr((values, order, moment)).encode()).hexdigest()[:24]
        self._places[made] = values, moment
        self._places.move_to_end(made)
        if len(self._places) > _KEPT:
            self._places.popitem(last=False)
        return made


def _order(asked: str | None) -> str | None:
    if asked is None:
        return None
    sign = next((each for each in _ORDERS if asked.endswith(each.strip())), None)
    if sign is None:
        raise DefinitionError(f"an order is a column and ↑ or ↓, not {asked!r:.60}")
    return _ORDERS[sign] + asked[: -len(sign.strip())].strip()


def _found(asked: Mapping[str, str], find: Callable[[Any], list[Row]]) -> list[Row]:
    """The rows that a filter lets through."""
    column, word, value = asked.get("column"), asked.get("operator", "is"), asked.get("value")
    if word not in _OPERATORS:
        raise DefinitionError(f"{word!r} is no operator here: {', '.join(_OPERATORS)}")
    operator = _OPERATORS[word]
    if column is None or (value is None and not operator.endswith("_null")):
        return find(None)  # half a filter is none yet
    if value is None or operator.endswith("_null"):
        return find([(column, operator, True)])
    try:
        return find([(column, operator, value)])
    except DefinitionError:
        # the column is none of texts: what was written stands for a number or the like
        try:
            other = json.loads(value)
        except ValueError:
            other = None
        if other is None or isinstance(other, str):
            raise
        return find([(column, operator, other)])
