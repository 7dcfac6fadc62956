"""What a context offers of messages: ``ctx.messages``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dataflows_sdk.arguments import check_key
from dataflows_sdk.core.codec import Codec
from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.ids import new_uuid
from dataflows_sdk.core.shown import Listing, Sheet, ShownAsTable, sheet_of
from dataflows_sdk.core.subjects import check_name, check_pattern, check_subject
from dataflows_sdk.errors import DefinitionError, NotSerializableError
from dataflows_sdk.messages.stream import Stream, StreamInfo
from dataflows_sdk.messages.subscription import CHANNEL, Hub, Listening

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

#: bytes that PostgreSQL takes with a notification, less what stands around the payload
_LARGE = 7_000
_LARGEST = 1024 * 1024
#: how many messages beyond the new ones are looked at when a stream is too large
_TRIMMED = 20


@dataclass(frozen=True, slots=True)
class Receipt(ShownAsTable):
    """What became of a message.

    Attributes:
        streams: its number in each stream that keeps it; empty where none does.
        duplicate: a message with the same key was there already.
    """

    streams: Mapping[str, int]
    duplicate: bool = False


class Messages(ShownAsTable):
    """Messages of a database. Thread-safe."""

    def __init__(self, context: Context, within: tuple[Messages, str, str] | None = None) -> None:
        self._context = context
        self._database = context._database
        self._subjects = self._names = ""
        if within is None:
            self._codec = Codec(context._types, inline_limit=_LARGEST)
            self._hub = Hub(context._database, self._codec)
            context._closing.append(self._hub.close)
        else:
            whole, project, env = within
            self._subjects, self._names = f"atlasdb.{project}.{env}.", f"atlasdb.streams.{project}.{env}."
            self._codec, self._hub = whole._codec, whole._hub

    def scope(self, project: str, env: str) -> Messages:
        """The messages of one project and environment, apart from all others.

        Subjects begin with ``atlasdb.<project>.<env>.`` and streams with ``atlasdb.streams.<project>.<env>.`` in the
        database, and are written and shown without that.

        Raises:
            DefinitionError: a name that is none, or this is a scope already.
        """
        if self._subjects:
            raise DefinitionError("this is the scope of a project already; ctx.messages.scope(…) makes another one")
        for name in (project, env):
            if "." in check_name(name, "project or environment"):
                raise DefinitionError(f"the name of a project or environment has no dot: {name!r}")
        return Messages(self._context, (self, project, env))

    # --- telling -----------------------------------------------------------------------------------------

    def publish(self, subject: str, payload: Any = None, *, key: str | None = None) -> Receipt:
        """Tell it to everybody who listens now, and put it into the streams that keep such subjects.

        Without a stream and a listener it is gone.

        Args:
            key: in a stream, publishing twice with the same key counts once, as long as the first one is there. In a
                step, ``df.current_step().idempotency_key`` makes it happen once.

        Raises:
            DefinitionError: the subject is none.
            NotSerializableError: the payload cannot be stored, has more than 1 MiB, or a declared secret stands in
                it, in the subject or in the key.
        """
        return self._publish([(subject, payload, key)])[0]

    def publish_many(self, messages: Iterable[tuple[str, Any] | tuple[str, Any, str | None]]) -> list[Receipt]:
        """Publish many in one transaction, which is much faster: pairs of subject and payload, or with a key.

        Raises:
            see `publish`; then none of them is published.
        """
        given = []
        for each in messages:
            if not isinstance(each, tuple | list) or len(each) not in (2, 3):
                raise DefinitionError(f"a message is (subject, payload) or (subject, payload, key), not {each!r:.100}")
            given.append((each[0], each[1], each[2] if len(each) == 3 else None))
        return self._publish(given) if given else []

    def _publish(self, given: Sequence[tuple[str, Any, str | None]]) -> list[Receipt]:
        subjects = [self._subject(check_subject(subject)) for subject, _, _ in given]
        keys = [check_key(key) for *_, key in given]
        texts = [self._text(payload, subject, key) for subject, payload, key in given]
        database, now = self._database, self._now()
        found: list[dict[str, int]] = [{} for _ in given]
        first = {key: number for number, key in reversed([*enumerate(keys)]) if key is not None}
        repeated = [key is not None and first[key] != number for number, key in enumerate(keys)]
        with database.connection() as connection, connection.transaction():
            streams = database.run(connection, "streams", "lock", (sorted(set(subjects)),))
            if streams:
                database.run(connection, "streams", "by_key", ())
                names = [name for name, _ in streams]
                about = (names, subjects, texts, keys, now)
                for number, stream, seq, old in database.run(connection, "streams", "append", about):
                    found[number - 1][stream.removeprefix(self._names)] = seq
                    repeated[number - 1] |= old
                limited = [name for name, some in streams if some]
                while limited:
                    most = len(given) + _TRIMMED
                    limited = [row[0] for row in database.run(connection, "streams", "trim", (limited, now, most))]
            notes = [
                self._note(connection, number, subject, text)
                for number, (subject, text) in enumerate(zip(subjects, texts, strict=True))
                if not repeated[number]
            ]
            database.run(connection, "streams", "tell", (CHANNEL, notes))
        for number, key in enumerate(keys):
            if key is not None:
                found[number] = found[first[key]]
        return [Receipt(each, repeat) for each, repeat in zip(found, repeated, strict=True)]

    def _note(self, connection: Any, number: int, subject: str, text: str) -> str:
        if len(text.encode()) <= _LARGE:
            # The number, because PostgreSQL tells texts that are equal only once in a transaction.
            return f'{{"n":{number},"s":{json.dumps(subject, ensure_ascii=False)},"p":{text}}}'
        identifier = new_uuid()
        self._database.run(connection, "streams", "put_large", (identifier, text))
        return json.dumps({"s": subject, "l": str(identifier)}, ensure_ascii=False)

    def _text(self, payload: Any, subject: str, key: str | None) -> str:
        encoded = self._codec.encode(payload, f"payload of message {subject!r}")
        if encoded.blobs:
            raise NotSerializableError(
                f"payload of message {subject!r}: messages hold up to {_LARGEST // 1024} KiB and no tables; put what "
                "is larger somewhere else and tell where"
            )
        self._context._engine.values.keep_out(encoded, "payload of a message", subject, key)
        return encoded.text

    # --- listening ---------------------------------------------------------------------------------------

    def subscribe(self, pattern: str = ">", *, timeout: float | None = None) -> Listening:
        """Listen from now on: an iterator that waits, for a loop with or without ``async``.

        Args:
            pattern: subjects: ``order.*`` is one more word, ``order.>`` one or more.
            timeout: seconds without a message after which the iteration ends; None waits for ever.

        Raises:
            DefinitionError: the pattern is none.
        """
        return self._hub.listen(self._subject(check_pattern(pattern)), len(self._subjects), timeout)

    # --- streams -----------------------------------------------------------------------------------------

    def stream(
        self,
        name: str,
        subjects: str | Sequence[str] | None = None,
        *,
        max_age: Duration | None = None,
        max_messages: int | None = None,
        max_bytes: int | None = None,
    ) -> Stream:
        """A durable stream by its name; with *subjects* it is made, or changed to what is given here.

        Args:
            subjects: patterns of the messages that it keeps from now on.
            max_age, max_messages, max_bytes: beyond which its oldest messages are deleted.

        Raises:
            StreamNotFoundError: there is none, and nothing says what it is to keep.
            DefinitionError: an argument makes no sense.
        """
        stream = Stream(self, check_name(name, "stream"))
        if subjects is None:
            if (max_age, max_messages, max_bytes) != (None, None, None):
                raise DefinitionError("to change a stream, say its subjects too")
            stream.info()
            return stream
        patterns = [subjects] if isinstance(subjects, str) else list(subjects)
        if not patterns:
            raise DefinitionError(f"stream {name!r} keeps nothing without subjects")
        for what, number in (("max_messages", max_messages), ("max_bytes", max_bytes)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise DefinitionError(f"{what}={number!r}: a whole number above 0 is needed")
        age = None if max_age is None else parse_duration(max_age).total_seconds()
        if age is not None and age <= 0:
            raise DefinitionError(f"max_age={max_age!r}: a duration above 0 is needed")
        own = [self._subject(check_pattern(pattern)) for pattern in patterns]
        self._read("define", (stream._key, own, age, max_messages, max_bytes, self._now()))
        return stream

    def streams(self) -> list[StreamInfo]:
        """The streams."""
        return Listing([self._info(row) for row in self._read("list", (None, self._names))])

    def _info(self, row: Sequence[Any]) -> StreamInfo:
        name, subjects, age, *rest = row
        patterns = tuple(self._own(subject) for subject in subjects)
        kept = None if age is None else timedelta(seconds=age)
        return StreamInfo(name.removeprefix(self._names), patterns, kept, *rest)

    # --- for the parts -----------------------------------------------------------------------------------

    def _read(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._database.read("streams", statement, parameters)

    def _now(self) -> datetime:
        return self._context._engine.clock.now()

    def _subject(self, subject: str) -> str:
        return self._subjects + subject

    def _own(self, subject: str) -> str:
        return subject.removeprefix(self._subjects)

    def _stream_name(self, name: str) -> str:
        return self._names + name

    def _value(self, text: str) -> Any:
        return self._codec.decode(text)

    def _sheet(self) -> Sheet:
        return sheet_of(self.streams(), "streams")
