"""Measure queues on one PostgreSQL, other engines and ours, and print the ratios.

    python benchmarks/queues.py [--reps 5] [--only W4,enqueue,W5,timers,idle] [--names DBOS,ours] [--json FILE]

See session.py for the rules, plan_queues.py for who plays what.
"""

from __future__ import annotations

from plan_queues import QUEUES
from session import hold

if __name__ == "__main__":
    hold(QUEUES, __doc__)
