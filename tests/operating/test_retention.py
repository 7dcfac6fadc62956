"""Retention by age, by size and by workflow: what it takes, what it leaves, and who does it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.core.sizes import format_size, parse_size
from dataflows_sdk.errors import DefinitionError, InvalidDurationError

from ..conftest import wait_until

if TYPE_CHECKING:
    from ..conftest import MakeContext


@df.workflow("retention-bulky")
def bulky(event: Any, step: Any) -> int:
    return len(step.run("make", lambda: "é" * 1000 + str(event.payload) * 200))


@df.workflow("retention-noise")
def noise(event: Any, step: Any) -> int:
    return 1


def ended_days_ago(url: str, days: float, runs: list[df.Run]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for number, run in enumerate(runs):
            connection.execute(
                "update dataflows.run set finished_at = now() - make_interval(secs => %s) where id = %s",
                (days * 86400 - number, run._id),
            )


def made(ctx: df.Context, workflow: Any, count: int) -> list[df.Run]:
    runs = ctx.start_many(workflow, range(count))
    for run in runs:
        run.result("20s")
    return runs


# --- the policy -------------------------------------------------------------------------------------------


def test_a_policy_says_what_it_means() -> None:
    policy = df.Retention(age="90d", size="20 GiB", per_workflow={"noise": "7d", "ledger": None})
    assert (policy.age, policy.limit) == (timedelta(days=90), 20 * 2**30)
    assert policy.age_of("noise") == timedelta(days=7)
    assert policy.age_of("ledger") is None
    assert policy.age_of("other") == timedelta(days=90)
    assert policy.kept() == ["ledger"]
    assert "90 d" in str(policy)
    assert df.Retention(age=None, per_workflow={"x": None}).deletes is False
    assert df.Retention.of(None) is None
    assert df.Retention.of(df.Retention(age=None)) is None
    assert df.Retention.of("3d") == df.Retention(age="3d")


@pytest.mark.parametrize(
    "wrong",
    [
        {"age": "old"},
        {"age": "-1d"},
        {"size": "large"},
        {"size": 0},
        {"size": -5},
        {"size": True},
        {"size": 1.5},
        {"size": "1 GiB of"},
        {"size": "1e9 GB"},
        {"per_workflow": ["noise"]},
        {"per_workflow": {"": "1d"}},
        {"per_workflow": {3: "1d"}},
        {"per_workflow": {"noise": "soon"}},
    ],
)
def test_bad_policies_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((DefinitionError, InvalidDurationError)):
        df.Retention(**wrong)


def test_bad_policies_are_refused_by_connect(make_ctx: MakeContext) -> None:
    for wrong in ("never", object(), {"age": "1d"}):
        with pytest.raises(DefinitionError):
            make_ctx(retention=wrong)
    ctx = make_ctx(work=False, retention=None)
    assert ctx.retention.policy is None
    with pytest.raises(DefinitionError, match="keeps everything"):
        ctx.retention.preview()
    with pytest.raises(DefinitionError):
        ctx.retention.apply("soon")
    with pytest.raises(DefinitionError):
        ctx.retention.apply("1d", progress=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), ("10 B", 10), ("2kB", 2_000), ("2 KiB", 2_048), ("1.5 MB", 1_500_000), ("20 gib", 20 * 2**30), (7, 7)],
)
def test_sizes(text: Any, count: int) -> None:
    assert parse_size(text) == count


def test_sizes_shown() -> None:
    assert [format_size(n) for n in (0, 999, 1_000, 16_400, 2.5e12)] == ["0 B", "999 B", "1.0 kB", "16 kB", "2.5 TB"]


# --- by age -----------------------------------------------------------------------------------------------


def test_each_workflow_has_its_age(make_ctx: MakeContext, database_url: str) -> None:
    policy = df.Retention(age="30d", per_workflow={"retention-noise": "2d"})
    ctx = make_ctx(retention=policy)
    old, young = made(ctx, bulky, 3), made(ctx, bulky, 2)
    loud, quiet = made(ctx, noise, 4), made(ctx, noise, 1)
    ended_days_ago(database_url, 40, old)
    ended_days_ago(database_url, 10, young)
    ended_days_ago(database_url, 3, loud)
    ended_days_ago(database_url, 1, quiet)
    seen = ctx.retention.preview()
    assert (seen.dry_run, seen.runs) == (True, {"retention-bulky": 3, "retention-noise": 4})
    assert len(ctx.runs()) == 10
    report = ctx.retention.apply()
    assert (report.runs, report.by_age, report.by_size) == (seen.runs, 7, 0)
    assert set(ctx.runs()) == {*young, *quiet}
    with psycopg.connect(database_url) as connection:
        ((action, detail),) = connection.execute("select action, detail from dataflows.audit").fetchall()
        events = connection.execute("select count(distinct run) from dataflows.event").fetchone()
    assert (action, detail["runs"], detail["policy"]) == ("retention", report.runs, str(policy))
    assert events == (3,)
    assert ctx.retention.apply().total == 0


def test_kept_for_ever_is_for_ever(make_ctx: MakeContext, database_url: str) -> None:
    ctx = make_ctx(retention=df.Retention(age="1d", size="1 kB", per_workflow={"retention-bulky": None}))
    runs = made(ctx, bulky, 3)
    ended_days_ago(database_url, 999, runs)
    assert ctx.retention.preview().total == 0
    assert ctx.retention.apply().total == 0
    assert len(ctx.runs()) == 3


# --- by size ----------------------------------------------------------------------------------------------


def test_above_a_size_those_that_ended_first_go(make_ctx: MakeContext, database_url: str) -> None:
    ctx = make_ctx(retention=None)
    runs = made(ctx, bulky, 60)
    ended_days_ago(database_url, 5, runs)
    open_run = ctx.start(df.Workflow("retention-waits", lambda event, step: step.wait_for_event("go")))
    wait_until(lambda: open_run.status == "waiting", "it has written what it writes")
    full = ctx.retention.measure()
    limit = full // 2
    policy = df.Retention(age=None, size=limit)
    seen = ctx.retention.preview(policy)
    assert 20 <= seen.total <= 40
    assert (seen.by_age, seen.by_size) == (0, seen.total)
    report = ctx.retention.apply(policy)
    assert (report.total, report.before, report.by_size) == (seen.total, full, seen.total)
    left = {run.id for run in ctx.runs("retention-bulky", limit=100)}
    assert left == {run.id for run in runs[report.total :]}  # the oldest went
    assert open_run in ctx.runs(limit=100)
    # dead rows and empty pages do not count: a second look deletes nothing more
    assert ctx.retention.measure() <= limit
    assert ctx.retention.apply(policy).total == 0
    open_run.cancel()


def test_large_values_count_and_go(make_ctx: MakeContext, database_url: str) -> None:
    ctx = make_ctx(retention=None)
    large = df.Workflow(
        "retention-large", lambda event, step: len(step.run("b", lambda: bytes([event.payload]) * 300_000))
    )
    runs = made(ctx, large, 5)
    ended_days_ago(database_url, 2, runs)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update dataflows.blob set created_at = now() - interval '2 days'")
    assert ctx.retention.measure() > 1_500_000
    report = ctx.retention.apply(df.Retention(age=None, size="1 MB"))
    assert report.total == 2
    assert ctx.retention.measure() < 1_000_000


# --- who does it ------------------------------------------------------------------------------------------


def test_one_of_many_deletes_at_a_time(make_ctx: MakeContext, database_url: str) -> None:
    one, two = make_ctx(), make_ctx(work=False)
    runs = made(one, noise, 3)
    ended_days_ago(database_url, 2, runs)
    inside, go_on = threading.Event(), threading.Event()

    def wait(_: int) -> None:
        inside.set()
        assert go_on.wait(20)

    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(one.retention.apply("1d", progress=wait)))
    thread.start()
    try:
        assert inside.wait(20)
        busy = two.retention.apply("1d")
        assert (busy.busy, busy.total) == (True, 0)
        assert "another process" in repr(busy)
    finally:
        go_on.set()
        thread.join()
    assert found[0].total == 3
    assert two.retention.apply("1d").busy is False  # the lock was given back


def test_progress_stops_it_between_pages(make_ctx: MakeContext, database_url: str) -> None:
    ctx = make_ctx(work=False)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into dataflows.run (id, workflow, version, status, created_at, finished_at) "
            "select gen_random_uuid(), 'old', 'v', 'succeeded', now(), now() - make_interval(days => i) "
            "from generate_series(1, 1200) i"
        )
    told: list[int] = []
    report = ctx.retention.apply("1s", progress=lambda done: bool(told.append(done)))
    assert (told, report.total, report.stopped) == ([500], 500, True)
    assert ctx.purge("0s", dry_run=True) == 700
    oldest = ctx._read("doctor", "oldest_end")[0][0]
    assert datetime.now(UTC) - oldest < timedelta(days=701)
    assert ctx.retention.apply("1s").total == 700
