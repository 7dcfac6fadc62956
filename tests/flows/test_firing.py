"""Triggers at work: schedules and webhooks, exactly once with any number of processes."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import RateLimitedError, WebhookBodyError, WebhookNotFoundError, WebhookRefusedError
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext, wait_until

SECRET = "it's a secret of the webhook"


def on_schedule(cron: str = "0 9 * * *", **config: Any) -> df.Flow:
    return df.flow("nightly").on_schedule(cron, id="cron", **config).delay("d", "0s")


def github(**config: Any) -> df.Flow:
    trigger = {
        "type": "trigger_webhook",
        "config": {"verification_type": "github", "verification_config": {"secret": SECRET}, **config},
    }
    flow = df.flow("push").on(trigger, id="hook")
    return flow.switch("kind", "{{trigger.headers.x-github-event}}", ["push"])


def signed(body: bytes, delivery: str = "d-1", event: str = "push", **headers: str) -> dict[str, str]:
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={digest}",
        **headers,
    }


def token_of(ctx: df.Context, name: str = "push") -> str:
    (trigger,) = ctx.triggers.of(name)
    assert trigger.token is not None
    return trigger.token


# --- schedules --------------------------------------------------------------------------------------------


def test_a_schedule_fires_once_however_often_and_by_whom_it_is_looked_at(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctxs = [make_ctx(clock=clock, triggers=False) for _ in range(3)]
    ctxs[0].flows.save(on_schedule("*/5 * * * *", catchup="all")).activate()
    start = clock.now()
    clock.advance("16m")
    threads = [threading.Thread(target=ctx.triggers.tick) for ctx in ctxs for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = ctxs[0].runs(workflow="nightly", limit=50)
    assert len(runs) == 3
    times = {next(iter(run.events())).data["input"]["scheduled_at"] for run in runs}
    assert len(times) == len(runs)
    (trigger,) = ctxs[1].triggers.of("nightly")
    assert trigger.next_at is not None
    assert start + timedelta(minutes=15) < trigger.next_at <= start + timedelta(minutes=21)
    assert sum(ctx.triggers.tick() for ctx in ctxs) == 0


def test_missed_times_are_caught_up_as_asked(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, triggers=False)
    for catchup in ("one", "all", "skip"):
        flow = df.flow(catchup).on_schedule(every="1h", id="cron", catchup=catchup).delay("d", "0s")
        ctx.flows.save(flow).activate()
    clock.advance("10h 30m")
    while ctx.triggers.tick():
        pass
    counts = {catchup: len(ctx.runs(workflow=catchup, limit=50)) for catchup in ("one", "all", "skip")}
    assert counts == {"one": 1, "all": 10, "skip": 0}


def test_pausing_turns_triggers_off_and_does_not_catch_up(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, triggers=False)
    saved = ctx.flows.save(on_schedule("0 * * * *", catchup="all")).activate()
    saved.pause()
    clock.advance("5h")
    assert ctx.triggers.tick() == 0
    saved.activate()
    assert ctx.triggers.tick() == 0
    clock.advance("1h")
    assert ctx.triggers.tick() == 1
    saved.delete()
    clock.advance("5h")
    assert ctx.triggers.tick() == 0


@pytest.mark.parametrize(
    ("overlap", "alive", "begun"), [("allow", 2, 2), ("skip", 1, 1), ("queue", 1, 1), ("cancel_previous", 1, 2)]
)
def test_what_if_the_run_before_is_still_going(make_ctx: MakeContext, overlap: str, alive: int, begun: int) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, triggers=False)
    flow = df.flow("slow").on_schedule(every="1h", id="cron", overlap=overlap).approval("ask", "?")
    ctx.flows.save(flow).activate()
    clock.advance("1h")
    ctx.triggers.tick()
    clock.advance("1h")
    ctx.triggers.tick()
    runs = ctx.runs(workflow="slow", limit=50)
    assert len(runs) == begun
    if overlap == "cancel_previous":
        with pytest.raises(df.errors.RunCancelled):
            ctx.get(min(run.id for run in runs)).result("20s")
    assert sum(run.status != "cancelled" for run in ctx.runs(workflow="slow", limit=50)) == alive
    if overlap == "queue":
        (asked,) = wait_until(ctx.approvals.pending, "the question")
        ctx.approvals.respond(asked, True)
        runs[0].result("20s")
        clock.advance("5s")
        assert ctx.triggers.tick() == 1


def test_a_backfill_runs_each_time_once(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, triggers=False)
    saved = ctx.flows.save(on_schedule(tz="Europe/Berlin")).activate()
    start, end = datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)
    first = ctx.triggers.backfill(saved, start, end)
    assert [each.created for each in first] == [True] * 4
    assert [each.run.id for each in ctx.triggers.backfill(saved, start, end)] == [each.run.id for each in first]
    at = [each.event_id.rpartition("T")[2] for each in first]
    assert at == ["08:00:00Z", "08:00:00Z", "07:00:00Z", "07:00:00Z"]  # the clock goes forward on the 29th


def test_the_next_times_are_shown(make_ctx: MakeContext) -> None:
    ctx = make_ctx(clock=VirtualClock(), triggers=False)
    shown = ctx.triggers.preview(on_schedule(tz="America/New_York"), 3)
    assert len(shown) == 3
    assert {firing.local.hour for firing in shown} == {9}


# --- webhooks ---------------------------------------------------------------------------------------------


def test_a_delivery_begins_one_run_also_twenty_times_at_once(make_ctx: MakeContext) -> None:
    ctxs = [make_ctx(), make_ctx()]
    ctxs[0].flows.save(github()).activate()
    token = token_of(ctxs[0])
    body = json.dumps({"ref": "refs/heads/main"}).encode()
    found: list[Any] = []

    def deliver(number: int) -> None:
        found.append(ctxs[number % 2].triggers.deliver(token, headers=signed(body), body=body))

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len({each.run.id for each in found}) == 1
    assert sum(each.created for each in found) == 1
    assert found[0].run.result("20s") == {"value": "push", "case": "push"}
    other = ctxs[0].triggers.deliver(token, headers=signed(body, "d-2"), body=body)
    assert other.created
    assert other.run.id != found[0].run.id


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"X-Hub-Signature-256": "sha256=" + "0" * 64}, WebhookRefusedError),
        ({"X-Hub-Signature-256": ""}, WebhookRefusedError),
        ({"X-Hub-Signature-256": "sha256=abc"}, WebhookRefusedError),
    ],
)
def test_a_wrong_signature_begins_nothing(
    make_ctx: MakeContext, change: dict[str, str], error: type[Exception]
) -> None:
    ctx = make_ctx()
    ctx.flows.save(github()).activate()
    body = b"{}"
    with pytest.raises(error) as caught:
        ctx.triggers.deliver(token_of(ctx), headers={**signed(body), **change}, body=body)
    assert SECRET not in str(caught.value)
    with pytest.raises(error):
        ctx.triggers.deliver(
            token_of(ctx), headers={k: v for k, v in signed(body).items() if "Sign" not in k}, body=body
        )
    with pytest.raises(error):
        ctx.triggers.deliver(token_of(ctx), headers=signed(b"{ }"), body=body)
    assert len(ctx.runs(limit=5)) == 0


def test_an_upper_case_signature_is_the_same_number(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    ctx.flows.save(github()).activate()
    headers = signed(b"{}")
    headers["X-Hub-Signature-256"] = "sha256=" + headers["X-Hub-Signature-256"].removeprefix("sha256=").upper()
    assert ctx.triggers.deliver(token_of(ctx), headers=headers, body=b"{}").created


def test_bodies_tokens_and_standings_that_are_refused(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    saved = ctx.flows.save(github()).activate()
    token = token_of(ctx)
    for given in ("", "nobody", token[:-1], None):
        with pytest.raises(WebhookNotFoundError):
            ctx.triggers.deliver(given, headers=signed(b"{}"), body=b"{}")  # type: ignore[arg-type]
    with pytest.raises(WebhookBodyError, match="JSON"):
        ctx.triggers.deliver(token, headers=signed(b"{not json"), body=b"{not json")
    huge = b"x" * (1024 * 1024 + 1)
    with pytest.raises(WebhookBodyError, match="1048577"):
        ctx.triggers.deliver(token, headers=signed(huge), body=huge)
    saved.pause()
    with pytest.raises(WebhookNotFoundError):
        ctx.triggers.deliver(token, headers=signed(b"{}"), body=b"{}")
    saved.activate()
    assert token_of(ctx) == token
    assert ctx.triggers.deliver(token, headers=signed(b"{}"), body=b"{}").created


def test_secrets_do_not_reach_the_run(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    ctx.flows.save(github()).activate()
    headers = signed(b'{"a": 1}', Authorization="Bearer hunter2hunter2")
    made = ctx.triggers.deliver(token_of(ctx), headers=headers, body=b'{"a": 1}', query={"q": "1"}).run
    created = next(iter(made.events())).data
    assert created["input"]["body"] == {"a": 1}
    assert created["input"]["query"] == {"q": "1"}
    assert created["input"]["headers"]["x-github-event"] == "push"
    assert "hunter2" not in json.dumps(created)
    assert "x-hub-signature-256" not in created["input"]["headers"]


def test_too_many_calls_are_told_when_to_come_again(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock, triggers=False)
    ctx.flows.save(github(rate_limit={"rate": 2, "per_seconds": 60, "burst": 2})).activate()
    token = token_of(ctx)
    for number in range(2):
        assert ctx.triggers.deliver(token, headers=signed(b"{}", f"d{number}"), body=b"{}").created
    with pytest.raises(RateLimitedError) as caught:
        ctx.triggers.deliver(token, headers=signed(b"{}", "d3"), body=b"{}")
    assert 0 < caught.value.retry_after <= 60
    clock.advance(timedelta(seconds=caught.value.retry_after + 1))
    assert ctx.triggers.deliver(token, headers=signed(b"{}", "d3"), body=b"{}").created


def test_every_github_payload_is_processed_once_though_delivered_twice(
    make_ctx: MakeContext, shared_data: Path
) -> None:
    files = sorted((shared_data / "github-webhooks").glob("*.json"))
    assert len(files) > 200
    ctx = make_ctx()
    trigger = github().spec.triggers[0]
    flow = df.flow("push").on({"type": trigger.type, "config": trigger.config}, id="hook")
    ctx.flows.save(flow.switch("action", "{{trigger.body.action}}", ["created"], default="other")).activate()
    token = token_of(ctx)
    deliveries = []
    for round_ in range(2):
        for file in files:
            body = file.read_bytes()
            event = file.name.partition("__")[0]
            made = ctx.triggers.deliver(token, headers=signed(body, f"guid-{file.name}", event), body=body)
            assert made.created is (round_ == 0)
            deliveries.append((file, made.run))
    assert len({run.id for _, run in deliveries}) == len(files)
    for file, run in deliveries[: len(files)]:
        action = json.loads(file.read_bytes()).get("action")
        assert run.result("60s") == {"value": action, "case": "created" if action == "created" else "other"}


# --- events -----------------------------------------------------------------------------------------------


def paid(name: str = "paid") -> df.Flow:
    return (
        df.flow(name).on_event("order.paid", where=[("amount", "gt", 100)], id="e").switch("s", "{{trigger.id}}", [7])
    )


def test_an_event_begins_one_run_per_flow_that_listens(make_ctx: MakeContext) -> None:
    ctxs = [make_ctx() for _ in range(3)]
    ctxs[0].emit("order.paid", {"id": 1, "amount": 500})  # before anybody listened
    for name in ("paid", "also"):
        ctxs[0].flows.save(paid(name)).activate()
    for number in range(5):
        ctxs[0].emit("order.paid", {"id": number, "amount": 150 if number % 2 else 50})
    ctxs[0].emit("order.lost", {"id": 9, "amount": 500})
    threads = [threading.Thread(target=ctx.triggers.hear) for ctx in ctxs for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ctx in ctxs:
        ctx.triggers.hear()
    for name in ("paid", "also"):
        runs = ctxs[0].runs(workflow=name, limit=50)
        assert sorted(next(iter(run.events())).data["input"]["id"] for run in runs) == [1, 3]
        assert all(run.result("20s")["case"] is None for run in runs)
    assert sum(ctx.triggers.hear() for ctx in ctxs) == 0


def test_the_background_hears_what_another_workflow_emits(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    ctx.flows.save(paid()).activate()

    async def pays(event: Any, step: Any) -> None:
        await step.emit("tell", "order.paid", {"id": 7, "amount": 101})

    ctx.run(df.Workflow("pays", pays)).result("20s")
    (run,) = wait_until(lambda: ctx.runs(workflow="paid"), "it was heard")
    assert run.result("20s") == {"value": 7, "case": "7"}
    ctx.flows.get("paid").pause()
    ctx.emit("order.paid", {"id": 8, "amount": 101})
    assert ctx.triggers.hear() == 0
    ctx.flows.get("paid").activate()
    assert ctx.triggers.hear() == 0
    ctx.emit("order.paid", {"id": 9, "amount": 101})
    assert wait_until(lambda: len(ctx.runs(workflow="paid", limit=9)) == 2, "the next one was heard")


def test_more_events_than_a_page_holds(make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows_sdk.firing.heard._PAGE", 3)
    ctx = make_ctx()
    ctx.flows.save(paid()).activate()
    for number in range(10):
        ctx.emit("order.paid", {"id": number, "amount": 200})
    ctx.triggers.hear()
    assert wait_until(lambda: len(ctx.runs(workflow="paid", limit=50)) == 10, "all were heard")
    ctx.triggers._ear._heard.clear()  # as another process would
    assert ctx.triggers.hear() == 0
    assert len(ctx.runs(workflow="paid", limit=50)) == 10
