"""The process that a kill sweep kills: ``python -m dataflows_sdk.testing.child``.

It loads the target, arms itself as ``DATAFLOWS_FAULT`` says, connects, calls the target, waits until no run is left
under way, and writes what came of it. What it is to do stands in ``DATAFLOWS_CHILD``, as JSON.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from dataflows_sdk.engine import faults
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.testing.faults import VARIABLE as FAULT
from dataflows_sdk.testing.faults import Passes, crash_at

VARIABLE = "DATAFLOWS_CHILD"
_UNDER_WAY = ("queued", "running", "sleeping", "waiting")


def load_target(target: str) -> tuple[ModuleType, Callable[[Any], Any]]:
    """The module and the function of ``"path/to/file.py:function"`` or ``"package.module:function"``.

    Raises:
        DefinitionError: there is no such file, module or function.
    """
    place, separator, name = target.rpartition(":")
    if not separator or not place or not name:
        raise DefinitionError(f'a target is "file.py:function" or "module:function", not {target!r}')
    if place.endswith(".py"):
        path = Path(place).resolve()
        spec = importlib.util.spec_from_file_location(path.stem, path) if path.is_file() else None
        if spec is None or spec.loader is None:
            raise DefinitionError(f"target {target!r}: there is no file {path}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise DefinitionError(f"target {target!r}: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise DefinitionError(f"target {target!r}: {place} has no function {name!r}")
    return module, found


def main() -> None:
    """One life of the process."""
    task = json.loads(os.environ[VARIABLE])
    module, function = load_target(task["target"])
    passes = Passes()
    armed = os.environ.get(FAULT)
    if armed:
        point, _, nth = armed.partition(":")

        def last_words(name: str) -> None:
            Path(task["died"]).write_text(name)

        crash_at(point, int(nth or 1), before=last_words)
    else:
        faults.arm(passes)
    from dataflows_sdk.context import connect

    with connect(task["url"], **task["connect"]) as ctx:
        result = function(ctx)
        stranded = _wait_for_all(ctx, time.monotonic() + task["patience"])
        observe = getattr(module, "observe", None)
        observed = observe(ctx) if observe is not None else None
        faults.arm(None)
        said = json.dumps(
            {"result": result, "observed": observed, "passes": passes.order, "stranded": stranded}, default=repr
        )
    unfinished = Path(task["out"] + ".part")
    unfinished.write_text(said)
    unfinished.replace(task["out"])


def _wait_for_all(ctx: Any, deadline: float) -> list[str]:
    """Wait until every run is over; gives a line for each that is not when the time has run out."""
    while True:
        left = ctx.runs(status=_UNDER_WAY, limit=10_000)
        quarantined = ctx.runs(status="quarantined", limit=100)
        if not left or time.monotonic() > deadline:
            return [f"{run.id} {run.workflow}: {run.explain()}" for run in [*left[:10], *quarantined]]
        time.sleep(0.01)


if __name__ == "__main__":
    main()
