"""Triggers that are made by hand, and limits under which runs wait."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import (
    DefinitionError,
    FlowValidationError,
    NodeUnavailableError,
    NonRetryableError,
    TriggerNotFoundError,
    WorkflowNotFoundError,
)
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext
from .tellers import results, workflow

# --- by hand ----------------------------------------------------------------------------------------------


def test_an_event_calls_a_function(make_ctx: MakeContext) -> None:
    ctx = make_ctx(triggers=False)
    ctx.functions.deploy("double", "return input.x * 2")
    made = ctx.triggers.create("custom:order.paid", "function:double", where=[("x", "gt", 1)])
    assert (made.target, made.origin, made.enabled) == ("function:double", "hand", True)
    for number in range(4):
        ctx.emit("order.paid", {"x": number})
    assert ctx.triggers.hear() == 2
    assert sorted(results(ctx, "function double")) == [4, 6]


def test_a_schedule_calls_a_function_and_events_begin_workflows(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, triggers=False)
    ctx.functions.deploy("when", "return input.scheduled_at")
    ctx.register(workflow("code"))
    ctx.flows.save(df.flow("saved").on_manual().switch("s", "{{trigger.id}}", [7])).activate()
    ctx.triggers.create("cron:0 * * * *", target="function:when")
    for target in ("workflow:code", "workflow:saved", ctx.flows.get("saved"), workflow("code2")):
        ctx.triggers.create(df.on_event("order.>"), target)
    clock.advance("1h")
    assert ctx.triggers.tick() == 1
    (at,) = results(ctx, "function when")
    assert at == clock.now().replace(minute=0, second=0, microsecond=0).isoformat()
    ctx.emit("order.paid.late", {"id": 7})
    assert ctx.triggers.hear() == 4  # two triggers of one flow are two, where somebody made them
    assert results(ctx, "saved") == [{"value": 7, "case": "7"}] * 2
    assert results(ctx, "code") == [["order.paid.late", "", results(ctx, "code")[0][2], {"id": 7}]]


def test_triggers_by_hand_can_be_turned_off_and_on_and_removed(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, triggers=False)
    ctx.register(workflow("w"))
    event = ctx.triggers.create("paid", "workflow:w", enabled=False)
    cron = ctx.triggers.create(df.on_schedule(every="1h"), "workflow:w", enabled=False)
    ctx.emit("paid", 1)
    clock.advance("5h")
    assert ctx.triggers.tick() == ctx.triggers.hear() == 0
    ctx.triggers.enable(event)
    assert ctx.triggers.enable(cron.id).next_at is not None
    assert ctx.triggers.tick() == ctx.triggers.hear() == 0
    ctx.emit("paid", 2)
    clock.advance("1h")
    assert ctx.triggers.tick() == ctx.triggers.hear() == 1
    ctx.triggers.disable(str(event.id))
    ctx.triggers.delete(cron)
    ctx.emit("paid", 3)
    clock.advance("5h")
    assert ctx.triggers.tick() == ctx.triggers.hear() == 0
    assert [each.id for each in ctx.triggers.list()] == [event.id]
    with pytest.raises(TriggerNotFoundError, match=str(cron.id)):
        ctx.triggers.get(cron)
    saved = ctx.flows.save(df.flow("f").on_event("x").delay("d", "0s")).activate()
    for act in (ctx.triggers.enable, ctx.triggers.disable, ctx.triggers.delete):
        with pytest.raises(DefinitionError, match="belongs to flow 'f'"):
            act(ctx.triggers.of(saved)[0])


def test_a_trigger_by_hand_of_a_paused_flow_waits_with_it(make_ctx: MakeContext) -> None:
    ctx = make_ctx(triggers=False)
    saved = ctx.flows.save(df.flow("f").on_manual().delay("d", "0s")).activate()
    ctx.triggers.create("paid", saved)
    saved.pause()
    ctx.emit("paid", 1)
    assert ctx.triggers.hear() == 0
    saved.activate()
    assert [each.origin for each in ctx.triggers.of("f")] == ["flow", "hand"]
    assert ctx.triggers.hear() == 1  # it is not the flow's own: what was emitted meanwhile is caught up


@pytest.mark.parametrize(
    ("event", "target", "error", "message"),
    [
        ("custom:paid", "w", DefinitionError, "workflow:<name>"),
        ("custom:paid", "table:w", DefinitionError, "workflow:<name>"),
        ("custom:paid", "workflow:nobody", WorkflowNotFoundError, "nobody"),
        ("custom:paid", "function:nobody", NonRetryableError, "nobody"),
        ("custom:paid", df.flow("loose").delay("d", "0s"), DefinitionError, "not saved"),
        ("", "workflow:w", DefinitionError, "order.paid"),
        (7, "workflow:w", DefinitionError, "order.paid"),
        ("auth:login", "workflow:w", NodeUnavailableError, "logins"),
        ("storage:put", "workflow:w", NodeUnavailableError, "documents"),
        ("cron:61 * * * *", "workflow:w", FlowValidationError, "61"),
        ("service:shopify", "workflow:w", DefinitionError, "<service>/<event>"),
        (df.on_manual(), "workflow:w", DefinitionError, "by hand"),
    ],
)
def test_triggers_that_cannot_be_made(
    make_ctx: MakeContext, event: Any, target: Any, error: type[Exception], message: str
) -> None:
    ctx = make_ctx(triggers=False)
    ctx.register(workflow("w"))
    with pytest.raises(error, match=message):
        ctx.triggers.create(event, target)
    with pytest.raises(DefinitionError, match="no source"):
        ctx.triggers.create("paid", "workflow:w", source="no source")
    assert ctx.triggers.list() == []


# --- limits -----------------------------------------------------------------------------------------------


def test_events_beyond_a_limit_wait_and_are_not_lost(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctxs = [make_ctx(clock=clock, triggers=False) for _ in range(2)]
    for ctx in ctxs:
        ctx.register(workflow("w", df.on_event("paid")))
        ctx.triggers.declare()
    ctx = ctxs[0]
    ctx.triggers.limit(2, 60, workflow="w")
    for number in range(5):
        ctx.emit("paid", number)
    assert ctx.triggers.hear() == 2
    assert [each[3] for each in results(ctx, "w")] == [0, 1]
    waiting = ctx.triggers.deferred()
    assert [(each.target, each.event_id[:6]) for each in waiting] == [("workflow:w", "event:")] * 3
    ctx.emit("paid", 5)  # there is room for nobody, and none before those that wait
    assert sum(each.triggers.hear() + each.triggers.tick() for each in ctxs) == 0
    clock.advance("30s")
    assert sum(each.triggers.tick() for each in ctxs) == 1
    for _ in range(3):
        clock.advance("30s")
        threads = [threading.Thread(target=each.triggers.tick) for each in ctxs for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [each[3] for each in results(ctx, "w")] == [0, 1, 2, 3, 4, 5]
    assert ctx.triggers.deferred() == []
    assert [each.resume_at for each in ctx.triggers.of("w")] == [None]


def test_a_limit_for_all_together_and_for_schedules(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, triggers=False)
    for name in ("a", "b"):
        ctx.register(workflow(name, df.on_schedule("* * * * *", catchup="all")))
    ctx.triggers.tick()
    ctx.triggers.limit(3, 3600)
    ctx.triggers.limit(100, 60, workflow="a")
    assert [(each.workflow, each.rate) for each in ctx.triggers.limits()] == [(None, 3), ("a", 100)]
    clock.advance("5m")
    due = {(clock.now() - timedelta(minutes=number)).isoformat() for number in range(5)}
    assert ctx.triggers.tick() == 3
    assert len(ctx.triggers.deferred()) == 7
    assert ctx.triggers.unlimit()
    assert not ctx.triggers.unlimit()
    while ctx.triggers.deferred():
        clock.advance("20m")
        ctx.triggers.tick()
    for name in "ab":
        times = [each[3]["scheduled_at"] for each in results(ctx, name)]
        assert due <= set(times)
        assert len(times) == len(set(times))


def test_a_redelivery_takes_no_token_and_a_webhook_is_told_to_come_again(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, triggers=False)
    ctx.register(workflow("w", df.on_webhook()))
    ctx.triggers.limit(1, 60, workflow="w")
    (trigger,) = ctx.triggers.of("w")

    def call(body: bytes) -> Any:
        return ctx.triggers.deliver(trigger.token or "", headers={"Content-Type": "application/json"}, body=body)

    first = call(b"1")
    assert call(b"1").run.id == first.run.id
    with pytest.raises(df.errors.RateLimitedError) as caught:
        call(b"2")
    assert caught.value.retry_after == pytest.approx(60)
    clock.advance("60s")
    assert call(b"2").created


def test_firings_that_wait_go_with_a_flow_that_is_deleted_and_stay_with_one_that_is_paused(
    make_ctx: MakeContext,
) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, triggers=False)
    saved = ctx.flows.save(df.flow("f").on_event("paid").switch("s", "{{trigger.id}}", [1])).activate()
    ctx.triggers.limit(1, 60)
    for number in range(3):
        ctx.emit("paid", {"id": number})
    assert ctx.triggers.hear() == 1
    saved.pause()
    clock.advance("10m")
    assert ctx.triggers.tick() == 0
    saved.activate()
    assert ctx.triggers.tick() == 1
    assert len(ctx.triggers.deferred()) == 1
    saved.delete()
    assert ctx.triggers.deferred() == []


@pytest.mark.parametrize("numbers", [(0, 60, None), (-1, 60, None), (1, 0, None), (1, 60, 0), ("many", 60, None)])
def test_limits_that_make_no_sense(make_ctx: MakeContext, numbers: Any) -> None:
    rate, per_seconds, burst = numbers
    with pytest.raises(DefinitionError):
        make_ctx(triggers=False).triggers.limit(rate, per_seconds, burst=burst)
