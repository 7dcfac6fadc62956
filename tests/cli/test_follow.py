"""Following the journal: nothing lost, nothing twice, whatever the order in which commits become visible."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from dataflows_sdk.cli.follow import Follower
from dataflows_sdk.core.ids import new_uuid
from dataflows_sdk.store.database import Database

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Journal:
    """Writes events as another process would, with times of our choosing."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.database = Database(url)

    def run(self, workflow: str = "w") -> UUID:
        run = new_uuid()
        self.connection.execute(
            "insert into dataflows.run (id, workflow, version, status, created_at) values (%s, %s, 'v', 'queued', %s)",
            (run, workflow, START),
        )
        return run

    def write(self, run: UUID, *seqs: int, at: float = 1, kind: str = "step.completed", connection: Any = None) -> None:
        for seq in seqs:
            (connection or self.connection).execute(
                "insert into dataflows.event (run, seq, epoch, kind, key, data, at) "
                "values (%s, %s, 1, %s, 'k', %s, %s)",
                (run, seq, kind, json.dumps({"op": "run"}), START + timedelta(seconds=at)),
            )

    def follow(self, **options: Any) -> Follower:
        return Follower(lambda name, parameters: self.database.read("look", name, parameters), START, **options)

    def close(self) -> None:
        self.connection.close()
        self.database.close()


@pytest.fixture
def journal(database_url: str) -> Iterator[Journal]:
    made = Journal(database_url)
    yield made
    made.close()


def seqs(follower: Follower) -> list[int]:
    return [event.seq for event in follower.look()]


def test_each_event_once_also_with_equal_times(journal: Journal) -> None:
    run, follower = journal.run(), journal.follow()
    journal.write(run, 1, 2, 3)
    assert seqs(follower) == [1, 2, 3]
    journal.write(run, 4, 5)  # the same time again
    assert seqs(follower) == [4, 5]
    assert seqs(follower) == []


@pytest.mark.parametrize("page", [1, 2, 3, 7])
def test_pages_smaller_than_the_events_of_one_moment(journal: Journal, page: int) -> None:
    run, follower = journal.run(), journal.follow(page=page)
    journal.write(run, *range(1, 21))
    journal.write(run, *range(21, 31), at=2)
    assert seqs(follower) == list(range(1, 31))
    journal.write(run, 31, at=2)
    assert seqs(follower) == [31]


def test_a_commit_that_becomes_visible_late(journal: Journal, database_url: str) -> None:
    one, other, follower = journal.run(), journal.run(), journal.follow()
    with psycopg.connect(database_url) as slow:
        journal.write(one, 1, at=1, connection=slow)
        journal.write(other, 1, at=2)
        assert [event.run for event in follower.look()] == [other]
    found = follower.look()
    assert [(event.run, event.seq) for event in found] == [(one, 1)]
    assert follower.look() == []


def test_a_long_transaction_is_found_by_its_hole(journal: Journal, database_url: str) -> None:
    run, follower = journal.run(), journal.follow()
    journal.write(run, 1, at=1)
    assert seqs(follower) == [1]
    with psycopg.connect(database_url) as slow:
        journal.write(run, 2, at=2, connection=slow)
        journal.write(run, 3, at=60)  # far beyond the overlap
        assert seqs(follower) == [3]
        assert seqs(follower) == []
    assert seqs(follower) == [2]
    assert seqs(follower) == []


def test_the_past_of_a_run_is_not_told(journal: Journal) -> None:
    run = journal.run()
    journal.write(run, 1, 2, at=-5)
    journal.write(run, 3, at=1)
    follower = journal.follow()
    assert seqs(follower) == [3]
    assert seqs(follower) == []


def test_only_a_run_or_a_workflow(journal: Journal) -> None:
    one, other = journal.run("a"), journal.run("b")
    journal.write(one, 1)
    journal.write(other, 1, 2)
    assert [event.run for event in journal.follow(run=one).look()] == [one]
    assert [event.workflow for event in journal.follow(workflow="b").look()] == ["b", "b"]
    assert journal.follow(workflow="c").look() == []


def test_a_quiet_run_that_comes_back(journal: Journal) -> None:
    run, noise, follower = journal.run(), journal.run(), journal.follow()
    journal.write(run, 1, 2, at=1)
    journal.write(noise, 1, kind="run.completed", at=1)
    assert len(follower.look()) == 3
    journal.write(journal.run(), 1, at=600)
    assert len(follower.look()) == 1
    assert noise not in follower._given  # what is over is not kept
    journal.write(run, 3, 4, at=601)
    assert seqs(follower) == [3, 4]


def test_while_many_write(journal: Journal, database_url: str) -> None:
    runs = [journal.run() for _ in range(4)]
    follower = journal.follow(page=25)

    def write(run: UUID) -> None:
        with psycopg.connect(database_url) as connection:
            for seq in range(1, 61):
                journal.write(run, seq, at=1 + seq // 7, connection=connection)
                if seq % 5 == 0:
                    connection.commit()

    threads = [threading.Thread(target=write, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    found: Counter[tuple[UUID, int]] = Counter()
    while any(thread.is_alive() for thread in threads):
        found.update((event.run, event.seq) for event in follower.look())
    for thread in threads:
        thread.join()
    found.update((event.run, event.seq) for event in follower.look())
    assert found == Counter((run, seq) for run in runs for seq in range(1, 61))
