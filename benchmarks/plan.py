"""The contest of run.py: what a durable step costs.

The workloads are fixed; each contestant plays with the settings that were fastest for it (README.md says how they
were found).
"""

from __future__ import annotations

from contest import Bar, Contest, Entry

SIZES = {
    "W1": {"runs": 1, "steps": 200},
    "W2": {"runs": 2000, "steps": 5},
    "W3": {"runs": 1, "steps": 1000},
}
TITLES = {
    "W1": "one run, 200 steps one after another, ms per step (p50)",
    "W2": "2,000 runs of 5 steps, runs/s",
    "W3": "one run, 1,000 steps in parallel, steps/s",
}
PGBENCH_CLIENTS = (1, 8, 32)
PGBENCH_SECONDS = 5

ENTRIES = (
    Entry("raw", "raw", "W1", "async"),
    Entry("DBOS", "peer_dbos", "W1", "async"),
    Entry("absurd", "peer_absurd", "W1", "async"),
    Entry("LangGraph", "peer_langgraph", "W1", "async"),
    Entry("ours", "ours", "W1", "async"),
    Entry("raw", "raw", "W1", "sync"),
    Entry("DBOS", "peer_dbos", "W1", "sync"),
    Entry("absurd", "peer_absurd", "W1", "sync"),
    Entry("LangGraph", "peer_langgraph", "W1", "sync"),
    Entry("ours", "ours", "W1", "sync"),
    # DBOS is faster in 16 threads than in 16, 64 or 256 coroutines
    Entry("DBOS", "peer_dbos", "W2", "sync", {"concurrency": 16, "pool": 20}, against="async"),
    Entry("absurd", "peer_absurd", "W2", "async", {"concurrency": 256, "connections": 16}),
    Entry("LangGraph", "peer_langgraph", "W2", "async", {"concurrency": 16, "savers": 16}),
    Entry("ours", "ours", "W2", "async", {"concurrency": 256}),
    Entry("ours", "ours", "W2", "async", {"start": "start_many"}, against="async, start_many"),
    Entry("ours", "ours", "W2", "sync", {"concurrency": 256}),
    Entry("DBOS", "peer_dbos", "W3", "async", {"pool": 20}),
    Entry("absurd", "peer_absurd", "W3", "async"),
    Entry("LangGraph", "peer_langgraph", "W3", "async"),
    Entry("ours", "ours", "W3", "async"),
    Entry("ours", "ours", "W3", "async", {"how": "gather"}, against="async, asyncio.gather"),
    Entry("ours", "ours", "W3", "sync"),
    *(
        Entry("raw", "raw", "pgbench", "sync", {"clients": clients, "seconds": PGBENCH_SECONDS}, against=str(clients))
        for clients in PGBENCH_CLIENTS
    ),
)
BARS = (
    Bar(("W1", "async"), "raw", 1.5, ("W1", "async"), at_most=True),
    Bar(("W1", "async"), "DBOS", 0.35, ("W1", "async"), at_most=True),
    Bar(("W2", "async"), "DBOS", 40, ("W2", "async")),
    Bar(("W2", "async"), "absurd", 10, ("W2", "async")),
    Bar(("W3", "async"), "DBOS", 40, ("W3", "async")),
    Bar(("W3", "async"), "LangGraph", 15, ("W3", "async")),
    # a step may take 1 / 0.4 of the time, a second may hold 0.4 of the runs and steps
    Bar(("W1", "sync"), "ours", 2.5, ("W1", "async"), at_most=True),
    Bar(("W2", "sync"), "ours", 0.4, ("W2", "async")),
    Bar(("W3", "sync"), "ours", 0.4, ("W3", "async")),
)

ENGINE = Contest(SIZES, TITLES, ("raw", "DBOS", "absurd", "LangGraph", "ours"), ENTRIES, BARS)
