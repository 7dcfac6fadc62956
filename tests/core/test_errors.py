"""The tree of exceptions: one name for each, whichever file it stands in."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import re
from collections.abc import Iterator

import pytest

from dataflows_sdk import errors
from dataflows_sdk.core.recorded import data_to_error, error_to_data
from dataflows_sdk.errors import BadRowsError, ControlFlow, DataflowsError, RecordedError, RetryAfter, StepFailed

_FILES = [importlib.import_module(f"{errors.__name__}.{each.name}") for each in pkgutil.iter_modules(errors.__path__)]


def defined() -> Iterator[type]:
    for file in _FILES:
        for name, found in vars(file).items():
            if isinstance(found, type) and issubclass(found, (DataflowsError, ControlFlow)) and name == found.__name__:
                yield found


def test_every_class_is_to_be_had_under_the_name_of_the_package() -> None:
    assert len(_FILES) > 5
    found = {each.__name__: each for each in defined()}
    assert set(errors.__all__) == {*found, "BadRow"}
    for name, each in found.items():
        assert getattr(errors, name) is each
        assert each.__module__ == "dataflows_sdk.errors"
        assert each.__doc__
    drawn = set(re.findall(r"^[ │├└─]*([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE))
    assert found.keys() <= drawn


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name not in ("BadRow", "BadRowsError")])
def test_what_was_recorded_and_pickled_is_found_again(name: str) -> None:
    kind = getattr(errors, name)
    error = kind("so it is")
    assert pickle.loads(f"cdataflows_sdk.errors\n{name}\n.".encode()) is kind  # as it was written before
    assert type(pickle.loads(pickle.dumps(error))) is kind
    if issubclass(kind, ControlFlow) or kind is RecordedError:
        return
    data = error_to_data(error)
    assert data["type"] == f"dataflows_sdk.errors:{name}"
    again = data_to_error(data)
    assert (type(again), str(again)) == (kind, str(error))


def test_a_class_without_a_message_says_what_it_is_in_one_line() -> None:
    for kind in set(defined()) - {BadRowsError, RetryAfter}:
        if not issubclass(kind, DataflowsError) or kind is errors.QueryRefusedError:
            continue
        text = str(kind())
        assert text
        assert "\n" not in text
        assert "Attributes" not in text
    assert str(StepFailed()) == "A step failed for good."
    assert str(RecordedError()).endswith("carried as it was recorded.")
