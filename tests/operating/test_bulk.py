"""Bulk cancel, resume and retry: by filter, in pages, and consistent wherever they stop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, InvalidDurationError, InvalidIdError
from dataflows_sdk.testing import VirtualClock

from ..conftest import wait_until

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

    from ..conftest import MakeContext

broken = {"value": True}
calls: list[str] = []


@df.workflow("bulk-order")
def order(event: Any, step: Any) -> Any:
    price = step.run("price", lambda: calls.append("price") or event.payload["n"] * 2)

    def charge() -> int:
        calls.append("charge")
        if broken["value"]:
            raise KeyError(f"No card of {event.payload['n']}")
        return int(price)

    return step.run("charge", charge, retry=df.NO_RETRY)


@df.workflow("bulk-waits")
def waits(event: Any, step: Any) -> Any:
    step.run("one", lambda: 1)
    return step.wait_for_event("go")


@df.workflow("bulk-undoes")
def undoes(event: Any, step: Any) -> Any:
    step.run("book", lambda: 1, undo=lambda: calls.append("undone"))
    return step.wait_for_event("go")


@df.workflow("bulk-parent")
def parent(event: Any, step: Any) -> Any:
    return step.invoke("ship", order, event.payload)


@pytest.fixture(autouse=True)
def fresh() -> None:
    broken["value"] = True
    calls.clear()


def ended(runs: list[df.Run]) -> None:
    for run in runs:
        run.wait("60s")


def statuses(ctx: Context, workflow: str) -> dict[str, int]:
    rows = ctx._read("bulk", "counts", (workflow, sorted(ALL), None, "infinity", None, None, None, None, False, False))
    return {status: count for _, status, count in rows}


ALL = {"queued", "running", "sleeping", "waiting", "succeeded", "failed", "cancelled", "quarantined"}


# --- cancel -----------------------------------------------------------------------------------------------


def test_cancel_ends_queued_and_waiting_runs_of_unknown_code_at_once(make_ctx: MakeContext) -> None:
    worker = make_ctx(linger="0s")
    waiting = worker.start_many(waits, range(3))
    for run in waiting:
        wait_until(lambda run=run: run.status == "waiting", "the run waits")
    worker.close()
    looker = make_ctx(work=False)
    looker.start_many(waits, range(4))
    looker.start(order, {"n": 1})
    # a process that only looks has no code to run
    told: list[tuple[int, int]] = []
    report = looker.bulk.cancel(
        "bulk-waits", reason="closing", page=2, progress=lambda done, all: told.append((done, all))
    )
    assert report.results == {"ended": 7}
    assert report.matched == {("bulk-waits", "waiting"): 3, ("bulk-waits", "queued"): 4}
    assert told == [(2, 7), (4, 7), (6, 7), (7, 7)]
    assert statuses(looker, "bulk-waits") == {"cancelled": 7}
    assert statuses(looker, "bulk-order") == {"queued": 1}
    for run in waiting:
        assert looker.get(run.id).state().status == "cancelled"
        assert [event.kind for event in looker.get(run.id).events()][-3:] == [
            "run.claimed",
            "run.cancel_requested",
            "run.cancelled",
        ]
        with pytest.raises(df.errors.RunCancelled, match="closing"):
            looker.get(run.id).result("5s")


def test_cancel_asks_runs_whose_code_is_at_work_and_undoes(make_ctx: MakeContext) -> None:
    worker = make_ctx(linger="0s")
    runs = worker.start_many(undoes, range(3))
    for run in runs:
        wait_until(lambda run=run: run.status == "waiting", "the run waits")
    # nobody may end these without their code, from wherever it is asked
    looker = make_ctx(work=False)
    report = looker.bulk.cancel("bulk-undoes")
    assert report.results == {"asked": 3}
    ended(runs)
    assert [run.status for run in runs] == ["cancelled"] * 3
    assert calls.count("undone") == 3


def test_cancel_tells_the_parent_of_a_child_that_it_ends(make_ctx: MakeContext) -> None:
    worker = make_ctx(linger="0s")

    @df.workflow("bulk-above")
    def above(event: Any, step: Any) -> Any:
        try:
            return step.invoke("below", "bulk-below")
        except df.errors.RunCancelled as error:
            return str(error.run_id)

    df.workflow("bulk-below", lambda event, step: step.wait_for_event("go"))
    run = worker.start(above)
    wait_until(lambda: run.children() and run.children()[0].status == "waiting", "the child waits")
    child = run.children()[0]
    looker = make_ctx(work=False)
    assert looker.bulk.cancel(runs=[child]).results == {"ended": 1}
    assert run.result("20s") == child.id


def test_cancel_stops_where_progress_says_so_and_goes_on_when_called_again(make_ctx: MakeContext) -> None:
    looker = make_ctx(work=False)
    looker.start_many(order, [{"n": n} for n in range(25)])
    report = looker.bulk.cancel("bulk-order", page=10, progress=lambda done, total: done < 10)
    assert (report.done, report.stopped, report.total) == (10, True, 25)
    assert statuses(looker, "bulk-order") == {"cancelled": 10, "queued": 15}
    limited = looker.bulk.cancel("bulk-order", limit=4, page=3)
    assert (limited.done, limited.stopped) == (4, True)
    rest = looker.bulk.cancel("bulk-order")
    assert (rest.done, rest.stopped, len(rest.sample)) == (11, False, 10)


def test_an_interrupt_in_the_middle_leaves_whole_pages(make_ctx: MakeContext) -> None:
    looker = make_ctx(work=False)
    looker.start_many(order, [{"n": n} for n in range(25)])

    def interrupted(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        looker.bulk.cancel("bulk-order", page=10, progress=interrupted)
    assert statuses(looker, "bulk-order") == {"cancelled": 20, "queued": 5}
    for run in looker.runs("bulk-order", "cancelled"):
        assert run.state().status == "cancelled"
    assert looker.bulk.cancel("bulk-order").done == 5


def test_filters_select_and_dry_run_only_counts(make_ctx: MakeContext, database_url: str) -> None:
    looker = make_ctx(work=False)
    runs = looker.start_many(order, [{"n": n} for n in range(6)])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "update dataflows.run set created_at = now() - interval '2 days' where id = any(%s)",
            ([run._id for run in runs[:2]],),
        )
        connection.execute("update dataflows.run set queue = 'mails' where id = %s", (runs[5]._id,))
    bulk = looker.bulk
    assert bulk.cancel("bulk-order", since="1d", dry_run=True).total == 4
    assert bulk.cancel("bulk-order", until="1d", dry_run=True).total == 2
    assert bulk.cancel(queue="mails", dry_run=True).total == 1
    assert bulk.cancel(runs=[runs[0], runs[1].id, runs[2]._id], dry_run=True).total == 3
    assert bulk.cancel("bulk-order", "waiting", dry_run=True).total == 0
    assert bulk.cancel("nobody's", dry_run=True).total == 0
    assert bulk.cancel(everything=True, dry_run=True).total == 6
    assert statuses(looker, "bulk-order") == {"queued": 6}
    shown = bulk.cancel(everything=True, dry_run=True)
    assert "6 runs would be cancelled" in repr(shown)
    assert "6 queued of bulk-order" in shown._repr_html_()


# --- retry ------------------------------------------------------------------------------------------------


def test_retry_forks_at_the_failure_once(ctx: Context) -> None:
    runs = ctx.start_many(order, [{"n": n} for n in range(4)])
    ended(runs)
    assert statuses(ctx, "bulk-order") == {"failed": 4}
    broken["value"] = False
    assert ctx.bulk.retry("bulk-order", dry_run=True).total == 4
    report = ctx.bulk.retry("bulk-order", page=3)
    assert report.results == {"forked": 4}
    forks = [ctx.get(identifier) for identifier in report.sample]
    ended(forks)
    assert sorted(run.result() for run in forks) == [0, 2, 4, 6]
    assert calls.count("price") == 4  # what had been done was not done again
    assert {run.forked_from for run in forks} == set(runs)
    assert [run.status for run in runs] == ["failed"] * 4  # history stays
    assert ctx.bulk.retry("bulk-order").done == 0
    assert ctx.bulk.retry("bulk-order", again=True, limit=1).done == 1


def test_two_retries_at_once_fork_each_run_once(make_ctx: MakeContext) -> None:
    import threading

    worker, looker = make_ctx(), make_ctx(work=False)
    ended(worker.start_many(order, [{"n": n} for n in range(30)]))
    worker.close()
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(looker.bulk.retry("bulk-order", page=7))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.done for report in found) == 30
    assert statuses(looker, "bulk-order") == {"failed": 30, "queued": 30}


def test_retry_by_error_and_message(ctx: Context) -> None:
    ended(ctx.start_many(order, [{"n": n} for n in (1, 2, 22)]))
    ended([ctx.start(order, {"m": 1})])
    retry = ctx.bulk.retry
    assert retry(error="KeyError", dry_run=True).total == 4
    assert retry(error="KeyError", message="NO CARD of 2", dry_run=True).total == 2
    assert retry(error="ValueError", dry_run=True).total == 0
    assert retry(message="'n'", dry_run=True).total == 1


def test_retry_goes_into_the_child_that_failed(ctx: Context) -> None:
    run = ctx.run(parent, {"n": 5})
    assert run.status == "failed"
    broken["value"] = False
    # the child comes with its parent, and not a second time by itself
    report = ctx.bulk.retry(everything=True)
    assert report.matched == {("bulk-parent", "failed"): 1}
    fork = ctx.get(report.sample[0])
    assert fork.result("20s") == 10
    assert calls.count("price") == 1


def test_retry_without_the_code_leaves_it_to_a_worker(make_ctx: MakeContext, database_url: str) -> None:
    worker = make_ctx()
    local = df.Workflow("bulk-elsewhere", lambda event, step: step.run("divide", lambda: 1 / 0, retry=df.NO_RETRY))
    flow = df.flow("bulk-document").http("call", url="http://10.0.0.1/x", retry=df.NO_RETRY)
    runs = [worker.start(local), worker.start(flow)]
    ended(runs)
    worker.close()
    looker = make_ctx(work=False)
    report = looker.bulk.retry(runs=runs)
    assert (report.results, report.failed) == ({"forked": 2}, 0)
    for identifier in report.sample:
        fork = looker.get(identifier)
        assert (fork.status, fork.version) == ("queued", fork.forked_from.version)


# --- resume -----------------------------------------------------------------------------------------------


def test_resume_lets_quarantined_runs_go_on(make_ctx: MakeContext) -> None:
    ctx = make_ctx(clock=VirtualClock())

    def first(event: Any, step: Any) -> Any:
        step.run("old name", lambda: 1)
        return step.wait_for_event("go")

    def second(event: Any, step: Any) -> Any:
        step.run("new name", lambda: 1)
        return step.wait_for_event("go")

    ctx.register(df.Workflow("bulk-changes", first))
    runs = ctx.start_many("bulk-changes", range(3))
    for run in runs:
        wait_until(lambda run=run: run.status == "waiting", "the run waits")
    ctx.register(df.Workflow("bulk-changes", second))
    for run in runs:
        run.send_event("go", 7)
    for run in runs:
        wait_until(lambda run=run: run.status == "quarantined", "the run is quarantined")
    assert ctx.bulk.resume("bulk-changes", error="crashes", dry_run=True).total == 0
    assert ctx.bulk.resume("bulk-changes", error="changed-code", message="OLD NAME", dry_run=True).total == 3
    ctx.register(df.Workflow("bulk-changes", first))
    report = ctx.bulk.resume("bulk-changes", page=2)
    assert report.results == {"resumed": 3}
    assert [ctx.get(run.id).result("20s") for run in runs] == [7, 7, 7]


def test_resume_on_the_recorded_version_needs_it(make_ctx: MakeContext, database_url: str) -> None:
    ctx = make_ctx()
    run = ctx.start(waits)
    wait_until(lambda: run.status in ("running", "waiting"), "the run began")
    ctx.close()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update dataflows.run set status = 'quarantined', owner = null, version = 'gone'")
    looker = make_ctx(work=False)
    report = looker.bulk.resume("bulk-waits", version="recorded")
    assert (report.done, report.failed) == (0, 1)
    assert "does not have version gone" in report.failures[0][1]
    assert looker.bulk.resume("bulk-waits").done == 1


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "arguments", "says"),
    [
        ("cancel", {}, "without a filter"),
        ("resume", {}, "without a filter"),
        ("retry", {"limit": 5}, "without a filter"),
        ("cancel", {"workflow": ""}, "workflow is a text"),
        ("cancel", {"workflow": 7}, "workflow is a text"),
        ("cancel", {"workflow": "a\0"}, "workflow is a text"),
        ("cancel", {"queue": b"x"}, "queue is a text"),
        ("cancel", {"status": "succeeded"}, "succeeded cannot be cancelled"),
        ("cancel", {"status": "bored"}, "no status 'bored'"),
        ("cancel", {"status": "queued", "error": "KeyError"}, "have an error"),
        ("cancel", {"everything": True, "reason": 3}, "reason is a text"),
        ("cancel", {"everything": True, "page": 0}, "page is a number"),
        ("cancel", {"everything": True, "page": 10_001}, "page is a number"),
        ("cancel", {"everything": True, "limit": -1}, "limit is a number"),
        ("cancel", {"everything": True, "limit": True}, "limit is a number"),
        ("cancel", {"everything": True, "progress": 3}, "progress is a function"),
        ("cancel", {"runs": 3}, "runs is a list"),
        ("resume", {"everything": True, "version": "newest"}, "'current' or their 'recorded'"),
    ],
)
def test_bad_arguments_are_refused(make_ctx: MakeContext, verb: str, arguments: dict[str, Any], says: str) -> None:
    looker = make_ctx(work=False)
    with pytest.raises(DefinitionError, match=says):
        getattr(looker.bulk, verb)(**arguments)


def test_bad_moments_and_ids_are_refused(make_ctx: MakeContext) -> None:
    looker = make_ctx(work=False)
    with pytest.raises(InvalidDurationError):
        looker.bulk.cancel(since="yesterday")
    with pytest.raises(InvalidIdError):
        looker.bulk.cancel(runs=["not an id"])
    assert looker.bulk.cancel(runs=[]).total == 0  # none is not all


# --- the audit, and a large table -------------------------------------------------------------------------


def test_what_was_done_is_in_the_audit(make_ctx: MakeContext, database_url: str) -> None:
    looker = make_ctx(work=False)
    looker.start_many(order, [{"n": 1}] * 3)
    looker.bulk.cancel("bulk-order", since="1h", dry_run=True)
    looker.bulk.cancel("bulk-order", since="1h")
    with psycopg.connect(database_url) as connection:
        ((action, detail),) = connection.execute("select action, detail from dataflows.audit").fetchall()
    assert action == "bulk cancel"
    assert (detail["runs"], detail["results"]) == (3, {"ended": 3})
    assert detail["filter"]["workflow"] == "bulk-order"


def test_a_page_is_found_by_an_index(make_ctx: MakeContext, database_url: str) -> None:
    looker = make_ctx(work=False)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into dataflows.run (id, workflow, version, status, created_at, finished_at) "
            "select gen_random_uuid(), 'w' || i % 50, 'v', case when i % 1000 = 0 then 'failed' else 'succeeded' end, "
            "now(), now() from generate_series(1, 60000) i"
        )
        connection.execute("analyze dataflows.run")
        from dataflows_sdk.store.sqlfiles import statement

        cursor = psycopg.RawCursor(connection)
        shared = (None, None, "infinity", None, None, None, None, True, True, None, 500)
        for workflow, status in ((None, "failed"), ("w0", "failed"), ("w7", "queued")):
            parameters = (workflow, [status], *shared[1:])
            cursor.execute("explain (format json) " + statement("bulk", "page"), parameters)
            plan = json.dumps(cursor.fetchall()[0][0])
            assert "Seq Scan" not in plan, plan
    assert looker.bulk.retry("w0", dry_run=True).total == 60
