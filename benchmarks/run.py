"""Measure the raw limit, other engines and ours on one PostgreSQL, and print the ratios.

    python benchmarks/run.py [--reps 5] [--only W1,W2,W3,pgbench] [--names raw,DBOS,ours] [--json FILE]

See session.py for the rules, plan.py for who plays what.
"""

from __future__ import annotations

from plan import ENGINE, PGBENCH_CLIENTS
from report import Results
from session import hold


def pgbench(results: Results) -> str:
    """The same INSERT as raw in W1, from C."""
    limits = [(clients, results.median(("pgbench", str(clients)), "raw")) for clients in PGBENCH_CLIENTS]
    told = [f"{tps:,.0f} tps with {clients} client{'s'[: clients > 1]}" for clients, tps in limits if tps is not None]
    return f"pgbench, the same INSERT: {', '.join(told)}." if told else ""


if __name__ == "__main__":
    hold(ENGINE, __doc__, pgbench)
