"""A worker that is dead, and leaves a run behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

_CODE = """
import os, signal, sys
import dataflows_sdk as df

@df.workflow(sys.argv[3])
async def held(event, step):
    print(event.payload or "", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

ctx = df.connect(sys.argv[1])
run = ctx.start(held, queue=sys.argv[2])
print(run.id, flush=True)
import time; time.sleep(60)
"""


@pytest.fixture
def dead_worker(database_url: str) -> Callable[[str, str], str]:
    """``dead_worker(queue, workflow)``: a process took on a run and was killed; gives the run's id."""

    def die(queue: str, workflow: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", _CODE, database_url, queue, workflow],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == -9, done.stderr
        from dataflows_sdk.context import connect

        with connect(database_url, work=False) as ctx:
            (run,) = ctx.runs(workflow)
            return str(run.id)

    return die
