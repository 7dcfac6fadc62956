"""The last part of the demo: a question in words about the tables, answered with SQL and citations down to the run."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors import DataflowsError, MissingExtraError

if TYPE_CHECKING:
    from dataflows_memory.asking.answers import Answered
    from dataflows_sdk.context import Context

QUESTION = "Which flight of US Airways arrived latest, and what is that airline called today?"
#: which model is asked where there is a key, or an endpoint of one's own
MODEL = "DATAFLOWS_MODEL"
_MODEL = "gpt-4o-mini"
#: of a model that does not answer a script takes the part after so long
_PATIENCE = "60s"
_COLLECTION = "demo"
_IN_WORDS = "{name}, the airline with the code {carrier}"
_SQL = (
    "select carrier, flight, origin, dest, time_hour, arr_delay from flights "
    "where carrier = 'US' and arr_delay is not null order by arr_delay desc limit 3"
)
_SCRIPTED = "the model's part is played by a script; the SQL, the rows and the citations are real"


@dataclass
class Asked:
    """A question, and what came of it.

    Attributes:
        who: who played the model's part, in words.
        scripted: whether that was a script.
        found_by: how the memory looked, in words.
        remembered: rows that are texts of the memory now; what they were before is there, too.
        answer: the text; why there is none, where nothing could be asked.
        found: whether it is an answer.
        sql: the statements that ran.
        columns, rows: of the last one.
        citations: number, source, what it says, run, its workflow, and the step of each.
        run: that has every step of it; None where nothing could be asked.
    """

    who: str
    scripted: bool = True
    found_by: str = ""
    remembered: int = 0
    answer: str = ""
    found: bool = False
    sql: tuple[str, ...] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    citations: list[dict[str, Any]] = field(default_factory=list)
    run: str | None = None
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The same for a machine."""
        return {"question": QUESTION, **self.__dict__, "seconds": round(self.seconds, 3)}


def ask(ctx: Context) -> Asked:
    """Remember the airlines, every version of each, and ask about them and the flights.

    Args:
        ctx: works, and has the tables.
    """
    begun = time.monotonic()
    try:
        told = _ask(ctx)
    except MissingExtraError as error:
        told = Asked(f"nothing was asked: {error}")
    told.seconds = time.monotonic() - begun
    return told


def _ask(ctx: Context) -> Asked:
    memory = ctx.memory
    if not ctx._database.vector:
        memory.use(None)  # a server without pgvector keeps words, and nothing else
    memory.index_table("airlines", _IN_WORDS, collection=_COLLECTION)
    found = memory.recall(QUESTION, 3, collection=_COLLECTION)
    by = f"by words and by meaning ({found.embedder})" if found.embedder else f"by words alone: {found.note}"
    who, scripted, answer = _answered(ctx)
    told = Asked(who, scripted, by, found.among, answer.text, answer.found, answer.sql, run=answer.run)
    workflows: dict[str, str] = {}
    for cited in answer.citations:
        if cited.run is not None and cited.run not in workflows:
            workflows[cited.run] = ctx.get(cited.run).workflow
        told.citations.append(
            {"number": cited.number, "source": cited.source, "text": cited.text, "run": cited.run,
             "workflow": workflows.get(cited.run or ""), "step": cited.step}
        )  # fmt: skip
    for step in ctx.get(answer.run).timeline():
        # what the model was shown, from the journal
        if step.key.startswith("sql ") and isinstance(step.output, dict) and step.output.get("kind") == "rows":
            told.columns, told.rows = step.output["columns"], step.output["rows"]
    return told


def _answered(ctx: Context) -> tuple[str, bool, Answered]:
    given = [name for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL") if os.environ.get(name, "").strip()]
    why = "no OPENAI_API_KEY"
    if given:
        name = os.environ.get(MODEL, "").strip() or _MODEL
        try:
            return f"asked {name}, for {given[0]} is set", False, _once(ctx, name)
        except MissingExtraError:
            raise
        except (DataflowsError, TimeoutError) as error:
            why = f"{name} gave no answer ({' '.join(str(error).split())[:200]})"
    script = ctx.memory.scripted(("sql", {"query": _SQL}), _said)
    return f"{why}: {_SCRIPTED}", True, _once(ctx, script)


def _once(ctx: Context, model: Any) -> Answered:
    asker = ctx.memory.asker(model)
    run = asker.start(QUESTION, collection=_COLLECTION, tables=["flights", "airlines"], k=3)
    try:
        return asker.answered(run, timeout=_PATIENCE)
    except (DataflowsError, TimeoutError):
        if run.refresh().status not in ("succeeded", "failed", "cancelled"):
            run.cancel("the demo goes on without it")
        raise


def _said(messages: Sequence[Mapping[str, Any]]) -> str:
    """What the script says: made from the sources that a model would be shown, and from nothing else."""
    shown = "\n".join(str(each["content"]) for each in messages if each["role"] in ("user", "tool"))
    name = re.search(r"<<source (\d+) \w+>>[^\n]*\n(.+), the airline with the code US\n", shown)
    row = re.search(r"^\[(\d+\.1)\] (\[.*\])$", shown, re.MULTILINE)
    if name is None or row is None:
        return "NOT FOUND"
    carrier, flight, origin, dest, when, late = json.loads(row[2])
    return (
        f"Flight {carrier} {flight} from {origin} to {dest} on {when[:10]}, {late} minutes late [{row[1]}]. "
        f'Today the airline is "{name[2]}" [{name[1]}].'
    )
