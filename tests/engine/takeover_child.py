"""A process that owns runs, for the tests that stop, continue and kill it: ``python takeover_child.py ROLE URL``."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import dataflows_sdk as df
from dataflows_sdk.testing import record_effect

ID = "0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b78"
STEPS = 20
MAX_CRASHES = 3


def tick(number: int) -> int:
    record_effect(f"{os.getpid()} {number}")
    time.sleep(0.05)
    return number


@df.workflow("takeover-ticks")
def ticks(event: Any, step: Any) -> int:
    return sum(step.run("tick", tick, number) for number in range(STEPS))


@df.workflow("takeover-ticks-async")
async def ticks_async(event: Any, step: Any) -> int:
    total = 0
    for number in range(STEPS):
        total += await step.run("tick", tick, number)
    return total


@df.workflow("takeover-hello")
def hello(event: Any, step: Any) -> str:
    return str(step.run("hello", lambda: "hello"))


def die() -> None:
    record_effect("died")
    time.sleep(0.2)  # long enough for the step to be noted as begun
    os.kill(os.getpid(), signal.SIGKILL)


@df.workflow("takeover-poison")
async def poison(event: Any, step: Any) -> None:
    await step.run("harmless", lambda: record_effect("harmless"))
    await step.run("die", die)


def main() -> None:
    role, url = sys.argv[1:]
    if role == "poison":
        with df.connect(url, lease="400ms", max_crashes=MAX_CRASHES) as ctx:
            print(ctx.start(poison, id=ID).wait("20s").status, flush=True)
        return
    with df.connect(url, lease="1s", max_crashes=MAX_CRASHES) as ctx:
        run = ctx.start(ticks if role == "sync" else ticks_async, id=ID)
        print("started", flush=True)
        print(run.result("60s"), flush=True)
        # Having been a zombie is no reason not to work any more.
        print(ctx.run(hello, timeout="20s").result(), flush=True)


if __name__ == "__main__":
    main()
