"""Secrets stay out of whatever people read: logs, recorded inputs, reprs and errors all pass through here.

Three nets, because each one has holes: literal values that somebody declared (`Secret`, `Redactor.add`),
names that promise a secret (``password``, ``Authorization``), and shapes that only secrets have
(``user:password@host``, private key blocks, well-known token prefixes). What is masked reads ``***``.
"""

from __future__ import annotations

import base64
import dataclasses
import hmac
import json
import logging
import threading
import traceback
from collections.abc import Callable
from itertools import islice
from typing import Any, Final
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, SecretBytes, SecretStr

from dataflows_sdk.core.redact_patterns import MASK, is_secret_name, mask_patterns

__all__ = ["MASK", "REDACTOR", "MaskedRepr", "RedactingFilter", "Redactor", "Secret", "is_secret_name"]

#: a literal shorter than this would blank out half of every text; it is masked only where it is the whole
#: text
_MIN_LITERAL = 4
_MIN_ENCODED = 8
_MAX_PASSING = 1_000
_MAX_DEPTH = 100


class Secret:
    """A text that prints as ``Secret('***')``.

    Making one also declares its value to `REDACTOR`, so that it is masked where it turns up later: in the
    message of an HTTP error, in a URL, in a log line. A Secret cannot be a step's result.

    Raises:
        TypeError: the value is not a str.
    """

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"a Secret holds a str, not {type(value).__name__}")
        object.__setattr__(self, "_value", value)
        REDACTOR.add(value, passing=True)

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Secret does not change; make another one")

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (s.encode("utf-8", "surrogatepass") for s in (self._value, other._value))
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        # so that a copy in a worker process declares its value there too
        return Secret, (self._value,)


class Redactor:
    """Masks secrets in texts and values. Safe to use from any thread."""

    def __init__(self, *secrets: str) -> None:
        self._lock = threading.Lock()
        #: every declared value with its forms
        self._added: dict[str, tuple[str, ...]] = {}
        #: of those, the ones to forget when they become too many, the oldest first
        self._passing: dict[str, None] = {}
        #: those that must not be stored in the clear either, the oldest first
        self._kept_out: dict[str, None] = {}
        #: how many of these were declared, and how many taken back; whoever looks for them sees by it what is new
        self.marks = (0, 0)
        # made anew by the first text after a change, so that declaring many secrets in a row stays cheap
        self._current: tuple[tuple[str, ...], frozenset[str]] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, value: str, *, passing: bool = False, masked_only: bool = False) -> None:
        """Declare a secret: it is masked from now on, also URL-quoted, in base64, and escaped as repr and
        JSON do.

        A value of less than 4 characters is masked only where it is the whole text; an empty one, or one
        made of ``*`` alone, is not a secret and is ignored.

        Args:
            value: the secret.
            passing: it may be forgotten once 1,000 others were declared so after it. That is how a `Secret`
                declares itself: a worker that makes one per event must not grow for ever.
            masked_only: it may be data all the same. Any other secret of 12 characters or more is refused where it
                would be stored: in payloads and results, by key, in messages, in rows.

        Raises:
            TypeError: the value is not a str.
        """
        if not isinstance(value, str):
            raise TypeError(f"a secret to mask is a str, not {type(value).__name__}")
        if not value.strip("*"):
            return
        with self._lock:
            known = value in self._added
            if not known:
                self._added[value] = _forms(value) if len(value) >= _MIN_LITERAL else ()
                self._current = None
            if not masked_only and value not in self._kept_out:
                self._kept_out[value] = None
                self.marks = (self.marks[0] + 1, self.marks[1])
            if not passing:
                self._passing.pop(value, None)
            elif not known or value in self._passing:
                self._passing.pop(value, None)
                self._passing[value] = None
                if len(self._passing) > _MAX_PASSING:
                    oldest = next(iter(self._passing))
                    del self._passing[oldest], self._added[oldest]
                    self._kept_out.pop(oldest, None)
                    self._current = None

    def discard(self, value: str) -> None:
        """Forget a secret, for example a token that was replaced by a new one; unknown values are ignored."""
        with self._lock:
            self._passing.pop(value, None)
            if self._added.pop(value, None) is not None:
                self._current = None
            if value in self._kept_out:
                del self._kept_out[value]
                self.marks = (self.marks[0], self.marks[1] + 1)

    def kept_out(self, newest: int) -> list[str]:
        """So many of the secrets that must not be stored, the newest ones, the oldest of them first."""
        with self._lock:
            return list(islice(reversed(self._kept_out), newest))[::-1]

    def _known(self) -> tuple[tuple[str, ...], frozenset[str]]:
        """The literals to look for, and the values that are masked only as whole texts."""
        current = self._current
        if current is None:
            with self._lock:
                every = {form for forms in self._added.values() for form in forms}
                # longest first: a secret that contains another one is masked whole
                literals = tuple(sorted(every, key=lambda form: (-len(form), form)))
                short = frozenset(value for value in self._added if len(value) < _MIN_LITERAL)
                current = self._current = (literals, short)
        return current

    def has_literal(self, text: str) -> bool:
        """Whether a declared secret, in one of its forms, is in the text."""
        literals, short = self._known()
        return text in short or any(literal in text for literal in literals)

    def redact_literals(self, text: str) -> str:
        """The text with declared secrets masked, and nothing else."""
        literals, short = self._known()
        if text in short:
            return MASK
        for literal in literals:
            if literal in text:
                text = text.replace(literal, MASK)
        return text

    def redact_text(self, text: str) -> str:
        """The text with every secret masked that one of the three nets catches."""
        if not isinstance(text, str):
            raise TypeError(f"redact_text() takes a str, not {type(text).__name__}; use redact_value()")
        # once more at the end: a pattern may take away what stood between two halves of a literal
        return self.redact_literals(mask_patterns(self.redact_literals(text)))

    def redact_value(self, value: Any) -> Any:
        """The same value with its secrets masked.

        Goes through dicts, lists, tuples, sets, dataclasses, named tuples and pydantic models; what holds
        no secret is returned as it is, not copied. Under a name such as ``password`` everything is
        masked, and so is the second half of a pair such as ``("Authorization", "Bearer …")``. Objects of
        other kinds are returned untouched: their repr is a text, and is masked as one. Never raises for a
        value it cannot copy: that becomes its masked repr.
        """
        return _ValueWalk(self).walk(value, 0)

    def redact_repr(self, value: object, limit: int = 500) -> str:
        """The repr of any object, masked and at most `limit` characters long; never raises."""
        try:
            text = repr(value)
        except Exception as error:  # noqa: BLE001 - a foreign __repr__ may do anything
            text = f"<{type(value).__qualname__} whose repr raised {type(error).__name__}>"
        # masked before it is cut: half a token is not recognised any more
        text = self.redact_text(str(text))
        return text if len(text) <= limit else text[:limit] + "…"


