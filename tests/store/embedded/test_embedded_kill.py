"""SIGKILL everywhere: clients, keeper, PostgreSQL, halfway. Nothing leaks, nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from dataflows_sdk.errors import EmbeddedServerError
from dataflows_sdk.store.embedded import acquire
from dataflows_sdk.store.embedded.binaries import programs
from dataflows_sdk.store.embedded.keeper.locks import is_free

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")

Homes = Callable[[str], Any]
Until = Callable[..., Any]


def answer(url: str, query: str) -> Any:
    """One value, or None while nobody answers."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            row = connection.execute(query).fetchone()
    except psycopg.OperationalError:
        return None
    return None if row is None else row[0]


def born(url: str) -> Any:
    return answer(url, "select pg_postmaster_start_time()")


def test_when_all_clients_are_killed_the_server_stops_by_itself(old_home: Homes) -> None:
    home = old_home("home")
    clients = [home.client() for _ in range(2)]
    assert all(client.url for client in clients)
    assert len(home.processes()) > 2
    for client in clients:
        client.kill()
    home.until_stopped()
    assert not (home.layout.data / "postmaster.pid").exists()  # it shut down, it was not killed


def test_a_killed_postgres_comes_back_at_the_same_place_with_its_data(old_home: Homes, until: Until) -> None:
    home = old_home("home")
    client = home.client()
    before = born(client.url)
    with psycopg.connect(client.url) as connection:
        connection.execute("create table kept as select 7 as n")
    home.kill(home.postmaster())
    after = until(lambda: (now := born(client.url)) != before and now, "the server is back")
    assert after != before
    assert answer(client.url, "select n from kept") == 7
    # A new client finds it like any other.
    assert home.client().url == client.url


@pytest.mark.skipif(sys.platform != "linux", reason="orphaned backends are only looked for in /proc")
def test_a_busy_backend_does_not_delay_the_return(old_home: Homes, until: Until) -> None:
    home = old_home("home")
    client = home.client()
    before = born(client.url)
    # Computes for minutes without looking whether its postmaster lives.
    with psycopg.connect(client.url) as connection:
        connection.execute("set jit = off")
        busy = threading.Thread(target=lambda: _compute(connection))
        busy.start()
        until(
            lambda: answer(client.url, "select count(*) from pg_stat_activity where query like '%busy%'") == 2,
            "the backend is busy",
        )
        home.kill(home.postmaster())
        until(lambda: born(client.url) not in {before, None}, "the server is back", seconds=10)
        busy.join(10)
        assert not busy.is_alive()


def _compute(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.OperationalError):
        connection.execute("select /* busy */ count(*) from generate_series(1, 100000000000)")


def test_a_killed_keeper_is_replaced_and_the_server_neither_stops_nor_leaks(old_home: Homes, until: Until) -> None:
    home = old_home("home")
    first = home.client()
    before, keeper = born(first.url), home.keeper()
    home.kill(keeper)
    second = home.client()
    assert second.url == first.url
    assert born(second.url) == before
    assert home.keeper() != keeper
    # The new keeper guards a server that is not its child as well as the old one did.
    home.kill(home.postmaster())
    until(lambda: born(first.url) not in {before, None}, "the server is back")
    second.leave()
    first.leave()
    home.until_stopped()


def test_living_clients_replace_a_killed_keeper_without_a_newcomer(old_home: Homes, until: Until) -> None:
    home = old_home("home")
    client = home.client()
    before, keeper = born(client.url), home.keeper()
    home.kill(keeper)
    until(lambda: home.running() and any(other != keeper for other in home.keepers()), "another keeper is there")
    client.kill()
    home.until_stopped()
    assert before is not None


def test_a_client_that_closes_after_the_keeper_was_killed_leaves_no_server(old_home: Homes, until: Until) -> None:
    home = old_home("home")
    server = acquire(home.path)
    home.kill(home.keeper())
    # Its threads die a moment after it, and the lock with the last of them.
    until(lambda: is_free(home.layout.keeper_lock) or home.keepers(), "its lock is free")
    server.close()
    home.until_stopped()


