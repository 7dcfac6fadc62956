"""Exceptions as data, and back."""

from __future__ import annotations

import builtins
import sys
import traceback
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from dataflows_sdk import errors
from dataflows_sdk.core.homes import SCOPE, home_of
from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.core.redact_patterns import MASK, is_secret_name
from dataflows_sdk.errors import DataflowsError, RecordedError

__all__ = ["data_to_error", "error_to_data"]

_MAX_CAUSES = 10
_MAX_GROUP = 50
_MAX_TEXT = 20_000
_MAX_ARGS = 10
_MAX_FIELDS = 50
_MAX_ITEMS = 500
#: attributes that are ours, or no news
_OWN = frozenset({"recorded_traceback"})
#: what an OSError keeps outside of its dictionary, in the order of its constructor
_OF_OS = ("errno", "strerror", "filename", "filename2")

#: raising one of these again would not tell of the error but steer the interpreter or a generator
_STEERING = (StopIteration, StopAsyncIteration)


def error_to_data(error: BaseException, redact: Callable[[str], str] = REDACTOR.redact_text) -> dict[str, Any]:
    """An exception as plain JSON, with its secrets masked.

    Args:
        error: any exception.
        redact: masks a text, such as `Redactor.redact_text`.

    Returns:
        ``type`` (``ValueError``, ``shop.models:OutOfStock``), ``message``, ``traceback`` (text, without
        its causes); where there are some, ``args`` (if they are plain), ``fields`` (attributes that are plain),
        ``notes``, ``cause`` (raised from), ``context`` (raised while handling) and ``exceptions`` (of a group),
        each of the same shape.
    """
    return _to_data(error, redact, set(), 0)


def _to_data(error: BaseException, redact: Callable[[str], str], seen: set[int], depth: int) -> dict[str, Any]:
    seen.add(id(error))
    if isinstance(error, RecordedError) and error.error:
        # it was recorded before: what it stands for is recorded again, not its stand-in
        return {str(key): _clean(item, redact) for key, item in error.error.items()}
    data: dict[str, Any] = {"type": _type_of(error), "message": _text(_str(error), redact)}
    arguments = error.args
    if len(arguments) <= _MAX_ARGS and all(type(a) in (str, int, float, bool, type(None)) for a in arguments):
        data["args"] = [_text(a, redact) if type(a) is str else _number(a) for a in arguments]
    fields = _fields(error, redact)
    if fields:
        data["fields"] = fields
    data["traceback"] = _text(_traceback(error), redact)
    notes = [_text(note, redact) for note in _notes(error)]
    if notes:
        data["notes"] = notes
    cause = error.__cause__
    context = None if cause is not None or error.__suppress_context__ else error.__context__
    for name, other in (("cause", cause), ("context", context)):
        if other is not None and id(other) not in seen and depth < _MAX_CAUSES:
            data[name] = _to_data(other, redact, seen, depth + 1)
    if isinstance(error, BaseExceptionGroup) and depth < _MAX_CAUSES:
        data["message"] = _text(error.message, redact)
        data["exceptions"] = [_to_data(inner, redact, seen, depth + 1) for inner in error.exceptions[:_MAX_GROUP]]
    return data


def _type_of(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{home_of(kind)}:{kind.__qualname__}"


def _str(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - a foreign __str__
        return f"<{type(error).__name__} whose text raised {type(broken).__name__}>"


def _fields(error: BaseException, redact: Callable[[str], str]) -> dict[str, Any]:
    """The attributes of an exception that JSON can hold, without those that promise a secret."""
    given = {name: getattr(error, name) for name in _OF_OS} if isinstance(error, OSError) else {}
    found: dict[str, Any] = {}
    for name, value in (*given.items(), *vars(error).items()):
        if not isinstance(name, str) or name.startswith("_") or name in _OWN or len(found) >= _MAX_FIELDS:
            continue
        try:
            plain = _plain(value, redact, [_MAX_ITEMS])
        except TypeError:
            continue
        if plain is not None:
            found[name] = MASK if is_secret_name(name) else plain
    return found


def _plain(value: Any, redact: Callable[[str], str], room: list[int]) -> Any:
    """The same value, its secrets masked; TypeError where it is not of JSON's own types, or too much."""
    room[0] -= 1
    kind = type(value)
    if room[0] < 0 or (kind is str and len(value) > _MAX_TEXT):
        raise TypeError
    if kind in (bool, int, type(None)):
        return value
    if kind is float:
        return _number(value)
    if kind is str:
        return _text(value, redact)
    if kind is list:
        return [_plain(item, redact, room) for item in value]
    if kind is dict and all(type(key) is str for key in value):
        return {
            _text(key, redact): MASK if is_secret_name(key) else _plain(item, redact, room)
            for key, item in value.items()
        }
    raise TypeError


def _number(value: Any) -> Any:
    return str(value) if type(value) is float and value - value != 0 else value


def _text(text: str, redact: Callable[[str], str]) -> str:
    # masked before it is cut; and PostgreSQL takes neither NUL nor lone surrogates
    masked = redact(text).encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    if len(masked) <= _MAX_TEXT:
        return masked
    half = _MAX_TEXT // 2
    return f"{masked[:half]}\n… {len(masked) - 2 * half} characters left out …\n{masked[-half:]}"


def _traceback(error: BaseException) -> str:
    recorded = getattr(error, "recorded_traceback", None)
    if isinstance(recorded, str):
        return recorded
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__, chain=False))
    except Exception as broken:  # noqa: BLE001 - formatting calls __str__, and reads source files
        return f"<a traceback that cannot be shown: {type(broken).__name__}>"


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", None)
    return [note for note in notes if isinstance(note, str)][:_MAX_GROUP] if isinstance(notes, (list, tuple)) else []


