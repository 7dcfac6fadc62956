"""Workflows in code that say what starts them, and triggers that are made by hand."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.core.subjects import matches
from dataflows_sdk.engine.definitions import Event
from dataflows_sdk.errors import (
    DefinitionError,
    FlowValidationError,
    InputError,
    WebhookNotFoundError,
)
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext, wait_until
from .tellers import results, workflow

AZURE = df.Service("azure")


# --- declared with code -----------------------------------------------------------------------------------


def test_a_schedule_of_a_workflow_fires_once_with_any_number_of_processes(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctxs = [make_ctx(clock=clock, triggers=False) for _ in range(3)]
    for ctx in ctxs:
        ctx.register(workflow("nightly", df.on_schedule("0 * * * *", catchup="all")))
        ctx.triggers.tick()
    clock.advance("3h")
    threads = [threading.Thread(target=ctx.triggers.tick) for ctx in ctxs for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(ctx.triggers.tick() for ctx in ctxs) == 0
    found = results(ctxs[0], "nightly")
    assert len({each[3]["scheduled_at"] for each in found}) == len(found) == 3
    assert found[0][:3] == ["schedule", "", "trigger"]


def test_a_schedule_that_changes_or_goes_does_so_in_the_database(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, triggers=False)
    ctx.register(workflow("w", df.on_schedule(every="1h")))
    (first,) = ctx.triggers.of("w")
    assert (first.origin, first.target, first.enabled) == ("code", "workflow:w", True)
    ctx.register(workflow("w", [df.on_schedule(every="2h"), df.on_event("paid")]))
    second, other = ctx.triggers.of("w")
    assert second.id == first.id
    assert (other.type, other.node) == ("trigger_event", "trigger_2")
    assert first.next_at is not None
    assert second.next_at == clock.now() + (first.next_at - clock.now()) * 2
    ctx.register(workflow("w"))
    assert [each.enabled for each in ctx.triggers.of("w")] == [False, False]
    clock.advance("10h")
    ctx.emit("paid", 1)
    assert ctx.triggers.tick() == ctx.triggers.hear() == 0
    # what another process has of it counts there
    older = make_ctx(clock=clock, triggers=False)
    older.register(workflow("w", df.on_schedule(every="1h")))
    assert [each.enabled for each in older.triggers.of("w")] == [True, False]
    newer = make_ctx(clock=clock, triggers=False)
    newer.register(workflow("w"))
    assert [each.enabled for each in newer.triggers.of("w")] == [False, False]


def test_a_process_without_the_code_leaves_its_firings_to_others(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    knows, stranger = make_ctx(clock=clock, triggers=False), make_ctx(clock=clock, triggers=False)
    knows.register(workflow("w", [df.on_schedule(every="1h"), df.on_event("paid")]))
    knows.triggers.tick()
    knows.emit("paid", {"id": 7})
    clock.advance("1h")
    assert stranger.triggers.tick() == stranger.triggers.hear() == 0
    assert stranger.triggers.receive("azure", "x") == []
    assert knows.triggers.tick() == knows.triggers.hear() == 1
    assert sorted(each[0] for each in results(knows, "w")) == ["paid", "schedule"]


def test_a_process_that_only_looks_on_declares_nothing(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    ctx.register(workflow("w", df.on_schedule(every="1h")))
    assert ctx.triggers.of("w") == ctx.triggers.list() == []
    assert [firing.local.minute for firing in ctx.triggers.preview("w", 2)] != []


def test_the_background_looks_after_a_decorated_workflow(make_ctx: MakeContext) -> None:
    ctx = make_ctx()

    @df.workflow("decorated", trigger=df.on_event("order.*", where=[("amount", "gt", 100)]))
    async def decorated(event: Any, step: Any) -> Any:
        return event.name, await step.run("id", lambda: event.payload.id)

    wait_until(lambda: ctx._read("triggers", "code"), "the background declared it")
    for number in range(4):
        ctx.emit("order.paid" if number % 2 else "order.lost", {"id": number, "amount": 99 + number})
    runs = wait_until(lambda: len(found := ctx.runs(workflow="decorated", limit=9)) == 2 and found, "both were heard")
    assert sorted(run.result("20s") for run in runs) == [("order.lost", 2), ("order.paid", 3)]


def test_a_webhook_of_a_workflow(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    ctx.register(workflow("w", df.on_webhook("token", value="let me in, said the fox", header="X-Token")))
    (trigger,) = ctx.triggers.of("w")
    headers = {"Content-Type": "application/json", "X-Token": "let me in, said the fox"}
    made = ctx.triggers.deliver(trigger.token or "", headers=headers, body=b'{"a": 1}')
    again = ctx.triggers.deliver(trigger.token or "", headers=headers, body=b'{"a": 1}')
    assert (made.created, again.created, again.run.id) == (True, False, made.run.id)
    assert made.run.result("20s")[3]["body"] == {"a": 1}
    ctx.register(workflow("w"))
    ctx.triggers.declare()
    with pytest.raises(WebhookNotFoundError):
        ctx.triggers.deliver(trigger.token or "", headers=headers, body=b"{}")


@pytest.mark.parametrize("given", ["every hour", 7, [df.on_event("a"), "b"], object()])
def test_a_trigger_that_is_none_is_said_where_it_is_written(given: Any) -> None:
    with pytest.raises(DefinitionError, match=r"workflow 'bad'.*df\.on_schedule\(every='1h'\)"):
        workflow("bad", given)


@pytest.mark.parametrize(
    "make",
    [
        lambda: df.on_schedule("61 * * * *"),
        lambda: df.on_schedule("0 9 * * *", tz="Mars/Base"),
        lambda: df.on_schedule(),
        lambda: df.on_webhook("github"),
        lambda: df.on_event(""),
        lambda: df.on_service("", "x"),
        lambda: df.on_manual({"type": "no such type"}),
        lambda: AZURE.on("x", where="1 +"),
    ],
)
def test_triggers_that_cannot_be_are_refused_where_they_are_written(make: Any) -> None:
    with pytest.raises(FlowValidationError):
        make()


def test_one_whose_payload_does_not_fit_is_told_and_passed_over(
    make_ctx: MakeContext, caplog: pytest.LogCaptureFixture
) -> None:
    ctx = make_ctx(triggers=False)

    def typed(event: Event[int], step: Any) -> int:
        return event.payload

    ctx.register(df.Workflow("typed", typed, trigger=df.on_event("count")))
    ctx.triggers.declare()
    for value in ("many", 7):
        ctx.emit("count", value)
    assert ctx.triggers.hear() == 1
    assert "does not fit" in caplog.text
    assert results(ctx, "typed") == [7]


def test_what_cannot_be_read_or_judged_does_not_stand_in_the_way(
    make_ctx: MakeContext, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    ctx = make_ctx(triggers=False, clock=clock)
    ctx.register(
        workflow("odd", df.on_event("paid", where="number(amount) > 1")),
        workflow("fine", df.on_event("paid")),
    )
    ctx.triggers.declare()
    ctx.triggers.limit(1, 60, workflow="fine")
    unknown = '{"$model":["nobody.knows:Thing",{}]}'
    with ctx._database.connection() as connection:
        insert = "insert into dataflows.broadcast (id, name, payload, at) values (gen_random_uuid(), 'paid', %s, now())"
        connection.execute(insert, (unknown,))
    for amount in ("many", "2", "3"):
        ctx.emit("paid", {"amount": amount})
    ctx.triggers.hear()
    with ctx._database.connection() as connection:
        spoil = "update dataflows.deferred set payload = %s where event = (select min(event) from dataflows.deferred)"
        connection.execute(spoil, (unknown,))
    for _ in range(5):
        clock.advance("2m")
        ctx.triggers.tick()
    assert "cannot begin a run" in caplog.text
    assert sorted(each[3]["amount"] for each in results(ctx, "odd")) == ["2", "3"]
    assert len(results(ctx, "fine")) == 2
    assert ctx.triggers.deferred() == []


def test_an_input_by_hand_fits_the_schema_of_the_trigger(make_ctx: MakeContext) -> None:
    ctx = make_ctx(triggers=False)
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
    for trigger in (df.on_manual(schema), [df.on_event("x"), df.on_manual(schema)]):
        asks = workflow("asks", trigger)
        with pytest.raises(InputError, match=r"workflow 'asks'.*/id"):
            ctx.start(asks, {"id": "seven"})
        assert ctx.start(asks, {"id": 7}).result("20s")[3] == {"id": 7}
    assert ctx.runs(workflow="asks", limit=9)[0].status == "succeeded"


def test_backfill_of_a_workflow(make_ctx: MakeContext) -> None:
    ctx = make_ctx(clock=VirtualClock(), triggers=False)
    ctx.register(workflow("w", df.on_schedule("0 9 * * *", tz="Europe/Berlin")))
    start, end = datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC)
    assert [each.created for each in ctx.triggers.backfill("w", start, end)] == [True] * 3
    assert [each.created for each in ctx.triggers.backfill("w", start, end)] == [False] * 3


def test_an_event_that_is_committed_late_is_heard_all_the_same(make_ctx: MakeContext) -> None:
    ctx = make_ctx(triggers=False)
    ctx.register(workflow("w", df.on_event("paid")))
    ctx.triggers.declare()
    insert = "insert into dataflows.broadcast (id, name, payload, at) values (gen_random_uuid(), 'paid', %s, %s)"
    with ctx._database.connection() as connection, connection.transaction():
        connection.execute(insert, ("1", datetime(2026, 1, 1, tzinfo=UTC)))  # its time is before all others
        for number in (2, 3):
            ctx.emit("paid", number)
            assert ctx.triggers.hear() == 1
            assert ctx.triggers.hear() == 0
    assert ctx.triggers.hear() == 1
    ctx.triggers._ear._heard.clear()  # as another process would
    assert ctx.triggers.hear() == 0
    assert sorted(each[3] for each in results(ctx, "w")) == [1, 2, 3]


def test_what_was_emitted_before_a_trigger_is_not_heard_though_an_older_transaction_goes_on(
    make_ctx: MakeContext,
) -> None:
    ctx = make_ctx(triggers=False)
    ctx.register(workflow("w", df.on_event("paid")))
    with ctx._database.connection() as connection, connection.transaction():
        connection.execute("select pg_current_xact_id()")
        ctx.emit("paid", "before")
        ctx.triggers.declare()
        for number in range(3):
            ctx.emit("paid", number)
            assert ctx.triggers.hear() == 1
    ctx.triggers._ear._heard.clear()
    assert ctx.triggers.hear() == 0
    assert sorted(each[3] for each in results(ctx, "w")) == [0, 1, 2]


def test_what_was_not_heard_before_a_dump_is_heard_after_it_is_restored(make_ctx: MakeContext) -> None:
    ctx = make_ctx(triggers=False)
    ctx.register(workflow("w", df.on_event("paid")), workflow("v", df.on_event("pa*")))
    ctx.triggers.declare()
    ctx.emit("paid", 1)
    assert ctx.triggers.hear() == 1
    ctx.emit("paid", 2)
    # another server counts its transactions from anew
    with ctx._database.connection() as connection:
        for table, column in (("broadcast", "xid"), ("trigger", "heard")):
            connection.execute(
                f"update dataflows.{table} set {column} = ({column}::text::bigint + 1000000)::text::xid8"
            )
    ctx.triggers._ear._heard.clear()
    assert ctx._read("triggers", "pulse")[0][2]
    assert ctx.triggers.hear() == 1
    ctx.emit("paid", 3)
    assert ctx.triggers.hear() == 1
    assert not ctx.triggers.hear()
    assert sorted(each[3] for each in results(ctx, "w")) == [1, 2, 3]


def test_many_triggers_and_many_events_while_something_else_goes_on(
    make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows_sdk.firing.heard._AT_ONCE", 2)
    monkeypatch.setattr("dataflows_sdk.firing.heard._PAGE", 2)
    ctx = make_ctx(triggers=False)
    ctx.register(*(workflow(f"w{number}", df.on_event("order.*")) for number in range(5)))
    ctx.triggers.declare()
    with ctx._database.connection() as connection, connection.transaction():
        connection.execute("select pg_current_xact_id()")  # holds the horizon where it is
        for number in range(5):
            ctx.emit(f"order.{number}", number)
        while ctx.triggers.hear():
            pass
        for number in range(5):
            assert sorted(each[3] for each in results(ctx, f"w{number}")) == list(range(5))


# --- services ---------------------------------------------------------------------------------------------


def test_an_event_of_a_service_begins_everything_that_listens_once(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    ctx.register(
        workflow("one", AZURE.on_work_item_created()),
        workflow("all", AZURE.on("work_item.*")),
        workflow("big", AZURE.on("work_item.created", where=[("points", "gte", 8)])),
        workflow("other", df.Service("clickup").on_work_item_created()),
    )
    saved = df.flow("saved").on_service("azure", "work_item.created").switch("s", "{{trigger.id}}", [7])
    ctx.flows.save(saved).activate()
    made = ctx.triggers.receive("azure", "work_item.created", {"id": 7}, id="d-1")
    assert sorted(each.run.workflow for each in made) == ["all", "one", "saved"]
    assert all(each.created for each in made)
    again = ctx.triggers.receive("azure", "work_item.created", {"id": 7}, id="d-1")
    assert [(each.created, each.run.id) for each in again] == [(False, each.run.id) for each in made]
    assert results(ctx, "one")[0] == ["work_item.created", "azure", "trigger", {"id": 7}]
    assert len(ctx.triggers.fire(AZURE.on_work_item_created(), {"id": 8, "points": 8})) == 4
    assert ctx.triggers.receive("azure", "nobody.cares") == []
    ctx.triggers.hear()
    assert len(ctx.runs(limit=50)) == 7


def test_twenty_deliveries_of_one_event_at_once_begin_one_run(make_ctx: MakeContext) -> None:
    ctxs = [make_ctx() for _ in range(2)]
    for ctx in ctxs:
        ctx.register(workflow("w", AZURE.on_work_item_created()))
    found: list[Any] = []

    def tells(ctx: df.Context) -> None:
        found.extend(ctx.triggers.receive("azure", "work_item.created", {"id": 7}, id="d-1"))

    threads = [threading.Thread(target=tells, args=(ctxs[number % 2],)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len({each.run.id for each in found}) == sum(each.created for each in found) == 1
    assert sum(ctx.triggers.hear() for ctx in ctxs) == 0
    assert len(ctxs[0].runs(limit=9)) == 1


def test_what_was_told_to_a_process_that_died_is_heard_by_another(make_ctx: MakeContext) -> None:
    ctxs = [make_ctx(triggers=False) for _ in range(2)]
    for ctx in ctxs:
        ctx.register(workflow("w", AZURE.on_work_item_created()))
        ctx.triggers.declare()
    # as far as `receive` comes before it begins anything
    ctxs[0].emit("service/azure/work_item.created", {"id": 7})
    assert ctxs[1].triggers.hear() == 1
    assert results(ctxs[1], "w") == [["work_item.created", "azure", "trigger", {"id": 7}]]


def test_a_run_may_wait_for_what_a_service_tells(make_ctx: MakeContext) -> None:
    ctx = make_ctx()

    def waits(event: Any, step: Any) -> Any:
        return step.wait_for_event("service/azure/work_item.created")

    run = ctx.start(df.Workflow("waits", waits))
    ctx.triggers.receive("azure", "work_item.created", {"id": 7})
    assert run.result("20s") == {"id": 7}


@pytest.mark.parametrize(
    ("service", "event"), [("", "x"), ("a/b", "x"), ("azure", ""), ("azure", "x\ny"), ("azure", "x.*")]
)
def test_names_of_services_that_cannot_be(make_ctx: MakeContext, service: str, event: str) -> None:
    with pytest.raises(DefinitionError):
        make_ctx(triggers=False).triggers.receive(service, event)


def test_names_of_triggers_of_a_service() -> None:
    assert AZURE.on_work_item_created().config == {"service": "azure", "event": "work_item.created"}
    assert AZURE.on_task_updated() == AZURE.on("task.updated")
    for name in ("created", "on_created", "on_", "On_Task_Done"):
        with pytest.raises(AttributeError, match="on_<object>_<verb>"):
            getattr(AZURE, name)
    with pytest.raises(DefinitionError):
        df.Service("")


@pytest.mark.parametrize("given", [df.on_schedule(every="1h"), df.on_webhook(), df.on_manual(), None, "paid"])
def test_what_cannot_be_fired_by_hand(make_ctx: MakeContext, given: Any) -> None:
    with pytest.raises(DefinitionError, match="cannot be fired"):
        make_ctx(triggers=False).triggers.fire(given)


# --- the keys ---------------------------------------------------------------------------------------------


def test_the_key_of_a_run_is_made_of_flow_and_event(make_ctx: MakeContext) -> None:
    ctx = make_ctx(triggers=False)
    saved = ctx.flows.save(df.flow("f").on_webhook().delay("d", "0s")).activate()
    (trigger,) = ctx.triggers.of(saved)
    made = ctx.triggers.deliver(trigger.token or "", headers={}, body=b"x")
    key = hashlib.sha256(f"{saved.id}{made.event_id}".encode()).hexdigest()
    assert ctx._read("claim", "find_by_idempotency", (["f"], [key]))[0][2] == made.run._id


# --- patterns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("payment.*", "payment.us.completed", False),
        ("payment.>", "payment.us.completed", True),
        ("payment.>", "payment", False),
        ("payment.*", "payment.us", True),
        ("*.us.*", "payment.us.done", True),
        (">", "anything.at.all", True),
        ("pay*", "payment", False),
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a+b.*", "a+b.c", True),
        ("a+b.*", "aab.c", False),
    ],
)
def test_patterns_mean_the_same_in_python_and_in_the_database(
    make_ctx: MakeContext, pattern: str, subject: str, expected: bool
) -> None:
    assert matches(pattern, subject) is expected
    with make_ctx(triggers=False)._database.connection() as connection:
        row = connection.execute("select dataflows.subject_matches(%s, %s)", (pattern, subject)).fetchone()
    assert row == (expected,)
