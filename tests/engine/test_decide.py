"""The pure half of the engine: fold and decide, without a database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dataflows_sdk.core.retry import NO_RETRY, Retry
from dataflows_sdk.engine import decide
from dataflows_sdk.engine.decide import (
    Fresh,
    InboxMessage,
    KeepWaiting,
    MayHaveRun,
    Proceed,
    Quarantine,
    Recorded,
    Retrying,
    Stay,
    Suspend,
    Take,
    TimedOut,
    Unfinished,
    Waiting,
)
from dataflows_sdk.engine.state import JournalEvent, RunState, fold, ordinals, scope_of
from dataflows_sdk.errors import NonDeterminismError, NonRetryableError, RetryAfter

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def folded(*events: tuple[str, str, dict[str, Any]]) -> RunState:
    state = RunState()
    for number, (kind, key, data) in enumerate(events, 1):
        fold(state, JournalEvent(number, kind, key, json.loads(json.dumps(data)), at(number)))
    return state


CREATED = ("run.created", "", {"workflow": "w", "version": "v", "status": "running", "input": {"n": 1}})


def test_fold_follows_a_run_to_its_end() -> None:
    state = folded(
        CREATED,
        ("step.started", "a", {"op": "run", "name": "a", "n": 1}),
        (
            "step.failed",
            "a",
            {"op": "run", "name": "a", "retry_at": at(9).isoformat(), "error": {"type": "ValueError"}},
        ),
        ("step.completed", "a", {"op": "run", "name": "a", "n": 1, "attempt": 2, "value": 5}),
        ("step.waiting", "nap", {"op": "sleep", "name": "nap", "n": 2, "until": at(60).isoformat()}),
        ("run.suspended", "", {"status": "sleeping", "until": at(60).isoformat(), "waiting": []}),
    )
    assert (state.status, state.workflow, state.seq) == ("sleeping", "w", 6)
    assert (state.steps["a"].state, state.steps["a"].attempt, state.steps["a"].data["value"]) == ("completed", 2, 5)
    assert (state.steps["nap"].state, state.steps["nap"].until) == ("waiting", at(60))
    for event in (("run.claimed", "", {"why": "sleeping"}), ("run.completed", "", {"value": 5})):
        fold(state, JournalEvent(state.seq + 1, event[0], event[1], event[2], at(70)))
    assert (state.status, state.outcome, state.claims) == ("succeeded", {"value": 5}, 1)


def test_folding_is_deterministic_and_incremental() -> None:
    events = [CREATED, *[("step.completed", f"s#{i}", {"n": i, "value": i}) for i in range(1, 20)]]
    assert folded(*events).steps.keys() == folded(*events).steps.keys()
    state = folded(*events[:10])
    for number, (kind, key, data) in enumerate(events[10:], 11):
        fold(state, JournalEvent(number, kind, key, data, at(number)))
    assert state.steps.keys() == folded(*events).steps.keys()
    assert state.seq == 20


@pytest.mark.parametrize(
    ("event", "crashes"),
    [
        (None, 2),
        (("step.started", "a", {"op": "run"}), 2),
        (("step.completed", "a", {"op": "run"}), 0),
        (("step.failed", "a", {"op": "run", "retry_at": None}), 0),
        (("step.waiting", "a", {"op": "sleep"}), 0),
        (("run.resumed", "", {}), 0),
    ],
)
def test_only_progress_of_a_step_clears_the_count_of_crashes(event: Any, crashes: int) -> None:
    lost = ("run.claimed", "", {"why": "lost"})
    assert folded(CREATED, lost, lost, *([event] if event else [])).crashes == crashes


def test_a_run_that_keeps_killing_its_process_is_set_aside_with_the_last_step_named() -> None:
    lost = ("run.claimed", "", {"why": "lost"})
    state = folded(CREATED, ("step.started", "load-model", {"op": "run"}), lost, lost, lost)
    assert decide.decide_claim(state, 4) == Proceed()
    verdict = decide.decide_claim(state, 3)
    assert isinstance(verdict, Quarantine)
    assert verdict.code == "crash-loop"
    assert "load-model" in verdict.message
    assert "3 times" in verdict.message


def record(kind: str, **data: Any) -> Any:
    return folded(CREATED, (kind, "a", {"op": "run", "name": "a", **data})).steps["a"]


def test_what_a_step_call_means() -> None:
    assert decide.decide_step(None, "run") == Fresh()
    assert isinstance(decide.decide_step(record("step.completed", value=1), "run"), Recorded)
    assert isinstance(decide.decide_step(record("step.failed", retry_at=None), "run"), Recorded)
    assert decide.decide_step(record("step.failed", retry_at=at(5).isoformat(), attempt=2), "run") == Retrying(3, at(5))
    assert isinstance(decide.decide_step(record("step.waiting", op="sleep"), "sleep"), Unfinished)
    assert decide.decide_step(record("step.started", attempt=2), "run") == MayHaveRun(2)


def test_another_kind_under_the_same_name_is_a_mismatch_that_names_both() -> None:
    with pytest.raises(NonDeterminismError) as caught:
        decide.decide_step(record("step.completed", value=1), "sleep")
    assert caught.value.recorded == "run a"
    assert caught.value.asked == "sleep a"


def test_the_order_of_calls_is_checked_within_a_scope() -> None:
    state = folded(
        CREATED,
        ("step.completed", "a", {"n": 1}),
        ("step.completed", "b", {"n": 2}),
        ("step.completed", "m[0]/x", {"n": 1}),
    )
    expected = ordinals(state)
    assert set(expected) == {"", "m[0]/"}
    decide.decide_order(expected[""], 2, "b", known=True)
    decide.decide_order(expected[""], 3, "new", known=False)
    with pytest.raises(NonDeterminismError) as caught:
        decide.decide_order(expected[""], 2, "c", known=False)
    assert (caught.value.recorded, caught.value.asked) == ("b", "c")
    assert "'b'" in str(caught.value)
    assert "'c'" in str(caught.value)
    with pytest.raises(NonDeterminismError, match="'b'"):
        decide.decide_leftovers([state.steps["b"]])


@pytest.mark.parametrize(
    ("key", "scope"), [("a", ""), ("a#2", ""), ("m[1]/x", "m[1]/"), ("m[1]/n[2]/y#3", "m[1]/n[2]/"), ("p%2Fq", "")]
)
def test_the_scope_of_a_key(key: str, scope: str) -> None:
    assert scope_of(key) == scope


def message(number: int, name: str, seconds: float, payload: Any = None) -> InboxMessage:
    return InboxMessage(number, "event", name, payload, at(seconds))


def test_an_event_and_a_deadline_have_one_winner() -> None:
    early, late = message(1, "go", 9, {"n": 1}), message(2, "go", 11, {"n": 2})
    wait = decide.decide_wait
    assert wait("go", None, at(10), [early, late], at(20)) == Take(early)
    assert wait("go", None, at(10), [late], at(20)) == TimedOut()
    assert wait("go", None, at(10), [], at(9)) == KeepWaiting()
    assert wait("go", None, None, [late], at(9)) == Take(late)
    assert wait("stop", None, None, [early], at(9)) == KeepWaiting()
    assert wait("go", {"n": 2}, None, [early, late], at(20)) == Take(late)
    assert wait("go", {"n": 3}, at(30), [early, late], at(20)) == KeepWaiting()


@pytest.mark.parametrize(
    ("wanted", "payload", "fits"),
    [
        ({}, None, True),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": True}, {"a": 1}, True),
        ({"a": None}, {}, False),
        ({"a.b": 7}, {"a": {"b": 7}}, True),
        ({"a.b": 7}, {"a": 7}, False),
        ({"a": 1}, [1], False),
    ],
)
def test_matching_payloads(wanted: dict[str, Any], payload: Any, fits: bool) -> None:
    assert decide.matches(wanted, payload) is fits


def waiting(until: float | None, message_name: str | None = None) -> Waiting:
    return Waiting("k", "wait", "k", None if until is None else at(until), message_name)


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("items", "now", "idle", "expected"),
    [
        ([waiting(3600)], 0, 0, Suspend("sleeping", at(3600), ())),
        ([waiting(0.5)], 0, 0, Stay(at(0.5))),
        ([waiting(0.5), waiting(None, "go")], 0, -5, Stay(at(0.5))),
        ([waiting(None, "go")], 0, 0, Stay(at(1))),
        ([waiting(None, "go")], 2, 0, Suspend("waiting", None, ("go",))),
        ([waiting(60, "go"), waiting(30)], 2, 0, Suspend("waiting", at(30), ("go",))),
        ([waiting(None, "b"), waiting(None, "a"), waiting(None, "b")], 2, 0, Suspend("waiting", None, ("a", "b"))),
    ],
)
def test_when_a_run_is_let_go_of(items: list[Waiting], now: float, idle: float, expected: Any) -> None:
    assert decide.decide_suspend(items, at(now), at(idle), SECOND) == expected


def test_without_linger_nothing_is_kept_in_memory() -> None:
    decision = decide.decide_suspend([waiting(0.001)], at(0), at(0), timedelta(0))
    assert decision == Suspend("sleeping", at(0.001), ())


def test_retries_are_instants_of_the_given_clock() -> None:
    policy = Retry(2, backoff="fixed", initial_delay=10, jitter=False)
    assert decide.decide_retry(policy, 1, ValueError("x"), T0, 0.5) == at(10)
    assert decide.decide_retry(policy, 3, ValueError("x"), T0, 0.5) is None
    assert decide.decide_retry(policy, 1, NonRetryableError("x"), T0, 0.5) is None
    assert decide.decide_retry(policy, 1, RetryAfter("1h"), T0, 0.5) == at(3600)
    assert decide.decide_retry(NO_RETRY, 1, ValueError("x"), T0, 0.5) is None
