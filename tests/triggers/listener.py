"""A process that begins runs for rows, until somebody kills it: ``python listener.py <url>``."""

from __future__ import annotations

import sys
import time
from typing import Any

import dataflows_sdk as df


@df.workflow("counts", trigger=df.on_record("t", ["created", "updated"]))
def counts(event: Any, step: Any) -> Any:
    return step.run("count", lambda: [event.payload["record"]["id"], event.payload["record"]["n"]])


if __name__ == "__main__":
    ctx = df.connect(sys.argv[1], lease="1s")  # what a killed one leaves behind waits for that
    ctx.register(counts)
    ctx.triggers.declare()
    print("listening", flush=True)
    while True:
        if not ctx.triggers.hear():
            time.sleep(0.01)  # the runs that it began are to come to their ends as well
