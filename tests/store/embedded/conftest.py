"""Clients of an embedded server as real processes, and the rule that nothing of it may outlive a test."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from dataflows_sdk.store.embedded.keeper.layout import Layout, read_address
from dataflows_sdk.store.embedded.keeper.locks import is_free


def wait_until(fact: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
    """The value of `fact` once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := fact()):
        assert time.monotonic() < deadline, f"waited {seconds} s until {what}"
        time.sleep(0.01)
    return value


@pytest.fixture
def until() -> Callable[..., Any]:
    """``until(fact, "what it says")``: polls with a deadline."""
    return wait_until


class Client:
    """A process that acquired the server of a directory."""

    def __init__(
        self,
        directory: Path,
        env: dict[str, str] | None = None,
        through: Sequence[str] = (),
        python: str = sys.executable,
        **popen: Any,
    ) -> None:
        self.process = subprocess.Popen(
            [*through, python, str(Path(__file__).with_name("client.py")), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            **popen,
        )
        self._hello: dict[str, Any] | None = None

    @property
    def hello(self) -> dict[str, Any]:
        """What it said when it had the server, or did not get it."""
        if self._hello is None:
            self._hello = self.hear()
        return self._hello

    @property
    def url(self) -> str:
        assert "url" in self.hello, self.hello
        return str(self.hello["url"])

    def tell(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the client ended with {self.process.wait()}"
        heard: dict[str, Any] = json.loads(line)
        return heard

    def leave(self) -> None:
        """End as a program does that forgets to close."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        assert self.process.wait(15) == 0
        self._shut()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(15)
        self._shut()

    def _shut(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class Home:
    """A directory with an embedded server, and what the operating system knows about it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.layout = Layout(path)
        self._clients: list[Client] = []

    def client(self, **how: Any) -> Client:
        client = Client(self.path, **how)
        self._clients.append(client)
        return client

    def keeper(self) -> psutil.Process:
        """The one living keeper of this directory."""
        (keeper,) = self.keepers()
        return keeper

    def keepers(self) -> list[psutil.Process]:
        """Every living keeper of this directory."""
        return [process for process, postgres in self._living() if not postgres]

    @staticmethod
    def is_dead(process: psutil.Process) -> bool:
        """Gone, or a zombie, which is all that happens where nobody reaps it."""
        try:
            return bool(process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    def kill(self, process: psutil.Process) -> None:
        """Kill and see it dead."""
        process.kill()
        wait_until(lambda: self.is_dead(process), "it is dead")

    def postmaster(self) -> psutil.Process:
        """The living postmaster of this directory."""
        return psutil.Process(int((self.layout.data / "postmaster.pid").read_text().split()[0]))

    def processes(self) -> list[psutil.Process]:
        """Every living process of the server, and its keeper."""
        return [process for process, _ in self._living()]

    def _living(self) -> Iterator[tuple[psutil.Process, bool]]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if self.is_dead(process):
                    continue
                line, name = process.cmdline(), process.name()
                if "postgres" in name and process.cwd() == str(self.layout.data):
                    yield process, True
                elif str(self.path) in line and any(word.endswith("__main__.py") for word in line):
                    yield process, False

    def running(self) -> bool:
        return not (is_free(self.layout.keeper_lock) and is_free(self.layout.server_lock))

    def until_stopped(self) -> None:
        wait_until(lambda: not self.running(), "the server stops")
        wait_until(lambda: not self.processes(), "the processes are gone")

    def end(self) -> None:
        for client in self._clients:
            if client.process.returncode is None:
                client.kill()
            client._shut()
        if self.layout.keeper_lock.exists():
            address = read_address(self.layout)
            for keeper in self.keepers():
                with contextlib.suppress(psutil.NoSuchProcess):
                    keeper.terminate()  # saves the grace
            self.until_stopped()
            # It cleans up, whatever was killed before.
            assert address is None or address.socket_dir is None or not Path(address.socket_dir).exists()


@pytest.fixture
def home_at() -> Iterator[Callable[[Path], Home]]:
    """``home_at(path)``: a directory for a server; when the test is over, everything of it must end."""
    homes: list[Home] = []

    def make(path: Path) -> Home:
        homes.append(Home(path))
        return homes[-1]

    yield make
    for home in homes:
        home.end()


@pytest.fixture
def new_home(home_at: Callable[[Path], Home], tmp_path: Path) -> Callable[[str], Home]:
    """``new_home("name")``: a directory that does not exist yet."""
    return lambda name: home_at(tmp_path / name)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a cluster, stopped: initdb takes a second, a copy a tenth of it."""
    path = tmp_path_factory.mktemp("made") / "home"
    home = Home(path)
    home.client().tell("close")
    home.end()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def old_home(new_home: Callable[[str], Home], made: Path) -> Callable[[str], Home]:
    """``old_home("name")``: a directory whose cluster exists and does not run."""

    def make(name: str) -> Home:
        home = new_home(name)
        # With owners, which shutil.copytree does not keep.
        subprocess.run(["cp", "-a", str(made), str(home.path)], check=True)
        return home

    return make


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that an ordinary user owns and can reach; pytest's own lie below one of root's."""
    path = Path(tempfile.mkdtemp(prefix="df-"))
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def as_ordinary_user(need: Callable[[str], NoReturn]) -> dict[str, Any]:
    """How to start a client as somebody who is not root."""
    if os.geteuid() != 0:
        return {}
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    # Our own interpreter may lie in root's home; the system's one serves if it is of the same version.
    path = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    version = tuple(sys.version_info[:2])
    code = f"import dataflows_sdk.store.embedded, psycopg, sys; assert sys.version_info[:2] == {version}"
    tried: list[str] = []
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run(
                [python, "-c", code],
                env={**os.environ, **path},
                cwd="/",
                check=True,
                capture_output=True,
                **nobody,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            tried.append(f"{error} {(getattr(error, 'stderr', None) or b'').decode()[-200:]}")
        else:
            return {**nobody, "python": python, "env": path}
    return need(f"an ordinary user can run no Python here: {tried}")