def _clean(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return _text(value, redact)
    if isinstance(value, Mapping):
        return {str(key): _clean(item, redact) for key, item in value.items()}
    return [_clean(item, redact) for item in value] if isinstance(value, (list, tuple)) else value


def data_to_error(data: Mapping[str, Any]) -> Exception:
    """An exception to raise in the place of the recorded one.

    Exceptions come back as themselves, with their plain attributes, if one made from the record says the same: builtin
    ones, those of `dataflows_sdk.errors`, and those of any module that is loaded. They carry the old traceback as
    ``recorded_traceback``. A name in a record is never imported, and the constructor of a foreign class not called.
    Everything else is a `RecordedError` with the whole record in ``.error``. Notes, causes and the members of a group
    come back too. Never raises for a record that is damaged.
    """
    return _to_error(data, 0)


def _to_error(data: object, depth: int) -> Exception:
    if not isinstance(data, Mapping):
        return RecordedError(f"a damaged record of an error: {data!r:.200}")
    record = {str(key): value for key, value in data.items()}
    name, message = str(record.get("type", "")), str(record.get("message", ""))
    inner = record.get("exceptions")
    given = record.get("fields")
    fields = {str(key): value for key, value in given.items()} if isinstance(given, Mapping) else {}
    error = (
        _group(name, message, inner, depth)
        or _rebuilt(name, message, record.get("args"), fields)
        or _revived(name, message, record.get("args"), fields)
    )
    if error is None:
        error = RecordedError(f"{name}: {message}" if name else message, record)
    else:
        error.recorded_traceback = str(record.get("traceback", ""))  # type: ignore[attr-defined]
    notes = record.get("notes")
    for note in notes if isinstance(notes, list) else ():
        error.add_note(str(note))
    if depth < _MAX_CAUSES:
        if record.get("cause") is not None:
            error.__cause__ = _to_error(record["cause"], depth + 1)
        elif record.get("context") is not None:
            error.__context__ = _to_error(record["context"], depth + 1)
    return error


def _group(name: str, message: str, inner: object, depth: int) -> Exception | None:
    if name != "ExceptionGroup" or not isinstance(inner, list) or not inner or depth >= _MAX_CAUSES:
        return None
    return ExceptionGroup(message, [_to_error(item, depth + 1) for item in inner])


def _rebuilt(name: str, message: str, arguments: object, fields: dict[str, Any]) -> Exception | None:
    """An exception of the language or the library, made by its constructor."""
    kind = _known_class(name)
    if kind is None:
        return None
    attempts: list[list[Any]] = [arguments] if isinstance(arguments, list) else []
    if issubclass(kind, OSError) and fields.get("errno") is not None:
        number, text, file, other = (fields.pop(name, None) for name in _OF_OS)
        attempts.insert(0, [number, text] if file is None else [number, text, file, None, other])
    for given in (*attempts, [message], []):
        try:
            error = kind(*given)
            if type(error) is kind and str(error) == message:
                vars(error).update(fields)
                return error
        except Exception:  # noqa: BLE001, S112 - a constructor that wants something else
            continue
    return None


def _revived(name: str, message: str, arguments: object, fields: dict[str, Any]) -> Exception | None:
    """An exception of somebody else's class, put together without its constructor."""
    kind = _loaded_class(name)
    if kind is None:
        return None
    for given in (arguments, [message]):
        if not isinstance(given, list):
            continue
        try:
            error = kind.__new__(kind)
            error.args = tuple(given)
            vars(error).update(fields)
            if type(error) is kind and str(error) == message:
                return error
        except Exception:  # noqa: BLE001, S112 - it cannot be what it was
            continue
    return None


def _loaded_class(name: str) -> type[Exception] | None:
    """A class by its name, where its module is loaded; nothing is imported, nor any code of the module run."""
    module, colon, qualname = name.partition(":")
    if not colon:
        return None
    loaded = sys.modules.get(module)
    for namespace in (SCOPE.get(), vars(loaded) if isinstance(loaded, ModuleType) else None):
        if namespace is not None and (found := _class_in(namespace, module, qualname)) is not None:
            return found
    return None


def _class_in(namespace: Mapping[str, Any], module: str, qualname: str) -> type[Exception] | None:
    first, *rest = qualname.split(".")
    place: Any = namespace.get(first)
    for word in rest:
        place = vars(place).get(word) if isinstance(place, type) else None
    if not isinstance(place, type) or not issubclass(place, Exception):
        return None
    if (home_of(place), place.__qualname__) != (module, qualname):
        return None
    return None if issubclass(place, (*_STEERING, RecordedError, BaseExceptionGroup)) else place


def _known_class(name: str) -> type[Exception] | None:
    """A class by its name, out of two fixed places."""
    module, colon, short = name.rpartition(":")
    kind = getattr(errors, short, None) if colon and module == errors.__name__ else getattr(builtins, name, None)
    if not isinstance(kind, type) or not issubclass(kind, Exception) or issubclass(kind, (*_STEERING, RecordedError)):
        return None
    if colon and not issubclass(kind, DataflowsError):
        return None
    return None if issubclass(kind, BaseExceptionGroup) else kind
