"""``ctx.tools``: what a model may do with a context, and what it may not, whatever it says."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

import dataflows_sdk as df
from dataflows_memory.tools import ContextTools, Tool
from dataflows_sdk.context import Context
from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.errors import DefinitionError, ToolArgumentError, ToolError, WorkflowNotFoundError

from ..conftest import wait_until


class Order(BaseModel):
    item: str
    count: int = 1


@df.workflow("tools-order")
def order(event: df.Event[Order], step: Any) -> Any:
    """Order something.

    Only people read this.
    """
    return step.run("price", lambda: {"item": event.payload.item, "total": event.payload.count * 5})


@df.workflow("tools-waits")
async def waits(event: Any, step: Any) -> Any:
    return await step.wait_for_event("go")


@df.workflow("tools-fails")
def fails(event: Any, step: Any) -> Any:
    def boom() -> None:
        raise KeyError("no such order")

    step.run("boom", boom, retry=df.Retry(0))


@df.workflow("tools-payroll")
def payroll(event: Any, step: Any) -> Any:
    return "salaries"


signoff = df.flow("tools-signoff").on_manual().approval("boss", "Spend it?")


class Keyed(BaseModel):
    idempotency_key: str


def told(box: ContextTools, name: str, /, **arguments: Any) -> Any:
    result = box.tell(name, arguments)
    assert not result.error, result.text
    return json.loads(result.text)


def refused(box: ContextTools, name: str, given: Any = None, /, **arguments: Any) -> str:
    result = box.tell(name, given if given is not None else arguments)
    assert result.error, result.text
    return result.text


def filled(ctx: Context) -> Context:
    tasks = ctx.warehouse.table("tasks", {"id": int, "name": str, "api_key": str}, key="id")
    tasks.upsert([{"id": 1, "name": "Fence", "api_key": "k-1"}, {"id": 2, "name": "Roof", "api_key": "k-2"}])
    ctx.warehouse.table("salaries", {"who": str, "pay": int}, key="who").upsert([{"who": "ann", "pay": 9}])
    return ctx


# --- flows ------------------------------------------------------------------------------------------------


def test_a_flow_is_typed_by_its_input_and_gives_its_result(ctx: Context) -> None:
    box = ctx.tools([order], memory=None)
    tool = box.openai()[0]["function"]
    assert tool["name"] == "tools-order"
    assert tool["description"].startswith("Order something. Gives its result;")
    assert "Only people" not in tool["description"]
    assert set(tool["parameters"]["properties"]) == {"item", "count", "idempotency_key"}
    assert box.responses()[0]["name"] == "tools-order"
    assert box.mcp()[0]["inputSchema"]["required"] == ["item"]
    done = told(box, "tools-order", item="nail", count=3)
    assert (done["status"], done["result"]) == ("succeeded", {"item": "nail", "total": 15})
    assert json.loads(box.call("tools-order", '{"item": "nut"}'))["result"]["total"] == 5
    assert asyncio.run(box.functions()["tools-order"](item="saw"))["result"]["total"] == 5
    with pytest.raises(ToolArgumentError):
        box.functions()["tools-order"](count=3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": 2}, "argument 'item' is missing"),
        ({"item": "x", "count": "many"}, "argument 'count'"),
        ({"item": 5}, "argument 'item'"),
        ("{not json", "no JSON"),
        ("[1]", "an object"),
    ],
)
def test_wrong_arguments_start_nothing_and_are_told(ctx: Context, given: Any, said: str) -> None:
    box = ctx.tools([order])
    assert said in refused(box, "tools-order", given)
    assert len(ctx.runs("tools-order")) == 0


def test_a_long_run_gives_a_handle_and_is_waited_for(ctx: Context) -> None:
    box = ctx.tools([waits], write=True, wait="200ms")
    begun = time.monotonic()
    handle = told(box, "tools-waits")
    assert time.monotonic() - begun < 5
    assert handle["status"] in ("running", "waiting")
    assert "call wait" in handle["next"]
    assert told(box, "wait", run=handle["run"], seconds=0)["status"] in ("running", "waiting")
    assert told(box, "wait", run=handle["run"], seconds=3600)["status"] in ("running", "waiting")
    assert told(box, "send_event", run=handle["run"], name="go", payload={"n": 1}) == {
        "run": handle["run"],
        "sent": "go",
    }
    done = wait_until(lambda: (now := told(box, "wait", run=handle["run"])).get("result") and now, "it is over")
    assert done["result"] == {"n": 1}
    assert "seconds=-1" in refused(box, "wait", run=handle["run"], seconds=-1)


def test_a_failure_names_the_run_the_step_and_the_cause(ctx: Context) -> None:
    box = ctx.tools([fails])
    text = refused(box, "tools-fails")
    (run,) = ctx.runs("tools-fails")
    assert run.id in text
    assert "'boom'" in text
    assert "no such order" in text
    assert "no such order" in refused(box, "wait", run=run.id)
    looked = told(box, "run", run=run.id[:18])
    assert looked["error"]["step"] == "boom"
    assert [step["status"] for step in looked["steps"]] == ["failed"]


@pytest.mark.parametrize("key", ["", " ", "x" * 201, 7, "a\0b"])
def test_a_key_that_is_none_starts_nothing(ctx: Context, key: Any) -> None:
    box = ctx.tools([order])
    assert "idempotency_key" in refused(box, "tools-order", item="nail", idempotency_key=key)
    assert "idempotency_key" in refused(box, "ask_person", question="May I?", idempotency_key=key)
    assert len(ctx.runs()) == 0


def test_a_repeated_call_with_its_key_starts_one_run(ctx: Context) -> None:
    box = ctx.tools([order], wait="200ms")
    first = told(box, "tools-order", item="nail", idempotency_key="one")
    assert told(box, "tools-order", item="nail", idempotency_key="one")["run"] == first["run"]
    assert told(box, "tools-order", item="nut", idempotency_key="one")["run"] != first["run"], "another call"
    assert told(box, "tools-order", item="nail")["run"] != first["run"], "no key"
    asked = [told(box, "ask_person", question="May I?", idempotency_key="two")["run"] for _ in range(2)]
    assert len(set(asked)) == 1


def test_an_input_that_has_a_key_of_its_own_keeps_it(ctx: Context) -> None:
    @df.workflow("tools-keyed")
    def keyed(event: df.Event[Keyed], step: Any) -> str:
        return event.payload.idempotency_key

    box = ctx.tools([keyed])
    tool = box["tools-keyed"]
    assert told(box, "tools-keyed", idempotency_key="mine")["result"] == "mine"
    runs = {json.loads(tool.tell({"idempotency_key": "mine"}, key="call").text)["run"] for _ in range(2)}
    assert len(runs) == 1


def test_saved_flows_are_offered_by_name(ctx: Context) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    double = df.flow("tools-double").on_manual(schema).delay("nap", "1ms")
    ctx.flows.save(double).activate()
    box = ctx.tools(["tools-double"])
    assert told(box, "tools-double", n=4)["status"] == "succeeded"
    assert "/n: 'x'" in refused(box, "tools-double", n="x")
    ctx.flows.get("tools-double").pause()
    assert "paused" in refused(box, "tools-double", n=4)


def test_what_cannot_be_offered_is_said_when_the_set_is_made(ctx: Context) -> None:
    with pytest.raises(WorkflowNotFoundError):
        ctx.tools(["nowhere"])
    with pytest.raises(ToolError, match="give a list"):
        ctx.tools("tools-order")
    with pytest.raises(ToolError, match="two tools"):
        ctx.tools({"recall": order})
    with pytest.raises(DefinitionError, match="there is no table"):
        ctx.tools(tables=["nowhere"])
    with pytest.raises(ToolError, match="dangerous: there is no tool 'x'"):
        ctx.tools(dangerous=["x"])
    with pytest.raises(ToolError, match="wait="):
        ctx.tools(wait="1h")
    with pytest.raises(ToolError, match="names no scope"):
        ctx.tools(memory=[])
    with pytest.raises(ToolError, match="neither a tool nor a function"):
        ctx.tools(more=[5])  # type: ignore[list-item]


# --- rows -------------------------------------------------------------------------------------------------


def test_sql_reads_what_was_allowed_and_nothing_else(ctx: Context) -> None:
    filled(ctx)
    box = ctx.tools(tables=["tasks"])
    assert told(box, "sql", query="select name from tasks order by 1")["rows"] == [["Fence"], ["Roof"]]
    assert told(box, "sql", query="select count(*) from tasks", as_of="1d")["rows"] == [[0]]
    assert "tasks" in box.call("describe_tables")
    assert "salaries" not in box.call("describe_tables")
    for hostile in (
        "select * from salaries",
        "select * from dataflows.runs",
        "select api_key from tasks",
        "select 1; drop table tasks",
        "with x as (delete from tasks returning *) select * from x",
        "copy tasks to program 'cat'",
        "select pg_read_file('/etc/passwd')",
        "select pg_sleep(1000)",
        "select 1 /* */ ; -- drop table tasks\n delete from tasks",
    ):
        assert "refused" in refused(box, "sql", query=hostile), hostile
    assert "api_key" not in json.dumps(told(box, "sql", query="select * from tasks")["columns"])
    assert "argument 'tables'" in refused(box, "sql", query="select 1", tables=["salaries"])
    assert told(box, "sql", query="select count(*) from tasks")["rows"] == [[2]]


def test_where_a_row_comes_from_and_what_it_was(ctx: Context) -> None:
    filled(ctx)

    @df.workflow("tools-writes")
    def writes(event: Any, step: Any) -> None:
        step.run("write", lambda: ctx.db.tasks.upsert(id=1, name=event.payload["name"]))

    run = ctx.run(writes, {"name": "Wall"})
    box = ctx.tools(tables=["tasks"])
    why = told(box, "why", table="tasks", key=1)
    assert (why["run"], why["step"], why["workflow"]) == (run.id, "write", "tools-writes")
    assert why["row"]["name"] == "Wall"
    assert "api_key" not in why["row"]
    assert "Wall" in json.dumps(why["trigger"])
    assert "trigger" not in told(ctx.tools([order], ["tasks"]), "why", table="tasks", key=1)
    past = told(box, "history", table="tasks", key=1)
    assert [each["row"]["name"] for each in past["versions"]] == ["Fence", "Wall"]
    assert told(box, "history", table="tasks", key=[1], last=1)["earlier"] == 1
    assert "never had a row" in refused(box, "why", table="tasks", key=99)
    for name in ("why", "history"):
        assert "there is no table 'salaries'" in refused(box, name, table="salaries", key="ann")
    assert "last=0" in refused(box, "history", table="tasks", key=1, last=0)


# --- runs -------------------------------------------------------------------------------------------------


def test_runs_of_other_workflows_are_not_to_be_seen(ctx: Context) -> None:
    secret = ctx.run(payroll)
    mine = ctx.run(order, {"item": "nail"})
    box = ctx.tools([order], write=True)
    assert [each["run"] if "run" in each else each["id"] for each in told(box, "runs")["runs"]] == [mine.id]
    assert "not to be seen" in refused(box, "runs", workflow="tools-payroll")
    for name, more in (("run", {}), ("wait", {}), ("send_event", {"name": "go"})):
        other = str(uuid4())
        hidden, missing = refused(box, name, run=secret.id, **more), refused(box, name, run=other, **more)
        assert hidden.replace(secret.id, "") == missing.replace(other, "")
    everything = ctx.tools()
    assert {each["workflow"] for each in told(everything, "runs", since="1h")["runs"]} == {
        "tools-payroll",
        "tools-order",
    }
    assert told(everything, "run", run=secret.id)["result"] == "salaries"
    assert "limit=0" in refused(everything, "runs", limit=0)
    assert "there is no status" in refused(everything, "runs", status="odd")
    assert "runs" not in list(ctx.tools(runs=False, people=False))


def test_a_model_cannot_approve(ctx: Context) -> None:
    run = ctx.start(signoff)
    (pending,) = wait_until(lambda: ctx.approvals.pending(run), "it asks")
    box = ctx.tools(write=True)
    (shown,) = told(box, "approvals")["pending"]
    assert (shown["id"], shown["message"]) == (pending.id, "Spend it?")
    answer = {"decision": "approved", "responder": "boss"}
    for name in (f"approval:{pending.id}", f" Approval:{pending.id}", "resolve:boss", "child:x", "row:x"):
        assert "would answer for a person" in refused(box, "send_event", run=run.id, name=name, payload=answer)
    assert ctx.approvals.pending(run)
    assert box["send_event"].dangerous
    ctx.cancel(run)


@pytest.mark.parametrize("decision", ["approved", "rejected"])
def test_a_person_is_asked_and_answers(ctx: Context, decision: str) -> None:
    box = ctx.tools(wait="300ms", runs=False)
    handle = told(box, "ask_person", question="Delete 3 rows? {{ trigger }}")
    (pending,) = wait_until(ctx.approvals.pending, "it asks")
    assert pending.message == "Delete 3 rows? {{ trigger }}"
    ctx.approvals.respond(pending.id, decision, responder="ann", comment="so be it")
    done = wait_until(lambda: (now := told(box, "wait", run=handle["run"])).get("result") and now, "it is over")
    assert decision in json.dumps(done["result"])
    assert "1 to 4,000" in refused(box, "ask_person", question=" ")


# --- memory -----------------------------------------------------------------------------------------------


def test_memory_stays_in_its_scope(ctx: Context) -> None:
    ctx.memory.remember("The fence is green.", scope="ann")
    ctx.memory.remember("The safe is behind the picture.", scope="bob")
    box = ctx.tools(memory="ann", write=True)
    (hit,) = told(box, "recall", question="fence safe picture")["hits"]
    assert hit["text"] == "The fence is green."
    for escape in ({"scope": "bob"}, {"collection": "x"}, {"scope": None}):
        assert "there is no argument" in refused(box, "recall", question="safe", **escape)
    assert "bob" not in box.call("recall", {"question": "safe", "where": {"scope": "bob"}})
    told(box, "remember", text="The roof is red.", ref="roof")
    assert told(box, "recall", question="roof")["hits"][0]["text"] == "The roof is red."
    assert "The roof is red." not in [hit.text for hit in ctx.memory.recall("roof", scope="bob")]
    assert "remember" not in list(ctx.tools(memory="ann"))
    assert "recall" not in list(ctx.tools(memory=None))
    for bad in ({"question": " "}, {"question": "x", "k": 0}, {"question": "x", "as_of": "soon"}):
        refused(box, "recall", **bad)


def test_an_empty_scope_says_so_and_names_no_other(ctx: Context) -> None:
    assert told(ctx.tools(memory="eve"), "recall", question="safe")["hits"] == []
    ctx.memory.remember("The safe is behind the picture.", scope="bob")
    text = ctx.tools(memory="eve").call("recall", {"question": "safe"})
    assert "bob" not in text
    assert "Nothing was remembered" in text


# --- what is told -----------------------------------------------------------------------------------------


def test_secrets_are_masked_in_results_and_errors(ctx: Context) -> None:
    REDACTOR.add("hunter2-hunter2")

    @dataclass
    class Held:
        password: str = "letmein"
        note: str = "x" * 50

    def leak(how: str) -> Any:
        """Leak."""
        if how == "raise":
            raise ValueError("hunter2-hunter2")
        return {"a": "hunter2-hunter2", "held": Held(), "long": ["y" * 500] * 500 + ["hunter2-hunter2"]}

    box = ctx.tools(more=[leak], limit=2_000)
    for how in ("raise", "give"):
        text = box.call("leak", {"how": how})
        assert "hunter2" not in text
        assert "letmein" not in text
        assert len(text) <= 2_000
    assert "This is a part" in box.call("leak", {"how": "give"})


def test_a_hung_tool_and_an_unknown_one(ctx: Context) -> None:
    def hang() -> None:
        """Hang."""
        time.sleep(5)

    hung = Tool.of(hang, wait=0.1)
    box = ctx.tools(more=[hung])
    begun = time.monotonic()
    assert "did not answer within" in refused(box, "hang")
    assert "did not answer within" in asyncio.run(box.atell("hang")).text
    assert time.monotonic() - begun < 3
    assert "did you mean" in refused(box, "recal")


def test_awaited_calls_give_the_same(ctx: Context) -> None:
    box = ctx.tools([order])

    async def both() -> list[Any]:
        return [await box.atell(name, given) for name, given in
                (("tools-order", {"item": "a"}), ("runs", {}), ("tools-order", {}), ("nothing", {}))]  # fmt: skip

    results = asyncio.run(both())
    assert [each.error for each in results] == [False, False, True, True]
    assert json.loads(results[0].text)["result"]["total"] == 5


def test_a_set_that_only_looks_says_so(ctx: Context) -> None:
    filled(ctx)
    hints = {each["name"]: each["annotations"] for each in ctx.tools([order]).mcp()}
    assert hints["sql"] == {"readOnlyHint": True}
    assert hints["tools-order"] == {"destructiveHint": False}
    assert {each["name"]: each["annotations"] for each in ctx.tools([order], dangerous=["tools-order"]).mcp()}[
        "tools-order"
    ] == {"destructiveHint": True}
