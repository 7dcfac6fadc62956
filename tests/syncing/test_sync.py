"""Syncs from end to end: pages, cursors, failures, limits, deletions, and what each leaves in the tables."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, RunCancelled, StepFailed
from dataflows_sdk.syncing import bar
from dataflows_sdk.testing import VirtualClock
from dataflows_sdk.warehouse.sources import opening

from ..conftest import MakeContext, wait_until
from .conftest import BROKEN, Asked, Reply, Serve, Things, numbers, sync

# --- the way it goes --------------------------------------------------------------------------------------


def test_every_row_comes_and_knows_where_it_came_from(ctx: df.Context, source: df.JsonApi, things: Things) -> None:
    run = sync(ctx, source)
    report = run.result()
    assert (report.pages, report.rows, report.inserted, report.deleted) == (5, 50, 50, 0)
    assert things.asked == [1, 2, 3, 4, 5]
    assert numbers(ctx) == list(range(50))
    row = ctx.warehouse.table("things").get(17)
    assert row is not None
    assert (row["_source"], row["_external_id"], str(row["_execution_id"])) == ("things", "17", run.id)
    assert {step.key for step in run.timeline()} >= {f"page {n}" for n in range(1, 6)}
    why = ctx.warehouse.why("things", 17)
    assert why is not None
    assert why.step == "page 2"


def test_a_full_sync_writes_what_changed_and_deletes_what_is_gone(
    ctx: df.Context, source: df.JsonApi, things: Things
) -> None:
    sync(ctx, source).result()
    things.rows = [row for row in things.rows if row["id"] not in (3, 49)]
    things.rows[0] = {"id": 0, "name": "new"}
    things.rows.append({"id": 77, "name": "n77"})
    run = sync(ctx, source)
    report = run.result()
    assert (report.inserted, report.updated, report.unchanged, report.deleted) == (1, 1, 47, 2)
    assert run.report.deleted == 2
    assert numbers(ctx) == [n for n in range(50) if n not in (3, 49)] + [77]
    *_, last = ctx.warehouse.history("things", 3)
    assert (last.operation, last.run, last.step) == ("delete", run.id, "end")
    assert len(ctx.warehouse.history("things", 4)) == 1


def test_rows_of_others_are_not_deleted(ctx: df.Context, source: df.JsonApi, things: Things) -> None:
    sync(ctx, source).result()
    ctx.warehouse.table("things").upsert(id=1000, name="by hand")
    sync(ctx, lambda: [{"id": 2000, "name": "other"}], name="others").result()
    sync(ctx, lambda: [{"id": 2001, "name": "other"}], name="others", max_deletes=1).result()
    things.rows.pop()
    assert sync(ctx, source).result().deleted == 1
    assert numbers(ctx)[-3:] == [48, 1000, 2001]


def test_an_incremental_sync_asks_for_what_is_new(ctx: df.Context, api: Serve) -> None:
    rows = [{"id": n, "at": f"2026-01-{n + 1:02}T00:00:00Z"} for n in range(9)]
    asked_for: list[str | None] = []

    def answer(asked: Asked) -> Reply:
        asked_for.append(asked.query.get("since"))
        found = [row for row in rows if str(row["at"]) >= asked.query.get("since", "")]
        begin = int(asked.query["offset"])
        return 200, {}, found[begin : begin + 4]

    source = df.JsonApi(api(answer).url, paging={"style": "offset", "size": 4}, cursor_param="since")
    first = sync(ctx, source, cursor="at").result()
    assert (first.mode, first.inserted, first.cursor) == ("incremental", 9, "2026-01-09T00:00:00Z")
    rows += [{"id": 0, "at": "2026-02-01T00:00:00Z"}, {"id": 9, "at": "2026-02-02T00:00:00Z"}]
    second = sync(ctx, source, cursor="at").result()
    assert (second.inserted, second.updated, second.unchanged) == (1, 1, 1)
    assert asked_for == [None, None, None, "2026-01-09T00:00:00Z"]
    (state,) = ctx.warehouse.syncs()
    assert (state.cursor, state.status, state.table) == ("2026-02-02T00:00:00Z", "succeeded", "things")
    full = sync(ctx, source, cursor="at", mode="full").result()
    assert (full.rows, full.deleted) == (11, 0)


def test_a_source_names_what_it_deleted(ctx: df.Context) -> None:
    table = ctx.warehouse.table("parts", {"item": int, "part": str, "n": int}, key=("item", "part"))
    pages = {
        None: df.Page([{"item": 1, "part": p, "n": 1} for p in "abc"], 1),
        1: df.Page([{"item": 1, "part": "d", "n": 1}], 2, deleted=[(1, "a"), {"item": 1, "part": "b"}, (9, "z")]),
        2: df.Page([], None, deleted=[(1, "c")]),
    }
    report = sync(ctx, lambda cursor: pages[cursor], into=table, key=None, mode="incremental").result()
    assert (report.inserted, report.deleted) == (4, 3)
    assert [row["part"] for row in table.find()] == ["d"]


def test_the_same_row_on_two_pages_and_twice_on_one(ctx: df.Context) -> None:
    pages = [[{"id": 1, "v": 1}, {"id": 2, "v": 1}], [{"id": 2, "v": 2}, {"id": 3, "v": 1}, {"id": 3, "v": 2}]]
    report = sync(ctx, pages).result()
    assert (report.rows, report.inserted, report.updated) == (5, 3, 1)
    assert [row["v"] for row in ctx.warehouse.table("things").find(order="id")] == [1, 2, 2]


def test_pages_of_several_tables(ctx: df.Context) -> None:
    pages = [
        df.Page([{"id": 1, "name": "Ada"}], table="people", key=("id",)),
        df.Page([{"a": 1, "b": 2, "n": 5}], table="links", key=("a", "b")),
    ]
    report = ctx.warehouse.sync(pages, name="both").result()
    assert report.table == "links, people"
    assert ctx.warehouse.table("links").key == ("a", "b")
    with pytest.raises(StepFailed, match="page 1 names no table"):
        ctx.warehouse.sync([[{"id": 1}]], name="neither", retry=df.Retry(0)).result()


# --- failures ---------------------------------------------------------------------------------------------


def test_page_3_fails_five_times_and_then_comes(ctx: df.Context, source: df.JsonApi, things: Things) -> None:
    things.problems[3] = [BROKEN] * 5
    run = ctx.warehouse.sync(source, into="things", key="id", name="things")
    assert run.result().rows == 50
    assert things.asked == [1, 2, *[3] * 6, 4, 5]
    assert {step.key: step.attempt for step in run.timeline()}["page 3"] == 6
    assert numbers(ctx) == list(range(50))


def test_page_3_fails_for_good_and_the_next_sync_goes_on_there(
    ctx: df.Context, source: df.JsonApi, things: Things
) -> None:
    things.problems[3] = [BROKEN] * 5
    run = sync(ctx, source)
    with pytest.raises(StepFailed, match=r"page 3.*after 5 attempts.*500"):
        run.result()
    assert numbers(ctx) == list(range(20))
    assert (run.report.pages, run.report.inserted) == (2, 20)
    (state,) = ctx.warehouse.syncs()
    assert (state.status, state.page, state.last_success, state.lag) == ("failed", 2, None, None)
    assert state.cursor.endswith("page=3")
    things.asked.clear()
    report = sync(ctx, source).result()
    assert things.asked == [3, 4, 5]
    assert (report.pages, report.inserted, report.continued, report.deleted) == (3, 30, True, 0)
    assert numbers(ctx) == list(range(50))


def test_a_full_pass_in_two_runs_deletes_by_the_pages_of_both(
    ctx: df.Context, source: df.JsonApi, things: Things
) -> None:
    sync(ctx, source).result()
    del things.rows[5]
    things.problems[3] = [BROKEN] * 5
    with pytest.raises(StepFailed):
        sync(ctx, source).result()
    assert len(numbers(ctx)) == 50, "nothing is deleted before the pass is complete"
    report = sync(ctx, source).result()
    assert (report.deleted, report.continued) == (1, True)
    assert numbers(ctx) == [n for n in range(50) if n != 5]


def test_restart_begins_from_the_beginning(ctx: df.Context, source: df.JsonApi, things: Things) -> None:
    things.problems[3] = [BROKEN] * 5
    with pytest.raises(StepFailed):
        sync(ctx, source).result()
    things.asked.clear()
    assert not sync(ctx, source, restart=True).result().continued
    assert things.asked == [1, 2, 3, 4, 5]
    ctx.warehouse.forget_sync("things")
    assert ctx.warehouse.syncs() == []
    assert len(numbers(ctx)) == 50


@pytest.mark.parametrize("header", ["30", "date"])
def test_a_limit_is_slept_through_and_burns_no_attempt(
    header: str, ctx: df.Context, source: df.JsonApi, things: Things, clock: VirtualClock
) -> None:
    begun = clock.now()
    asked = format_datetime(begun + timedelta(seconds=30), usegmt=True) if header == "date" else header
    things.problems[3] = [(429, {"Retry-After": asked}, {}), (503, {"Retry-After": "30"}, {})]
    run = sync(ctx, source, retry=df.NO_RETRY)
    report = run.result()
    assert (report.rows, report.waits, report.pages) == (50, 2, 5)
    assert clock.now() - begun == timedelta(seconds=60)
    steps = {step.key: step for step in run.timeline()}
    assert [steps[key].attempt for key in ("page 3", "page 3#2", "page 3#3")] == [1, 1, 1]
    assert steps["rate limit"].status == "completed"
    assert things.asked == [1, 2, 3, 3, 3, 4, 5]


def test_patience_has_an_end(ctx: df.Context, source: df.JsonApi, things: Things) -> None:
    things.problems[2] = [(429, {"Retry-After": "1800"}, {})] * 9
    with pytest.raises(df.errors.RunFailed, match=r"page 2 was put off 3 times.*5,400 s in all, and patience=3,600 s"):
        sync(ctx, source).result()
    assert numbers(ctx) == list(range(10))
    things.problems[2] = []
    assert sync(ctx, source).result().rows == 40


def test_the_window_of_github_is_waited_for_before_the_next_page(
    ctx: df.Context, api: Serve, clock: VirtualClock
) -> None:
    end = clock.now() + timedelta(minutes=9)

    def answer(asked: Asked) -> Reply:
        page = int(asked.query.get("page", "1"))
        limits = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(end.timestamp()))} if page == 1 else {}
        return 200, limits | ({"Link": '<?page=2>; rel="next"'} if page == 1 else {}), [{"id": page}]

    source = df.JsonApi(f"{api(answer).url}/issues", paging="link", rate_limit="github")
    assert sync(ctx, source).result().waits == 1
    assert clock.now() == end


def test_a_function_may_ask_to_wait(ctx: df.Context, clock: VirtualClock) -> None:
    begun, tries = clock.now(), []

    def pages() -> list[dict[str, int]]:
        tries.append(clock.now())
        if len(tries) == 1:
            raise df.RetryAfter("2h")
        return [{"id": 1}]

    assert sync(ctx, pages, patience="3h", retry=df.NO_RETRY).result().rows == 1
    assert clock.now() - begun == timedelta(hours=2)


# --- who runs it ------------------------------------------------------------------------------------------


def test_while_one_is_under_way_its_run_comes_back(ctx: df.Context, clock: VirtualClock) -> None:
    clock.autojump = False
    following: dict[Any, Any] = {None: 1, 1: None}
    asked: list[Any] = []

    def pages(cursor: Any) -> df.Page:
        asked.append(cursor)
        if cursor == 1 and len(asked) == 2:
            raise df.RetryAfter("10m")
        return df.Page([{"id": len(asked)}], following[cursor])

    one = sync(ctx, pages)
    wait_until(lambda: one.status == "sleeping", "it waits")
    assert ctx.warehouse.syncs()[0].status == "running"
    other = sync(ctx, pages)
    assert other.id == one.id
    with pytest.raises(DefinitionError, match="is under way"):
        ctx.warehouse.forget_sync("things")
    clock.advance("10m")
    assert other.result().rows == 2


def test_what_was_given_as_an_object_cannot_be_had_elsewhere(
    ctx: df.Context, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pages(cursor: int | None) -> df.Page:
        if cursor == 20 and not opening._LOCAL.get("here"):
            opening._LOCAL.clear()  # as in another process
            raise df.RetryAfter("1s")
        begin = cursor or 0
        return df.Page([{"id": begin}], begin + 10 if begin < 40 else None)

    with pytest.raises(StepFailed, match=r"came from '.*pages', an object of the process that started it.*@df.source"):
        sync(ctx, pages).result()
    assert numbers(ctx) == [0, 10]
    assert sync(ctx, lambda cursor: df.Page([{"id": cursor}], None)).result().rows == 1
    assert numbers(ctx) == [0, 10, 20]


def test_it_runs_again_by_itself_until_it_is_stopped(ctx: df.Context, clock: VirtualClock) -> None:
    begun, asked = clock.now(), []

    @df.source("ticking")
    def ticking(cursor: Any) -> list[dict[str, int]]:
        asked.append(clock.now() - begun)
        if len(asked) == 2:
            raise ValueError("once it fails")
        if len(asked) == 4:
            clock.autojump = False
        return [{"id": len(asked)}]

    first = ctx.warehouse.sync(ticking, into="ticks", key="id", mode="incremental", every="15m", retry=df.NO_RETRY)
    assert first.result().rows == 1
    wait_until(lambda: len(asked) == 4, "it ran four times")
    assert asked == [timedelta(minutes=15 * n) for n in range(4)]
    (state,) = wait_until(lambda: [s for s in ctx.warehouse.syncs("ticking") if s.next_run], "the next one is there")
    assert (state.every, state.next_at) == (timedelta(minutes=15), clock.now() + timedelta(minutes=15))
    by_hand = ctx.warehouse.sync("ticking", into="ticks", mode="incremental")
    assert by_hand.result().rows == 1
    assert ctx.warehouse.syncs("ticking")[0].next_run == state.next_run
    ctx.warehouse.stop_sync("ticking")
    wait_until(lambda: ctx.get(state.next_run or "").status == "cancelled", "the next one is off")
    (state,) = ctx.warehouse.syncs("ticking")
    assert (state.every, state.next_run) == (None, None)
    assert [run.status for run in ctx.runs("dataflows.sync")].count("failed") == 1


def test_another_rhythm_takes_the_place_of_the_old_one(ctx: df.Context, clock: VirtualClock) -> None:
    clock.autojump = False

    @df.source("rhythm")
    def rhythm(cursor: Any) -> list[dict[str, int]]:
        return [{"id": 1}]

    options: dict[str, Any] = {"into": "ticks", "key": "id", "mode": "incremental"}
    ctx.warehouse.sync("rhythm", every="1h", **options).result()
    old = ctx.warehouse.syncs("rhythm")[0].next_run
    ctx.warehouse.sync("rhythm", every="5m", **options).result()
    (state,) = ctx.warehouse.syncs("rhythm")
    assert (state.every, state.next_at) == (timedelta(minutes=5), clock.now() + timedelta(minutes=5))
    assert state.next_run != old
    ctx.warehouse.stop_sync("rhythm")
    clock.advance("2h")
    assert ctx.get(old or "").result() is None, "its turn was taken"
    assert len(ctx.runs("dataflows.sync")) == 4


def test_a_sync_that_is_cancelled_goes_on_the_next_time(ctx: df.Context, clock: VirtualClock) -> None:
    clock.autojump = False
    asked: list[Any] = []

    def pages(cursor: int | None) -> df.Page:
        asked.append(cursor)
        if len(asked) == 3:
            raise df.RetryAfter("10m")
        begin = cursor or 0
        return df.Page([{"id": begin}], begin + 1 if begin < 3 else None)

    run = sync(ctx, pages)
    wait_until(lambda: run.status == "sleeping", "it waits")
    ctx.warehouse.stop_sync("things")
    with pytest.raises(RunCancelled):
        run.result()
    assert sync(ctx, pages).result().continued
    assert asked == [None, 1, 2, 2, 3]


# --- what is kept -----------------------------------------------------------------------------------------


def test_no_secret_is_anywhere_in_the_database(
    make_ctx: MakeContext, api: Serve, database_url: str, clock: VirtualClock
) -> None:
    token = "gh-very-secret-token-123"

    def answer(asked: Asked) -> Reply:
        page = int(asked.query.get("page", "1"))
        if asked.headers.get("authorization") != f"Bearer {token}" or asked.query.get("key") != token:
            return 401, {}, {}
        if page == 3:
            return 500, {}, {"message": f"no, {token}"}
        return 200, {"Link": f'<?page={page + 1}&key={token}>; rel="next"'}, [{"id": page}]

    source = df.JsonApi(
        f"{api(answer).url}/x",
        paging="link",
        params={"key": "{{env.TOKEN}}"},
        auth={"type": "bearer", "token": "{{env.TOKEN}}"},
    )
    ctx = make_ctx(clock=clock, services=df.Services(egress=["127.0.0.1"], env={"TOKEN": token}))
    with pytest.raises(StepFailed, match="500"):
        sync(ctx, source).result()
    assert numbers(ctx) == [1, 2]
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname in ('dataflows', 'warehouse')"
        ).fetchall()
        assert ("dataflows", "sync") in tables
        for schema, table in tables:
            rows = connection.execute(f'select t::text from "{schema}"."{table}" t').fetchall()  # type: ignore[call-overload]
            assert token not in repr(rows), table


def test_rows_answer_when_the_source_is_down(ctx: df.Context, source: df.JsonApi, things: Things) -> None:
    sync(ctx, source).result()
    things.problems[1] = [BROKEN] * 100
    with pytest.raises(StepFailed):
        sync(ctx, source, retry=df.NO_RETRY).result()
    assert len(numbers(ctx)) == 50


def test_nothing_is_left_of_a_pass_that_is_over(ctx: df.Context, source: df.JsonApi, database_url: str) -> None:
    sync(ctx, source).result()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from dataflows.sync_page").fetchone() == (0,)


def test_progress_is_told_in_lines_and_as_a_bar(
    ctx: df.Context, source: df.JsonApi, things: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    things.problems[2] = [BROKEN]
    things.problems[3] = [(429, {"Retry-After": "30"}, {})]
    run = sync(ctx, source)
    out = io.StringIO()
    bar.show(run, out)
    assert "things: 50 of 50 rows on 5 pages, 50 changed (succeeded)" in out.getvalue()

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    shown = Terminal()
    bar.show(run, shown)
    assert "50/50" in shown.getvalue()
    assert "5 pages" in shown.getvalue()
    assert run.watch() == run.result()
    tally = bar.Tally()
    said = [tally.doing for event in run.events() if tally.take(event)]
    assert any("page 2 failed" in each and "tried again" in each for each in said)
    assert any("waits until" in each for each in said)
    assert str(run.result()).startswith("things: 50 rows on 5 pages in ")


def test_rows_may_be_models_and_hold_nested_data(ctx: df.Context) -> None:
    from pydantic import BaseModel

    class Item(BaseModel):
        id: int
        tags: list[str]

    sync(ctx, [[Item(id=1, tags=["a"])]], into="models").result()
    row = ctx.warehouse.table("models").get(1)
    assert row is not None
    assert row["tags"] == ["a"]
    assert json.dumps(ctx.warehouse.syncs()[0].source)
    with pytest.raises(DefinitionError, match="55 are the most"):
        ctx.warehouse.sync([[Item(id=1, tags=[])]], into="a" * 60)
