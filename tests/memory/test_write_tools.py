"""Tools that write rows: of tables that were named, a row a call, typed, and with the run where there is one."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_memory.models import ScriptedModel
from dataflows_memory.tools import ContextTools
from dataflows_sdk.context import Context
from dataflows_sdk.errors import DefinitionError, ToolError

from ..conftest import MakeContext, wait_until


@pytest.fixture
def context(make_ctx: MakeContext) -> Context:
    ctx = make_ctx(work=False)
    columns = {"id": int, "name": str, "hours": float, "due": date, "done": bool, "api_key": str, "of": str}
    ctx.warehouse.table("tasks", columns, key="id").upsert(
        [{"id": 1, "name": "Fence", "hours": 3.0, "api_key": "k-1"}, {"id": 2, "name": "Roof", "hours": 8.0}]
    )
    ctx.warehouse.table("notes", {"text": str}).insert(text="first")
    ctx.warehouse.table("parts", {"order": int, "part": str, "count": int}, key=["order", "part"])
    return ctx


@pytest.fixture
def box(context: Context) -> ContextTools:
    return context.tools(tables=[], memory=None, write_tables=["tasks", "notes", "parts"])


def told(box: ContextTools, name: str, /, **arguments: Any) -> Any:
    result = box.tell(name, arguments)
    assert not result.error, result.text
    return json.loads(result.text)


def refused(box: ContextTools, name: str, /, **arguments: Any) -> str:
    result = box.tell(name, arguments)
    assert result.error, result.text
    return result.text


def test_nothing_is_written_unless_a_table_is_named(context: Context) -> None:
    for box in (context.tools(), context.tools(write=True), context.tools(tables=["tasks"], write=True)):
        assert not [name for name in box if name.startswith(("insert", "update", "delete"))]
    named = context.tools(tables=[], memory=None, write_tables=["parts"])
    assert [name for name in named if "_parts" in name or "_tasks" in name] == [
        "insert_parts", "update_parts", "delete_parts",
    ]  # fmt: skip


def test_they_are_typed_by_the_columns_and_deleting_is_dangerous(box: ContextTools) -> None:
    shapes = {each["name"]: each["inputSchema"] for each in box.mcp()}
    insert = shapes["insert_tasks"]
    assert insert["required"] == ["id"]
    assert set(insert["properties"]) == {"id", "name", "hours", "due", "done", "of"}, "and no secret"
    assert shapes["update_tasks"]["required"] == ["id"]
    assert set(shapes["update_tasks"]["properties"]) == {*insert["properties"], "clear"}
    assert shapes["delete_parts"]["required"] == ["order", "part"]
    assert set(shapes["delete_notes"]["properties"]) == {"id"}
    assert "update_notes" not in shapes, "a table without a key"
    dangerous = {name for name in box if box[name].dangerous}
    assert dangerous == {"delete_tasks", "delete_notes", "delete_parts"}
    assert all(each["function"]["strict"] for each in box.openai() if each["function"]["name"].endswith("_tasks"))


def test_rows_are_inserted_updated_and_deleted(context: Context, box: ContextTools) -> None:
    tasks = context.warehouse["tasks"]
    made = told(box, "insert_tasks", id=3, name="Gate", hours="1.5", due="2026-05-04", done=None)
    assert made == {"table": "tasks", "inserted": {"id": 3}}
    assert dict(tasks.get(3)) | {"due": date(2026, 5, 4), "hours": 1.5, "done": None} == dict(tasks.get(3))
    assert told(box, "update_tasks", id=1, hours=4, name=None, clear=["due"])["updated"] == {"id": 1}
    now = tasks.get(1)
    assert (now.name, now.hours, now.api_key) == ("Fence", 4.0, "k-1"), "null is not given, as strict schemas have it"
    told(box, "update_tasks", id=1, clear=["name"])
    assert tasks.get(1).name is None
    assert told(box, "delete_tasks", id=2)["deleted"] == {"id": 2}
    assert tasks.get(2) is None
    assert [each.operation for each in tasks.history(2)] == ["insert", "delete"]
    told(box, "insert_parts", order=1, part="nail", count=9)
    told(box, "update_parts", order=1, part="nail", count=8)
    assert context.warehouse["parts"].get((1, "nail")).count == 8
    id_ = told(box, "insert_notes", text="second")["inserted"]["id"]
    told(box, "delete_notes", id=id_)
    assert [row.text for row in context.warehouse["notes"].find()] == ["first"]


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("insert_tasks", {}, "argument 'id' is missing"),
        ("insert_tasks", {"id": 1, "name": "again"}, "already exists"),
        ("insert_tasks", {"id": "one"}, "argument 'id'"),
        ("insert_tasks", {"id": 9, "hours": "many"}, "argument 'hours'"),
        ("insert_tasks", {"id": 9, "due": "soon"}, "argument 'due'"),
        ("insert_tasks", {"id": 9, "api_key": "mine"}, "no argument 'api_key'"),
        ("insert_tasks", {"id": 9, "nmae": "x"}, "did you mean 'name'?"),
        ("insert_tasks", {"id": 2**70}, "id"),
        ("insert_tasks", {"id": 9, "name": "a\0b"}, "name"),
        ("insert_tasks", {"id": 9, "_execution_id": "x"}, "_execution_id"),
        ("update_tasks", {"hours": 1}, "argument 'id' is missing"),
        ("update_tasks", {"id": 1}, "nothing to change"),
        ("update_tasks", {"id": 77, "hours": 1}, "no row with id=77"),
        ("update_tasks", {"id": 1, "clear": ["id"]}, "'id' cannot be emptied"),
        ("update_tasks", {"id": 1, "clear": ["api_key"]}, "'api_key' cannot be emptied"),
        ("update_tasks", {"id": 1, "name": "x", "clear": ["name"]}, "say one of them"),
        ("delete_tasks", {}, "argument 'id' is missing"),
        ("delete_tasks", {"id": None}, "argument 'id'"),
        ("delete_tasks", {"id": 77}, "no row with id=77"),
        ("delete_tasks", {"where": {}}, "where"),
        ("delete_tasks", {"id": "1 or true"}, "argument 'id'"),
        ("delete_parts", {"order": 1}, "argument 'part' is missing"),
        ("update_notes", {"id": 1}, "there is no tool"),
    ],
)
def test_what_does_not_fit_changes_nothing(
    context: Context, box: ContextTools, tool: str, arguments: dict[str, Any], said: str
) -> None:
    before = [dict(row) for row in context.warehouse["tasks"].find()]
    assert said in refused(box, tool, **arguments)
    assert [dict(row) for row in context.warehouse["tasks"].find()] == before


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"write_tables": ["nowhere"]}, DefinitionError, "no table 'nowhere'"),
        ({"write_tables": "tasks"}, ToolError, "write_tables"),
        ({"write_tables": [7]}, ToolError, "write_tables"),
        ({"write_tables": ["tasks"], "hide": {"tasks": ["id"]}}, ToolError, "'id'"),
    ],
)
def test_a_set_that_cannot_be_is_said_when_it_is_made(
    context: Context, options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        context.tools(tables=[], memory=None, **options)


def test_what_is_hidden_is_not_written(context: Context) -> None:
    box = context.tools(tables=[], memory=None, write_tables=["tasks"], hide={"tasks": ["hours"]})
    assert "no argument 'hours'" in refused(box, "update_tasks", id=1, hours=1)
    told(box, "update_tasks", id=1, api_key="k-2")  # whoever says with hide= what is hidden says it all


def test_an_agent_writes_with_its_run_and_step_and_asks_before_it_deletes(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    tasks = ctx.warehouse.table("tasks", {"id": int, "name": str}, key="id")
    tasks.upsert(id=1, name="Fence")
    box = ctx.tools(tables=[], memory=None, people=False, runs=False, write_tables=["tasks"])
    model = ScriptedModel(
        ("insert_tasks", {"id": 2, "name": "Gate"}), ("insert_tasks", {"id": 1}), ("delete_tasks", {"id": 1}), "Done."
    )
    agent = ctx.agent(model, box.values(), name="writer")
    run = agent.start("Replace the fence by a gate.")
    (asked,) = wait_until(lambda: ctx.approvals.pending(), "a person is asked")
    assert "delete_tasks" in asked.message
    assert tasks.get(1) is not None
    ctx.approvals.respond(asked, "approved", responder="ann")
    result = agent.result(run, timeout="60s")
    assert [each.error for each in result.tools] == [False, True, False]
    assert tasks.get(1) is None
    why = ctx.warehouse.why("tasks", 2)
    assert why is not None
    assert (why.run, why.step) == (run.id, "tool 1.1 insert_tasks")
    gone = tasks.history(1)[-1]
    assert (gone.operation, gone.run, gone.step) == ("delete", run.id, "tool 3.1 delete_tasks")


def test_in_a_step_that_fails_nothing_is_written(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    tasks = ctx.warehouse.table("tasks", {"id": int, "name": str}, key="id")
    box = ctx.tools(tables=[], memory=None, write_tables=["tasks"])

    @df.workflow("half")
    def half(event: Any, step: Any) -> None:
        def work() -> None:
            box["insert_tasks"].call({"id": 1, "name": "Fence"})
            raise ValueError("in the middle")

        step.run("work", work, retry=df.NO_RETRY)

    run = ctx.start(half)
    run.wait()
    assert run.status == "failed"
    assert tasks.count() == 0
