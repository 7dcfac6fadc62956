"""What stands before everything that is stored: knows the secrets that must not be, and finds them.

Two kinds of them: those that passed through the vault of this database, and those that somebody declared in this
process (`Secret`, `Redactor.add`, secret variables of `Services`).
"""

from __future__ import annotations

import threading

from dataflows_sdk.core.kept_out import Finds
from dataflows_sdk.core.redact import REDACTOR, Redactor
from dataflows_sdk.vault.guard import Guard

__all__ = ["Gate"]

_NEWEST = 1_000
#: of fewer different characters it is no secret but an example, and stands in data by chance
_FEWEST = 5


class Gate:
    """The secrets of a context.

    Args:
        redactor: that of the context; what the process-wide one knows counts as well.

    Attributes:
        passed: told of every secret that passes through the vault.
    """

    def __init__(self, redactor: Redactor) -> None:
        self.passed = Guard()
        self._redactors = (REDACTOR,) if redactor is REDACTOR else (REDACTOR, redactor)
        self._lock = threading.Lock()
        self._declared = [Guard() for _ in self._redactors]
        self._seen = [(0, 0) for _ in self._redactors]

    def finder(self) -> Finds | None:
        """What finds secrets in bytes; None as long as there are none."""
        for at, redactor in enumerate(self._redactors):
            if redactor.marks != self._seen[at]:
                self._learn(at, redactor)
        return self._finds if self.passed or any(self._declared) else None

    def _learn(self, at: int, redactor: Redactor) -> None:
        with self._lock:
            marks, (declared, taken_back) = redactor.marks, self._seen[at]
            newest = min(_NEWEST, marks[0] - declared)
            guard = self._declared[at]
            if marks[1] != taken_back:  # a guard forgets nothing
                guard, newest = Guard(), _NEWEST
            for secret in redactor.kept_out(newest):
                if len(set(secret)) >= _FEWEST:
                    guard.add(secret)
            self._declared[at], self._seen[at] = guard, marks

    def _finds(self, data: bytes) -> bool:
        return self.passed.finds(data) or any(guard.finds(data) for guard in self._declared)
