"""An answer, and what it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dataflows_memory.models.costs import Paid, Used
from dataflows_sdk.core.shown import Sheet, ShownAsTable


@dataclass(frozen=True, slots=True)
class Citation(ShownAsTable):
    """What a number in an answer stands for.

    Attributes:
        number: as the answer has it: ``"2"``, or ``"3.1"`` for the first row of what a query gave.
        kind: ``"item"`` of the memory, ``"query"`` as a whole, or ``"row"`` of one.
        source: where it comes from, in words.
        text: what it says.
        item: number of the item, for `Memory.get`.
        origin, ref, part, span: of the item: see `Item`.
        run, step: what wrote it, where that is known.
        sql: the query that gave it.
        row: the row, by column; None for an item and for a query as a whole.
        rows: where the row comes from: the rows of tables behind it, each with ``table``, ``key`` and ``run``. Nothing
            for a row that counts or sums others.
    """

    number: str
    kind: str
    source: str
    text: str
    item: int | None = None
    origin: str | None = None
    ref: str | None = None
    part: int | None = None
    span: tuple[int, int] | None = None
    run: str | None = None
    step: str | None = None
    sql: str | None = None
    row: Mapping[str, Any] | None = None
    rows: tuple[Mapping[str, Any], ...] = ()

    def __str__(self) -> str:
        line = " ".join(self.text.split())
        return f"[{self.number}] {self.source}: {line if len(line) <= 100 else line[:99] + '…'}"


@dataclass(frozen=True, slots=True)
class Query(ShownAsTable):
    """SQL that the model wrote.

    Attributes:
        asked: as it wrote it.
        sql: what ran; None where it was refused.
        rows: how many came back.
        error: why it was refused, or failed.
        number: under which the answer may cite it.
    """

    asked: str
    sql: str | None
    rows: int
    error: str | None
    number: int | None


@dataclass(frozen=True, slots=True)
class Answered(Paid, ShownAsTable):
    """An answer.

    Attributes:
        question: what was asked.
        text: the answer, with numbers in brackets; or that nothing was found, and why.
        found: whether there is an answer. One that cites nothing is none.
        citations: what the numbers in the text stand for, in order.
        queries: the SQL that the model wrote, also what was refused.
        used: tokens, money and calls of the model.
        seconds: from the question to the answer, waits for a budget included.
        run: id of the run that has every step of it.
        model: that answered.
        as_of: the moment at which everything was read; None: now.
        rejected: what the model said and was not taken, because it did not hold.
        problems: why.
    """

    question: str
    text: str
    found: bool
    citations: tuple[Citation, ...]
    queries: tuple[Query, ...]
    used: Used
    seconds: float
    run: str
    model: str
    as_of: datetime | None = None
    rejected: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def sql(self) -> tuple[str, ...]:
        """The statements that ran."""
        return tuple(each.sql for each in self.queries if each.sql is not None)

    @staticmethod
    def of_json(given: Mapping[str, Any], run: str) -> Answered:
        """From the result of the run that answered."""
        citations = tuple(
            Citation(**{**each, "span": tuple(each["span"]) if each.get("span") else None, "rows": tuple(each["rows"])})
            for each in given["citations"]
        )
        as_of = given["as_of"]
        return Answered(
            given["question"],
            given["text"],
            given["found"],
            citations,
            tuple(Query(**each) for each in given["queries"]),
            Used.of_json(given["used"]),
            given["seconds"],
            run,
            given["model"],
            None if as_of is None else datetime.fromisoformat(as_of),
            given["rejected"],
            tuple(given["problems"]),
        )

    def __str__(self) -> str:
        cost = "" if self.money is None else f", {self.money:f}"
        lines = [self.text, *(f"  {each}" for each in self.citations), *(f"  SQL: {each}" for each in self.sql)]
        return "\n".join(
            [*lines, f"  {self.model}, {self.tokens:,} tokens{cost}, {self.seconds:.1f} s, run {self.run}"]
        )

    def _sheet(self) -> Sheet:
        cited = [(f"[{each.number}]", each.source, each.text) for each in self.citations]
        asked = [(query.sql or query.asked, query.rows, query.error) for query in self.queries]
        parts = [Sheet("citations", cited, ("", "source", "text"), total=len(cited))] if cited else []
        if asked:
            parts.append(Sheet("queries", asked, ("sql", "rows", "refused"), total=len(asked)))
        head = [("question", self.question), ("answer", self.text), ("model", self.model), ("run", self.run)]
        return Sheet("answer" if self.found else "no answer", head, notes=self.problems, parts=parts)
