"""What a process knows."""

from __future__ import annotations

from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.engine.catalog import Catalog
from dataflows_sdk.errors import DuplicateWorkflowError


def one(event: Any, step: Any) -> int:
    return 1


def other(event: Any, step: Any) -> int:
    return 2


def test_several_are_made_known_together_or_not_at_all() -> None:
    catalog = Catalog()
    catalog.add(df.Workflow("taken", one))
    seen: list[set[str]] = []
    catalog.listen(lambda: seen.append(catalog.names()))
    with pytest.raises(DuplicateWorkflowError, match="taken"):
        catalog.add(df.Workflow("new", one), df.Workflow("taken", other))
    with pytest.raises(DuplicateWorkflowError, match="twice"):
        catalog.add(df.Workflow("twice", one), df.Workflow("twice", other))
    assert (seen, catalog.names()) == ([], {"taken"})
    catalog.add(df.Workflow("one", one), df.Workflow("two", other))
    assert seen == [{"taken", "one", "two"}]
