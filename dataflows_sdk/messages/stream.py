"""Durable streams, and consumers that read them at their own pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.shown import Listing, Sheet, ShownAsTable, fields_of, sheet_of
from dataflows_sdk.core.subjects import check_name, check_pattern
from dataflows_sdk.errors import ConsumerNotFoundError, DefinitionError, StreamNotFoundError

if TYPE_CHECKING:
    from dataflows_sdk.messages.desk import Messages

_FIRST_PAUSE, _LAST_PAUSE = 0.01, 0.5
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class StreamInfo(ShownAsTable):
    """How a stream stands.

    Attributes:
        subjects: patterns of the messages that it keeps.
        max_age, max_messages, max_bytes: beyond which the oldest go; None for no end.
        last_seq: the number of its newest message; they count 1, 2, 3, …
        messages, bytes: that it has now, and the size of their payloads.
        first_seq: the number of its oldest message; None if it has none.
    """

    name: str
    subjects: tuple[str, ...]
    max_age: timedelta | None
    max_messages: int | None
    max_bytes: int | None
    last_seq: int
    bytes: int
    messages: int
    first_seq: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ConsumerInfo(ShownAsTable):
    """How a consumer stands.

    Attributes:
        filter: the subjects that it reads.
        seen: everything up to this number was handed out, or does not concern it.
        waiting: messages that it has not been given yet.
        pending: given and not acknowledged; `dead`: given too often, or ended by `StreamMessage.term`.
    """

    name: str
    filter: str
    ack_wait: timedelta
    max_deliver: int
    seen: int
    waiting: int
    pending: int
    dead: int


@dataclass(frozen=True, slots=True)
class StreamMessage(ShownAsTable):
    """A message of a stream.

    Attributes:
        seq: its number in the stream.
        deliveries: how often it was handed out, this time included; 0 if nobody asked for it as a consumer.
    """

    seq: int
    subject: str
    payload: Any
    at: datetime
    deliveries: int
    _consumer: Consumer | None = None

    def ack(self) -> bool:
        """It is done with; whether it was still open."""
        return bool(self._of()._read("ack", self.seq))

    def nak(self, delay: Duration = 0) -> bool:
        """It could not be done: hand it out again, after a while; whether it was still ours."""
        return self._of()._due(self, self._of()._now() + parse_duration(delay))

    def in_progress(self) -> bool:
        """It takes longer: the time to acknowledge it begins anew; whether it was still ours."""
        return self._of()._due(self, self._of()._now() + self._of().info().ack_wait)

    def term(self) -> bool:
        """It can never be done: do not hand it out again; it is in `Consumer.dead`. Whether it was still ours."""
        return self._of()._due(self, None)

    def _of(self) -> Consumer:
        if self._consumer is None:
            raise DefinitionError(
                "only messages that a consumer was given are acknowledged: stream.consumer(…).fetch()"
            )
        return self._consumer


class Stream(ShownAsTable):
    """A durable stream. Made by ``ctx.messages.stream``."""

    def __init__(self, messages: Messages, name: str) -> None:
        self._messages = messages
        self.name = name
        self._key = messages._stream_name(name)

    def __repr__(self) -> str:
        return f"<stream {self.name!r}>"

    def _read(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._messages._read(statement, (self._key, *parameters))

    def info(self) -> StreamInfo:
        """How it stands.

        Raises:
            StreamNotFoundError: it was deleted.
        """
        rows = self._messages._read("list", (self._key, ""))
        if not rows:
            raise StreamNotFoundError(
                f"there is no stream {self.name!r}; ctx.messages.stream(name, subjects) makes one"
            )
        return self._messages._info(rows[0])

    def read(self, *, after: int = 0, limit: int = 100, filter: str = ">") -> list[StreamMessage]:
        """Messages as they lie there, without being handed out.

        Args:
            after: only those with a larger number.
            limit: 1 to 10,000.
            filter: subjects.
        """
        pattern = self._messages._subject(check_pattern(filter))
        return self._made(self._read("read", after, pattern, _limit(limit)), None)

    def _made(self, rows: Sequence[tuple[Any, ...]], consumer: Consumer | None) -> list[StreamMessage]:
        own, value = self._messages._own, self._messages._value
        return Listing([StreamMessage(row[0], own(row[1]), value(row[2]), row[3], row[4], consumer) for row in rows])

    def consumer(
        self,
        name: str,
        *,
        filter: str = ">",
        ack_wait: Duration = "30s",
        max_deliver: int = 5,
        start: Literal["first", "new"] | int = "first",
    ) -> Consumer:
        """A consumer by its name: made if there is none, changed if there is; it goes on where it was.

        Any number of processes may read by one name: each message goes to one of them at a time.

        Args:
            filter: the subjects that it reads.
            ack_wait: a message that is not acknowledged in this time is handed out again.
            max_deliver: how often a message is handed out at the most.
            start: of a new consumer: at the first message, at what comes from now on, or behind a number.

        Raises:
            StreamNotFoundError: the stream was deleted.
            DefinitionError: an argument makes no sense.
        """
        check_name(name, "consumer")
        pattern, wait = self._messages._subject(check_pattern(filter)), parse_duration(ack_wait).total_seconds()
        if wait <= 0 or isinstance(max_deliver, bool) or not isinstance(max_deliver, int) or max_deliver < 1:
            raise DefinitionError(f"ack_wait={ack_wait!r} and max_deliver={max_deliver!r} are above 0")
        if isinstance(start, bool) or (start not in ("first", "new") and not (isinstance(start, int) and start >= 0)):
            raise DefinitionError(f"start={start!r}: write 'first', 'new' or the number of a message")
        after = 0 if start == "first" else None if start == "new" else start
        if not self._read("define_consumer", name, pattern, wait, max_deliver, after, self._messages._now()):
            self.info()
        return Consumer(self, name)

    def consumers(self) -> list[ConsumerInfo]:
        """Who reads it, and how far they are."""
        return Listing([_consumer_info(self._messages, row) for row in self._read("consumers", None)])

    def delete(self) -> None:
        """Remove it with its messages and consumers.

        Raises:
            StreamNotFoundError: it was deleted already.
        """
        if not self._read("drop"):
            self.info()

    def _sheet(self) -> Sheet:
        return Sheet(f"stream {self.name}", fields_of(self.info()), parts=[sheet_of(self.consumers(), "consumers")])


class Consumer(ShownAsTable):
    """Reads a stream, by name. Made by `Stream.consumer`."""

    def __init__(self, stream: Stream, name: str) -> None:
        self.stream = stream
        self.name = name

    def __repr__(self) -> str:
        return f"<consumer {self.name!r} of {self.stream!r}>"

    def _read(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.stream._read(statement, self.name, *parameters)

    def _now(self) -> datetime:
        return self.stream._messages._now()

    def _due(self, message: StreamMessage, at: datetime | None) -> bool:
        return bool(self._read("due", message.seq, message.deliveries, at))

    def info(self) -> ConsumerInfo:
        """How it stands.

        Raises:
            ConsumerNotFoundError: it was deleted.
        """
        rows = self._read("consumers")
        if not rows:
            raise self._missing()
        return _consumer_info(self.stream._messages, rows[0])

    def _missing(self) -> ConsumerNotFoundError:
        return ConsumerNotFoundError(
            f"there is no consumer {self.name!r} of stream {self.stream.name!r}; stream.consumer(name) makes one"
        )

    def fetch(self, limit: int = 1, *, wait: Duration = 0) -> list[StreamMessage]:
        """The next messages, those that are due again first; none if there are none after *wait*.

        Raises:
            ConsumerNotFoundError: it was deleted.
        """
        until = time.monotonic() + parse_duration(wait).total_seconds()
        most, pause = _limit(limit), _FIRST_PAUSE
        while not (found := self._take(most)) and (left := until - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(_LAST_PAUSE, pause * 1.5)
        return found

    async def afetch(self, limit: int = 1, *, wait: Duration = 0) -> list[StreamMessage]:
        """`fetch` for code on an event loop; it waits in a thread."""
        return await asyncio.to_thread(self.fetch, limit, wait=wait)

    def __iter__(self) -> Iterator[StreamMessage]:
        """Every message, for ever."""
        while True:
            yield from self.fetch(1, wait="1h")

    async def __aiter__(self) -> AsyncIterator[StreamMessage]:
        pause = _FIRST_PAUSE
        while True:
            found = await self.afetch(1)
            for message in found:
                yield message
            pause = _FIRST_PAUSE if found else min(_LAST_PAUSE, pause * 1.5)
            if not found:
                await asyncio.sleep(pause)

    def _take(self, limit: int) -> list[StreamMessage]:
        database, now = self.stream._messages._database, self._now()
        who = self.stream._key, self.name
        with database.connection() as connection, connection.transaction():
            locked = database.run(connection, "streams", "lock_consumer", who)
            if not locked:
                raise self._missing()
            regex, seen = locked[0]
            database.run(connection, "streams", "by_key", ())
            database.run(connection, "streams", "give_up", (*who, now))
            seqs = [row[0] for row in database.run(connection, "streams", "again", (*who, now, limit))]
            if len(seqs) < limit:
                about = (*who, now, limit - len(seqs), regex, seen)
                seqs += [row[0] for row in database.run(connection, "streams", "fresh", about)]
            rows = database.run(connection, "streams", "delivered", (*who, seqs)) if seqs else []
        return self.stream._made(rows, self)

    def dead(self) -> list[StreamMessage]:
        """Messages that are not handed out any more, because that was too often or somebody said so."""
        return self.stream._made(self._read("dead"), self)

    def delete(self) -> None:
        """Remove it; the messages stay in the stream.

        Raises:
            ConsumerNotFoundError: it was deleted already.
        """
        if not self._read("drop_consumer"):
            raise self._missing()

    def _sheet(self) -> Sheet:
        return Sheet(f"consumer {self.name}", fields_of(self.info()))


def _consumer_info(messages: Messages, row: tuple[Any, ...]) -> ConsumerInfo:
    name, pattern, wait, *rest = row
    return ConsumerInfo(name, messages._own(pattern), timedelta(seconds=wait), *rest)


def _limit(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST:
        raise DefinitionError(f"limit={limit!r}: 1 to {_MOST:,} messages at once")
    return limit
