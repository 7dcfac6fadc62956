"""How objects show themselves in notebooks: as a plain table of HTML.

There is no style, no script and no colour in it: the table takes those of the page, dark or light, and it is shown the
same in a notebook that is not trusted, on the web pages of code hosts, and by nbconvert. Every text is escaped and
secrets are masked, and however large a value is, its picture is small.
"""

from __future__ import annotations

import dataclasses
import html
import weakref
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from dataflows_sdk.core.durations import format_duration
from dataflows_sdk.core.redact import REDACTOR

T = TypeVar("T")

#: the most that a table shows
MOST_ROWS, MOST_COLUMNS = 200, 40
#: letters of a cell, letters of a value that is looked at for them, and items of a container
_CELL, _LOOKED_AT, _ITEMS = 300, 2_000, 20
_DEEPEST = 4

#: a mark beside each status, for those who do not see colours; in the order in which they are told
MARKS = {
    "running": "▶", "waiting": "…", "sleeping": "…", "queued": "·", "succeeded": "✓", "failed": "✗", "cancelled": "-",
    "quarantined": "!",
}  # fmt: skip


class Sheet(NamedTuple):
    """What an object shows of itself: rows under columns, or, without *columns*, names and values.

    Attributes:
        title: one line above it.
        rows: the cells, row by row.
        columns: their names.
        total: how many rows there are, where *rows* are only the first of them; None where nobody knows how many more.
        notes: lines below.
        parts: sheets that belong to it, below.
    """

    title: str
    rows: Iterable[Sequence[Any]] = ()
    columns: Sequence[str] | None = None
    total: int | None = 0
    notes: Sequence[str] = ()
    parts: Sequence[Any] = ()


def counted(number: int, word: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


class ShownAsTable:
    """For objects that notebooks show as a table: their fields, or what `_sheet` says."""

    __slots__ = ()

    def _sheet(self) -> Sheet:
        return Sheet(type(self).__name__, fields_of(self))

    def _repr_html_(self) -> str:
        return to_html(self._sheet())

    def __repr__(self) -> str:
        # asks nobody, for loggers and debuggers call it, too
        name = "".join(f" {each.lower()}" if each.isupper() else each for each in type(self).__name__).strip()
        context = getattr(self, "_context", None)
        context = context() if isinstance(context, weakref.ref) else context
        return f"<{name}>" if context is None else f"<{name} of {context!r}>"


class Listing(list[T], ShownAsTable):
    """A list that notebooks show as a table. For everything else it is a list; a step's result of it is one."""

    __slots__ = ()

    def _sheet(self) -> Sheet:
        return sheet_of(self)


def fields_of(value: Any) -> list[tuple[str, Any]]:
    """Names and values of the public fields that its repr has, too."""
    if dataclasses.is_dataclass(value):
        return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if f.repr and f.name[:1] != "_"]
    # whatever else there is says in its repr what may be seen of it
    return [("", repr(value))]


def sheet_of(values: Sequence[Any], title: str = "", *, columns: Sequence[str] | None = None) -> Sheet:
    """A table of objects of one kind: a column for each of their fields, or for the keys of mappings.

    Args:
        values: the objects.
        title: above it; by default what they are, and how many.
        columns: only these fields, in this order.
    """
    first = values[:MOST_ROWS]
    found = [_named(each) for each in first]
    names = list(columns) if columns is not None else list(dict.fromkeys(name for each in found for name in each))
    if columns is None:
        # a column in which nothing stands says nothing
        names = [name for name in names if any(each.get(name) not in (None, "", (), [], {}) for each in found)]
    kinds = {"row" if isinstance(each, Mapping) else type(each).__name__ for each in first}
    what = kinds.pop() if len(kinds) == 1 else "item"
    if not title:
        title = f"{len(values):,} × {what}" if values else "(nothing)"
    return Sheet(title, [[each.get(name) for name in names] for each in found], names, total=len(values))


