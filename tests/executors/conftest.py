"""What tests of executors share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ..conftest import wait_until

Hanging = Callable[[], list[int]]


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pids: list[int]) -> None:
    wait_until(lambda: not any(alive(pid) for pid in pids), f"{pids} are gone")


class Hang:
    """`work.hang` writes its pid, and that of the process it started, to `path`."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def pids(self) -> list[int]:
        """Wait until it hangs; gives the processes, and forgets them."""
        path = Path(self.path)
        wait_until(path.exists, "the function hangs")
        found = [int(pid) for pid in path.read_text().split()]
        path.unlink()
        assert all(alive(pid) for pid in found)
        return found


@pytest.fixture
def hang(tmp_path: Path) -> Hang:
    return Hang(tmp_path / "hanging")
