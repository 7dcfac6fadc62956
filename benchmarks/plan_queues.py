"""The contest of queues.py: what it costs to queue runs, to work them off and to wake them.

The workloads are fixed; each contestant plays with the settings that were fastest for it (README.md says how they
were found).
"""

from __future__ import annotations

from typing import Any

from contest import Bar, Contest, Entry

SIZES = {
    "W4": {"runs": 5000, "steps": 1},
    "enqueue": {"runs": 5000, "steps": 1},
    "W5": {"runs": 200, "steps": 1},
    "timers": {"runs": 10_000, "steps": 1},
    "idle": {"runs": 100, "steps": 1},
}
TITLES = {
    "W4": "5,000 queued runs of one step, runs/s",
    "enqueue": "5,000 runs, runs/s",
    "W5": "from enqueuing to the first step, idle worker, ms",
    "timers": "10,000 runs that sleep to one instant, one worker",
    "idle": "100 idle workers in all",
}
ONE, TWO, LIMITED = "one worker", "two workers", "one worker, with limits, priorities and keys"
SINGLY, ALONE, LOTS = "one by one", "one by one, one caller", "500 at once"

DBOS: dict[str, Any] = {"queue": {"worker_concurrency": 100, "polling_interval_sec": 0.1}, "pool": 20}
ABSURD: dict[str, Any] = {"concurrency": 256, "connections": 16, "poll": 0.01}
PROCRASTINATE: dict[str, Any] = {"concurrency": 64}
PROGRAMS = {"DBOS": "peer_dbos", "absurd": "peer_absurd", "procrastinate": "peer_procrastinate", "ours": "ours_queues"}


def _of(name: str, workload: str, row: str, mode: str = "async", **settings: Any) -> Entry:
    return Entry(name, PROGRAMS[name], workload, mode, settings, against=row)


ENTRIES = (
    *(
        _of(name, "W4", row, mode, workers=workers, **settings)
        for row, workers in ((ONE, 1), (TWO, 2))
        for name, mode, settings in (
            ("DBOS", "async", DBOS),
            ("absurd", "async", ABSURD),
            ("procrastinate", "async", PROCRASTINATE),
            ("ours", "async", {}),
        )
    ),
    _of("ours", "W4", LIMITED, workers=1, limits=True),
    _of("DBOS", "enqueue", SINGLY, "sync", lanes=8),
    _of("absurd", "enqueue", SINGLY, lanes=16),
    _of("procrastinate", "enqueue", SINGLY, lanes=16),
    _of("ours", "enqueue", SINGLY, lanes=256),
    _of("ours", "enqueue", f"{SINGLY}, blocking", "sync", lanes=8),
    _of("DBOS", "enqueue", ALONE, "sync", lanes=1),
    _of("absurd", "enqueue", ALONE, lanes=1),
    _of("procrastinate", "enqueue", ALONE, lanes=1),
    _of("ours", "enqueue", ALONE, "sync", lanes=1),
    _of("DBOS", "enqueue", LOTS, "sync", lanes=8, lot=500),
    _of("absurd", "enqueue", LOTS, lanes=8, lot=500),
    _of("procrastinate", "enqueue", LOTS, lanes=4, lot=500),
    _of("ours", "enqueue", LOTS, "sync", lanes=4, lot=500),
    _of("DBOS", "W5", "p50", queue={"polling_interval_sec": 0.01}),
    _of("absurd", "W5", "p50", concurrency=1, connections=1, poll=0.01),
    _of("procrastinate", "W5", "p50", concurrency=1),
    _of("ours", "W5", "p50", "sync"),
    _of("ours", "timers", "last, s"),
    _of("ours", "idle", "statements/s", "idle"),
)
BARS = (
    Bar(("W4", ONE), "DBOS", 20, ("W4", ONE)),
    Bar(("W4", ONE), "absurd", 8, ("W4", ONE)),
    Bar(("W4", ONE), "procrastinate", 8, ("W4", ONE)),
    Bar(("W4", TWO), "DBOS", 20, ("W4", TWO)),
    Bar(("W4", TWO), "absurd", 8, ("W4", TWO)),
    Bar(("W4", TWO), "procrastinate", 8, ("W4", TWO)),
    Bar(("W4", TWO), "ours", 1.5, ("W4", ONE)),
    # 1.3 times as long: a second may hold 1 / 1.3 of the runs
    Bar(("W4", LIMITED), "ours", round(1 / 1.3, 3), ("W4", ONE)),
    Bar(("enqueue", SINGLY), "DBOS", 2, ("enqueue", SINGLY)),
    Bar(("enqueue", ALONE), "DBOS", 2, ("enqueue", ALONE)),
    Bar(("enqueue", LOTS), "DBOS", 40, ("enqueue", ALONE)),
    Bar(("enqueue", LOTS), "DBOS", 40, ("enqueue", SINGLY)),
    Bar.fixed(("W5", "p50"), 4),
    Bar.fixed(("W5", "p95"), 10),
    Bar.fixed(("timers", "last, s"), 2),
    Bar.fixed(("timers", "PostgreSQL, cores"), 1),
    Bar.fixed(("idle", "statements/s"), 100),
)

QUEUES = Contest(SIZES, TITLES, ("DBOS", "absurd", "procrastinate", "ours"), ENTRIES, BARS)
