"""First start, joining, leaving: what clients of an embedded server see."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dataflows_sdk.store.embedded import acquire
from dataflows_sdk.store.embedded.keeper import supervise
from dataflows_sdk.store.embedded.keeper.layout import Address, Layout, read_address
from dataflows_sdk.store.embedded.keeper.locks import LockFile, is_free

Homes = Callable[[str], Any]


def one(url: str, query: str) -> Any:
    with psycopg.connect(url, connect_timeout=10) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def address_of(home: Any) -> Address:
    found = read_address(home.layout)
    assert found is not None
    return found


def deleted(path: Path) -> bool:
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def born(url: str) -> Any:
    """When the server started: tells one server from another."""
    return one(url, "select pg_postmaster_start_time()")


def test_the_first_start_makes_a_private_durable_database(new_home: Homes) -> None:
    home = new_home("home")
    client = home.client()

    for url in (client.url, client.hello["tcp_url"]):
        assert one(url, "select current_database()") == "dataflows"
    with psycopg.connect(client.url) as connection:
        settings: dict[str, str] = dict(connection.execute("select name, setting from pg_settings").fetchall())
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "server_encoding": "UTF8",
        "listen_addresses": "127.0.0.1",
        "max_connections": "200",
    }
    assert {name: settings[name] for name in expected} == expected

    # The builtin locale with letters from lc_ctype: upper case and text search know more than ASCII.
    assert one(client.url, "select upper('größe é')") == "GRÖßE É"
    assert one(client.url, "select to_tsvector('simple', '«Größe» – x…y')::text") == "'größe':1 'x':2 'y':3"

    # database-made and the locks appear early, sockets and temporary files come and go: all of it is private.
    address = address_of(home)
    if address.socket_dir is not None:
        assert mode_of(Path(address.socket_dir)) == 0o700
    for folder, _, files in os.walk(home.path):
        assert mode_of(Path(folder)) == 0o700, folder
        for name in files:
            assert mode_of(Path(folder, name)) == 0o600, Path(folder, name)
    assert (home.path / ".gitignore").read_text() == "*\n"


def test_nobody_comes_in_without_the_password(old_home: Homes) -> None:
    home = old_home("home")
    client = home.client()
    password = home.layout.password.read_text().strip()
    for right in (client.url, client.hello["tcp_url"]):
        assert one(right, "select 1") == 1
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(right.replace(password, "guess"))


def test_a_copy_of_a_running_directory_leaves_the_original_alone(old_home: Homes, new_home: Homes) -> None:
    home, copy = old_home("home"), new_home("copy")
    with acquire(home.path) as server:
        shutil.copytree(home.path, copy.path, ignore=shutil.ignore_patterns("pgdata"))
        with acquire(copy.path) as other:  # with a cluster of its own
            assert other.url != server.url
            assert one(other.url, "select 1") == one(server.url, "select 1")


def test_a_second_process_joins_the_same_server(old_home: Homes) -> None:
    home = old_home("home")
    # Variables that steer libpq and PostgreSQL must not steer this one.
    first = home.client(env={"PGDATA": "/nowhere", "PGPORT": "1", "PGHOST": "nowhere", "LANG": "tlh_QO"})
    assert first.url
    second = home.client()
    assert second.url == first.url
    keeper = home.keeper()
    first.leave()
    assert one(second.url, "select 1") == 1
    assert home.keeper() == keeper
    assert second.tell("close")["done"]
    home.until_stopped()


def test_six_processes_race_for_the_first_start(new_home: Homes) -> None:
    home = new_home("home")
    clients = [home.client() for _ in range(6)]
    assert len({client.url for client in clients}) == 1
    assert len({born(client.url) for client in clients}) == 1
    assert home.keeper().is_running()
    assert sorted(path.name for path in home.path.glob("pgdata*")) == ["pgdata"]


def test_holds_of_one_process_share_a_lease_and_the_last_one_out_stops_the_server(old_home: Homes) -> None:
    home = old_home("home")
    first, second = acquire(home.path), acquire(str(home.path))
    assert first.url == second.url
    assert first.data_dir == home.layout.data
    first.close()
    first.close()
    # The lock is still held: otherwise it could be had alone.
    with LockFile(home.layout.clients_lock) as lock:
        assert not lock.try_own()
    assert one(second.url, "select 1") == 1
    with second:
        pass
    home.until_stopped()
    assert "closed" in repr(second)


def test_a_newcomer_within_the_grace_keeps_the_server(old_home: Homes) -> None:
    home = old_home("home")
    with acquire(home.path) as server:
        first = born(server.url)
    with acquire(home.path) as server:
        assert born(server.url) == first


def test_a_restart_keeps_data_and_port(old_home: Homes) -> None:
    home = old_home("home")
    with acquire(home.path) as server:
        first, port = born(server.url), address_of(home).port
        with psycopg.connect(server.url) as connection:
            connection.execute("create table kept as select 7 as n")
    home.until_stopped()
    with acquire(home.path) as server:
        assert born(server.url) != first
        assert address_of(home).port == port
        assert one(server.url, "select n from kept") == 7


def test_two_directories_are_two_servers(old_home: Homes) -> None:
    one_home, other_home = old_home("one"), old_home("other")
    with acquire(one_home.path) as server, acquire(other_home.path) as other:
        assert server.tcp_url != other.tcp_url
        with psycopg.connect(server.url) as connection:
            connection.execute("create table only_here (n int)")
        assert one(other.url, "select count(*) from pg_tables where tablename = 'only_here'") == 0
        assert one_home.keeper() != other_home.keeper()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_give_the_lease_of_its_parent_back(old_home: Homes) -> None:
    home = old_home("home")
    client = home.client()
    assert client.url
    assert client.tell("fork and close")["done"]
    with LockFile(home.layout.clients_lock) as lock:
        assert not lock.try_own()
    assert one(client.url, "select 1") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_may_hold_the_server_itself(old_home: Homes) -> None:
    home = old_home("home")
    client = home.client()
    before = born(client.url)
    child = client.tell("fork and acquire")
    client.process.kill()
    client.process.wait()
    try:
        with LockFile(home.layout.clients_lock) as lock:
            assert not lock.own(0.5)
        assert born(child["url"]) == before
    finally:
        os.kill(child["pid"], 9)


def test_a_directory_deleted_under_the_server_is_made_anew(old_home: Homes, until: Callable[..., Any]) -> None:
    home = old_home("home")
    lost = acquire(home.path)
    old_url, old = lost.url, home.processes()
    with psycopg.connect(old_url) as connection:
        connection.execute("create table lost (n int)")
    # Again and again: the dying server makes and removes files meanwhile.
    until(lambda: deleted(home.path), "it is deleted")
    with acquire(home.path) as server:
        assert one(server.url, "select count(*) from pg_tables where tablename = 'lost'") == 0
        lost.close()
        # The old server and its keeper end without touching the new ones.
        until(lambda: all(home.is_dead(process) for process in old), "they ended")
        assert one(server.url, "select 1") == 1
        assert not is_free(home.layout.keeper_lock)


def test_the_log_stays_short(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with layout.log.open("ab") as writer:
        writer.write(b"line\n" * 1_000_000)
        writer.flush()
        supervise._trim(layout)
        assert layout.log.stat().st_size == 0
        writer.write(b"after\n")
    assert layout.log.read_bytes() == b"after\n"
    supervise._trim(layout)
    assert layout.log.read_bytes() == b"after\n"
    assert (tmp_path / "server.log.1").stat().st_size == 5_000_000
