"""The mirrors are exactly the views, whatever was written by whom and in which order it became visible."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from dataflows_sdk.errors import StoreUnavailableError
from dataflows_sdk.store.database import Database
from dataflows_sdk.warehouse.lens import Lens

from .conftest import Journal, Same, writing

Sql = Callable[..., Any]


def test_the_tables_have_the_columns_of_the_views(sql: Sql, journal: Journal) -> None:
    for table in ("runs", "steps", "events"):
        there = journal.run(
            table,
            sql="""select column_name from information_schema.columns
                   where table_schema = 'dataflows' and table_name = %s order by ordinal_position""",
        )
        assert sql(f"from {table}").columns == [name for (name,) in there]
        assert sql(f"select count(*) from {table}").fetchone() == (0,)


def test_what_changed_is_read_and_nothing_else(sql: Sql, lens: Lens, journal: Journal, same: Same) -> None:
    runs = [journal.create() for _ in range(50)]
    for run in runs:
        journal.append(run, 2, "step.completed", "a", '{"op": "run", "value": [1.10, "x"]}')
    for run in runs[5:]:
        journal.finish(run, 3)
    journal.settle()
    same(sql, journal)
    read = lens._mirrors.rows_read
    same(sql, journal)
    journal.run(sql="select pg_current_xact_id()")  # something else was written
    same(sql, journal)
    assert lens._mirrors.rows_read == read

    journal.append(runs[0], 3, "step.started", "b", '{"long": true, "input": 1}')
    journal.settle()
    same(sql, journal)
    assert read + 2 <= lens._mirrors.rows_read <= read + 4  # the event and its step; the head says nothing new
    journal.append(runs[0], 4, "step.completed", "b", '{"long": true, "value": 2}')
    journal.settle()
    same(sql, journal)
    assert read + 4 <= lens._mirrors.rows_read <= read + 8
    journal.finish(runs[0], 5)
    journal.settle()
    same(sql, journal)
    assert read + 6 <= lens._mirrors.rows_read <= read + 12
    assert sql("select output, input from steps where run = ? and key = 'b'", str(runs[0])).fetchall() == [("2", "1")]


def test_only_tables_that_the_query_mentions_are_loaded(sql: Sql, lens: Lens, journal: Journal) -> None:
    run = journal.create()
    journal.append(run, 2, "step.completed", "a")
    sql("select 'steps', 1 as events -- from events")
    assert lens._mirrors.rows_read == 0
    sql("from runs")
    assert lens._mirrors.rows_read == 1
    sql("with events as (select 1 as n) select n from events union select count(*) from dataflows.steps")
    sql("select (select max(seq) from Events)")
    assert lens._mirrors.rows_read == 1 + 1 + 2


def test_a_commit_that_becomes_visible_late_is_not_missed(
    sql: Sql, journal: Journal, another: Journal, same: Same
) -> None:
    late = UUID(int=1)  # smaller than every id that is known by then
    with another.together():
        another.create(late)
        for _ in range(3):
            journal.finish(journal.create(), 2)
            same(sql, journal)
        assert sql("select count(*) from runs").fetchone() == (3,)
        another.finish(late, 2)
    assert sql("select status from runs where id = ?", str(late)).fetchall() == [("succeeded",)]
    same(sql, journal)


def test_events_that_become_visible_out_of_order_are_not_missed(
    sql: Sql, journal: Journal, another: Journal, same: Same
) -> None:
    run, other = journal.create(), journal.create()
    with another.together():
        another.append(run, 2, "step.completed", "in a transaction of its own")
        journal.append(run, 3, "step.completed", "b")
        journal.append(run, 5, "step.completed", "d")  # 4 never comes
        same(sql, journal)
    same(sql, journal)
    assert sql("select seq from events where run = ? order by 1", str(run)).fetchall() == [(1,), (2,), (3,), (5,)]
    journal.append(run, 6, "step.failed", "d", '{"retry_at": null, "attempt": 2}')
    journal.append(other, 2, "step.completed", "a")
    same(sql, journal)


def test_rows_that_are_deleted_disappear(sql: Sql, journal: Journal, same: Same) -> None:
    runs = [journal.create() for _ in range(6)]
    for run in runs:
        journal.append(run, 2, "step.completed", "a")
        journal.finish(run, 3)
    same(sql, journal)
    journal.delete(runs[0])
    same(sql, journal)
    journal.delete(runs[1])  # as many come as go
    journal.finish(journal.create(), 2)
    same(sql, journal)
    journal.delete(runs[2])  # the same id begins anew, with fewer events
    journal.create(runs[2], workflow="another")
    same(sql, journal)
    assert sql("select count(*) from events where run = ?", str(runs[2])).fetchone() == (1,)
    for run in runs[2:]:
        journal.delete(run)
    same(sql, journal)


def test_another_journal_under_the_same_address_is_read_anew(
    database_url: str, sql: Sql, journal: Journal, same: Same
) -> None:
    for _ in range(3):
        journal.create()
    same(sql, journal)
    journal.run(sql="drop schema dataflows cascade")
    journal.run(sql="drop schema warehouse cascade")
    database = Database(database_url)
    database.prepare(vector=False)
    database.close()
    journal.create()
    same(sql, journal)


def test_texts_arrive_to_the_letter(sql: Sql, journal: Journal, same: Same) -> None:
    run = journal.create()
    texts = ['a "quoted", comma\nand line', "", "é✓\u2028🎉", "\\N", "\\", "NULL", "\t", "a\r\nb", "'", '"', '""', ","]
    for seq, text in enumerate(texts, 2):
        journal.append(run, seq, "step.completed", text, '{"value": [1.10, 1e22,  12345678901234567890123, 1e999]}')
    journal.append(run, 40, "progress", None, '{"done": 1}')
    journal.append(run, 41, "step.completed", "long", '{"value": "' + "y" * 5_000_000 + '"}')
    sql("from events")
    assert sql("select key from events where seq between 2 and 20 order by seq").fetchall() == [(t,) for t in texts]
    assert sql("select key from events where seq = 40").fetchone() == (None,)
    same(sql, journal)


def test_more_than_the_memory_may_hold(database_url: str, journal: Journal) -> None:
    run, size, n = journal.create(), 8_000, 15_000
    journal.run(
        run,
        n,
        size,
        sql="""insert into dataflows.event (run, seq, epoch, kind, data, at)
               select %s, 1 + n, 1, 'progress', json_build_object('text', repeat('x', size)), now()
               from generate_series(1, %s) n, (values (%s)) as s(size)""",
    )
    database = Database(database_url)
    lens = Lens(database, memory_limit="100MB")
    try:
        count, length = lens.sql("select count(*), sum(length(data)) from events", (), []).fetchone()
        assert count == n + 1
        assert length > n * size  # 120 MB
        assert lens.sql("select current_setting('memory_limit')", (), []).fetchone() == ("95.3 MiB",)
        assert list(lens._directory.glob("*.csv")) == []
    finally:
        directory = lens._directory
        lens.close()
        database.close()
    assert not directory.exists()


def test_a_refresh_that_fails_changes_nothing(sql: Sql, lens: Lens, journal: Journal, same: Same) -> None:
    run = journal.create()
    same(sql, journal)
    journal.append(run, 2, "step.completed", "a")
    journal.run(sql="alter view dataflows.events rename to hidden")
    with pytest.raises(Exception, match="events"):
        sql("from events")
    assert sql("select count(*) from runs").fetchone() == (1,)
    journal.run(sql="alter view dataflows.hidden rename to events")
    same(sql, journal)


def test_a_server_that_closed_the_connection_is_asked_again(sql: Sql, journal: Journal, same: Same) -> None:
    same(sql, journal)
    journal.create()
    journal.run(
        sql="select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    same(sql, journal)


def test_no_server_is_an_error_that_says_so() -> None:
    lens = Lens(Database("postgresql://nobody@127.0.0.1:1/none"))
    try:
        assert lens.sql("select 1", (), []).fetchone() == (1,)
        with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1"):
            lens.sql("from runs", (), [])
    finally:
        lens.close()


@pytest.mark.parametrize("seed", range(2))
def test_under_concurrent_writers_mirror_and_view_agree(
    seed: int, database_url: str, lens: Lens, sql: Sql, journal: Journal, same: Same
) -> None:
    """Writers in threads, with transactions that stay open, gaps, deletions; readers all the while."""
    ended = threading.Event()

    def read() -> None:
        choice = random.Random(seed)
        while not ended.is_set():
            table = choice.choice(["runs", "steps", "events", "runs, events"])
            sql(f"select count(*) from {table}")
            # what one refresh brought is of one snapshot: every run has its first event
            (orphans,) = sql("select count(*) from events where run not in (select id from runs)").fetchone()
            (silent,) = sql("select count(*) from runs where id not in (select run from events)").fetchone()
            assert (orphans, silent) == (0, 0)

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for round_ in range(2):
            writers = [pool.submit(_write, database_url, seed * 100 + round_ * 10 + n) for n in range(4)]
            for writer in writers:
                writer.result()
            same(sql, journal)
        ended.set()
        for reader in readers:
            reader.result()
    same(sql, journal)
    fresh = Lens(Database(database_url))
    try:
        assert (
            fresh.sql("select count(*) from steps", (), []).fetchone() == sql("select count(*) from steps").fetchone()
        )
    finally:
        fresh._mirrors._database.close()
        fresh.close()


def _write(url: str, seed: int) -> None:
    choice = random.Random(seed)
    seqs: dict[UUID, int] = {}
    over: list[UUID] = []
    with writing(url) as main, writing(url) as side:
        for _ in range(30):
            busy = None
            with contextlib.ExitStack() as open_:
                if choice.random() < 0.3:  # a transaction of its own, committed after later seqs
                    open_.enter_context(side.together())
                    side.run(sql="select pg_current_xact_id()")
                    if seqs and choice.random() < 0.8:
                        busy = choice.choice(list(seqs))
                        seqs[busy] += 1
                        side.append(busy, seqs[busy], "step.completed", f"tx{seqs[busy]}")
                        if choice.random() < 0.3:
                            open_.callback(_undo, side)  # a seq that never comes
                for _ in range(choice.randrange(1, 6)):
                    _one(main, choice, seqs, over, busy)


def _undo(journal: Journal) -> None:
    raise psycopg.Rollback


def _one(journal: Journal, choice: random.Random, seqs: dict[UUID, int], over: list[UUID], busy: UUID | None) -> None:
    what = choice.random()
    if what < 0.25 or not seqs:
        run = uuid4() if choice.random() < 0.9 or not over else over[-1]
        with contextlib.suppress(psycopg.errors.UniqueViolation):
            seqs[journal.create(run)] = 1
            if run in over:
                over.remove(run)
        return
    run = choice.choice(list(seqs))
    seqs[run] += 1
    seq = seqs[run]
    key = f"k{choice.randrange(4)}"
    if what < 0.75 or run == busy:  # the lock of a run's head keeps it from ending while somebody appends
        kind = choice.choice(
            ["step.started", "step.completed", "step.failed", "step.waiting", "scope.opened", "progress"]
        )
        data = choice.choice(
            ['{"long": true, "attempt": 1}', '{"retry_at": "x", "attempt": 2}', '{"input": [1]}', "{}"]
        )
        journal.append(run, seq, kind, key, data)
    elif what < 0.82:
        journal.head(run, "sleeping", seq, "run.suspended", '{"status": "sleeping"}')
        seqs[run] += 1
        journal.head(run, "running", seqs[run], "run.claimed")
    else:
        journal.finish(run, seq)
        del seqs[run]
        over.append(run)
        if what > 0.93:
            journal.delete(over.pop(choice.randrange(len(over))))
