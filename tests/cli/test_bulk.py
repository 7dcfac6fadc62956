"""cancel, resume and retry from the command line."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import dataflows_sdk as df

from .conftest import Dataflows, Invoke, command, document, environment

if TYPE_CHECKING:
    from pathlib import Path

    from ..conftest import MakeContext


@pytest.fixture
def queued(make_ctx: MakeContext) -> list[df.Run]:
    ctx = make_ctx(work=False)
    return ctx.start_many(df.Workflow("cli-queued", lambda event, step: event.payload), range(12))


@pytest.fixture
def failed(make_ctx: MakeContext) -> list[df.Run]:
    ctx = make_ctx()

    def breaks(event: Any, step: Any) -> Any:
        return step.run("look up", lambda: {}["key"], retry=df.NO_RETRY)

    runs = ctx.start_many(df.Workflow("cli-broken", breaks), range(3))
    for run in runs:
        run.wait("20s")
    ctx.close()
    return runs


def by_status(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("select status, count(*)::int from dataflows.run group by 1").fetchall())


def test_a_dry_run_counts_and_yes_does_it(invoke: Invoke, queued: list[df.Run], database_url: str) -> None:
    shown = invoke("cancel", "--workflow", "cli-queued", "--dry-run")
    assert shown.stdout.splitlines() == ["12 runs would be cancelled", "  12 queued of cli-queued"]
    assert by_status(database_url) == {"queued": 12}
    done = document(invoke("cancel", "-w", "cli-queued", "--since", "24h", "--yes", "--json").stdout)
    assert (done["results"], done["total"], done["failed"]) == ({"ended": 12}, 12, 0)
    assert by_status(database_url) == {"cancelled": 12}
    assert invoke("cancel", "-w", "cli-queued", "--yes").stdout == "0 runs would be cancelled\n"


def test_named_runs(invoke: Invoke, queued: list[df.Run], database_url: str) -> None:
    assert invoke("cancel", queued[0].id, queued[1].id, "--yes", "--reason", "wrong day").exit_code == 0
    assert by_status(database_url) == {"cancelled": 2, "queued": 10}
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select distinct data ->> 'reason' from dataflows.event where kind = 'run.cancelled'"
        ).fetchall()
    assert rows == [("wrong day",)]
    assert invoke("cancel", "abcd", "--yes").exit_code == 1


def test_retry_forks_for_whoever_has_the_code(invoke: Invoke, failed: list[df.Run], database_url: str) -> None:
    done = document(invoke("retry", "--status", "failed", "--error", "KeyError", "--yes", "--json").stdout)
    assert done["results"] == {"forked": 3}
    assert by_status(database_url) == {"failed": 3, "queued": 3}
    assert document(invoke("retry", "--all", "--yes", "--json").stdout)["total"] == 0
    assert document(invoke("retry", "-s", "failed", "--again", "-n", "1", "--yes", "--json").stdout)["done"] == 1


def test_resume(invoke: Invoke, queued: list[df.Run], database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update dataflows.run set status = 'quarantined', wake_at = null")
    assert document(invoke("resume", "--status", "quarantined", "--yes", "--json").stdout)["results"] == {"resumed": 12}
    assert by_status(database_url) == {"queued": 12}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("cancel",), "which runs?"),
        (("retry", "--limit", "3"), "which runs?"),
        (("resume", "--yes"), "which runs?"),
        (("cancel", "--status", "succeeded"), "Invalid value"),
        (("cancel", "--all", "--limit", "0"), "Invalid value"),
        (("cancel", "--all"), "say --yes"),
    ],
)
def test_wrong_usage(
    invoke: Invoke, queued: list[df.Run], database_url: str, arguments: tuple[str, ...], says: str
) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, says in result.output) == (2, True), result.output
    assert by_status(database_url) == {"queued": 12}


def test_a_bad_moment_is_an_error(invoke: Invoke, queued: list[df.Run]) -> None:
    assert invoke("cancel", "--since", "yesterday", "--yes").exit_code == 1


def test_a_person_is_asked(queued: list[df.Run], database_url: str, folder: Path) -> None:
    import pty
    import subprocess

    for answer, left in (("n\n", {"queued": 12}), ("y\n", {"cancelled": 12})):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            command("cancel", "-w", "cli-queued"), stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(database_url), cwd=folder,
        )  # fmt: skip
        os.close(theirs)
        os.write(ours, answer.encode())
        out, err = process.communicate(timeout=60)
        os.close(ours)
        assert b"12 runs would be cancelled" in out
        assert b"Go on?" in err
        assert by_status(database_url) == left


def test_ctrl_c_stops_after_a_page(make_ctx: MakeContext, database_url: str, folder: Path) -> None:
    from .conftest import started

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into dataflows.run (id, workflow, version, status, wake_at, created_at) "
            "select gen_random_uuid(), 'many', 'v', 'queued', now(), now() from generate_series(1, 60000) i"
        )
        connection.execute(
            "insert into dataflows.event (run, seq, epoch, kind, data, at) "
            "select id, 1, 0, 'run.created', '{}', now() from dataflows.run"
        )
    with started("cancel", "-w", "many", "--yes", "--json", env=environment(database_url), cwd=folder) as process:
        deadline = time.monotonic() + 60
        while by_status(database_url).get("cancelled", 0) < 1000:
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    report = document(out)
    assert report["stopped"], err
    assert by_status(database_url) == {"cancelled": report["done"], "queued": 60000 - report["done"]}
    with psycopg.connect(database_url) as connection:
        ends = connection.execute("select count(*) from dataflows.event where kind = 'run.cancelled'").fetchone()
    assert ends == (report["done"],)


def test_in_a_process(dataflows: Dataflows, queued: list[df.Run], database_url: str) -> None:
    done = dataflows("cancel", "--queue", "default", "--yes")
    assert (done.returncode, done.stdout.splitlines()[0].split(",")[0]) == (0, "cancel: 12 ended")
    assert by_status(database_url) == {"cancelled": 12}
