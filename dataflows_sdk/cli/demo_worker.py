"""A process that takes on the demo's run: the demo starts it, kills it, and starts another one.

    python -m dataflows_sdk.cli.demo_worker RUN DIRECTORY

It is what any process of a user is: it connects, says which flow it knows, and waits for a run. Nothing in it knows
whether the run begins here or was begun by a process that is dead. With ``DATAFLOWS_URL`` the directory is not used.
"""

from __future__ import annotations

import os
import signal
import sys

import dataflows_sdk as df
from dataflows_sdk.cli.demo_flow import flights_flow


def main(run_id: str, directory: str) -> None:
    """Work until the run is over."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with df.connect(os.environ.get("DATAFLOWS_URL"), directory=directory) as ctx:
        ctx.register(flights_flow())
        ctx.get(run_id).wait()


if __name__ == "__main__":
    main(*sys.argv[1:3])
