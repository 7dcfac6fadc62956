"""Lists to browse: what the kernel answers a page, without a browser."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, MissingExtraError
from dataflows_sdk.notebook import browse_rows, browse_runs
from dataflows_sdk.notebook.browse_approvals import ApprovalList
from dataflows_sdk.notebook.browse_runs import RunList
from dataflows_sdk.notebook.browsing import Answers, Source, first_page, still

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
