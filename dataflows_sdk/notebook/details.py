"""The whole values of one step, for a page that asks: bounded, masked, tables as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook.previews import cut

if TYPE_CHECKING:
    from dataflows_sdk.core.redact import Redactor
    from dataflows_sdk.notebook.kept import Kept

#: bytes of a record that is read, of a text that is sent; rows, columns and characters of a cell in a table
_READ, _SENT = 4_000_000, 64_000
_ROWS, _COLUMNS, _CELL = 200, 40, 200


def detail(run: Kept, key: str, at: int | None) -> dict[str, Any]:
    """Input, output, error and source of a step, as of an event's number.

    Raises:
        DefinitionError: there is no such step by then.
    """
    rows = [row for row in run.records(key, _READ) if at is None or row[0] <= at]
    if not rows:
        raise DefinitionError(f"the run has no step {key!r}" + ("" if at is None else f" by event {at}"))
    found: dict[str, Any] = {"text": ""}
    for _, kind, data, size in rows:  # the last one first
        if data is None:
            found.setdefault("output", _elsewhere(key, size))
            continue
        record = from_json(data)
        if kind in ("step.completed", "step.timed_out") and "value" in record:
            found.setdefault("output", shown(run, key, record["value"]))
        if "input" in record:
            found.setdefault("input", shown(run, key, record["input"]))
        if record.get("error"):
            error = record["error"]
            text = error.get("traceback") or f"{error.get('type')}: {error.get('message')}"
            found.setdefault("error", {"text": _masked(run, text)})
    source, version = run.code()
    if source:
        found["source"] = {"text": _masked(run, source), "note": f"version {version}"}
    return found


def shown(run: Kept, key: str, tree: Any) -> dict[str, Any]:
    """A recorded value for the page: ``json``, ``table`` or ``text``. What is large and no table stays where it is."""
    size = _beside(tree)
    if size > _READ and not (isinstance(tree, dict) and "$frame" in tree):
        return _elsewhere(key, size)
    value = run.decode(tree)
    if isinstance(value, str) and len(value) > _SENT:
        return {"text": _masked(run, value)}
    masked = run.redactor.redact_value(value)
    if _is_frame(masked):
        return {"table": _table(run.redactor, masked)}
    try:
        text = json.dumps(masked, allow_nan=False)
    except (TypeError, ValueError):
        text = None
    if text is not None and len(text) <= _SENT and json.loads(text) == masked:
        return {"json": masked}
    return {"text": _masked(run, run.redactor.redact_repr(value, _SENT))}


def _is_frame(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] in ("pandas", "polars", "pyarrow") and hasattr(value, "columns")


def _table(redactor: Redactor, frame: Any) -> dict[str, Any]:
    package = type(frame).__module__.partition(".")[0]
    names = frame.column_names if package == "pyarrow" else list(frame.columns)
    count = frame.num_rows if package == "pyarrow" else len(frame)
    names = list(names)[:_COLUMNS]
    head = frame.slice(0, _ROWS) if package in ("pyarrow", "polars") else frame.head(_ROWS)
    columns = [
        list(head[name])
        if package == "pandas"
        else head.column(name).to_pylist()
        if package == "pyarrow"
        else head[name].to_list()
        for name in names
    ]
    return grid(redactor, names, list(zip(*columns, strict=True)), count)


def grid(redactor: Redactor, names: Sequence[Any], rows: Sequence[Sequence[Any]], count: int) -> dict[str, Any]:
    """Columns and rows as a page gets them: texts, masked and cut; *count* is how many rows there are in all."""
    mask = redactor.redact_text
    cells = [[cut(mask(str(cell)), _CELL) for cell in row[:_COLUMNS]] for row in rows]
    return {"columns": [cut(mask(str(name)), _CELL) for name in names[:_COLUMNS]], "rows": cells, "of": count}


def _masked(run: Kept, text: str) -> str:
    return cut(run.redactor.redact_text(text[: 4 * _SENT]), _SENT)


def _beside(tree: Any) -> int:
    """The bytes of the large values that stand beside a record."""
    if isinstance(tree, dict):
        size = tree.get("size") if "sha256" in tree else None
        return size if isinstance(size, int) else sum(map(_beside, tree.values()))
    return sum(map(_beside, tree)) if isinstance(tree, list) else 0


def _elsewhere(key: str, size: int) -> dict[str, Any]:
    return {"text": f"{size:,} bytes: run.timeline()[{key!r}] has it", "note": "large"}
