"""The kit for tests of workflows: virtual time, faults, kill sweeps, recorded histories, a pytest plugin.

    from dataflows_sdk.testing import VirtualClock

    ctx = df.connect(url, clock=VirtualClock())     # a run that sleeps for a week is over in milliseconds

What there is:

    VirtualClock                        time that passes when every run waits
    crash_at, count_points, Passes      die at, or count, the engine's named fault points
    kill_sweep                          kill a workflow's process at every fault point, and compare
    record_history, load_history, check_replay      journals as files, replayed by today's code
    record_effect                       notes a side effect, so that a sweep can count it
    TestDatabases                       a PostgreSQL for a test session, a database for each test

The pytest plugin brings the fixtures ``dataflows_ctx``, ``dataflows_url`` and ``dataflows_clock``. To rebuild every
run from its journal after every step, connect with ``always_replay=True``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflows_sdk.testing.clock import VirtualClock as VirtualClock
    from dataflows_sdk.testing.databases import TestDatabases as TestDatabases
    from dataflows_sdk.testing.effects import read_effects as read_effects
    from dataflows_sdk.testing.effects import record_effect as record_effect
    from dataflows_sdk.testing.faults import Passes as Passes
    from dataflows_sdk.testing.faults import arm_from_environment as arm_from_environment
    from dataflows_sdk.testing.faults import count_points as count_points
    from dataflows_sdk.testing.faults import crash_at as crash_at
    from dataflows_sdk.testing.histories import History as History
    from dataflows_sdk.testing.histories import check_replay as check_replay
    from dataflows_sdk.testing.histories import load_history as load_history
    from dataflows_sdk.testing.histories import record_history as record_history
    from dataflows_sdk.testing.sweep import SweepReport as SweepReport
    from dataflows_sdk.testing.sweep import kill_sweep as kill_sweep

_WHERE = {
    "History": "histories",
    "Passes": "faults",
    "SweepReport": "sweep",
    "TestDatabases": "databases",
    "VirtualClock": "clock",
    "arm_from_environment": "faults",
    "check_replay": "histories",
    "count_points": "faults",
    "crash_at": "faults",
    "kill_sweep": "sweep",
    "load_history": "histories",
    "read_effects": "effects",
    "record_effect": "effects",
    "record_history": "histories",
}

__all__ = [
    "History",
    "Passes",
    "SweepReport",
    "TestDatabases",
    "VirtualClock",
    "arm_from_environment",
    "check_replay",
    "count_points",
    "crash_at",
    "kill_sweep",
    "load_history",
    "read_effects",
    "record_effect",
    "record_history",
]


def __getattr__(name: str) -> Any:
    # Fetched when first used: the pytest plugin lives in this package and must load nothing of the engine.
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'dataflows_sdk.testing' has no attribute {name!r}")
    found = getattr(import_module(f"dataflows_sdk.testing.{where}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