def _named(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {name: each for name, each in value.items() if not str(name).startswith("_")}
    sheet = value._sheet() if isinstance(value, ShownAsTable) else None
    if sheet is not None and not dataclasses.is_dataclass(value) and sheet.columns is None:
        return {str(name): each for name, each in sheet.rows}
    return dict(fields_of(value))


def to_html(sheet: Sheet) -> str:
    """The HTML of a sheet and of its parts."""
    out = [f"<div><strong>{_escaped(sheet.title)}</strong></div>"] if sheet.title else []
    if sheet.columns is None:
        out.append(_pairs(list(sheet.rows)))
    else:
        out.append(_table(sheet))
    out += [f"<div><small>{_escaped(note)}</small></div>" for note in sheet.notes]
    out += [to_html(part) for part in sheet.parts]
    return "".join(out)


def _pairs(rows: list[Sequence[Any]]) -> str:
    if not rows:
        return ""
    body = "".join(
        f'<tr><th scope="row" style="text-align:left">{_escaped(str(name))}</th>{cell(value, wide=True)}</tr>'
        # under a name such as "password" every text is a secret
        for name, value in ((name, _masked(str(name), value)) for name, value in rows[:MOST_ROWS])
    )
    return f"<table><tbody>{body}</tbody></table>{_more(len(rows) - MOST_ROWS, 'fields')}"


def _masked(name: str, value: Any) -> Any:
    return REDACTOR.redact_value({name: value})[name] if isinstance(value, str) else value


def _table(sheet: Sheet) -> str:
    columns = list(sheet.columns or ())
    shown, beyond = columns[:MOST_COLUMNS], False
    rows: list[str] = []
    for row in sheet.rows:
        if len(rows) == MOST_ROWS:
            beyond = True
            break
        rows.append("<tr>" + "".join(cell(value) for value in row[: len(shown)]) + "</tr>")
    if not columns:
        return ""
    head = "".join(f'<th scope="col" style="text-align:left">{_escaped(str(name))}</th>' for name in shown)
    more = "<div><small>… and more rows</small></div>" if sheet.total is None and beyond else ""
    if sheet.total is not None:
        more = _more(sheet.total - len(rows), "rows")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return table + more + _more(len(columns) - len(shown), "columns")


def _more(number: int, what: str) -> str:
    return f"<div><small>… and {number:,} more {what}</small></div>" if number > 0 else ""


def cell(value: Any, *, wide: bool = False) -> str:
    """A cell of a table. Numbers stand to the right, and what is long is cut."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and not wide
    side = "right" if number else "left"
    return f'<td style="text-align:{side}">{_escaped(brief(value))}</td>'


def _escaped(text: str) -> str:
    return html.escape(REDACTOR.redact_text(text)).replace("\n", "<br>")


def brief(value: Any, limit: int = _CELL) -> str:
    """A value as a short text, whatever it is; never raises, and a large one is not looked through."""
    try:
        text = _brief(value, 0)
    except Exception as error:  # noqa: BLE001 - the repr of somebody's class may do anything
        text = f"<{type(value).__qualname__} whose repr raised {type(error).__name__}>"
    # masked before it is cut: half a token is not recognised any more
    text = REDACTOR.redact_text(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _brief(value: Any, depth: int) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        text = value[:_LOOKED_AT]
        return text if depth == 0 else repr(text)
    if isinstance(value, datetime):
        text = value.isoformat(sep=" ", timespec="milliseconds" if value.microsecond else "seconds")
        return text.replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, (bytes, bytearray)):
        return f"{bytes(value[:20])!r}{'…' if len(value) > 20 else ''} ({len(value):,} bytes)"
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        return _container(value, depth)
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{type(value).__name__} {' × '.join(f'{size:,}' for size in shape)}"
    return (str(value) if depth == 0 else repr(value))[:_LOOKED_AT]


def _container(value: Any, depth: int) -> str:
    if not value:
        return "" if depth == 0 else repr(value)
    if depth == _DEEPEST:
        return "…"
    # masked as a whole: under a name such as "password" every value is a secret
    head = list(value.items() if isinstance(value, dict) else value)[:_ITEMS]
    left = [f"… {len(value) - _ITEMS:,} more"] if len(value) > _ITEMS else []
    if isinstance(value, dict):
        part = REDACTOR.redact_value(dict(head)) if depth == 0 else dict(head)
        inside = [f"{key if isinstance(key, str) else repr(key)}: {_inner(each, depth)}" for key, each in part.items()]
        return "{" + ", ".join(inside + left) + "}" if depth else ", ".join(inside + left)
    inside = [_inner(each, depth) for each in head]
    if depth == 0 and isinstance(value, tuple) and all(isinstance(each, (str, int)) for each in head):
        return ", ".join([str(each) for each in head] + left)
    begin, end = "[]" if isinstance(value, list) else "()" if isinstance(value, tuple) else "{}"
    return f"{begin}{', '.join(inside + left)}{end}"


def _inner(value: Any, depth: int) -> str:
    return "None" if value is None else _brief(value, depth + 1)
