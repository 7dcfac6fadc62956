from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_sdk import errors
from dataflows_sdk.core.recorded import data_to_error, error_to_data
from dataflows_sdk.core.redact import Redactor
from dataflows_sdk.errors import NonRetryableError, RecordedError, StepFailed


class OutOfStock(Exception):
    def __init__(self, item: str, left: int) -> None:
        super().__init__(item, left)
        self.item = item

    def __str__(self) -> str:
        return f"{self.item} is out of stock"


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def there_and_back(error: BaseException) -> Exception:
    data = error_to_data(error)
    assert json.loads(json.dumps(data)) == data
    return data_to_error(json.loads(json.dumps(data)))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        ValueError(),
        ValueError("a", 1, None, 2.5, True),
        KeyError("missing"),
        KeyError(7),
        ZeroDivisionError("division by zero"),
        TimeoutError("late"),
        OSError(2, "No such file"),
        AttributeError("x"),
        IndexError(""),
        RuntimeError("zoë ☃"),
        NonRetryableError("stop"),
        errors.StepTimeoutError(),
        errors.MissingExtraError("x"),
        StepFailed("step failed"),
    ],
    ids=repr,
)
def test_known_exceptions_come_back_as_themselves(error: Exception) -> None:
    back = there_and_back(raised(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert "test_recorded.py" in back.recorded_traceback  # type: ignore[attr-defined]
    assert error_to_data(back)["traceback"] == error_to_data(error)["traceback"]


def test_an_error_with_a_file_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "nothing").read_text()
    back = there_and_back(caught.value)
    assert type(back) is FileNotFoundError
    assert str(back) == str(caught.value)
    assert (back.errno, back.strerror, back.filename) == (2, "No such file or directory", str(tmp_path / "nothing"))


def test_exceptions_of_loaded_modules_come_back_as_themselves() -> None:
    error = OutOfStock("tea", 0)
    error.shelves = [{"name": "A", "api_token": "s3cret"}, None]  # type: ignore[attr-defined]
    error.clerk = object()  # type: ignore[attr-defined]
    error.password = "hunter2"  # type: ignore[attr-defined]
    data = error_to_data(raised(error))
    assert data["type"] == f"{__name__}:OutOfStock"
    assert data["message"] == "tea is out of stock"
    assert data["args"] == ["tea", 0]
    shelves = [{"name": "A", "api_token": "***"}, None]
    assert data["fields"] == {"item": "tea", "shelves": shelves, "password": "***"}
    assert "raise error" in data["traceback"]
    back = data_to_error(json.loads(json.dumps(data)))
    assert type(back) is OutOfStock
    assert (back.item, back.args, back.shelves) == ("tea", ("tea", 0), shelves)  # type: ignore[attr-defined]
    assert str(back) == "tea is out of stock"
    assert error_to_data(raised(back)) == data, "recorded again it is the same"


@pytest.mark.parametrize(
    "name",
    [
        "nobody.knows:OutOfStock",
        f"{__name__}:Nothing",
        f"{__name__}:json",
        f"{__name__}:Calls.inner",
        "os:system",
        "a:",
        ":b",
    ],
)
def test_other_exceptions_are_carried(name: str) -> None:
    data = {"type": name, "message": "gone", "args": ["gone"], "fields": {"left": 0}, "traceback": "…"}
    back = data_to_error(data)
    assert type(back) is RecordedError
    assert (str(back), back.type, back.error) == (f"{name}: gone", name, data)
    assert error_to_data(raised(back)) == data, "recorded again it is the same"


class Calls(Exception):
    """Counts the calls of its constructor."""

    calls = 0

    def __init__(self, _needed: object) -> None:
        type(self).calls += 1
        super().__init__("told")


def test_the_constructor_of_a_foreign_class_is_not_called() -> None:
    data = error_to_data(raised(Calls(1)))
    back = data_to_error(data)
    assert (type(back), str(back), Calls.calls) == (Calls, "told", 1)


def test_errors_of_the_library_keep_what_they_know() -> None:
    error = errors.HttpStatusError("no", 404, "not here", {"x-a": "1", "set-cookie": "session=abc"})
    back = there_and_back(raised(error))
    assert isinstance(back, errors.HttpStatusError)
    assert (back.status, back.body, back.headers["x-a"]) == (404, "not here", "1")
    snippet = there_and_back(errors.SnippetError("s", "syntax", "SyntaxError", "x", 3, 4))
    assert isinstance(snippet, errors.SnippetError)
    assert (snippet.kind, snippet.line, snippet.column) == ("syntax", 3, 4)
    damaged = {"type": "ValueError", "message": "x", "fields": ["no", "mapping"]}
    assert type(data_to_error(damaged)) is ValueError


def test_attributes_that_are_too_much_are_left_out() -> None:
    error = ValueError("x")
    error.long, error.many, error.deep, error.fine = "x" * 30_000, list(range(1_000)), {1: 2}, {"a": [1.5]}  # type: ignore[attr-defined]
    assert error_to_data(error)["fields"] == {"fine": {"a": [1.5]}}


def test_what_cannot_be_rebuilt_is_carried() -> None:
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    back = there_and_back(error)
    assert type(back) is RecordedError
    assert "invalid start byte" in str(back)


@pytest.mark.parametrize(
    "error",
    [StopIteration("x"), StopAsyncIteration(), KeyboardInterrupt(), SystemExit(3), GeneratorExit()],
    ids=repr,
)
def test_what_would_steer_the_interpreter_is_carried(error: BaseException) -> None:
    back = there_and_back(error)
    assert type(back) is RecordedError
    assert back.type == type(error).__name__


def test_causes_contexts_and_notes() -> None:
    def chain() -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError:
                raise ValueError("second")  # noqa: B904
        except ValueError as error:
            error.add_note("a note")
            raise RuntimeError("third") from error

    with pytest.raises(RuntimeError) as caught:
        chain()
    data = error_to_data(caught.value)
    assert data["cause"]["message"] == "second"
    assert data["cause"]["notes"] == ["a note"]
    assert data["cause"]["context"]["type"] == "KeyError"
    assert "context" not in data
    assert "second" not in data["traceback"].splitlines()[-1]
    back = data_to_error(data)
    assert isinstance(back.__cause__, ValueError)
    assert back.__cause__.__notes__ == ["a note"]
    assert isinstance(back.__cause__.__context__, KeyError)


def test_a_suppressed_context_stays_away() -> None:
    with pytest.raises(ValueError) as caught:
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("shown") from None
    assert "hidden" not in json.dumps(error_to_data(caught.value))


def test_cycles_and_long_chains_end() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert "cause" not in error_to_data(one)["cause"]
    top = ValueError("0")
    for n in range(1, 5_000):
        above = ValueError(str(n))
        above.__cause__ = top
        top = above
    data = error_to_data(top)
    back: BaseException | None = data_to_error(data)
    depth = 0
    while back is not None:
        back, depth = back.__cause__, depth + 1
    assert depth == 11


def test_groups() -> None:
    group = raised(ExceptionGroup("several", [ValueError("a"), ExceptionGroup("inner", [OutOfStock("tea", 0)])]))
    back = there_and_back(group)
    assert type(back) is ExceptionGroup
    assert back.message == "several"
    first, second = back.exceptions
    assert (type(first), str(first)) == (ValueError, "a")
    assert isinstance(second, ExceptionGroup)
    assert isinstance(second.exceptions[0], OutOfStock)
    assert isinstance(there_and_back(BaseExceptionGroup("x", [KeyboardInterrupt()])), RecordedError)


def test_secrets_do_not_get_in() -> None:
    redactor = Redactor("hunter2-token")
    error = raised(ValueError("with hunter2-token", "hunter2-token"))
    error.add_note("hunter2-token")
    error.__cause__ = OutOfStock("hunter2-token", 1)
    text = json.dumps(error_to_data(error, redactor.redact_text))
    assert "hunter2" not in text
    assert "***" in text
    again = data_to_error(error_to_data(OutOfStock("tea hunter2-token", 1)))
    assert "hunter2" not in json.dumps(error_to_data(again, redactor.redact_text))


def test_odd_exceptions() -> None:
    data = error_to_data(raised(Broken()))
    assert data["message"] == "<Broken whose text raised RuntimeError>"
    assert data_to_error(data)
    nasty = error_to_data(ValueError("nul \0 and \ud800", float("nan")))
    json.dumps(nasty, allow_nan=False).encode()
    assert "\0" not in nasty["message"]
    nasty["message"].encode()
    long = error_to_data(ValueError("x" * 100_000))
    assert len(long["message"]) < 25_000
    assert "left out" in long["message"]
    notes = ValueError("x")
    notes.__notes__ = "not a list"  # type: ignore[assignment]
    assert "notes" not in error_to_data(notes)


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        [],
        "text",
        {},
        {"type": None},
        {"type": "os.system", "message": "ls"},
        {"type": "eval", "message": "1/0"},
        {"type": "exit", "message": "0"},
        {"type": "int", "message": "7"},
        {"type": "os:system", "args": ["ls"]},
        {"type": "dataflows_sdk.errors:annotations"},
        {"type": "dataflows_sdk.errors:ControlFlow", "message": "x"},
        {"type": "dataflows_sdk.errors:RecordedError", "message": "x"},
        {"type": "ExceptionGroup", "message": "x"},
        {"type": "ExceptionGroup", "exceptions": [], "message": "x"},
        {
            "type": "ValueError",
            "message": "x",
            "args": {"not": "a list"},
            "cause": 7,
            "notes": 3,
            "exceptions": "no",
        },
    ],
    ids=repr,
)
def test_damaged_records_give_an_exception(data: Any) -> None:
    error = data_to_error(data)
    assert isinstance(error, Exception)
    if isinstance(data, dict) and data.get("type") != "ValueError":
        assert type(error) is RecordedError


def test_no_builtin_that_is_no_error_can_be_named() -> None:
    for name in dir(builtins):
        error = data_to_error({"type": name, "message": "x", "args": ["x"]})
        assert isinstance(error, Exception)
        assert type(error) in (getattr(builtins, name), RecordedError)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["type", "message", "args", "cause", "context", "notes", "exceptions", "traceback"]),
                inner,
            )
        ),
    )
)
def test_no_record_breaks_it(data: Any) -> None:
    assert isinstance(data_to_error(data), Exception)
