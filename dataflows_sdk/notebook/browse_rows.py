"""The rows of a table of the warehouse as a list to browse, and who wrote them."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.shown import Sheet, sheet_of
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
#: rows of pages that were shown, so that one is known again after it was deleted
_KEPT = 2_000


class RowList(Source):
    """See `Table.browse`."""

    empty = "no rows"

    def __init__(self, table: Table, limit: int) -> None:
        self._table, self._limit = table, limit
        self._seen: OrderedDict[str, Row] = OrderedDict()
        self.title, self.code = table.name, f'ctx.warehouse["{table.name}"].find()'

    def fields(self) -> list[Field]:
        """The filters."""
        names = [each.name for each in self._table.columns]
        return [
            Field("column", "column", "", ("", *names)),
            Field("operator", "operator", "is", tuple(_OPERATORS)),
            Field("value", "value"),
        ]

    def page(self, asked: Mapping[str, str], after: str | None) -> Page:
        """Rows by their key, from an offset."""
        if after is not None and not (after.isascii() and after.isdigit() and len(after) < 12):
            raise DefinitionError(f"after= is the number of rows before the page, not {after!r}")
        offset = int(after or 0)
        rows = self._find(asked, offset)
        names = [each.name for each in self._table.columns]
        lines = [Line(self._keep(row), [row.get(name) for name in names]) for row in rows[: self._limit]]
        return Page(names, lines, str(offset + self._limit) if len(rows) > self._limit else None)

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
            sheet_of(versions, f"history: {len(versions):,} versions"),
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

    def _find(self, asked: Mapping[str, str], offset: int) -> list[Row]:
        column, word, value = asked.get("column"), asked.get("operator", "is"), asked.get("value")
        if word not in _OPERATORS:
            raise DefinitionError(f"{word!r} is no operator here: {', '.join(_OPERATORS)}")
        operator = _OPERATORS[word]
        if column is None or (value is None and not operator.endswith("_null")):
            return self._table.find(limit=self._limit + 1, offset=offset)  # half a filter is none yet

        def find(given: Any) -> list[Row]:
            return self._table.find([(column, operator, given)], limit=self._limit + 1, offset=offset)

        if value is None or operator.endswith("_null"):
            return find(True)
        try:
            return find(value)
        except DefinitionError:
            # the column is none of texts: what was written stands for a number or the like
            try:
                other = json.loads(value)
            except ValueError:
                other = None
            if other is None or isinstance(other, str):
                raise
            return find(other)
