"""What a page may ask for: a short list, checked against the run, done on a thread of ours, and always answered."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.archive import ArchivedRun
from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook.commands import Commands
from dataflows_sdk.notebook.details import detail
from dataflows_sdk.notebook.display import view_of
from dataflows_sdk.notebook.kept import source_of
from dataflows_sdk.runs import Run

from ..conftest import wait_until
from .shows import asking, colourful, declare, failing

#: another than that of test_view: what was declared there is still known to be one
TOKEN = "pear-tree-token-40418"


class Page:
    """The commands of a run's view, and the replies."""

    def __init__(self, run: Run | ArchivedRun, view: Any = None) -> None:
        self.run = run
        self.replies: list[dict[str, Any]] = []
        self.threads: set[str] = set()
        self.changed = 0
        self.commands = Commands(run, view if view is not None else view_of(run), self._told, self._changed)

    def _told(self, message: dict[str, Any]) -> None:
        self.threads.add(threading.current_thread().name)
        self.replies.append(message)

    def _changed(self) -> None:
        self.changed += 1

    def ask(self, **message: Any) -> dict[str, Any]:
        before = len(self.replies)
        self.commands.put({"id": 7, "page": "p", **message})
        wait_until(lambda: len(self.replies) > before, "an answer")
        reply = self.replies[-1]
        assert (reply["id"], reply["page"]) == (7, "p")
        return reply


@pytest.fixture
def waiting(ctx: df.Context) -> Run:
    run = ctx.start(colourful(), {"n": 1})
    wait_until(lambda: "go" in view_of(run).at().steps, "it waits for the event")
    return run


def test_an_approval_is_answered_once(ctx: df.Context) -> None:
    run = ctx.start(asking(), {})
    wait_until(lambda: ctx.approvals.pending(run), "it asks")
    identifier = ctx.approvals.pending(run)[0].id
    page, other = Page(run), Page(run)
    assert not page.ask(do="decide", approval="not-one", decision="approved")["ok"]
    assert not page.ask(do="decide", approval=identifier, decision="perhaps")["ok"]
    assert page.ask(do="decide", approval=identifier, decision="approved", comment="fine")["ok"]
    assert page.changed == 1
    run.wait("20s")
    late = other.ask(do="decide", approval=identifier, decision="rejected")
    assert not late["ok"]
    assert "answered already" in late["text"]
    assert view_of(run).boxes(view_of(run).at())["tell"].status == "completed"
    assert page.threads == {"dataflows-view-commands"}


def test_the_value_of_an_answer_is_edited(ctx: df.Context) -> None:
    run = ctx.start(asking(), {})
    wait_until(lambda: ctx.approvals.pending(run), "it asks")
    identifier = ctx.approvals.pending(run)[0].id
    page = Page(run)
    [field] = page.ask(do="form", approval=identifier)["fields"]
    assert (field["name"], field["value"], field["json"]) == ("value", "", True)
    decide = {"do": "decide", "approval": identifier, "decision": "approved"}
    for given in ({"value": "{1"}, {"value.x": "1"}, {"value": 1}, ["value"]):
        assert not page.ask(**decide, given=given)["ok"], given
    assert not page.ask(do="form", approval="not-one")["ok"]
    assert page.changed == 0
    assert "as edited" in page.ask(**decide, given={"value": '{"n": 2}'})["text"]
    run.wait("20s")
    assert run.timeline()["ok"].output["value"] == {"n": 2}
    assert "waits for no answer" in page.ask(do="form", approval=identifier)["text"]


def test_an_event_is_sent_as_json(ctx: df.Context, waiting: Run) -> None:
    page = Page(waiting)
    assert "'go'" in page.ask(do="why")["text"]
    assert page.changed == 0
    bad = page.ask(do="send", name="go", payload="{'a': 1}")
    assert not bad["ok"]
    assert "no JSON" in bad["text"]
    assert not page.ask(do="send", name="other", payload="1")["ok"]
    assert not page.ask(do="send", name=None)["ok"]
    assert page.ask(do="send", name="go", payload='{"a": 1}')["ok"]
    assert waiting.result("20s") == {"a": 1}


