"""One definition of a view: what was asked for, and what PostgreSQL's plan and refusals say about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.store.statements import RefusedError
from dataflows_sdk.triggers.schedule import Schedule
from dataflows_sdk.warehouse.view_text import JOURNAL, checked_columns, checked_name, checked_text, explained

#: columns of a view go or change
_CHANGED_COLUMNS = "42P16"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a definition asks for."""

    name: str
    sql: str
    kind: str
    key: tuple[str, ...]
    description: str | None
    schedule: Schedule | None
    restored_from: int | None = None


class ChangedColumnsError(Exception):
    """A view cannot be replaced where it stands, because columns go or change."""


@contextmanager
def told(wanted: Wanted, known: Sequence[str], before: str, *, replace: bool = False) -> Iterator[None]:
    """Tell the author of a view what PostgreSQL has against the text that follows *before*."""
    try:
        yield
    except RefusedError as refused:
        if replace and refused.sqlstate == _CHANGED_COLUMNS:
            raise ChangedColumnsError from refused
        raise explained(refused, wanted.name, wanted.sql, len(before), known) from None


def wanted_view(name: Any, sql: Any, materialized: bool, key: Any, refresh: Any, description: Any) -> Wanted:
    """What the arguments of a definition ask for.

    Raises:
        DefinitionError: one of them cannot be.
    """
    checked_name(name)
    text = checked_text(name, sql)
    if (key is not None or refresh is not None) and not materialized:
        what = "key=" if key is not None else "refresh="
        raise DefinitionError(
            f"view {name!r}: {what} is for views that keep their rows (materialized=True); others are always fresh"
        )
    if description is not None and (not isinstance(description, str) or "\0" in description):
        raise DefinitionError(f"view {name!r}: description= is a text, not {description!r:.100}")
    columns = () if key is None else checked_columns(name, key)
    return Wanted(name, text, "m" if materialized else "v", columns, description or None, _schedule(refresh))


def _schedule(given: Any) -> Schedule | None:
    """``"5m"`` and numbers are intervals, ``"0 6 * * *"`` and ``"@daily"`` are cron."""
    if given is None or isinstance(given, Schedule):
        return given
    if isinstance(given, str) and (given.startswith("@") or len(given.split()) > 2):
        return Schedule.cron(given)
    return Schedule.every(given)


def schedule_of(config: Any) -> Schedule | None:
    """The schedule as it is kept in the database."""
    return None if config is None else Schedule.from_config(config)


def tables_of(plan: Any) -> Iterator[str]:
    """PostgreSQL's own tables in a plan."""
    if isinstance(plan, list):
        for each in plan:
            yield from tables_of(each)
    elif isinstance(plan, dict):
        if plan.get("Schema") == "pg_catalog":
            yield str(plan.get("Relation Name"))
        yield from tables_of([each for each in plan.values() if isinstance(each, list | dict)])


def secret(name: str, relation: str) -> DefinitionError:
    """A view reads what is not for everybody."""
    return DefinitionError(
        f"view {name!r} would show {relation}, which may hold secrets, to everybody who reads the warehouse; of the "
        f"schema dataflows a view reads {', '.join(JOURNAL)}"
    )


def content(wanted: Wanted) -> tuple[str, bool, tuple[str, ...]]:
    """What makes a version."""
    return wanted.sql, wanted.kind == "m", wanted.key
