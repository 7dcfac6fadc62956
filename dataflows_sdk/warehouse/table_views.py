"""The views of a table of the warehouse: all that happened, and as it was at another time.

They are the same over the mirrors and over an archive, because the tables under them lie in the same places: the
schemas of `PLACES`, and the list of writes.
"""

from __future__ import annotations

from collections.abc import Sequence

from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.intake import filled
from dataflows_sdk.warehouse.kinds import quoted

#: the schemas of today's rows, and of those that are no longer true
PLACES = ("warehouse", "internal_past")
#: the schema and the table of the writes
WRITES = ("internal_writes", "writes")

#: columns of the history that are none of the table's: what they are
_DERIVED = {
    "valid_from": "v._synced_at",
    "valid_to": "v._valid_to",
    "operation": "case when v._version = 1 then 'insert' else 'update' end",
    "ended_by": "case when v._ended_by is not null then case when v._deleted then 'delete' else 'update' end end",
    "run": "v._execution_id",
    "step": "w.step",
    "ended_run": "e.run",
    "ended_step": "e.step",
}


class TableViews:
    """How the views of one table are made.

    Args:
        name: of the table.
        columns: of today's rows.
        before: of the past versions.
        shown: columns of the history; None for all of the table and those of the history itself.
    """

    def __init__(self, name: str, columns: Sequence[str], before: Sequence[str], shown: Sequence[str] | None) -> None:
        self._name = name
        self._columns = list(columns)
        self._before = list(before)
        self.shown = list(shown) if shown is not None else [*columns, *_DERIVED]

    def history(self, database: str | None) -> str:
        """The statement that makes the view of today's rows and all versions, beside the table.

        Args:
            database: where all of it is; None to leave that open, for a file that may be opened under any name.
        """
        return self._history(_in(database, PLACES[0], f"{self._name}_history"), database, "true", _sql("ends"))

    def of_other_times(self) -> str:
        """The statements that make the views of ``dataflows_past`` over the tables of ``dataflows``."""
        began = _sql("began")
        ends = filled(_sql("ends_as_of"), {"over": _sql("over")})
        table = filled(
            _sql("as_of"),
            {**self._parts("dataflows"), "columns": self._listed(), "view": self._there(""), "began": began},
        )
        return f"{table};\n{self._history(self._there('_history'), 'dataflows', began, ends)}"

    def _history(self, view: str, database: str | None, began: str, ends: str) -> str:
        columns = ", ".join(
            f"v.{quoted(name)}"
            if name in self._columns or name not in _DERIVED
            else f"{_DERIVED[name]} as {quoted(name)}"
            for name in self.shown
        )
        parts = {**self._parts(database), "columns": columns, "view": view, "began": began, "ends": ends}
        return filled(_sql("history"), parts)

    def _there(self, more: str) -> str:
        return quoted("dataflows_past", PLACES[0], self._name + more)

    def _listed(self) -> str:
        return ", ".join(map(quoted, self._columns))

    def _parts(self, database: str | None) -> dict[str, str]:
        return {
            "table": _in(database, PLACES[0], self._name),
            "past": _in(database, PLACES[1], self._name),
            "writes": _in(database, *WRITES),
            "today": self._listed(),
            "before": ", ".join(quoted(each) if each in self._before else "null" for each in self._columns),
        }


def _in(database: str | None, *names: str) -> str:
    return quoted(*names) if database is None else quoted(database, *names)


def _sql(name: str) -> str:
    return statement("table_views", name, "dataflows_sdk.warehouse")