def _forms(value: str) -> tuple[str, ...]:
    """Every way in which a secret usually appears in a text."""
    forms = {value, repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    forms.add(value.strip())
    raw = value.encode("utf-8", "surrogatepass")
    forms |= {quote(raw), quote(raw, safe=""), quote_plus(raw)}
    # quoted with lower-case digits, as some other languages do
    forms |= {_lower_escapes(form) for form in (quote(raw), quote(raw, safe=""), quote_plus(raw))}
    forms.add(repr(raw)[2:-1])
    encoded = set()
    for offset in range(3):
        # base64 of "user:secret" does not contain base64 of "secret" but where the byte groups happen to
        # agree: take the characters that depend on the secret alone, for each of the three ways in which
        #     it can fall
        text = base64.b64encode(b"\0" * offset + raw).decode()
        start = (0, 2, 3)[offset]
        whole = (offset + len(raw)) % 3
        core = text.rstrip("=")[start : None if whole == 0 else -1]
        encoded |= {core, core.replace("+", "-").replace("/", "_")}
    encoded.add(base64.b64encode(raw).decode())
    encoded.add(raw.hex())
    forms |= {form for form in encoded if len(form) >= _MIN_ENCODED}
    return tuple(form for form in forms if len(form) >= _MIN_LITERAL and form.strip("*"))


def _lower_escapes(text: str) -> str:
    head, *rest = text.split("%")
    return head + "".join("%" + part[:2].lower() + part[2:] for part in rest)


class MaskedRepr(str):
    """A text that stands for an object that `Redactor.redact_value` could not copy."""

    __slots__ = ()


class _ValueWalk:
    """One pass of `Redactor.redact_value`: remembers the containers that it is inside of, for cycles."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self.inside: set[int] = set()

    def walk(self, value: Any, depth: int, secret: bool = False) -> Any:
        """`secret`: the name that this value stands under promises a secret."""
        try:
            return self._walk(value, depth, secret)
        except Exception:  # noqa: BLE001 - one class that cannot be copied must not lose the log line
            return MASK if secret else MaskedRepr(self.redactor.redact_repr(value))

    def _walk(self, value: Any, depth: int, secret: bool) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            if secret:
                return MASK if value else value
            # an Enum that is also a str is its text as far as secrets go, and stays itself where it has none
            masked = self.redactor.redact_text(str.__str__(value))
            return value if masked == str.__str__(value) else masked
        if isinstance(value, (bytes, bytearray)):
            return self._bytes(value, secret)
        if isinstance(value, (Secret, SecretStr, SecretBytes)):
            return value
        rebuild = self._container(value)
        if rebuild is None:
            return MASK if secret else value
        if depth >= _MAX_DEPTH or id(value) in self.inside:
            return MaskedRepr("…")
        self.inside.add(id(value))
        try:
            return rebuild(value, depth + 1, secret)
        finally:
            self.inside.discard(id(value))

    def _container(self, value: Any) -> Callable[[Any, int, bool], Any] | None:
        if isinstance(value, dict):
            return self._dict
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self._named_tuple
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._sequence
        if isinstance(value, BaseModel):
            return self._model
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._dataclass
        return None

    def _bytes(self, value: bytes | bytearray, secret: bool) -> Any:
        if secret:
            return type(value)(MASK.encode()) if value else value
        text = value.decode("utf-8", "surrogateescape")
        masked = self.redactor.redact_text(text)
        return value if masked == text else type(value)(masked.encode("utf-8", "surrogateescape"))

    def _dict(self, value: dict[Any, Any], depth: int, secret: bool) -> Any:
        result: dict[Any, Any] = {}
        changed = False
        for key, item in value.items():
            new_key = self.walk(key, depth) if isinstance(key, (str, bytes, tuple, frozenset)) else key
            new_item = self.walk(item, depth, secret or is_secret_name(key))
            changed = changed or new_key is not key or new_item is not item
            base, count = new_key, 2
            while new_key in result:  # two keys that were masked alike must not swallow each other
                new_key, count = f"{base} ({count})", count + 1
            result[new_key] = new_item
        return _same_class(value, result, lambda: type(value)(result)) if changed else value

    def _sequence(self, value: Any, depth: int, secret: bool) -> Any:
        items = list(value)
        # a header as a pair, in the way of httpx and of every WSGI server
        pair = isinstance(value, tuple) and len(items) == 2 and is_secret_name(items[0])
        new = [self.walk(item, depth, secret or (pair and at == 1)) for at, item in enumerate(items)]
        if all(a is b for a, b in zip(items, new, strict=True)):
            return value
        return type(value)(new)

    def _named_tuple(self, value: Any, depth: int, secret: bool) -> Any:
        new = self._fields(dict(zip(value._fields, value, strict=True)), depth, secret)
        return value._replace(**new) if new else value

    def _model(self, value: BaseModel, depth: int, secret: bool) -> Any:
        new = self._fields(dict(value.__dict__), depth, secret)
        extra = self._fields(dict(value.__pydantic_extra__ or {}), depth, secret)
        private = self._fields(dict(value.__pydantic_private__ or {}), depth, secret)
        if not (new or extra or private):
            return value
        # without model_copy(): it may be overridden, and a mask need not satisfy the model's validators
        copy = type(value).__new__(type(value))
        object.__setattr__(copy, "__dict__", {**value.__dict__, **new})
        object.__setattr__(copy, "__pydantic_fields_set__", set(value.__pydantic_fields_set__))
        for name, changed in (("__pydantic_extra__", extra), ("__pydantic_private__", private)):
            old = getattr(value, name)
            object.__setattr__(copy, name, None if old is None else {**old, **changed})
        return copy

    def _dataclass(self, value: Any, depth: int, secret: bool) -> Any:
        names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
        state = {**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in names}}
        new = self._fields(state, depth, secret)
        if not new:
            return value
        copy = object.__new__(type(value))
        for name, item in {**state, **new}.items():
            object.__setattr__(copy, name, item)
        return copy

    def _fields(self, state: dict[str, Any], depth: int, secret: bool) -> dict[str, Any]:
        """The fields that changed."""
        walked = {k: self.walk(v, depth, secret or is_secret_name(k)) for k, v in state.items()}
        return {name: item for name, item in walked.items() if item is not state[name]}


def _same_class(old: dict[Any, Any], new: dict[Any, Any], build: Callable[[], Any]) -> Any:
    """A plain dict as it is; a subclass through its own `copy`, which keeps what defaultdict has besides."""
    if type(old) is dict:
        return new
    try:
        copied = old.copy()
        copied.clear()
        copied.update(new)
    except Exception:  # noqa: BLE001
        return build()
    return copied


#: the redactor of the process; a `Secret` declares itself here
REDACTOR: Final = Redactor()

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class RedactingFilter(logging.Filter):
    """Masks secrets in log records: message, arguments, traceback, stack and extra fields. Drops none.

    Put it on a handler (``handler.addFilter(RedactingFilter())``): filters of a logger do not see the
    records of its children. It changes the record itself, which the handlers after it see masked too. The
    exception is turned into text here, since its objects would carry the secret past the filter.
    """

    def __init__(self, redactor: Redactor | None = None, name: str = "") -> None:
        super().__init__(name)
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        redactor = self._redactor if self._redactor is not None else REDACTOR
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - wrong arguments, which logging would print unmasked to stderr
            message = f"{record.msg} {redactor.redact_repr(record.args)}"
        record.msg, record.args = redactor.redact_text(message), None
        if record.exc_info and not record.exc_text:
            kind, error, frames = record.exc_info
            record.exc_text = "".join(traceback.format_exception(kind, error, frames)).rstrip("\n")
        if record.exc_text:
            record.exc_text = redactor.redact_text(record.exc_text)
        record.exc_info = None
        if record.stack_info:
            record.stack_info = redactor.redact_text(record.stack_info)
        for name, item in list(record.__dict__.items()):
            if name not in _STANDARD:
                record.__dict__[name] = redactor.redact_value({name: item})[name]
        return True
