"""Chaos: workers are killed, stopped past their lease and continued, PostgreSQL is crashed, connections are cut.

    python benchmarks/chaos.py --minutes 3 [--seed N] [--workers 4]
    python benchmarks/chaos.py --zombie                     # one zombie on purpose, half a minute
    python benchmarks/chaos.py --zombie --without-fence     # the same without the fence: it must be noticed

Everything is real: worker processes, and a PostgreSQL with fsync of this script's own. At the end nothing may be lost,
done twice, or written by an old owner of a run; what is found is printed. The exit code says whether all was well.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from storm import chaos, zombie  # noqa: E402
from storm.postgres import running  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long it rages")
    parser.add_argument("--seed", type=int, help="of everything that is decided at random; printed")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=8.0, help="starts per second")
    parser.add_argument("--lease", type=float, default=3.0, help="in seconds")
    parser.add_argument("--zombie", action="store_true", help="one zombie made on purpose, nothing at random")
    parser.add_argument(
        "--without-fence", action="store_true", help="workers write whatever the epoch: must be noticed"
    )
    parser.add_argument("--json", type=Path, help="write what came of it to this file")
    parser.add_argument("--keep", type=Path, help="keep logs, notes and the list of deeds in this directory")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    # Ended from outside, it takes its workers and its server along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(100_000)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="dfchaos-logs-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with running() as postgres:
            if options.zombie:
                outcome = zombie.play(postgres, folder, fence=not options.without_fence)
            else:
                outcome = chaos.play(
                    postgres,
                    folder,
                    seconds=options.minutes * 60,
                    seed=seed,
                    workers=options.workers,
                    rate=options.rate,
                    lease=options.lease,
                    fence=not options.without_fence,
                )
            if options.keep:
                shutil.copy(postgres.log, folder / "postgres.log")
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(outcome.table())
    if options.json:
        options.json.write_text(json.dumps(outcome.as_dict(), indent=1))
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
