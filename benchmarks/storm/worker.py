"""A worker of the chaos test: it connects, knows the workflows, starts some runs of its own, and works.

    python -m storm.worker NAME URL NOTES --lease 3 --seed 7 [--without-fence] [--starts 1.0]

SIGUSR1 lets its wall clock jump, SIGTERM lets it hand its runs back and leave. A file `calm` beside its notes ends its
own starts.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import threading
import time
from pathlib import Path

import dataflows_sdk as df
from dataflows_sdk.errors import StoreUnavailableError
from storm import clockjump, flows
from storm.driver import worker_start
from storm.unfenced import remove_fence

log = logging.getLogger("storm.worker")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("url")
    parser.add_argument("notes")
    parser.add_argument("--lease", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--starts", type=float, default=0.0, help="runs that it starts by itself, per second")
    parser.add_argument("--without-fence", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(relativeCreated)d %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    rng = random.Random(options.seed)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGUSR1, lambda *_: log.info("the wall clock is off by %.0f s", clockjump.jump(rng)))
    if options.without_fence:
        remove_fence()
    flows.take_notes(options.notes)
    # Some keep what waits in memory, where it is still there when they come back as zombies; some let go of it.
    ctx = _connect(options, rng.choice(("0s", "300ms", "6s")), ended)
    if ctx is None:
        return
    clockjump.install()
    flows.note("ready", options.name)
    if options.starts > 0:
        calm = Path(options.notes).parent / "calm"
        threading.Thread(target=_start_runs, args=(ctx, rng, options.starts, ended, calm), daemon=True).start()
    while not ended.wait(0.2):  # a wait with a timeout lets signals through
        pass
    ctx.close()


def _connect(options: argparse.Namespace, linger: str, ended: threading.Event) -> df.Context | None:
    """PostgreSQL may be on its way down or up."""
    while not ended.is_set():
        try:
            # Processes are killed here far more often than a run of its own takes one down.
            return df.connect(options.url, lease=options.lease, linger=linger, max_crashes=1000, concurrency=200)
        except StoreUnavailableError:
            time.sleep(0.1)
    return None


def _start_runs(ctx: df.Context, rng: random.Random, rate: float, ended: threading.Event, calm: Path) -> None:
    """As a user of the process would; what is acknowledged goes to the notes."""
    while not ended.wait(rng.expovariate(rate)) and not calm.exists():
        try:
            worker_start(ctx, rng)
        except StoreUnavailableError as error:
            log.info("a start was not acknowledged: %s", error)


if __name__ == "__main__":
    main()
