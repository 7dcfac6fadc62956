"""What tests of the engine share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dataflows_sdk as df

#: three retries at once
FAST = df.Retry(3, initial_delay="1ms", jitter=False)


def declare(fn: Callable[..., Any], name: str | None = None) -> df.Workflow:
    """A workflow that only this test knows."""
    return df.Workflow(name or fn.__name__, fn)
