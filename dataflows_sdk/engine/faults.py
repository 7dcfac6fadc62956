"""Named fault points: places where a process may die at the worst moment. Inert unless a test arms them.

Tests arm them through `dataflows_sdk.testing`; the engine only calls `fault("name")`. The names are part of what a
kill sweep reports, so they say where in a run's life the process was.
"""

from __future__ import annotations

from collections.abc import Callable

#: every point that exists, with what has and has not happened when it is reached
POINTS: dict[str, str] = {
    "run.created": "a new run is committed, its code has not begun",
    "run.claimed": "a run was claimed, its history is not read yet",
    "step.begin": "a step is about to run, nothing of it is done",
    "step.ran": "a step's function returned, nothing of it is recorded",
    "commit.sent": "a batch was sent to PostgreSQL, its answer has not come",
    "commit.done": "a batch is committed, nobody was told yet",
    "run.suspending": "a run decided to sleep, that is not recorded",
    "run.suspended": "a run's sleep is recorded, its code is not unwound yet",
    "undo.begin": "a compensation is about to run",
    "run.finishing": "a run's code returned, its end is not recorded",
    "run.finished": "a run's end is recorded, nobody was told yet",
}

_hook: Callable[[str], None] | None = None


def fault(name: str) -> None:
    """Pass a fault point."""
    if _hook is not None:
        _hook(name)


def arm(hook: Callable[[str], None] | None) -> None:
    """Call *hook* with the name of each point that is passed, or disarm with None. For tests."""
    global _hook  # noqa: PLW0603 - one process, one hook: the points are module-level on purpose
    _hook = hook