def test_a_run_is_cancelled_and_forked(ctx: df.Context, waiting: Run) -> None:
    page = Page(waiting)
    assert page.ask(do="cancel")["ok"]
    assert waiting.wait("20s").status == "cancelled"
    again = page.ask(do="cancel")
    assert not again["ok"]
    assert "already over" in again["text"]
    at = next(event.seq for event in waiting.events() if event.key == "few")
    forked = page.ask(do="fork", at=at, set={"load": "[7]"})
    assert forked["ok"], forked
    fork = ctx.get(forked["run"])
    assert forked["text"] == f'run2 = ctx.get("{fork.id}")'
    fork.send_event("go", 1)
    assert fork.result("20s") == 1
    assert view_of(fork).at().steps["load"]["out"] == "[7]"
    for bad in ({"at": 10_000}, {"at": None}, {"at": True}, {"at": at, "set": ["x"]}, {"at": at, "set": {"load": "["}}):
        assert not page.ask(do="fork", **bad)["ok"]
    assert waiting.status == "cancelled"


def test_what_failed_is_tried_again_as_a_new_run(ctx: df.Context, waiting: Run) -> None:
    run = ctx.start(failing(), None).wait("20s")
    reply = Page(run).ask(do="retry")
    assert reply["ok"], reply["text"]
    fork = ctx.get(reply["run"])
    assert fork.forked_from == run
    assert fork.wait("20s").status == "failed"
    refused = Page(waiting).ask(do="retry")
    assert not refused["ok"]
    assert "can be tried again" in refused["text"]


