"""What objects show in a notebook: plain HTML, escaped, small, without secrets; their text stays their repr."""

from __future__ import annotations

import html
import re
import secrets
from html.parser import HTMLParser
from typing import Any

import pytest
from IPython.core.formatters import DisplayFormatter
from pydantic import BaseModel

import dataflows_sdk as df
from dataflows_sdk.core.codec import Codec
from dataflows_sdk.core.shown import MOST_COLUMNS, MOST_ROWS, Listing, Sheet, ShownAsTable, brief, sheet_of, to_html
from dataflows_sdk.doctor.findings import Diagnosis, Finding

from ..conftest import MakeContext

#: all that a display may be made of
ALLOWED = {"table", "thead", "tbody", "tr", "th", "td", "div", "small", "strong", "br", "img", "pre"}
NASTY = '<script>alert("x")</script>'


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in {"br", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def shown(value: Any) -> str:
    """The HTML of a value as IPython asks for it, which is plain and whole."""
    data, _ = DisplayFormatter().format(value)
    if type(value).__repr__ is not object.__repr__:  # but for where IPython breaks the lines
        assert "".join(data["text/plain"].split())[:40] == "".join(repr(value).split())[:40]
    text: str = data["text/html"]
    tags = _Tags(text)
    assert tags.tags <= ALLOWED
    assert tags.attributes <= {"style", "scope", "src", "alt"}
    assert tags.open == []
    return text


def words(value: Any) -> str:
    """What a reader sees of it."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", shown(value))).split())


# --- the renderer -----------------------------------------------------------------------------------------


class Many(ShownAsTable):
    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns

    def _sheet(self) -> Sheet:
        names = [f"c{number}" for number in range(self.columns)]
        return Sheet("many", ([0] * self.columns for _ in range(self.rows)), names, total=self.rows)


def test_a_table_has_an_end() -> None:
    text = shown(Many(1_234, 50))
    assert text.count("<tr>") == MOST_ROWS + 1
    assert text.count("<td") == MOST_ROWS * MOST_COLUMNS
    assert "… and 1,034 more rows" in text
    assert "… and 10 more columns" in text
    assert "more" not in shown(Many(MOST_ROWS, MOST_COLUMNS))
    assert len(shown(Many(1_000_000, 1))) < 20_000


def test_texts_are_escaped_and_secrets_masked() -> None:
    df.Secret("hush-hush-hush")
    rows = Listing([{NASTY: NASTY, "b": {NASTY: [NASTY]}, "c": "it is hush-hush-hush"}])
    text = shown(rows)
    assert "<script" not in text
    assert "hush-hush" not in text
    assert "***" in text
    assert NASTY in words(rows)
    pairs = to_html(Sheet(NASTY, [("password", "abc"), ("name", "x")], notes=[NASTY]))
    assert "abc" not in pairs
    assert "<script" not in pairs


class Bad:
    def __repr__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "True"),
        (0.1, "0.1"),
        ("a\nb", "a\nb"),
        (b"x" * 100, "bytes"),
        ({"a": [1, None, {"b": "c"}]}, "a: [1, None, {b: 'c'}]"),
        ((), ""),
        (("a", "b"), "a, b"),
        (Bad(), "<Bad whose repr raised ValueError>"),
        (range(3), "range(0, 3)"),
    ],
)
def test_a_value_is_brief(value: Any, text: str) -> None:
    assert text in brief(value)


def test_large_values_are_not_looked_through() -> None:
    nested: Any = []
    for _ in range(10_000):
        nested = [nested]
    for value in ("x" * 10_000_000, list(range(1_000_000)), dict.fromkeys(range(1_000_000)), nested, b"x" * 10_000_000):
        assert len(brief(value)) <= 300
    pd = pytest.importorskip("pandas")
    assert brief(pd.DataFrame({"a": range(1_000)})) == "DataFrame 1,000 × 1"


def test_a_listing_is_a_list_for_everything_else() -> None:
    rows = Listing([{"a": 1}])
    assert rows == [{"a": 1}]
    assert repr(rows) == "[{'a': 1}]"
    codec = Codec()
    assert codec.encode(rows).text == codec.encode([{"a": 1}]).text
    assert codec.encode(Listing([(1, 2)])).text == codec.encode([(1, 2)]).text
    assert words(Listing()) == "(nothing)"
    assert sheet_of([{"a": 1, "b": None}, {"c": 2}]).columns == ["a", "c"]


# --- what the library gives -------------------------------------------------------------------------------


class Task(BaseModel):
    id: int
    name: str
    hours: float | None = None


@df.workflow("shows-itself")
async def shows_itself(event: Any, step: Any) -> int:
    value: int = await step.run(NASTY, lambda: 7, retry=df.NO_RETRY)
    return value


def test_runs_and_their_past(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    run, other = ctx.run(shows_itself, {"n": NASTY}), ctx.run(shows_itself, {"n": 2})
    assert "2 runs" in words(ctx.runs())
    assert "✓ succeeded" in words(ctx.runs())
    assert "there are older ones" in words(ctx.runs(limit=1))
    assert "0 runs" in words(ctx.runs("nobody"))
    assert "1 step · succeeded" in words(run.timeline())
    assert "output 7" in words(run.timeline()[0])
    assert "step.completed" in words(run.events())
    assert run.events()[0].kind in words(run.events()[0])
    assert "the runs differ" in words(run.diff(other))
    assert "1 step " in words(run.at(2))
    assert "succeeded" in words(run.explain())
    assert "shows-itself" in words(shows_itself)
    assert "shows-itself" in words(run.state())
    context = words(ctx)
    assert "2 succeeded" in context
    assert "takes on runs yes" in context
    ctx.close()
    assert "(closed)" in words(ctx)


def test_tables_rows_and_their_history(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    table = ctx.warehouse.table("tasks", Task, key="id")
    table.upsert_many([{"id": n, "name": NASTY} for n in range(30)])
    row = table.upsert({"id": 1, "name": "gate", "hours": 2})
    assert "tasks: 30 rows, key id" in words(table)
    assert "… and 10 more rows" in words(table)
    assert "gate" in words(row)
    assert "gate" in words(table.find(limit=3))
    assert "update" in words(table.history(1))
    assert "update" in words(table.why(1))
    assert "hours" in words(ctx.warehouse.diff("1d", table="tasks"))
    assert "31 changes" in words(ctx.warehouse.changes())
    for desk in (ctx.warehouse, ctx.db, ctx.warehouse.tables(), ctx.warehouse.as_of("0s")):
        assert "tasks" in words(desk)
    answer = ctx.sql("select * from range(1000) t(n)")
    assert "n bigint" in words(answer)
    assert "… and more rows" in words(answer)
    assert answer.fetchone() == (0,)
    ctx.warehouse.view("short", "select name from tasks")
    assert "select name" in words(ctx.warehouse.view("short"))
    assert "short" in words(ctx.warehouse.views())


def test_desks_show_what_there_is(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False, queues=["a"])
    ctx.queues.set("narrow", concurrency=3)
    ctx.kv.set("key of mine", {"value": "not shown"})
    ctx.flows.save(df.flow("kept").step("one", lambda: 1))
    ctx.messages.stream("orders", subjects=["orders.>"])
    assert "narrow" in words(ctx.queues)
    assert "3" in words(ctx.queues.get("narrow"))
    assert "key of mine" in words(ctx.kv)
    assert "not shown" not in words(ctx.kv)
    assert "kept" in words(ctx.flows)
    assert "kept" in words(ctx.flows.get("kept"))
    assert "orders" in words(ctx.messages)
    for desk in (ctx.approvals, ctx.connections, ctx.functions, ctx.triggers, ctx.triggers.list(), ctx.jobs, ctx.vault):
        assert shown(desk)
    assert "memory" in words(ctx.memory)


def test_a_connection_keeps_its_secret(make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLOWS_ENCRYPTION_KEY", secrets.token_urlsafe(32))
    ctx = make_ctx(work=False)
    schema = {"type": "apiKey", "in": "header", "name": "X-Key"}
    client = ctx.service_client("weather", auth="api_key", security_schema=schema)
    made = ctx.connections.create("weather", user_id="ada", api_key="sesame-open-sesame")
    for value in (client, made, ctx.connections, ctx.connections.list(), ctx.service_clients):
        assert "weather" in words(value)
        assert "sesame" not in shown(value)


def test_findings_and_memory(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    assert "so it is" in words(Diagnosis([Finding("stuck", "problem", NASTY, "so it is")]))
    assert "so it is" in words(Finding("stuck", "problem", NASTY, "so it is"))
    stored = ctx.memory.remember(["The fence is green", NASTY], ref="notes")
    assert shown(stored)
    found = ctx.memory.recall("fence")
    assert "The fence is green" in words(found)
    assert "words" in words(found)
    assert "The fence is green" in words(found[0])
    assert "The fence is green" in words(found[0].item)
    assert shown(ctx.memory.recall("<script>"))


def test_a_part_of_a_context_says_in_a_terminal_whose_it_is(ctx: df.Context) -> None:
    assert repr(ctx.approvals) == f"<approvals of {ctx!r}>"
    assert repr(ctx.kv) == f"<key values of {ctx!r}>"
    assert "no tables yet" in repr(ctx.db)
    pytest.importorskip("anywidget")
    assert repr(ctx.browse()) == "<runs: 0 to browse at the end of a cell>"
    run = ctx.run(df.flow("small").step("one", lambda: 1))
    assert repr(ctx.browse(limit=1)).startswith("<runs: 1 to browse")
    assert run.id in repr(run.view())
    assert "1 step · succeeded" in run.timeline()._repr_html_()
    assert ">1 run<" in ctx.runs()._repr_html_()


def test_a_moment_that_is_none_says_how_one_is_written(ctx: df.Context) -> None:
    for call in (lambda: ctx.warehouse.as_of("someday"), lambda: ctx.browse(since="someday")):
        with pytest.raises(df.errors.InvalidDurationError, match="or an instant"):
            call()
