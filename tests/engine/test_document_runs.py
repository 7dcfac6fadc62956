"""Documents at work: every logic node, errors, joins and loops, in memory and replayed after every step."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pydantic
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import (
    ApprovalClosedError,
    ApprovalRejectedError,
    InputError,
    RunFailed,
    RunNotFoundError,
)
from dataflows_sdk.flow import kinds
from dataflows_sdk.nodes import registry

from ..conftest import MakeContext, wait_until

OPTIONS: list[dict[str, Any]] = [{}, {"linger": "0s"}, {"always_replay": True}]


class NoteConfig(pydantic.BaseModel):
    """What the test's own node takes."""

    text: Any = ""
    fail: Any = False
    wait: float = 0.0


class Notes:
    """What ran, by text."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.texts: list[Any] = []

    def __call__(self, text: Any) -> None:
        with self.lock:
            self.texts.append(text)

    @property
    def counts(self) -> Counter[Any]:
        return Counter(map(str, self.texts))


@pytest.fixture
def notes() -> Iterator[Notes]:
    """A node type ``test_note`` that notes what it is given; registered for the test."""
    found = Notes()

    async def note(config: NoteConfig, call: df.Call) -> Any:
        """Note a text."""
        if config.wait:
            import asyncio

            await asyncio.sleep(config.wait)
        found(config.text)
        if config.fail:
            raise ValueError(f"on purpose: {config.text}")
        return config.text

    df.node("test_note", config=NoteConfig)(note)
    yield found
    registry._TYPES.pop("test_note")
    kinds._KINDS.pop("test_note")


def note(flow: df.Flow, name: str, text: Any = None, **more: Any) -> df.Flow:
    """Add a node that notes its own name, or a text."""
    after = more.pop("after", ())
    config = {"text": name if text is None else text}
    config |= {key: more.pop(key) for key in ("fail", "wait") if key in more}
    return flow._data(name, "test_note", config, after, more)


def run(ctx: df.Context, flow: df.Flow, payload: Any = None) -> Any:
    return ctx.run(flow, payload, timeout="30s").result()


# --- ways -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    ("amount", "ran"), [(150, ["yes", "plain"]), (50, ["no"]), (None, ["no"]), ("150", ["yes", "plain"])]
)
def test_a_condition_takes_one_way(
    make_ctx: MakeContext, notes: Notes, options: Any, amount: Any, ran: list[str]
) -> None:
    flow = df.flow("ways").on_manual().condition("big", [("trigger.amount", "gt", 100)])
    flow = note(flow, "yes", after="big:true")
    flow = note(flow, "no", after="big:false")
    flow = note(flow, "plain", after="big")
    made = make_ctx(**options).run(flow, {"amount": amount}, timeout="20s")
    made.result()
    assert sorted(notes.texts) == sorted(ran)
    skipped = {event.key for event in made.events() if event.kind == "step.skipped"}
    assert skipped == {"yes", "no", "plain"} - set(ran)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("country", "way"), [("DE", "home"), ("FR", "abroad"), ("XX", "other"), (None, "other")])
def test_a_switch_takes_the_first_case_that_fits(
    make_ctx: MakeContext, notes: Notes, options: Any, country: Any, way: str
) -> None:
    flow = (
        df.flow("switch")
        .on_manual()
        .switch("way", "{{trigger.country}}", {"home": "DE", "abroad": "FR"}, default="other")
    )
    for name in ("home", "abroad", "other"):
        flow = note(flow, name, after=f"way:{name}")
    run(make_ctx(**options), flow, {"country": country})
    assert notes.texts == [way]


def test_a_switch_without_a_fitting_case_takes_none(make_ctx: MakeContext, notes: Notes) -> None:
    flow = (
        df.flow("none")
        .on_manual()
        .switch("way", "{{trigger.n}}", [1, {"expression": "trigger.n > 10", "handle": "many"}])
    )
    flow = note(note(note(flow, "one", after="way:1"), "many", after="way:many"), "after", after=["one", "many"])
    ctx = make_ctx()
    run(ctx, flow, {"n": 5})
    assert notes.texts == []
    run(ctx, flow, {"n": 50})
    assert notes.texts == ["many", "after"]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_diamond_behind_a_condition_does_not_hang(make_ctx: MakeContext, notes: Notes, options: Any) -> None:
    flow = df.flow("diamond").on_manual().condition("c", "trigger.n > 1")
    flow = note(note(note(flow, "a", after="c:true"), "b", after="c:false"), "join", after=["a", "b"])
    assert run(make_ctx(**options), flow, {"n": 2}) == "join"
    assert notes.texts == ["a", "join"]


# --- templates --------------------------------------------------------------------------------------------


def test_templates_keep_types_note_what_is_missing_and_are_not_rendered_twice(
    make_ctx: MakeContext, notes: Notes
) -> None:
    flow = note(df.flow("templates").on_manual(), "a", "{{trigger.amount}}")
    flow = note(flow, "b", "{{trigger.name}} owes {{steps.a.output}}{{trigger.nope}}")
    flow = note(flow, "c", {"all": "{{trigger}}", "bare": "{{a}}"})
    made = make_ctx().run(flow, {"amount": 150, "name": "{{steps.a.output}}"}, timeout="20s")
    made.result()
    assert notes.texts[:2] == [150, "{{steps.a.output}} owes 150"]
    assert notes.texts[2] == {"all": {"amount": 150, "name": "{{steps.a.output}}"}, "bare": 150}
    (warned,) = [event.data["warnings"] for event in made.events() if "warnings" in event.data]
    assert len(warned) == 1
    assert "trigger.nope" in warned[0]


def test_a_strict_flow_fails_where_a_path_leads_nowhere(make_ctx: MakeContext, notes: Notes) -> None:
    flow = note(df.flow("strict", meta={"strict": True}).on_manual(), "a", "{{trigger.nope}}")
    with pytest.raises(RunFailed, match="trigger has no 'nope'"):
        run(make_ctx(), flow, {"amount": 1})
    assert notes.texts == []


def test_a_config_that_does_not_fit_when_it_is_filled_in(make_ctx: MakeContext) -> None:
    flow = df.flow("unfit").on_manual().delay("d", "{{trigger.wait}}")
    with pytest.raises(RunFailed, match="parsecs"):
        run(make_ctx(), flow, {"wait": "5 parsecs"})
    looping = df.flow("unfit-loop").on_manual().loop("l", "{{trigger.items}}", lambda part: part.delay("d", "1ms"))
    for items, message in (
        (5, "goes over int"),
        (None, "goes over nothing"),
        ([0] * 10_001, "10001 items and may have 10000"),
    ):
        with pytest.raises(RunFailed, match=message):
            run(make_ctx(), looping, {"items": items})


# --- joins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("meet", ["all", "any", 2, "2-of-3", {"n": 2}])
def test_where_the_branches_of_a_parallel_node_meet(
    make_ctx: MakeContext, notes: Notes, options: Any, meet: Any
) -> None:
    flow = df.flow("meet").on_manual().fan_out("split", meet=meet)
    flow = note(note(note(flow, "a", after="split"), "b", after="split"), "c", after="split")
    flow = note(flow, "join", after=["a", "b", "c"])
    run(make_ctx(**options), flow)
    assert notes.counts == Counter(["a", "b", "c", "join"])
    position = notes.texts.index("join")
    assert position >= {"all": 3, "any": 1}.get(str(meet), 2)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_rest_is_called_off_when_the_join_holds(make_ctx: MakeContext, notes: Notes, options: Any) -> None:
    flow = df.flow("off").on_manual().fan_out("split", meet="any", cancel_remaining=True)
    flow = note(flow, "quick", after="split")
    flow = flow.delay("long", "1h", after="split")
    flow = note(flow, "never", after="long")
    flow = note(flow, "join", after=["quick", "never"])
    begun = time.monotonic()
    made = make_ctx(**options).run(flow, timeout="20s")
    assert made.result() == "join"
    assert time.monotonic() - begun < 20
    assert notes.texts == ["quick", "join"]
    skipped = {event.key: event.data["reason"] for event in made.events() if event.kind == "step.skipped"}
    assert set(skipped) == {"long", "never"}
    assert made.replay().ok


def test_a_join_that_cannot_hold_any_more_fails_with_the_reason(make_ctx: MakeContext, notes: Notes) -> None:
    flow = df.flow("cannot").on_manual().condition("c", "true")
    flow = note(note(note(flow, "a", after="c:true"), "b", after="c:false"), "d", after="c:true")
    flow = note(flow, "x", after="d", fail=True, on_error="goto:h").handler("h")
    flow = note(flow, "join", after=["a", "x", "d"], join=3)
    with pytest.raises(RunFailed, match="join"):
        run(make_ctx(), flow)
    assert "join" not in notes.texts


# --- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_stop_continue_and_goto(make_ctx: MakeContext, notes: Notes, options: Any) -> None:
    ctx = make_ctx(**options)
    stop = note(note(df.flow("stop").on_manual(), "bad", fail=True), "after")
    with pytest.raises(RunFailed, match="on purpose"):
        run(ctx, stop)
    assert notes.texts == ["bad"]
    notes.texts.clear()

    on = note(df.flow("on").on_manual(), "bad", fail=True, on_error="continue")
    on = note(on, "after", "{{steps.bad.error.type}}: {{steps.bad.error.message}} {{steps.bad.output}}")
    assert run(ctx, on) == "ValueError: on purpose: bad "
    notes.texts.clear()

    goto = note(
        df.flow("goto").on_manual(),
        "bad",
        fail=True,
        on_error="goto:oops",
        retry={"max_retries": 2, "initial_delay_ms": 1},
    )
    goto = note(goto, "after").handler("oops")
    goto = note(goto, "told", "{{steps.oops.output}}", after="oops")
    value = run(ctx, goto)
    assert value == {"error": {"type": "ValueError", "message": "on purpose: bad"}, "node_id": "bad", "attempt": 3}
    assert notes.texts == ["bad", "bad", "bad", value]


def test_a_node_type_of_another_gets_the_rules_of_every_node(make_ctx: MakeContext, notes: Notes) -> None:
    seen: list[tuple[int, str]] = []

    def score(config: NoteConfig, call: df.Call) -> str:
        """A blocking one."""
        seen.append((call.attempt, call.idempotency_key))
        if call.attempt < 3:
            raise ConnectionError("again")
        return f"{call.workflow}/{call.node}: {config.text}"

    df.node("acme_score", config=NoteConfig, label="score")(score)
    flow = (
        df.flow("own")
        .on_manual()
        .node("s", "acme_score", {"text": "{{trigger.a}}"}, retry={"max_retries": 3, "initial_delay_ms": 1})
    )
    assert flow.validate() == []
    assert run(make_ctx(), flow, {"a": 7}) == "own/s: 7"
    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    assert len({key for _, key in seen}) == 1


# --- loops ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("parallel", [False, True])
def test_a_loop_keeps_order_groups_and_indexes(
    make_ctx: MakeContext, notes: Notes, options: Any, parallel: bool
) -> None:
    flow = df.flow("loop").on_manual()
    flow = flow.loop(
        "each",
        "{{trigger.items}}",
        lambda part: note(
            note(part, "one", "{{order.id}}/{{loop.index}}/{{loop.count}}/{{loop.last}}"),
            "two",
            "{{steps.one.output}}!",
        ),
        parallel=parallel,
        item="order",
    )
    flow = note(flow, "after", "{{steps.each.output}}")
    ctx = make_ctx(**options)
    made = ctx.run(flow, {"items": [{"id": "a"}, {"id": "b"}, {"id": "c"}]}, timeout="30s")
    value = made.result()
    expected = ["a/0/3/false!", "b/1/3/false!", "c/2/3/true!"]
    assert value == {"items": expected, "count": 3, "errors": []}
    keys = [step.key for step in made.timeline() if step.name == "two"]
    assert (sorted(keys) if parallel else keys) == ["each[0]/two", "each[1]/two", "each[2]/two"]
    if not parallel:
        assert notes.texts[:2] == ["a/0/3/false", "a/0/3/false!"]
    assert run(ctx, flow, {"items": []}) == {"items": [], "count": 0, "errors": []}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_loops_in_loops(make_ctx: MakeContext, notes: Notes, options: Any) -> None:
    def inner(part: df.Flow) -> df.Flow:
        return note(part, "cell", "{{row.name}}{{loop.item}}{{loop.parent.index}}{{loop.index}}")

    flow = df.flow("nested").on_manual()
    flow = flow.loop(
        "rows", "{{trigger.rows}}", lambda part: part.loop("cells", "{{row.cells}}", inner, parallel=True), item="row"
    )
    flow = note(flow, "end", "{{steps.rows.output.items}}")
    value = run(make_ctx(**options), flow, {"rows": [{"name": "a", "cells": [1, 2]}, {"name": "b", "cells": [3]}]})
    assert [each["items"] for each in value] == [["a100", "a201"], ["b310"]]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_errors_inside_loops(make_ctx: MakeContext, notes: Notes, options: Any) -> None:
    def body(**more: Any) -> Callable[[df.Flow], df.Flow]:
        return lambda part: note(part, "one", "{{loop.item.n}}", fail="{{loop.item.fail}}", **more)

    items = {"items": [{"n": 0, "fail": False}, {"n": 1, "fail": True}, {"n": 2, "fail": False}]}
    ctx = make_ctx(**options)
    stop = df.flow("loop-stop").on_manual().loop("each", "{{trigger.items}}", body())
    with pytest.raises(RunFailed, match="on purpose: 1"):
        run(ctx, stop, items)
    assert notes.texts == [0, 1]
    error = {"index": 1, "node_id": "one", "error": {"type": "ValueError", "message": "on purpose: 1"}}
    on = df.flow("loop-on").on_manual().loop("each", "{{trigger.items}}", body(on_error="continue"))
    assert run(ctx, on, items) == {"items": [0, None, 2], "count": 3, "errors": [error]}
    rest = df.flow("loop-rest").on_manual().loop("each", "{{trigger.items}}", body(), on_item_error="continue")
    assert run(ctx, rest, items) == {"items": [0, None, 2], "count": 3, "errors": [error]}


def test_a_loop_without_handles_takes_its_targets_as_body(make_ctx: MakeContext, notes: Notes) -> None:
    def data(id: str, text: str) -> dict[str, Any]:
        return {"id": id, "type": "test_note", "config": {"text": text}}

    document = {
        "version": 1,
        "name": "bare",
        "nodes": [
            {"id": "l", "type": "loop", "config": {"items": [1, 2]}},
            data("a", "{{loop.item}}"),
            data("end", "{{steps.l.output.count}}"),
        ],
        "edges": [{"source": "l", "target": "a"}, {"source": "a", "target": "end"}],
    }
    assert run(make_ctx(), df.Flow.from_json(document)) == 2
    assert notes.texts == [1, 2, 2]


def test_python_steps_inside_loops_and_beside_documents(make_ctx: MakeContext, notes: Notes) -> None:
    flow = df.flow("mixed").step("load", lambda event: [{"n": n} for n in range(event.payload["n"])])
    flow = flow.loop(
        "each",
        "{{load}}",
        lambda part: note(part, "a", "{{loop.item.n}}").step("double", lambda a: a * 2),
        after="load",
    )
    flow = flow.step("total", lambda each: sum(each["items"]))
    assert flow.validate() == []
    assert run(make_ctx(), flow, {"n": 4}) == 12


# --- time and people --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_delay_tells_until_when(make_ctx: MakeContext, options: Any) -> None:
    flow = df.flow("delay").on_manual().delay("d", "300ms")
    made = make_ctx(**options).run(flow, timeout="20s")
    value = made.result()
    (waiting,) = [event for event in made.events() if event.kind == "step.waiting"]
    assert value == {"waited_until": waiting.data["until"], "reason": "elapsed"}
    past = df.flow("past").on_manual().delay("d", until="{{trigger.at}}")
    assert run(make_ctx(), past, {"at": "2020-01-01T00:00:00+00:00"})["reason"] == "elapsed"


def approval(**more: Any) -> df.Flow:
    flow = df.flow("approve").on_manual().approval("ask", "{{trigger.id}}?", **more)
    return flow.delay("yes", "0s", after="ask:approved").delay("no", "0s", after="ask:rejected")


def pending(ctx: df.Context, run: df.Run) -> Any:
    return wait_until(lambda: ctx.approvals.pending(run), "the approval is asked for")[0]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("decision", "way"), [("approved", "yes"), ("reject", "no"), (True, "yes")])
def test_people_decide(make_ctx: MakeContext, options: Any, decision: Any, way: str) -> None:
    ctx = make_ctx(**options)
    made = ctx.start(approval(approvers=["ann"]), {"id": 7})
    asked = pending(ctx, made)
    assert (asked.message, asked.approvers, asked.node_id, asked.workflow) == ("7?", ("ann",), "ask", "approve")
    assert ctx.approvals.pending(approver="bob") == []
    with pytest.raises(ApprovalClosedError, match="not for 'bob'"):
        ctx.approvals.respond(asked, decision, responder="bob")
    ctx.approvals.respond(asked.id, decision, responder="ann", comment="well")
    made.result("20s")
    assert [step.name for step in made.timeline() if step.name in ("yes", "no")] == [way]
    output = made.outputs()["steps"]["ask"]["output"]
    assert (output["responder"], output["comment"]) == ("ann", "well")
    with pytest.raises(ApprovalClosedError) as caught:
        ctx.approvals.respond(asked, decision, responder="ann")
    assert caught.value.reason == "answered"
    assert ctx.approvals.pending(made) == []


def test_of_many_answers_at_once_one_counts(make_ctx: MakeContext) -> None:
    ctx = make_ctx(linger="0s")
    made = ctx.start(approval(), {"id": 7})
    asked = pending(ctx, made)
    taken: list[str] = []
    refused: list[str] = []

    def answer(number: int) -> None:
        try:
            ctx.approvals.respond(asked, number % 2 == 0, responder=str(number))
        except ApprovalClosedError as error:
            refused.append(error.reason)
        else:
            taken.append("approved" if number % 2 == 0 else "rejected")

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.result("20s")
    assert len(taken) == 1
    assert len(refused) == 7
    way = {"approved": "yes", "rejected": "no"}[taken[0]]
    assert [step.name for step in made.timeline() if step.name in ("yes", "no")] == [way]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("on_timeout", "way"), [(None, "no"), ("approve", "yes"), ("error", None)])
def test_nobody_answers(make_ctx: MakeContext, options: Any, on_timeout: str | None, way: str | None) -> None:
    ctx = make_ctx(**options)
    made = ctx.start(approval(timeout="300ms", on_timeout=on_timeout), {"id": 7})
    asked = pending(ctx, made)
    if way is None:
        with pytest.raises(RunFailed, match="nobody answered"):
            made.result("20s")
    else:
        made.result("20s")
        assert [step.name for step in made.timeline() if step.name in ("yes", "no")] == [way]
    with pytest.raises(ApprovalClosedError):
        ctx.approvals.respond(asked, True)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_two_of_three_must_approve(make_ctx: MakeContext, options: Any) -> None:
    ctx = make_ctx(**options)
    made = ctx.start(approval(approvers=["ann", "bob", "cy"], required=2), {"id": 7})
    asked = pending(ctx, made)
    ctx.approvals.respond(asked, True, responder="ann")
    with pytest.raises(ApprovalClosedError, match="ann"):
        ctx.approvals.respond(asked, True, responder="ann")
    assert ctx.approvals.pending(made) != []
    assert made.status not in ("succeeded", "failed", "cancelled")
    ctx.approvals.respond(asked, True, responder="cy")
    made.result("20s")
    assert [step.name for step in made.timeline() if step.name in ("yes", "no")] == ["yes"]


def test_a_rejection_without_a_way_fails_the_node(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    flow = df.flow("only-yes").on_manual().approval("ask", "?").delay("yes", "0s", after="ask:approved")
    made = ctx.start(flow)
    ctx.approvals.respond(pending(ctx, made), False, responder="ann", comment="too dear")
    with pytest.raises(RunFailed, match="rejected \\(ann\\): too dear") as caught:
        made.result("20s")
    assert ApprovalRejectedError.__name__ in str(caught.value)
    with pytest.raises(RunNotFoundError, match="no approval"):
        ctx.approvals.respond("0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77", True)


# --- other runs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_sub_workflows(make_ctx: MakeContext, notes: Notes, options: Any) -> None:
    ctx = make_ctx(**options)
    ctx.register(note(df.flow("child").on_manual(), "c", "{{trigger.x}}"))
    ctx.register(note(df.flow("broken").on_manual(), "c", fail=True))
    sync = df.flow("parent").on_manual().subworkflow("sub", "child", {"x": "{{trigger.n}}"})
    assert run(ctx, note(sync, "end", "{{steps.sub.output}}"), {"n": 5}) == 5
    with pytest.raises(RunFailed, match="on purpose"):
        run(ctx, df.flow("parent-of-broken").on_manual().subworkflow("sub", "broken"))
    detached = run(ctx, df.flow("parent-async").on_manual().subworkflow("sub", "child", {"x": 1}, wait=False))
    assert ctx.get(detached["run_id"]).result("20s") == 1
    with pytest.raises(RunFailed, match="no workflow 'nobody'"):
        run(ctx, df.flow("parent-of-nobody").on_manual().subworkflow("sub", "nobody"))


def test_a_workflow_that_calls_itself_stops(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    flow = df.flow("self").on_manual().subworkflow("again", "self")
    ctx.register(flow)
    with pytest.raises(RunFailed, match="10 is the limit"):
        run(ctx, flow)
    assert len(ctx.runs(workflow="self", limit=50)) == 11


def test_the_input_must_fit_the_schema(make_ctx: MakeContext, notes: Notes) -> None:
    schema = {"type": "object", "required": ["order_id"], "properties": {"order_id": {"type": "integer"}}}
    flow = note(df.flow("schema").on_manual(schema), "a", "{{trigger.order_id}}")
    ctx = make_ctx()
    with pytest.raises(InputError, match="order_id"):
        ctx.start(flow, {"x": 1})
    with pytest.raises(InputError) as caught:
        ctx.start(flow, {"order_id": "seven"})
    assert [problem.pointer for problem in caught.value.problems] == ["/order_id"]
    assert run(ctx, flow, {"order_id": 7}) == 7


def test_a_run_node_by_node(make_ctx: MakeContext, notes: Notes) -> None:
    flow = df.flow("by-node").on_manual().condition("c", "trigger.n > 1")
    flow = note(flow, "no", after="c:false")
    flow = flow.loop("each", [1, 2], lambda part: note(part, "one", "{{loop.item}}"), after="c:true")
    flow = note(flow, "bad", fail=True, on_error="continue").delay("d", "1ms").approval("ask", "?")
    flow = note(flow, "end", after="ask:approved")
    ctx = make_ctx()
    run = ctx.start(flow, {"n": 2})
    pending(ctx, run)
    found = {each.key: each for each in run.nodes()}
    assert {key: each.status for key, each in found.items()} == {
        "c": "completed",
        "no": "skipped",
        "each": "completed",
        "each[0]/one": "completed",
        "each[1]/one": "completed",
        "bad": "failed",
        "d": "completed",
        "ask": "waiting",
        "end": "pending",
    }
    one, two = found["each[0]/one"], found["each[1]/one"]
    assert one.loop_group_id == two.loop_group_id != found["each"].loop_group_id
    assert (one.loop_index, two.loop_index, one.node_id, one.type) == (0, 1, "one", "test_note")
    assert (one.input, one.output) == ({"text": 1}, 1)
    assert found["bad"].error is not None
    assert found["bad"].error["message"] == "on purpose: bad"
    assert found["d"].output["reason"] == "elapsed"
    assert {each.id for each in run.nodes()} == {each.id for each in found.values()}
    outputs = run.outputs()
    assert outputs["trigger"] == {"n": 2}
    assert outputs["steps"]["each"]["output"]["items"] == [1, 2]
    assert "one" not in outputs["steps"]
    run.cancel("enough")
    with pytest.raises(df.errors.RunCancelled):
        run.result("20s")
    assert {each.key: each.status for each in run.nodes()}["ask"] == "cancelled"


def test_types_that_need_another_part_say_so(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    with pytest.raises(RunFailed, match="has no connections yet"):
        run(ctx, df.flow("i").on_manual().integration("w", "conn", "send"))