def test_what_is_no_command_is_answered_too(ctx: df.Context, tmp_path: Path) -> None:
    run = ctx.start(failing(), None).wait("20s")
    page = Page(run)
    for name in ("nonsense", "__class__", None, 3, ["cancel"]):
        reply = page.ask(do=name)
        assert not reply["ok"]
        assert "no command" in reply["text"]
    page.commands.put("text")
    page.commands.put(None)
    page.commands.put({"do": "ping"})
    assert page.replies[-1] == {"do": "pong"}
    ctx.export(tmp_path / "x.duckdb")
    with df.open_archive(tmp_path / "x.duckdb") as archive:
        archived = Page(archive.run(run.id))
        for name in ("cancel", "retry", "why", "fork", "decide", "send"):
            assert "archive" in archived.ask(do=name)["text"]
        assert archived.changed == 0
    gone = Page(run)
    ctx.purge(dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    assert "no run" in gone.ask(do="retry")["text"]


def test_whole_values_are_bounded_and_masked(ctx: df.Context) -> None:
    pandas = pytest.importorskip("pandas")

    async def values(event: Any, step: Any) -> None:
        await step.run("plain", lambda: {"a": [1, {"b": TOKEN}]})
        await step.run("frame", lambda: pandas.DataFrame({"n": range(500), "t": [TOKEN] * 500}))
        await step.run("day", lambda: dt.date(2024, 5, 1))
        await step.run("huge", lambda: "x" * 10_000_000)
        await step.run("long", lambda: "é" * 100_000)
        await step.run("bad", _raise, retry=df.Retry(0))

    run = ctx.start(declare(values), {"key": 1}).wait("20s")
    REDACTOR.add(TOKEN)
    assert detail(source_of(run), "plain", None)["output"]["json"]["a"][0] == 1
    table = detail(source_of(run), "frame", None)["output"]["table"]
    assert (table["columns"], len(table["rows"]), table["of"]) == (["n", "t"], 200, 500)
    assert "2024" in detail(source_of(run), "day", None)["output"]["text"]
    assert detail(source_of(run), "huge", None)["output"]["text"] == "10,000,002 bytes: run.timeline()['huge'] has it"
    assert 60_000 < len(detail(source_of(run), "long", None)["output"]["text"].encode()) <= 64_000
    found = detail(source_of(run), "bad", None)
    assert "Traceback" in found["error"]["text"]
    assert "async def values" in found["source"]["text"]
    assert TOKEN not in str([detail(source_of(run), key, None) for key in ("plain", "frame", "bad")])
    with pytest.raises(DefinitionError, match="no step"):
        detail(source_of(run), "plain", 1)


def _raise() -> None:
    raise ValueError(f"with {TOKEN}")


def test_rows_as_of_a_point(ctx: df.Context) -> None:
    secret = "quince-tree-token-51820"
    tasks = ctx.warehouse.table("tasks", {"id": int, "name": str}, key="id")
    tasks.upsert({"id": 1, "name": "before"})

    async def writing(event: Any, step: Any) -> None:
        await step.run(
            "first", lambda: tasks.upsert_many([{"id": 1, "name": secret}, {"id": 2, "name": "two"}]).inserted
        )
        await step.run("nothing", lambda: 1)
        await step.run("second", lambda: tasks.delete(2).deleted)

    run = ctx.start(declare(writing), None).wait("20s")
    assert run.status == "succeeded", run.error
    REDACTOR.add(secret)
    tasks.upsert({"id": 1, "name": "after"})
    view = view_of(run)
    page = Page(run, view)
    place = {event[3]: number + 1 for number, event in enumerate(view.events) if event[2] == "step.completed"}
    assert view.writes == [
        [place["first"], "tasks", "first", 1, 1, 0],
        [place["second"], "tasks", "second", 0, 0, 1],
    ]
    assert page.ask(do="writes")["writes"] == view.writes
    reply = page.ask(do="rows", table="tasks", n=place["nothing"])
    assert reply["ok"], reply["text"]
    found = reply["table"]
    assert (found["columns"], found["of"]) == (["by step", "id", "name"], 2), found
    assert [row[:2] for row in found["rows"]] == [["first", "1"], ["first", "2"]]
    assert secret not in str(found)
    assert page.ask(do="rows", table="tasks", n=len(view.events))["table"]["of"] == 1
    changed = page.ask(do="rows", table="tasks", n=place["first"], changed=True)["table"]["rows"]
    assert [row[:2] for row in changed] == [["update", "1"], ["insert", "2"]]
    assert changed[0][2] == "name = before"
    gone = page.ask(do="rows", table="tasks", n=place["second"], changed=True)["table"]["rows"]
    assert gone == [["delete", "2", "id = 2, name = two", ""]]
    for bad in ({"n": 1}, {"n": 0}, {"n": 10_000}, {"n": None}, {"n": True}, {"table": "runs"}, {"table": None}):
        assert not page.ask(**{"do": "rows", "table": "tasks", "n": place["nothing"], **bad})["ok"]
    assert not page.ask(do="rows", table="tasks", n=place["nothing"], changed=True)["ok"]
    assert page.changed == 0


def test_one_run_beside_another(ctx: df.Context) -> None:
    secret = "medlar-tree-token-66012"

    async def pricing(event: Any, step: Any) -> None:
        await step.run("same", lambda: 1)
        await step.run("price", lambda: event.payload["n"])
        if event.payload["n"] > 1:
            await step.run("more", lambda: "with " + event.payload["token"])

    flow = declare(pricing)
    one = ctx.start(flow, {"n": 1, "token": ""}).wait("20s")
    two = ctx.start(flow, {"n": 2, "token": secret}).wait("20s")
    assert (one.status, two.status) == ("succeeded", "succeeded"), one.error
    REDACTOR.add(secret)
    page = Page(one)
    found = page.ask(do="diff", other=two.id)["against"]
    assert found["run"] == two.id
    assert [step[0] for step in found["steps"]] == ["price", "more"]
    assert found["steps"][0] == ["price", "1", "2"]
    assert found["steps"][1][1] is None
    assert [line[0] for line in found["head"]] == ["input"]
    assert secret not in str(found)
    assert page.changed == 0
    for bad in (one.id, "nothing", None, 3):
        assert not page.ask(do="diff", other=bad)["ok"]
    pytest.importorskip("anywidget")
    view = one.view(against=two)
    assert view.against == found
    view.close()
    for wrong in (one, "x", 3):
        with pytest.raises(DefinitionError, match="another run"):
            one.view(against=wrong)  # type: ignore[arg-type]
