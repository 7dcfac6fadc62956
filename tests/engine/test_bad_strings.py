"""A string that PostgreSQL cannot hold fails where it was given, and nowhere else."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import faulthandler, sys
import dataflows_sdk as df
faulthandler.dump_traceback_later(8, exit=True)

@df.workflow("maps")
async def maps(event, step):
    return await step.map("m", lambda item: 1, ["a\\ud800"], key=lambda item: item)

@df.workflow("emits")
async def emits(event, step):
    await step.emit("e", "a\\ud800")

@df.workflow("fine")
async def fine(event, step):
    return await step.run("one", lambda: "the engine lives")

given = {
    "emit": lambda ctx: ctx.emit("a\\ud800b"),
    "idempotency key": lambda ctx: ctx.start(fine, idempotency_key="\\ud800"),
    "dedupe key": lambda ctx: ctx.send_event(ctx.start(fine), "x", dedupe_key="\\ud800"),
    "map key": lambda ctx: ctx.run(maps, timeout="2s").result(),
    "step.emit": lambda ctx: ctx.run(emits, timeout="2s").result(),
}
with df.connect(sys.argv[1]) as ctx:
    try:
        given[sys.argv[2]](ctx)
    except df.DataflowsError as error:
        print("refused:", ascii(str(error)), flush=True)
    print(ctx.run(fine, timeout="2s").result(), flush=True)
    faulthandler.cancel_dump_traceback_later()
"""


@pytest.mark.slow
@pytest.mark.parametrize("given", ["emit", "idempotency key", "dedupe key", "map key", "step.emit"])
def test_a_lone_surrogate_is_refused_and_the_engine_lives(given: str, database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, database_url, given], capture_output=True, text=True, timeout=60, check=False
    )
    lines = done.stdout.splitlines()
    assert lines[-1:] == ["the engine lives"], done.stderr[-2000:]
    assert lines[0].startswith("refused: "), lines
