"""Side effects that can be counted afterwards, also those of a process that was killed.

One line per effect is appended to the file that ``DATAFLOWS_EFFECTS`` names. An append of a short line to a file
opened with O_APPEND is one system call: it is there as a whole or not at all, whatever happens to the process.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

from dataflows_sdk.core.current import current_step
from dataflows_sdk.errors import DefinitionError

VARIABLE = "DATAFLOWS_EFFECTS"


def record_effect(key: str | None = None) -> None:
    """Note that a side effect happened now.

    Args:
        key: what happened; inside a step's function by default the run's id and the step's key.

    Raises:
        DefinitionError: no key and no step, or ``DATAFLOWS_EFFECTS`` is not set.
    """
    if key is None:
        info = current_step.get()
        if info is None:
            raise DefinitionError("record_effect() needs a key outside of a step's function")
        key = f"{info.run_id}/{info.key}"
    path = os.environ.get(VARIABLE)
    if not path:
        raise DefinitionError(f"record_effect() writes to the file that {VARIABLE} names, and that is not set")
    line = json.dumps(key).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read_effects(path: str | os.PathLike[str]) -> Counter[str]:
    """How often each effect of a file happened; empty when there is no such file."""
    file = Path(path)
    if not file.exists():
        return Counter()
    return Counter(json.loads(line) for line in file.read_text().splitlines())
