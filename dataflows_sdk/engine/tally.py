"""How far a run is, counted from its journal as that grows."""

from __future__ import annotations

from dataflows_sdk.engine.state import JournalEvent

_OVER = frozenset({"step.completed", "step.skipped", "step.timed_out"})
#: what holds other steps, and is no work itself
_GROUPS = frozenset({"map", "parallel", "gather"})


class Tally:
    """Steps that are over, and what happens now. How many there will be a run of code does not say beforehand."""

    def __init__(self) -> None:
        self._over: set[str] = set()
        self.text = ""

    def take(self, event: JournalEvent) -> None:
        """Count an event."""
        key = event.key or ""
        if not event.kind.startswith("step.") or not key or event.data.get("op") in _GROUPS:
            return
        if event.kind in _OVER:
            self._over.add(key)
        elif event.kind == "step.failed":
            error = event.data.get("error") or {}
            self.text = f"{key} failed: {error.get('message', '')}" + (
                "; tried again" if event.data.get("retry_at") else ""
            )
        else:
            self.text = f"{key} waits" if event.kind == "step.waiting" else f"at {key}"

    @property
    def done(self) -> int:
        """Steps that are over."""
        return len(self._over)
