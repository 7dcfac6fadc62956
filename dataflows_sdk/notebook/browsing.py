"""What a browser in a notebook shows: a list in pages with filters, and of each row details and what can be done.

A `Source` says what there is; `Answers` gives it to a page. Nothing is kept for a page: it says itself which filters
and which page it has, so that two views of one source, or a page that was opened again, are no matter.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.core.shown import MOST_COLUMNS, MOST_ROWS, Sheet, brief, to_html
from dataflows_sdk.drawing.bundle import LARGEST
from dataflows_sdk.errors import DataflowsError, DefinitionError
from dataflows_sdk.notebook.queued import Queued, Tell, reply_to

#: seconds for which a page of a list is given again instead of being read again
_FRESH = 1.0
#: characters of a filter or a note, of what is given to an action, of a cell, and of a text among the details
_WRITTEN, _GIVEN, _CELL, _TEXT = 2_000, 100_000, 300, 20_000

#: a piece of a cell, and whether it is marked
Pieces = list[tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class Field:
    """One filter, or one input of an action: a text, a choice where there are *options*, or JSON in many lines."""

    name: str
    label: str
    value: str = ""
    options: Sequence[str] = ()
    json: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """A button among the details of a row.

    *look* is ``"yes"``, ``"no"`` or nothing; *code* does the same in a cell; *ask* is what somebody has to say yes to
    with a second click before it is done.
    """

    name: str
    label: str
    look: str = ""
    code: str = ""
    ask: str = ""


@dataclass(slots=True)
class Line:
    """One row of a list; its *id* is what the source knows it by."""

    id: str
    cells: Sequence[Any]
    status: str = ""


@dataclass(slots=True)
class Page:
    """A part of a list. *next* says where the next one begins; None after the last."""

    columns: Sequence[str]
    lines: list[Line]
    next: str | None = None
    note: str = ""


@dataclass(slots=True)
class Details:
    """What is shown of one row: sheets, texts, a picture, and what can be done.

    *edits* are inputs that show when somebody asks for them, and count only then.
    """

    title: str
    sheets: list[Sheet] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    svg: str = ""
    actions: Sequence[Action] = ()
    inputs: Sequence[Field] = ()
    edits: Sequence[Field] = ()


#: shows the run that a row opens to, and gives the id of its widget; None takes it away
Show = Callable[[Any], str]


class Source(ABC):
    """What a browser shows. Its methods are called on one thread at a time.

    Attributes:
        title: above the list.
        code: what a cell says instead, for when the kernel is busy.
        empty: what is said where there is no row.
        live: whether the list changes by itself, and is to be looked at again while it is shown.
        opens: whether a row opens to a live view of a run.
    """

    title: str = ""
    code: str = ""
    empty: str = "nothing"
    live: bool = False
    opens: bool = False

    def fields(self) -> list[Field]:
        """The filters."""
        return []

    @abstractmethod
    def page(self, asked: Mapping[str, str], after: str | None) -> Page:
        """A page of the list.

        Args:
            asked: values of the filters; empty ones are left out.
            after: `Page.next` of the page before.
        """

    @abstractmethod
    def details(self, identifier: str) -> Details:
        """Of one row."""

    def act(self, identifier: str, action: str, given: Mapping[str, str]) -> str:
        """Do something with a row; what came of it, in words.

        Args:
            given: what stands in the inputs, as it was written.
        """
        del given
        raise DefinitionError(f"{action!r} cannot be done with {identifier!r}")

    def opened(self, identifier: str) -> Any:
        """The run that a row opens to."""
        raise DefinitionError(f"{identifier!r} opens to nothing")

    def mask(self, text: str) -> str:
        """A text without secrets."""
        return REDACTOR.redact_text(text)


# --- as a page gets it -------------------------------------------------------------------------------------------


def page_of(source: Source, asked: Mapping[str, str], after: str | None) -> dict[str, Any]:
    """A page of a list, as JSON."""
    page = source.page(asked, after)
    lines = [
        {
            "id": each.id,
            "status": each.status,
            "cells": [_cell(source, cell) for cell in each.cells[:MOST_COLUMNS]],
        }
        for each in page.lines[:MOST_ROWS]
    ]
    found: dict[str, Any] = {
        "columns": [brief(name) for name in page.columns[:MOST_COLUMNS]],
        "lines": lines,
        "next": page.next,
        "note": source.mask(page.note) if lines else source.mask(page.note or source.empty),
    }
    found["print"] = hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]
    return found


def _cell(source: Source, cell: Any) -> str | Pieces:
    if isinstance(cell, list) and cell and isinstance(cell[0], tuple):
        return [(source.mask(text), marked) for text, marked in cell]
    return source.mask(brief(cell, _CELL))


def plain(cell: str | Pieces) -> str:
    """A cell without its marks."""
    return cell if isinstance(cell, str) else "".join(text for text, _ in cell)


def first_page(source: Source) -> dict[str, Any]:
    """What is shown at first, and where no script runs."""
    return page_of(source, {each.name: each.value for each in source.fields() if each.value}, None)


def still(source: Source, page: Mapping[str, Any]) -> str:
    """The first page as HTML without a script."""
    rows = [[plain(cell) for cell in line["cells"]] for line in page["lines"]]
    notes = [*([page["note"]] if page["note"] else []), *(["there are more"] if page["next"] else [])]
    return to_html(Sheet(source.title, rows, page["columns"] if rows else (), total=len(rows), notes=notes))


def details_of(source: Source, identifier: str) -> dict[str, Any]:
    """The details of one row, as JSON."""
    found = source.details(identifier)
    return {
        "title": source.mask(found.title),
        "sheets": [block for sheet in found.sheets for block in _blocks(source, sheet)],
        "texts": [(title, source.mask(text[:_TEXT])) for title, text in found.texts],
        "svg": found.svg if len(found.svg) <= LARGEST else "",
        "actions": [asdict(each) for each in found.actions],
        "inputs": [asdict(each) for each in found.inputs],
        "edits": [asdict(each) for each in found.edits],
        "opens": source.opens,
    }


def _blocks(source: Source, sheet: Sheet) -> list[dict[str, Any]]:
    rows = [list(row) for row, _ in zip(sheet.rows, range(MOST_ROWS), strict=False)]
    if sheet.columns is None:
        # under a name such as "password" every text is a secret
        rows = [[name, REDACTOR.redact_value({str(name): value})[str(name)] if isinstance(value, str) else value]
                for name, value in rows]  # fmt: skip
    shown = [[source.mask(brief(cell, _CELL)) for cell in row[:MOST_COLUMNS]] for row in rows]
    columns = None if sheet.columns is None else [brief(name) for name in sheet.columns[:MOST_COLUMNS]]
    of = sheet.total if sheet.total is not None and sheet.columns is not None else len(shown)
    own = {"title": source.mask(sheet.title), "columns": columns, "rows": shown, "of": of, "notes": list(sheet.notes)}
    return [own, *(block for part in sheet.parts for block in _blocks(source, part))]


# --- messages ----------------------------------------------------------------------------------------------------


class Answers(Queued):
    """Answers what a page asks of a source.

    Args:
        tell: gets the replies.
        show: shows the run that a row opens to (None: takes it away), and gives the id of its widget.
    """

    def __init__(self, source: Source, tell: Tell, show: Show | None = None) -> None:
        super().__init__(tell)
        self._source = source
        self._show = show
        self._read: dict[str, tuple[float, dict[str, Any]]] = {}
        self._known: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "page": self._page,
            "look": self._look,
            "details": self._details,
            "act": self._act,
            "open": self._open,
            "shut": self._shut,
        }

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Do what a message says, and give the reply."""
        name = message.get("do")
        known = self._known.get(name) if isinstance(name, str) else None
        if known is None:
            return reply_to(message, ok=False, text=f"{name!r} is no command here: {', '.join(self._known)}")
        try:
            return reply_to(message, ok=True, **known(message))
        except DataflowsError as error:
            return reply_to(message, ok=False, text=self._source.mask(str(error)))
        except Exception as error:  # noqa: BLE001 - one command must not end the others
            return reply_to(message, ok=False, text=self._source.mask(f"{type(error).__name__}: {error}"))

    def _page(self, message: dict[str, Any]) -> dict[str, Any]:
        asked, after = self._place(message)
        found = page_of(self._source, asked, after)
        self._read = {json.dumps([asked, after]): (monotonic(), found)}
        return {"list": found}

    def _look(self, message: dict[str, Any]) -> dict[str, Any]:
        """The page again if it is not what the other side has; read at most once a second, however many ask."""
        asked, after = self._place(message)
        at, found = self._read.get(json.dumps([asked, after]), (0.0, {}))
        if not found or monotonic() - at >= _FRESH:
            found = self._page(message)["list"]
        return {} if found["print"] == message.get("print") else {"list": found}

    def _details(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"details": details_of(self._source, _text(message, "row"))}

    def _act(self, message: dict[str, Any]) -> dict[str, Any]:
        text = self._source.act(_text(message, "row"), _text(message, "action"), _texts(message, "given", _GIVEN))
        self._read = {}
        return {"text": self._source.mask(text)}

    def _open(self, message: dict[str, Any]) -> dict[str, Any]:
        run = self._source.opened(_text(message, "row"))
        if self._show is None:
            raise DefinitionError("nothing can be opened here")
        return {"model": self._show(run)}

    def _shut(self, message: dict[str, Any]) -> dict[str, Any]:
        del message
        if self._show is not None:
            self._show(None)
        return {}

    def _place(self, message: dict[str, Any]) -> tuple[dict[str, str], str | None]:
        asked = {key: each.strip() for key, each in _texts(message, "asked", _WRITTEN).items() if each.strip()}
        known = {each.name for each in self._source.fields()}
        if strange := sorted(asked.keys() - known):
            raise DefinitionError(f"{strange[0]!r} is no filter here: {', '.join(sorted(known)) or 'there are none'}")
        after = message.get("after")
        if after is not None and not isinstance(after, str):
            raise DefinitionError(f"after= is the next page as the one before said it, not {after!r}")
        return asked, after


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _WRITTEN:
        raise DefinitionError(f"{name}= must be a text of at most {_WRITTEN:,} characters")
    return value


def _texts(message: Mapping[str, Any], name: str, most: int) -> dict[str, str]:
    """Texts by name."""
    value = message.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise DefinitionError(f"{name}= must be texts by name")
    if long := next((key for key, each in value.items() if len(each) > most), None):
        raise DefinitionError(f"{long!r} is longer than {most:,} characters")
    return {str(key): each for key, each in value.items()}
