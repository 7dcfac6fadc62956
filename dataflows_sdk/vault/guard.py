"""Whether one of many secrets stands in what is about to be stored.

Every result of a step passes here, so that a thousand secrets must not cost a thousand searches: most of them are one
automaton, and only the newest, for which it has not been made again yet, are looked for one by one.
"""

from __future__ import annotations

import base64
import json
import threading
from typing import Any
from urllib.parse import quote

#: a shorter secret may stand in a result by chance
_SHORTEST = 12
_MOST = 1_000
#: searches one by one cost less than a new automaton
_NEWEST = 64
_MEMORY = 64 << 20
#: so many searches through so much cost more than an automaton
_FEW, _LARGE = 8, 1_000_000


class Guard:
    """Remembers up to 1,000 secrets, the newest ones, of 12 characters or more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: secrets with their forms, the oldest first
        self._known: dict[str, frozenset[bytes]] = {}
        self._newest: dict[str, frozenset[bytes]] = {}
        self._automaton: Any = None

    def add(self, secret: str) -> None:
        """Look for it from now on."""
        if len(secret) < _SHORTEST or secret in self._known or secret in self._newest:
            return
        with self._lock:
            self._newest = {**self._newest, secret: _forms(secret)}
            if len(self._newest) > _NEWEST:
                self._settle()

    def _settle(self) -> None:
        """Make the newest ones a part of the automaton."""
        every = {**self._known, **self._newest}
        self._known = dict(list(every.items())[-_MOST:])
        self._automaton = _automaton(self._known)
        self._newest = {}

    def __bool__(self) -> bool:
        return bool(self._newest or self._known)

    def finds(self, data: bytes) -> bool:
        """Whether one of them stands there: as it is, in JSON, in an address, or in base64."""
        if len(self._newest) > _FEW and len(data) > _LARGE:
            with self._lock:
                self._settle()
        # in this order: who moves from the newest to the automaton is found in one of them
        newest, automaton = self._newest, self._automaton
        if any(form in data for forms in newest.values() for form in forms):
            return True
        return automaton is not None and automaton.search(data) is not None


def _forms(secret: str) -> frozenset[bytes]:
    written = {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}
    written |= {json.dumps(form, ensure_ascii=only)[1:-1] for form in written for only in (True, False)}
    return frozenset(form.encode() for form in written)


def _automaton(known: dict[str, frozenset[bytes]]) -> Any:
    import re2

    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    options.max_mem = _MEMORY
    options.encoding = re2.Options.Encoding.LATIN1  # bytes
    literals = sorted(form for forms in known.values() for form in forms)
    return re2.compile(b"|".join(re2.escape(form) for form in literals), options=options)
