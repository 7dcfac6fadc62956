"""The text of an agent while it comes: kept in a stream of messages, so that nobody misses a piece of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dataflows_memory.agents.results import Piece
from dataflows_sdk.engine.state import TERMINAL

if TYPE_CHECKING:
    from dataflows_sdk.messages import Messages, Stream
    from dataflows_sdk.runs import Run

#: the stream, and the beginning of its subjects
STREAM, SUBJECT = "dataflows-agents", "dataflows.agent"
#: how long pieces are kept
KEPT = "7d"
#: seconds for which pieces are gathered: a commit for every token would cost more than the model
_GATHER = 0.05
_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.5
_PAGE = 500


def opened(messages: Messages) -> Stream:
    """The stream, made if there is none."""
    return messages.stream(STREAM, f"{SUBJECT}.>", max_age=KEPT)


class Teller:
    """Tells one turn. Called with pieces of text; None: it begins anew.

    Args:
        messages: of the context.
        run: that speaks.
        turn: of it.
    """

    def __init__(self, messages: Messages, run: str, turn: int) -> None:
        self._messages, self._subject, self._turn = messages, f"{SUBJECT}.{run}", turn
        self._pieces: list[str] = []
        self._since = time.monotonic()
        self._begin()

    def __call__(self, piece: str | None) -> None:
        """Hear a piece."""
        if piece is None:
            self._pieces.clear()
            self._begin()
            return
        self._pieces.append(piece)
        if time.monotonic() - self._since >= _GATHER:
            self.flush()

    def flush(self) -> None:
        """Tell what was gathered."""
        self._since = time.monotonic()
        if self._pieces:
            text = "".join(self._pieces).replace("\0", "").encode("utf-8", "replace").decode()
            self._pieces.clear()
            self._messages.publish(self._subject, {"turn": self._turn, "text": text, "anew": False})

    def _begin(self) -> None:
        self._messages.publish(self._subject, {"turn": self._turn, "text": "", "anew": True})


def follow(messages: Messages, run: Run, after: int) -> Iterator[Piece]:
    """Every piece behind *after*, until the run is over; waits in between."""
    stream, subject, pause = opened(messages), f"{SUBJECT}.{run.id}", _FIRST_PAUSE
    while True:
        # looked at before: what was told until then is read below
        over = run.status in TERMINAL
        found = stream.read(after=after, limit=_PAGE, filter=subject)
        for message in found:
            after = message.seq
            yield Piece(message.seq, message.payload["turn"], message.payload["text"], message.payload["anew"])
        if found:
            pause = _FIRST_PAUSE
        elif over:
            return
        else:
            time.sleep(pause)
            pause = min(_LAST_PAUSE, pause * 1.5)