def test_a_server_without_keeper_and_clients_is_adopted(old_home: Homes) -> None:
    home = old_home("home")
    client = home.client()
    before = born(client.url)
    home.kill(home.keeper())
    client.kill()
    newcomer = home.client()
    assert born(newcomer.url) == before
    newcomer.leave()
    home.until_stopped()


def test_everything_killed_at_once(old_home: Homes) -> None:
    home = old_home("home")
    client = home.client()
    with psycopg.connect(client.url) as connection:
        connection.execute("create table kept as select 7 as n")
    home.kill(home.keeper())
    home.kill(home.postmaster())
    client.kill()
    newcomer = home.client()
    assert newcomer.url == client.url  # also the socket's directory is found again
    assert answer(newcomer.url, "select n from kept") == 7


def test_a_keeper_that_is_asked_to_end_shuts_the_server_down(old_home: Homes) -> None:
    home = old_home("home")
    client = home.client()
    assert client.url
    keeper = home.keeper()
    client.process.send_signal(signal.SIGSTOP)  # it would start another keeper
    try:
        keeper.terminate()
        home.until_stopped()
        assert not (home.layout.data / "postmaster.pid").exists()
    finally:
        client.process.send_signal(signal.SIGCONT)


def test_a_kill_in_the_middle_of_initdb_leaves_nothing_half_made(new_home: Homes, until: Until) -> None:
    home = new_home("home")
    client = home.client()
    until(lambda: any(home.path.glob("pgdata.new-*/global/pg_control")), "initdb is at work")
    home.kill(home.keeper())
    client.kill()
    assert not home.layout.data.exists()
    newcomer = home.client()
    assert answer(newcomer.url, "select current_database()") == "dataflows"
    # An initdb that outlived its keeper may have gone on in a folder of its own: it is never taken for the cluster,
    # and the next start clears it away.
    newcomer.kill()
    home.until_stopped()
    until(lambda: not _initdbs_in(home.path), "no initdb is at work any more")
    (home.path / "pgdata.new-left").mkdir(exist_ok=True)
    assert answer(home.client().url, "select current_database()") == "dataflows"
    assert sorted(path.name for path in home.path.glob("pgdata*")) == ["pgdata"]


def _initdbs_in(directory: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["name", "cwd", "status"])
        if process.info["name"] == "initdb"
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and str(process.info["cwd"]).startswith(str(directory))
    ]


@pytest.fixture
def zombie(until: Until) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "it is a zombie")
    yield process.pid
    process.wait()


@pytest.mark.parametrize("whose", ["nobody's", "a zombie's", "another program's", "another server's"])
def test_a_stale_pid_file_does_not_block(old_home: Homes, zombie: int, whose: str) -> None:
    home = old_home("home")
    pid = {"nobody's": 2**22 + 1, "a zombie's": zombie, "another program's": os.getpid()}.get(whose)
    if pid is None:
        other = old_home("other")
        assert other.client().url
        pid = other.postmaster().pid
    stale = home.layout.data / "postmaster.pid"
    stale.write_text(f"{pid}\n{home.layout.data}\n1790000000\n5432\n\n\n")
    with acquire(home.path) as server:
        assert answer(server.url, "select 1") == 1
        assert home.postmaster().pid != pid


@pytest.mark.skipif(sys.platform != "linux", reason="told by /proc")
def test_a_server_that_somebody_started_by_hand_is_left_alone(old_home: Homes, until: Until) -> None:
    home = old_home("home")
    owner = home.layout.data.stat().st_uid
    mine: dict[str, Any] = {} if owner == os.geteuid() else {"user": owner, "group": owner, "extra_groups": []}
    by_hand = subprocess.Popen(
        [
            programs() / "postgres",
            "-D",
            "/proc/self/cwd",
            "-c",
            "listen_addresses=",
            "-c",
            "unix_socket_directories=.",
        ],
        cwd=home.layout.data,
        stderr=subprocess.DEVNULL,
        **mine,
    )
    try:
        pid_file = home.layout.data / "postmaster.pid"
        until(lambda: pid_file.exists() and "ready" in pid_file.read_text(), "it runs")
        with pytest.raises(EmbeddedServerError, match=r"dataflows did not start runs on .*pg_ctl -D .* stop"):
            acquire(home.path)
        assert by_hand.poll() is None
    finally:
        by_hand.send_signal(signal.SIGINT)
        by_hand.wait(15)
