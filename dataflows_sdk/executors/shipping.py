"""Functions, values and exceptions on their way between processes that trust each other. None of it is ever stored.

They travel as pickles. cloudpickle, where it is installed, sends what another process cannot import: functions and
classes of ``__main__`` (a notebook, a script), lambdas and closures.
"""

from __future__ import annotations

import importlib.util
import io
import pickle
from functools import cache
from types import FunctionType
from typing import Any

from dataflows_sdk.errors import NotSerializableError

_EXTRA = "pip install 'dataflows-sdk[process]'"


@cache
def _cloudpickle() -> Any:
    return importlib.import_module("cloudpickle") if importlib.util.find_spec("cloudpickle") is not None else None


class _Strict(pickle.Pickler):
    """Refuses what would only fail on the other side, by a message that does not say why."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type | FunctionType) and value.__module__ == "__main__":
            raise pickle.PicklingError(f"{value.__qualname__} is defined in __main__, which is another module there")
        return NotImplemented


def dumps_call(call: Any, what: str, executor: str) -> bytes:
    """A function with its arguments as bytes.

    Raises:
        NotSerializableError: that cannot be done; the message says what to do.
    """
    cloudpickle = _cloudpickle()
    try:
        if cloudpickle is not None:
            packed: bytes = cloudpickle.dumps(call)
            return packed
        buffer = io.BytesIO()
        _Strict(buffer, pickle.HIGHEST_PROTOCOL).dump(call)
        return buffer.getvalue()
    except Exception as error:
        way_out = "give it plain values, and let the function open what it needs"
        if cloudpickle is None:
            way_out = (
                "use a function of a module that can be imported, "
                f"or install cloudpickle, which sends those of notebooks and scripts and lambdas too: {_EXTRA}"
            )
        raise NotSerializableError(
            f"{what}: its function or its arguments cannot be sent to executor {executor!r} ({error}); {way_out}",
            "arguments",
        ) from error


def loads(data: bytes) -> Any:
    """The values of bytes that a process of ours made."""
    return pickle.loads(data)  # noqa: S301 - see above


def _dumps(value: Any) -> bytes:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:
        # an instance of a class that came here by value: plain pickle looks for it in our __main__
        cloudpickle = _cloudpickle()
        if cloudpickle is None:
            raise
        packed: bytes = cloudpickle.dumps(value)
        return packed


def dumps_answer(result: Any, error: Exception | None, what: str) -> bytes:
    """What a function returned or raised, as bytes."""
    if error is None:
        try:
            return _dumps(("result", result))
        except Exception as broken:  # noqa: BLE001 - whatever __reduce__ of a foreign class raises
            error = NotSerializableError(
                f"{what}, a {type(result).__name__}, cannot be sent back: {broken}; return plain values", "$"
            )
    from dataflows_sdk.core.recorded import error_to_data

    data = error_to_data(error, str)  # masked where it is recorded, as every error is
    return _dumps(("error", _packed(error), data))


def _packed(error: Exception) -> bytes | None:
    """An exception as bytes, if it comes back from them: many have constructors that pickle does not know to call."""
    try:
        packed = _dumps(error)
        same = loads(packed)
        return packed if type(same) is type(error) and str(same) == str(error) else None
    except Exception:  # noqa: BLE001 - then its data have to do
        return None


def open_answer(answer: bytes, what: str) -> Any:
    """The result in an answer, or its exception raised.

    Raises:
        NotSerializableError: the result cannot be loaded here.
    """
    try:
        kind, *content = loads(answer)
    except Exception as error:
        raise NotSerializableError(
            f"{what} cannot be loaded here: {type(error).__name__}: {error}; return values of classes that both "
            "processes can import",
            "$",
        ) from error
    if kind == "result":
        return content[0]
    raise _opened(*content)


def _opened(packed: bytes | None, data: dict[str, Any]) -> Exception:
    from dataflows_sdk.core.recorded import data_to_error

    recorded = data_to_error(data)
    if packed is None:
        return recorded
    try:
        error = loads(packed)
        assert isinstance(error, Exception)
    except Exception:  # noqa: BLE001 - its class is not here
        return recorded
    _dress(error, recorded, data)
    return error


def _dress(error: BaseException, recorded: BaseException, data: dict[str, Any]) -> None:
    """Give an exception what a pickle leaves behind: its traceback, as text, and what it came from."""
    text = data.get("traceback")
    if isinstance(text, str):
        error.recorded_traceback = text  # type: ignore[attr-defined]
    error.__cause__ = recorded.__cause__
    error.__context__ = recorded.__context__
    error.__suppress_context__ = recorded.__suppress_context__
    inner = data.get("exceptions")
    if isinstance(error, BaseExceptionGroup) and isinstance(recorded, BaseExceptionGroup) and inner:
        for each, other, its in zip(error.exceptions, recorded.exceptions, inner, strict=False):
            _dress(each, other, its)
