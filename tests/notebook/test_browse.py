"""Lists to browse: what the kernel answers a page, without a browser."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.approvals import ask_people
from dataflows_sdk.errors import DefinitionError, MissingExtraError
from dataflows_sdk.notebook import browse_rows, browse_runs
from dataflows_sdk.notebook.browse_approvals import ApprovalList
from dataflows_sdk.notebook.browse_runs import RunList
from dataflows_sdk.notebook.browsing import Answers, Source, first_page, still
from dataflows_sdk.notebook.editing import fields_of, value_of

from ..conftest import wait_until
from .shows import asking, failing


class Page:
    """What a page asks of a source, and the replies."""

    def __init__(self, source: Source) -> None:
        self.replies: list[dict[str, Any]] = []
        self.threads: set[str] = set()
        self.answers = Answers(source, self._told)

    def _told(self, message: dict[str, Any]) -> None:
        self.threads.add(threading.current_thread().name)
        json.dumps(message)
        self.replies.append(message)

    def ask(self, do: Any, **message: Any) -> dict[str, Any]:
        before = len(self.replies)
        self.answers.put({"do": do, "id": 3, "page": "p", **message})
        wait_until(lambda: len(self.replies) > before, "an answer")
        assert (self.replies[-1]["id"], self.replies[-1]["page"]) == (3, "p")
        return self.replies[-1]

    def lines(self, **message: Any) -> list[str]:
        reply = self.ask("page", **message)
        assert reply["ok"], reply
        return [line["id"] for line in reply["list"]["lines"]]


def some_runs(ctx: df.Context, number: int, key: str = "key") -> list[df.Run]:
    flow = df.flow("<b>small</b>").step("one", lambda: 1)
    runs = [ctx.start(flow, {}, idempotency_key=f"{key}-{n}") for n in range(number)]
    for run in runs:
        run.wait("20s")
    return runs[::-1]


def test_runs_come_in_pages_and_by_filter(ctx: df.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [run.id for run in some_runs(ctx, 5)]
    failed = ctx.start(failing(), {}).wait("20s")
    page = Page(RunList(ctx, {}, 2))
    first = page.ask("page")["list"]
    assert [line["id"] for line in first["lines"]] == [failed.id, runs[0]]
    second = page.ask("page", after=first["next"])["list"]
    assert [line["id"] for line in second["lines"]] == runs[1:3]
    third = page.ask("page", after=second["next"])["list"]
    assert [line["id"] for line in third["lines"]] == runs[3:]
    assert third["next"] is None

    assert page.lines(asked={"status": "failed"}) == [failed.id]
    assert page.lines(asked={"workflow": "<b>small</b>"}) == runs[:2]
    assert page.lines(asked={"text": "SMALL>"}) == []
    assert page.lines(asked={"text": "Small"}) == runs[:2]
    assert page.lines(asked={"text": "key-4", "since": "1h"}) == [runs[0]]
    assert page.lines(asked={"text": runs[4]}) == [runs[4]]
    assert page.lines(asked={"text": "%"}) == []
    assert page.lines(asked={"since": "2999-01-01"}) == []
    assert page.threads == {"dataflows-view-commands"}

    # of many runs a page looks at some only, and the next one looks further
    monkeypatch.setattr(browse_runs, "_LOOKED_AT", 3)
    reply = page.ask("page", asked={"text": "key-1"})["list"]
    assert reply["lines"] == []
    assert "looks further" in reply["note"]
    assert page.lines(asked={"text": "key-1"}, after=reply["next"]) == [runs[3]]


@pytest.mark.parametrize(
    "message",
    [
        {"do": "page", "asked": {"status": "asleep"}}, {"do": "page", "asked": {"since": "sometime"}},
        {"do": "page", "asked": {"colour": "red"}}, {"do": "page", "asked": ["status"]},
        {"do": "page", "asked": {"text": "x" * 3_000}}, {"do": "page", "after": "not an id"},
        {"do": "page", "after": 7}, {"do": "details"}, {"do": "details", "row": "no-id"},
        {"do": "details", "row": "0198c0de-0000-7000-8000-000000000000"},
        {"do": "act", "row": "0198c0de-0000-7000-8000-000000000000", "action": "cancel"},
        {"do": "act", "row": "0198c0de-0000-7000-8000-000000000000", "action": "drop table"},
        {"do": "eval"}, {"do": ["page"]}, {"do": None},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said(ctx: df.Context, message: dict[str, Any]) -> None:
    page = Page(RunList(ctx, {}, 50))
    reply = page.ask(**message)
    assert not reply["ok"]
    assert reply["text"]
    assert page.lines() == []  # and the next one is answered


def test_a_look_reads_once_a_second_and_tells_only_what_is_new(
    ctx: df.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_runs(ctx, 1)
    source = RunList(ctx, {}, 50)
    read: list[str | None] = []
    real = source.page

    def counted(asked: Mapping[str, str], after: str | None) -> Any:
        read.append(after)
        return real(asked, after)

    monkeypatch.setattr(source, "page", counted)
    page = Page(source)
    found = page.ask("page")["list"]
    now = [1e9]
    monkeypatch.setattr("dataflows_sdk.notebook.browsing.monotonic", lambda: now[0])
    assert "list" not in page.ask("look", print=found["print"])
    some_runs(ctx, 1, "other")
    number = len(read)
    for _ in range(20):
        assert "list" not in page.ask("look", print=found["print"])
    assert len(read) == number
    now[0] += 1
    newer = page.ask("look", print=found["print"])["list"]
    assert newer["print"] != found["print"]
    assert len(read) == number + 1


def test_a_run_is_told_and_cancelled(ctx: df.Context) -> None:
    run = ctx.start(asking(), {})
    wait_until(lambda: ctx.approvals.pending(run), "it asks")
    page = Page(RunList(ctx, {}, 50))
    told = page.ask("details", row=run.id)["details"]
    assert told["svg"].startswith("<svg")
    texts = dict(told["texts"])
    assert "step 'ok" in texts["why it is not over"]
    assert run.id in texts["in a cell"]
    assert [each["name"] for each in told["actions"]] == ["cancel"]
    assert page.ask("act", row=run.id, action="cancel")["ok"]
    run.wait("20s")
    assert run.status == "cancelled"
    assert page.ask("details", row=run.id)["details"]["actions"] == []
    again = page.ask("act", row=run.id, action="cancel")
    assert not again["ok"]
    assert "cancelled" in again["text"]


def test_the_picture_without_a_script(ctx: df.Context) -> None:
    some_runs(ctx, 1)
    source = RunList(ctx, {}, 50)
    html = still(source, first_page(source))
    assert "&lt;b&gt;small&lt;/b&gt;" in html
    assert "<b>" not in html
    assert "✓ succeeded" in html
    assert "nothing waits" in still(ApprovalList(ctx, None), first_page(ApprovalList(ctx, None)))


def test_an_approval_is_answered_and_a_late_one_told_by_whom(ctx: df.Context) -> None:
    first, second = ctx.start(asking(), {}), ctx.start(asking(), {})
    wait_until(lambda: len(ctx.approvals.pending()) == 2, "both ask")
    page, other = Page(ApprovalList(ctx, None)), Page(ApprovalList(ctx, None))
    both = page.lines()
    assert both == [each.id for each in ctx.approvals.pending()]
    asked = ctx.approvals.pending(first)[0]
    assert page.lines(asked={"text": "no such text"}) == []
    told = other.ask("details", row=asked.id)["details"]
    assert {each["name"] for each in told["actions"]} == {"approve", "deny"}
    assert dict(told["texts"])["asks"] == asked.message
    who = asked.approvers[0] if asked.approvers else "ada"
    assert not page.ask("act", row=asked.id, action="perhaps", given={})["ok"]
    assert page.ask("act", row=asked.id, action="approve", given={"responder": who, "comment": "fine"})["ok"]
    late = other.ask("act", row=asked.id, action="deny", given={"responder": who})
    assert not late["ok"]
    assert late["text"] == f"already decided by {who}: approved"
    first.wait("20s")
    assert other.ask("details", row=asked.id)["text"] == f"already decided by {who}: approved"
    assert other.lines() == [ctx.approvals.pending(second)[0].id]
    gone = ctx.approvals.pending(second)[0]
    second.cancel().wait("20s")
    assert "cancelled" in other.ask("details", row=gone.id)["text"]
    assert not other.ask("details", row="0198c0de-0000-7000-8000-000000000000")["ok"]


def test_the_value_of_an_answer_is_edited_in_the_list(ctx: df.Context) -> None:
    schema = {"properties": {"amount": {"type": "integer"}, "why": {"type": "string"}}, "required": ["amount"]}

    async def pay(event: Any, step: Any) -> Any:
        return (await ask_people(step, "pay", "?", value={"amount": 40, "of": "bills"}, schema=schema))["value"]

    run = ctx.start(df.Workflow("pay", pay))
    wait_until(lambda: ctx.approvals.pending(), "it asks")
    page = Page(ApprovalList(ctx, None))
    [row] = page.lines()
    told = page.ask("details", row=row)["details"]
    assert [(each["name"], each["value"]) for each in told["edits"]] == [("value.amount", "40"), ("value.why", "")]
    assert '"of": "bills"' in dict(told["texts"])["proposes"]
    act = {"row": row, "action": "approve"}
    for given, wrong in (
        ({"value.amount": ""}, "'amount' is a required property"), ({"value.amount": "few"}, "'few' is no number"),
        ({"value.amount": "1.5"}, "/amount"), ({"value.other": "1"}, "'value.other' is no field"),
    ):  # fmt: skip
        reply = page.ask("act", **act, given=given)
        assert not reply["ok"]
        assert wrong in reply["text"]
    assert page.lines() == [row]
    assert page.ask("act", **act, given={"value.amount": "39", "value.why": " dear "})["ok"]
    assert run.result("20s") == {"amount": 39, "of": "bills", "why": " dear "}


def test_fields_are_made_of_a_schema_and_read_again() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "title": "Name", "description": "as on the bill"},
            "size": {"enum": ["S", "M", 7]}, "paid": {"type": "boolean"}, "rate": {"type": "number", "default": 0.5},
            "tags": {"type": "array"}, "any": {}, "note": {"type": ["string", "null"]},
        },
        "required": ["name", "size"],
    }  # fmt: skip
    value = {"name": "", "size": 7, "paid": False, "tags": ["a"], "any": None, "kept": 1}
    fields = {each.name: each for each in fields_of(value, schema)}
    assert fields["value.name"].label == "Name"
    assert fields["value.name"].note == "as on the bill"
    assert (fields["value.size"].value, fields["value.size"].options) == ("7", ["S", "M", "7"])
    assert (fields["value.paid"].value, list(fields["value.paid"].options)) == ("false", ["", "true", "false"])
    assert [name for name, each in fields.items() if each.json] == ["value.tags", "value.any", "value.note"]
    as_it_was = {name: each.value for name, each in fields.items()}
    assert value_of(as_it_was, value, schema) == {**value, "rate": 0.5}
    changed = {**as_it_was, "value.size": "S", "value.paid": "true", "value.tags": "", "value.rate": "2"}
    assert value_of(changed, value, schema) == {
        "name": "", "size": "S", "paid": True, "rate": 2, "any": None, "kept": 1,
    }  # fmt: skip
    assert value_of({"comment": "x"}, value, schema) is None
    assert value_of({"value": " "}, None, None) is None
    assert [each.json for each in fields_of([1], schema)] == [True]  # it is no object: all of it as JSON
    assert value_of({"value": "[2]"}, [1], schema) == [2]
    with pytest.raises(DefinitionError, match="double quotes"):
        value_of({"value": "{'a': 1}"}, None, None)


def test_the_widget_answers_and_has_a_still_picture(ctx: df.Context) -> None:
    pytest.importorskip("anywidget")
    runs = some_runs(ctx, 1)
    widget = ctx.browse(status="succeeded")
    assert {each["name"]: each["value"] for each in widget.fields}["status"] == "succeeded"
    data, _ = widget._repr_mimebundle_()
    assert "&lt;b&gt;small" in data["text/html"]
    assert runs[0].id in data["text/plain"]
    sent: list[dict[str, Any]] = []
    widget.send = sent.append
    widget._heard(widget, {"do": "page", "id": 1, "page": "q"}, [])
    widget._heard(widget, "no message", [])
    wait_until(lambda: sent, "an answer")
    assert sent[0]["list"]["lines"][0]["id"] == runs[0].id
    widget.close()
    with pytest.raises(DefinitionError, match="asleep"):
        ctx.browse(status="asleep")
    with pytest.raises(DefinitionError, match="limit"):
        ctx.browse(limit=0)
    with pytest.raises(DefinitionError, match="7"):
        ctx.browse(text=7)  # type: ignore[arg-type]
    assert "nothing waits" in ctx.approvals.view()._repr_mimebundle_()[0]["text/html"]


def test_without_the_extra_it_is_named(ctx: df.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dataflows_sdk.notebook.widgets.browse", raising=False)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    for call in (ctx.browse, ctx.approvals.view):
        with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[notebook\]"):
            call()


def test_rows_in_pages_with_their_history_and_why(ctx: df.Context) -> None:
    table = ctx.warehouse.table("tasks", {"id": int, "name": str, "hours": float, "due": "date"}, key="id")

    async def write(event: Any, step: Any) -> None:
        await step.run(
            "rows", lambda: table.upsert_many([{"id": n, "name": f"n{n} <i>", "hours": n / 2} for n in range(5)])
        )

    ctx.start(df.Workflow("write", write), {"who": "ada"}).wait("20s")
    table.upsert(id=4, hours=99.0)
    source = browse_rows.RowList(table, 2)
    page = Page(source)
    first = page.ask("page")["list"]
    assert [line["cells"][0] for line in first["lines"]] == ["0", "1"]
    second = page.ask("page", after=first["next"])["list"]
    third = page.ask("page", after=second["next"])["list"]
    assert [line["cells"][2] for line in third["lines"]] == ["99.0"]
    assert third["next"] is None

    def asked(column: str, operator: str, value: str) -> list[str]:
        reply = page.ask("page", asked={"column": column, "operator": operator, "value": value})
        assert reply["ok"], reply
        return [line["cells"][0] for line in reply["list"]["lines"]]

    assert asked("hours", ">", "1.5") == ["4"]
    assert asked("name", "contains", "N3") in (["3"], [])
    assert asked("name", "begins with", "n2") == ["2"]
    assert asked("due", "is empty", "") == ["0", "1"]
    assert asked("id", "is", "3") == ["3"]
    assert asked("id", "is", "") == ["0", "1"]
    assert not page.ask("page", asked={"column": "id", "operator": "is", "value": "many"})["ok"]
    assert not page.ask("page", asked={"column": "x", "operator": "is", "value": "1"})["ok"]
    assert not page.ask("page", asked={"column": "id", "operator": "drop", "value": "1"})["ok"]
    assert not page.ask("page", after="-1")["ok"]

    row = third["lines"][0]["id"]
    table.delete(4)
    reply = page.ask("details", row=row)
    assert reply["ok"], reply
    told = reply["details"]
    assert told["sheets"][0]["title"] == "row, which is deleted"
    assert "4" in told["title"]
    assert "deleted" in dict(told["texts"])["why"]
    assert told["sheets"][1]["of"] == len(table.history(4))
    by_run = page.ask("details", row=first["lines"][0]["id"])["details"]
    assert "step 'rows' of write" in dict(by_run["texts"])["why"]
    assert not page.ask("details", row="[7]")["ok"]
    table.drop()
    assert "tasks" in page.ask("page")["text"]


@pytest.mark.parametrize("order", ["", "hours ↑", "hours ↓", "name ↓"])
def test_rows_that_are_written_between_two_pages_are_neither_skipped_nor_doubled(ctx: df.Context, order: str) -> None:
    table = ctx.warehouse.table("tasks", {"part": str, "n": int, "name": str, "hours": float}, key=("part", "n"))

    def row(part: str, n: int, hours: float | None) -> dict[str, Any]:
        return {"part": part, "n": n, "name": f"n{n % 2}", "hours": hours}

    table.upsert_many([row(part, n, None if n % 3 == 0 else n // 2) for part in ("a", "b") for n in range(2, 9)])
    page = Page(browse_rows.RowList(table, 3))
    asked = {"order": order}

    def whole(then: Any = lambda: None) -> list[str]:
        found: list[str] = []
        after = None
        while True:
            reply = page.ask("page", asked=asked, after=after)
            assert reply["ok"], reply
            found += [line["id"] for line in reply["list"]["lines"]]
            after = reply["list"]["next"]
            if after is None:
                return found
            then()

    before = whole()
    assert len(before) == len(set(before)) == 14
    assert before == [
        json.dumps([each["part"], str(each["n"])]) for each in table.find(order=browse_rows._order(order or None))
    ]
    ground = ctx.warehouse.table("tasks")
    new = iter([("a", 1, 2.0), ("b", 9, None), ("a", 0, 0.5), ("a", 99, 9.0)])
    gone = iter([json.loads(each) for each in before])

    def write() -> None:
        if (made := next(new, None)) is not None:
            ground.upsert(row(*made))
            part, n = next(gone)  # of the pages that were read: an offset would pass over a row now
            ground.delete((part, int(n)))

    while_written = whole(write)
    assert len(while_written) == len(set(while_written))
    assert set(before) <= set(while_written)


def test_pages_of_a_moment_stay_at_it(ctx: df.Context) -> None:
    table = ctx.warehouse.table("tasks", {"id": int, "hours": float}, key="id")
    table.upsert_many([{"id": n, "hours": 10.0 - n} for n in range(5)])
    moment = max(row["_synced_at"] for row in table.find())
    page = Page(browse_rows.RowList(table, 2))
    asked = {"as_of": moment.isoformat(), "order": "hours ↑"}
    first = page.ask("page", asked=asked)["list"]
    assert "as of" in first["note"]
    table.delete(3)
    table.upsert_many([{"id": 2, "hours": 99.0}, {"id": 9, "hours": 7.5}])
    second = page.ask("page", asked=asked, after=first["next"])["list"]
    third = page.ask("page", asked=asked, after=second["next"])["list"]
    lines = [line["cells"] for each in (first, second, third) for line in each["lines"]]
    assert lines == [["4", "6.0"], ["3", "7.0"], ["2", "8.0"], ["1", "9.0"], ["0", "10.0"]]
    for wrong in ({"as_of": "someday"}, {"order": "hours"}, {"order": "size ↑"}):
        assert not page.ask("page", asked=wrong)["ok"]
    # so long ago: the moment of the first page is that of the others
    ago = page.ask("page", asked={"as_of": "0s"})["list"]
    table.upsert(id=5, hours=0.0)
    rest = page.ask("page", asked={"as_of": "0s"}, after=ago["next"])["list"]
    assert rest["note"] == ago["note"]
    assert [line["cells"][0] for line in rest["lines"]] == ["2", "4"]
    assert page.ask("page", asked={"as_of": "0s"}, after=rest["next"])["list"]["lines"][0]["cells"][0] == "9"


def test_runs_that_are_started_between_two_pages_are_not_doubled(ctx: df.Context) -> None:
    runs = [run.id for run in some_runs(ctx, 4)]
    page = Page(RunList(ctx, {}, 2))
    first = page.ask("page")["list"]
    some_runs(ctx, 3, "later")
    second = page.ask("page", after=first["next"])["list"]
    assert [line["id"] for each in (first, second) for line in each["lines"]] == runs
    assert second["next"] is None


def test_a_table_is_browsed_by_name(ctx: df.Context) -> None:
    pytest.importorskip("anywidget")
    ctx.warehouse.table("tasks", {"id": int, "name": str}, key="id").upsert(id=1, name="<script>")
    for widget in (ctx.warehouse.browse("tasks"), ctx.warehouse["tasks"].browse(limit=5)):
        data, _ = widget._repr_mimebundle_()
        assert "&lt;script&gt;" in data["text/html"]
        widget.close()
    with pytest.raises(DefinitionError, match="limit"):
        ctx.warehouse.browse("tasks", limit=1_000)


def test_a_row_opens_to_the_live_view_of_its_run(ctx: df.Context) -> None:
    pytest.importorskip("anywidget")
    run = ctx.start(asking(), {})
    wait_until(lambda: ctx.approvals.pending(run), "it asks")
    approval = ctx.approvals.pending(run)[0].id
    for browser, row in ((ctx.browse(), run.id), (ctx.approvals.view(), approval)):
        answers = browser._answers

        def ask(answers: Any = answers, **message: Any) -> dict[str, Any]:
            return dict(answers.answer({"id": 1, "page": "p", **message}))

        assert ask(do="details", row=row)["details"]["opens"]
        found = ask(do="open", row=row)
        assert found["ok"], found
        first = browser._inside
        assert first is not None
        assert (found["model"], first.head["run"], first.commands) == (first.model_id, run.id, True)
        again = ask(do="open", row=row)
        assert again["model"] != found["model"]
        assert first.comm is None, "what was shown before is let go of"
        for bad in ("nothing", "", None, 3, "00000000-0000-7000-8000-000000000000"):
            assert not ask(do="open", row=bad)["ok"]
        assert ask(do="shut")["ok"]
        assert browser._inside is None
        browser.close()
    # rows of a table open to nothing
    table = ctx.warehouse.table("tasks", {"id": int}, key="id")
    table.upsert({"id": 1})
    rows = table.browse()
    refused = rows._answers.answer({"do": "open", "row": "1", "id": 1, "page": "p"})
    assert not refused["ok"]
    assert "opens to nothing" in refused["text"]
    rows.close()
    run.cancel()
