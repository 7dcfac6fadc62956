"""Background jobs: their runs, their attempts, and the URL that is told."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import (
    DefinitionError,
    EgressDeniedError,
    InvalidDurationError,
    InvalidIdError,
    NotSerializableError,
    RunCancelled,
    RunNotFoundError,
    StepFailed,
    WorkflowNotFoundError,
)
from dataflows_sdk.testing import VirtualClock
from dataflows_sdk.triggers.signatures import verify

from ..conftest import wait_until
from .listener import Listener, listening

if TYPE_CHECKING:
    from ..conftest import MakeContext

QUICK = df.Retry(3, initial_delay="10ms", jitter=False)
LOCAL = df.Services(egress=["127.0.0.1"])
tries: list[int] = []


@df.workflow("jobs-price")
def price(event: Any, step: Any) -> Any:
    return step.run("price", lambda: {"total": event.payload["n"] * 2, "at": datetime(2026, 1, 2, tzinfo=UTC)})


@df.workflow("jobs-bad")
def bad(event: Any, step: Any) -> Any:
    def attempt() -> str:
        tries.append(1)
        if len(tries) <= event.payload["failures"]:
            raise ConnectionError("out of order")
        return "at last"

    return step.run("try", attempt, retry=df.NO_RETRY)


@df.workflow("jobs-waits")
def waits(event: Any, step: Any) -> Any:
    return step.wait_for_event("go")


@pytest.fixture
def heard() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


@pytest.fixture
def ctx(make_ctx: MakeContext) -> df.Context:
    tries.clear()
    return make_ctx(services=LOCAL, linger="0s")


def runs_there(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from dataflows.run").fetchone()
    assert row is not None
    return int(row[0])


# --- what is told -----------------------------------------------------------------------------------------


def test_a_job_posts_its_result(ctx: df.Context, heard: Listener) -> None:
    job = ctx.jobs.enqueue(price, {"n": 21}, callback=heard.url)
    assert job.result("20s") == {"total": 42, "at": datetime(2026, 1, 2, tzinfo=UTC)}
    job.wait("20s")
    assert heard.documents == [
        {
            "job": job.id,
            "run": job.run.id,
            "workflow": "jobs-price",
            "status": "succeeded",
            "attempts": 1,
            "result": {"total": 42, "at": "2026-01-02T00:00:00Z"},
        }
    ]
    assert heard.headers[0]["content-type"] == "application/json"
    assert "webhook-signature" not in heard.headers[0]
    callback = job.callback
    assert callback is not None
    assert (callback.state, callback.attempts, callback.status, callback.url) == ("delivered", 1, 204, heard.url)
    assert callback.delivered_at is not None
    assert (job.status, job.workflow, job.attempts, job.error) == ("succeeded", "jobs-price", 1, None)
    assert repr(job) == f"<job {job.id} of 'jobs-price': succeeded>"


def test_a_failure_is_told_without_its_traceback(ctx: df.Context, heard: Listener) -> None:
    job = ctx.jobs.enqueue(bad, {"failures": 9}, callback=df.Callback(heard.url)).wait("20s")
    with pytest.raises(StepFailed, match="out of order"):
        job.result("20s")
    (told,) = heard.documents
    assert told["status"] == "failed"
    assert told["error"] == {"type": "ConnectionError", "message": "out of order", "step": "try"}
    assert "result" not in told


def test_retry_after_is_honoured_and_the_state_is_visible(make_ctx: MakeContext, heard: Listener) -> None:
    clock = VirtualClock(autojump=False)
    ctx = make_ctx(services=LOCAL, clock=clock)
    heard.answers += [(503, {"Retry-After": "7"}), (429, {"Retry-After": "120"})]
    job = ctx.jobs.enqueue(price, {"n": 1}, callback=heard.url)
    assert job.result("20s")["total"] == 2

    def state() -> Any:
        return job.callback

    wait_until(lambda: state().state == "retrying", "the first attempt failed")
    assert (state().status, state().attempts, state().next_at) == (503, 1, clock.now() + timedelta(seconds=7))
    clock.advance("7s")
    wait_until(lambda: state().attempts == 2 and state().state == "retrying", "the second attempt failed")
    assert state().next_at == clock.now() + timedelta(seconds=120)
    clock.advance("120s")
    wait_until(lambda: state().state == "delivered", "the third arrived")
    assert len({headers["idempotency-key"] for headers in heard.headers}) == 1
    assert len(heard.bodies) == 3


def test_what_is_given_up_can_be_begun_anew(ctx: df.Context, heard: Listener) -> None:
    heard.answers += [(500, {}), (500, {}), (410, {})]
    callback = df.Callback(heard.url, retry=df.Retry(5, initial_delay="5ms"))
    job = ctx.jobs.enqueue(price, {"n": 1}, callback=callback).wait("20s")
    state = job.callback
    assert state is not None
    assert (state.state, state.attempts, state.status) == ("failed", 3, 410)
    assert job.status == "succeeded"  # the work was done
    job.redeliver().wait("20s")
    assert job.callback is not None
    assert job.callback.state == "delivered"
    assert heard.documents[-1]["job"] == job.id
    with pytest.raises(DefinitionError, match="was not given up"):
        job.redeliver()
    assert ctx.jobs.list() == [job]


def test_redirects_are_no_receipt(ctx: df.Context, heard: Listener) -> None:
    heard.answers += [(302, {"Location": "http://169.254.169.254/"})]
    job = ctx.jobs.enqueue(price, {"n": 1}, callback=heard.url).wait("20s")
    assert job.callback is not None
    assert (job.callback.state, job.callback.status, len(heard.bodies)) == ("failed", 302, 1)


def test_a_signed_callback_is_verified_by_our_own_verifier(
    make_ctx: MakeContext, heard: Listener, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    secret = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, or so").decode()
    monkeypatch.setenv("JOBS_SECRET", secret)
    ctx = make_ctx(services=df.Services(egress=["127.0.0.1"], env=["JOBS_SECRET"]))
    heard.answers += [(500, {})]
    callback = df.Callback(heard.url, secret_env="JOBS_SECRET", retry=QUICK)
    job = ctx.jobs.enqueue(price, {"n": 1}, callback=callback).wait("20s")
    for headers, body in zip(heard.headers, heard.bodies, strict=True):
        verdict = verify("standard-webhooks", {"secret": secret}, headers, body, datetime.now(UTC))
        assert verdict.ok, verdict.reason
        assert verdict.delivery_id == job.id  # the same at every attempt
        assert not verify("standard-webhooks", {"secret": secret}, headers, body + b" ", datetime.now(UTC)).ok
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select data::text from dataflows.event").fetchall()
    assert not [row for row in rows if "whsec_" in row[0]]


def test_a_large_result_is_left_out(ctx: df.Context, heard: Listener) -> None:
    large = df.Workflow("jobs-large", lambda event, step: "x" * 6_000_000)
    job = ctx.jobs.enqueue(large, callback=heard.url).wait("30s")
    (told,) = heard.documents
    assert (told["result"], told["result_bytes"]) == (None, 6_000_002)
    assert len(job.result("20s")) == 6_000_000


# --- attempts ---------------------------------------------------------------------------------------------


def test_a_failed_job_is_begun_again(ctx: df.Context, heard: Listener) -> None:
    job = ctx.jobs.enqueue(bad, {"failures": 2}, callback=heard.url, retry=QUICK)
    assert job.result("20s") == "at last"
    job.wait("20s")
    assert (job.attempts, [run.status for run in job.runs]) == (3, ["failed", "failed", "succeeded"])
    (told,) = heard.documents
    assert (told["status"], told["attempts"], told["run"]) == ("succeeded", 3, job.runs[-1].id)
    assert [run.input for run in job.runs] == [{"failures": 2}] * 3


def test_attempts_end_and_programming_errors_get_none(ctx: df.Context) -> None:
    job = ctx.jobs.enqueue(bad, {"failures": 99}, retry=QUICK)
    with pytest.raises(StepFailed, match="out of order"):
        job.result("20s")
    job.wait("20s")
    assert (job.status, job.attempts, job.callback) == ("failed", 4, None)
    never = ctx.jobs.enqueue(df.Workflow("jobs-type", lambda event, step: 1 + "1"), retry=QUICK).wait("20s")  # type: ignore[operator]
    assert (never.status, never.attempts) == ("failed", 1)


def test_between_two_attempts_a_job_is_retrying_and_can_be_cancelled(make_ctx: MakeContext, heard: Listener) -> None:
    ctx = make_ctx(services=LOCAL, clock=VirtualClock(autojump=False))
    tries.clear()
    job = ctx.jobs.enqueue(bad, {"failures": 9}, retry=df.Retry(2, initial_delay="10s"))
    wait_until(lambda: job.keeper.status == "sleeping", "the job pauses")
    assert job.status == "retrying"
    with pytest.raises(TimeoutError):
        job.result("50ms")
    job.cancel("enough")
    with pytest.raises(StepFailed):
        job.result("20s")
    assert (job.status, job.attempts) == ("failed", 1)


def test_a_cancelled_job_tells_so(ctx: df.Context, heard: Listener) -> None:
    job = ctx.jobs.enqueue(waits, callback=heard.url)
    wait_until(lambda: job.status == "waiting", "the run waits")
    assert job.callback is not None
    assert job.callback.state == "waiting"
    job.cancel("not needed")
    with pytest.raises(RunCancelled, match="not needed"):
        job.result("20s")
    job.wait("20s")
    (told,) = heard.documents
    assert (told["status"], told["error"]["message"]) == ("cancelled", "not needed")


# --- finding them -----------------------------------------------------------------------------------------


def test_jobs_are_found_and_are_no_workflows_of_the_user(ctx: df.Context) -> None:
    one = ctx.jobs.enqueue(price, {"n": 1})
    two = ctx.jobs.enqueue(waits)
    one.result("20s")
    assert ctx.jobs.list() == [two, one]
    assert ctx.jobs.list("jobs-price") == [one]
    assert ctx.jobs.list(status=["queued", "running", "waiting"]) == [two]
    assert ctx.jobs.list(before=two) == [one]
    assert ctx.jobs.list(limit=1) == [two]
    assert ctx.jobs.get(one.id) == one
    assert "dataflows.job" not in [workflow.name for workflow in ctx.workflows()]
    with pytest.raises(RunNotFoundError, match="is no job"):
        ctx.jobs.get(one.run.id)
    two.cancel()


def test_an_idempotency_key_gives_the_first_job(ctx: df.Context, database_url: str) -> None:
    first = ctx.jobs.enqueue(price, {"n": 1}, idempotency_key="order-7")
    assert ctx.jobs.enqueue(price, {"n": 2}, idempotency_key="order-7") == first
    assert ctx.jobs.enqueue(waits, idempotency_key="order-7") != first
    assert runs_there(database_url) == 4
    assert first.result("20s")["total"] == 2


def test_a_job_is_part_of_a_transaction(ctx: df.Context, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        ctx.jobs.enqueue(price, {"n": 1}, connection=connection)
        connection.rollback()
        assert ctx.jobs.list() == []
        job = ctx.jobs.enqueue(price, {"n": 1}, connection=connection)
        connection.commit()
    assert job.result("20s")["total"] == 2


def test_a_flow_and_an_await(ctx: df.Context, heard: Listener) -> None:
    flow = df.flow("jobs-flow").step("double", lambda event: event.payload["n"] * 2)
    job = ctx.jobs.enqueue(flow, {"n": 4}, callback=heard.url)

    async def main() -> Any:
        return await job

    assert asyncio.run(main()) == 8
    job.wait("20s")
    assert heard.documents[0]["workflow"] == "jobs-flow"


# --- refused before anything is enqueued ------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://localhost/x",
        "http://2130706433/",
        "ftp://example.com/",
        "not a url",
        "http://user:password@93.184.216.34/",
    ],
)
def test_a_callback_that_may_not_be_called_is_refused(make_ctx: MakeContext, database_url: str, url: str) -> None:
    ctx = make_ctx(work=False)
    with pytest.raises(EgressDeniedError):
        ctx.jobs.enqueue(price, {"n": 1}, callback=url)
    assert runs_there(database_url) == 0


def test_a_name_that_leads_inside_is_refused(make_ctx: MakeContext, database_url: str) -> None:
    from dataflows_sdk.nodes.egress import EgressPolicy

    async def rebinding(host: str, port: int) -> list[str]:
        return ["10.1.2.3"]

    ctx = make_ctx(work=False, services=df.Services(egress=EgressPolicy(resolver=rebinding)))
    with pytest.raises(EgressDeniedError, match=r"10\.1\.2\.3"):
        ctx.jobs.enqueue(price, {"n": 1}, callback="https://hooks.example.com/")
    assert runs_there(database_url) == 0


def test_the_worker_has_its_own_say(make_ctx: MakeContext, heard: Listener) -> None:
    # whoever enqueues may call loopback, the worker may not: the guard stands where the call is made
    job = make_ctx(work=False, services=LOCAL).jobs.enqueue(price, {"n": 1}, callback=heard.url)
    worker = make_ctx(services=df.Services())
    worker.register(price)
    job.wait("20s")
    assert job.callback is not None
    assert job.callback.state == "failed"
    assert "may not be called" in str(job.callback.error)
    assert heard.bodies == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"callback": 7}, DefinitionError),
        ({"callback": ""}, DefinitionError),
        ({"retry": 3}, DefinitionError),
        ({"retry": df.Retry(2, retry_on=(OSError,))}, DefinitionError),
        ({"retry": df.Retry(2, no_retry_on=(OSError,))}, DefinitionError),
        ({"idempotency_key": ""}, DefinitionError),
        ({"idempotency_key": "a\0b"}, DefinitionError),
        ({"payload": object()}, NotSerializableError),
        ({"workflow": "jobs-nobody"}, WorkflowNotFoundError),
        ({"connection": 3}, DefinitionError),
    ],
)
def test_bad_arguments_are_refused(
    make_ctx: MakeContext, database_url: str, arguments: dict[str, Any], error: type[Exception]
) -> None:
    ctx = make_ctx(work=False)
    given = {"workflow": price, "payload": {"n": 1}, **arguments}
    with pytest.raises(error):
        ctx.jobs.enqueue(given.pop("workflow"), given.pop("payload"), **given)
    assert runs_there(database_url) == 0


def test_bad_callbacks_and_look_ups(make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (
        {"url": 3},
        {"url": "https://example.com", "secret_env": ""},
        {"url": "https://example.com", "retry": 3},
        {"url": "https://example.com", "timeout": 0},
    ):
        with pytest.raises(DefinitionError):
            df.Callback(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidDurationError):
        df.Callback("https://example.com", timeout="soon")
    monkeypatch.setenv("JOBS_PLAIN", "not base64!")
    ctx = make_ctx(work=False, services=df.Services(egress=["127.0.0.1"], env=["JOBS_PLAIN"]))
    for name, says in (("JOBS_MISSING", "flows may not read"), ("JOBS_PLAIN", "whsec_")):
        with pytest.raises(DefinitionError, match=says):
            ctx.jobs.enqueue(price, callback=df.Callback("http://127.0.0.1/", secret_env=name))
    for limit in (0, 10_001, True, "5"):
        with pytest.raises(DefinitionError):
            ctx.jobs.list(limit=limit)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError):
        ctx.jobs.list(status="bored")
    with pytest.raises((RunNotFoundError, InvalidIdError)):
        ctx.jobs.get("nothing")
    with pytest.raises(RunNotFoundError):
        ctx.jobs.get("0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77")


# --- a worker that dies -----------------------------------------------------------------------------------

WORKER = """
import sys, time
import dataflows_sdk as df

@df.workflow("jobs-elsewhere")
def elsewhere(event, step):
    step.run("one", lambda: 1)
    return step.run("two", lambda: (print("working", flush=True), time.sleep(event.payload["seconds"]), "done")[-1])

ctx = df.connect(sys.argv[1], lease="2s", services=df.Services(egress=["127.0.0.1"]))
ctx.register(elsewhere)
time.sleep(600)
"""


def test_a_job_outlives_the_worker_that_had_it(make_ctx: MakeContext, heard: Listener, database_url: str) -> None:
    here = df.Workflow("jobs-elsewhere", lambda event, step: None)
    looker = make_ctx(work=False, services=LOCAL)
    job = looker.jobs.enqueue(here, {"seconds": 1.5}, callback=heard.url)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    root = Path(df.__file__).parents[1]

    def worker() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, database_url], stdout=subprocess.PIPE, text=True, env=environment, cwd=root
        )

    with worker() as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "working\n"
        first.send_signal(signal.SIGKILL)
    with worker() as second:
        try:
            assert job.result("60s") == "done"
            job.wait("60s")
        finally:
            second.terminate()
    assert [told["result"] for told in heard.documents] == ["done"]
