"""What a model is shown, numbered so that it can be cited, and apart from what it is told to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dataflows_memory.asking.answers import Citation

if TYPE_CHECKING:
    from dataflows_memory.items import Hit, Item

#: characters of one source that a model is shown
LONGEST = 4_000
_ROWS_SHOWN = 50


def source_of(hit: Hit) -> dict[str, Any]:
    """A hit as plain values, for the journal."""
    item = hit.item
    text = "\n".join(each.text for each in hit.around) if hit.around else item.text
    return {
        "kind": "item",
        "item": item.id,
        "origin": item.origin,
        "ref": item.ref,
        "part": item.part,
        "span": None if item.span is None else list(item.span),
        "heading": item.heading,
        "text": text[:LONGEST],
        "cut": len(text) > LONGEST,
        "run": item.run,
        "step": item.step,
        "source": item.source,
        "since": since_of(item),
    }


def since_of(item: Item) -> str | None:
    """Since when it is true, as a model is told."""
    return None if item.valid_from is None else item.valid_from.isoformat(timespec="seconds")


class Sources:
    """Everything that a model was shown in one conversation.

    Args:
        secret: what nobody who wrote a document can have known: the marks around sources are made from it.
    """

    def __init__(self, secret: str) -> None:
        self._mark = hashlib.sha256(f"sources of {secret}".encode()).hexdigest()[:12]
        self._all: list[dict[str, Any]] = []
        self._numbers: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._all)

    @property
    def mark(self) -> str:
        """What stands before and after every source."""
        return self._mark

    def add(self, source: dict[str, Any]) -> int:
        """Its number, from 1; an item keeps the one that it has."""
        if source["kind"] == "item" and source["item"] in self._numbers:
            return self._numbers[source["item"]]
        self._all.append(source)
        if source["kind"] == "item":
            self._numbers[source["item"]] = len(self._all)
        return len(self._all)

    def shown(self, sources: Iterable[dict[str, Any]]) -> str:
        """The text for the model; numbers those that are new."""
        return "\n".join(self._framed(self.add(each), each) for each in sources)

    def _framed(self, number: int, source: Mapping[str, Any]) -> str:
        if source["kind"] == "item":
            told = [source["source"], *([source["heading"]] if source["heading"] else [])]
            if source["since"]:
                told.append(f"true since {source['since']}")
            head, body = " · ".join(told), source["text"] + (" …" if source["cut"] else "")
        else:
            head, body = f"query: {source['sql']}", _table(number, source)
        # whoever wrote the text cannot close its frame: the mark is of this run
        head, body = (each.replace(self._mark, "") for each in (" ".join(head.split()), body))
        return f"<<source {number} {self._mark}>> {head}\n{body}\n<<end {number} {self._mark}>>"

    def text(self, number: str) -> str | None:
        """What a number stands for, to look for quotations in; None where nothing has it."""
        found = self._find(number)
        if found is None:
            return None
        source, row = found
        if source["kind"] == "item":
            return f"{source['heading']}\n{source['text']}"
        rows = source["rows"] if row is None else [source["rows"][row]]
        return "\n".join(" ".join(_cell(cell) for cell in each) for each in rows)

    def citation(self, number: str) -> Citation:
        """What a number stands for."""
        found = self._find(number)
        assert found is not None, number
        source, row = found
        if source["kind"] == "item":
            span = source["span"]
            return Citation(
                number,
                "item",
                source["source"],
                source["text"],
                source["item"],
                source["origin"],
                source["ref"],
                source["part"],
                None if span is None else (span[0], span[1]),
                source["run"],
                source["step"],
            )
        if row is None:
            runs = {behind["run"] for behinds in source["behind"] for behind in behinds if behind["run"]}
            run = runs.pop() if len(runs) == 1 else None
            text = self.text(number) or "no rows"
            return Citation(number, "query", "query", text[:LONGEST], sql=source["sql"], run=run)
        values = source["rows"][row]
        behind = tuple(source["behind"][row]) if source["behind"] else ()
        names = ", ".join(f"{each['table']} {json.dumps(each['key'])[1:-1]}".strip() for each in behind)
        runs = {each["run"] for each in behind if each["run"]}
        return Citation(
            number,
            "row",
            f"row of {names}" if names else f"row {row + 1} of a query",
            json.dumps(dict(zip(source["columns"], values, strict=True)), ensure_ascii=False),
            sql=source["sql"],
            row=dict(zip(source["columns"], values, strict=True)),
            rows=behind,
            run=runs.pop() if len(runs) == 1 else None,
            step=behind[0].get("step") if len(behind) == 1 else None,
        )

    def _find(self, number: str) -> tuple[dict[str, Any], int | None] | None:
        whole, _, part = number.partition(".")
        if len(whole) > 6 or not 1 <= int(whole) <= len(self._all):
            return None
        source = self._all[int(whole) - 1]
        if not part:
            return source, None
        if source["kind"] == "item" or len(part) > 6 or not 1 <= int(part) <= len(source["rows"]):
            return None
        return source, int(part) - 1


def _table(number: int, source: Mapping[str, Any]) -> str:
    lines = [f"columns: {json.dumps(source['columns'], ensure_ascii=False)}"]
    lines += [
        f"[{number}.{at}] {json.dumps(row, ensure_ascii=False)[:LONGEST]}"
        for at, row in enumerate(source["rows"][:_ROWS_SHOWN], 1)
    ]
    if len(source["rows"]) > _ROWS_SHOWN:
        lines.append(f"… {len(source['rows']) - _ROWS_SHOWN} more rows")
    return "\n".join([*lines, *([source["note"]] if source["note"] else []), *([] if source["rows"] else ["no rows"])])


def _cell(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # as a person would write it
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
