"""ClickUp: projects, tasks and time entries, as version 2 of its API sends them.

A project is a folder. Lists outside of a folder are in a hidden one that each has for itself; there the list is the
project, and its id here is ``list-<id>``. Durations stay in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.warehouse.standard.payloads import after_epoch, flag, inner, number, payload, text


class ClickupProject(BaseModel):
    """The table ``clickup_projects``."""

    project_id: str
    name: str | None = None
    space_id: str | None = None
    archived: bool = False


class ClickupTask(BaseModel):
    """The table ``clickup_tasks``."""

    task_id: str
    custom_id: str | None = None
    name: str | None = None
    status: str | None = None
    status_type: str | None = None
    project_id: str | None = None
    list_id: str | None = None
    list_name: str | None = None
    parent_id: str | None = None
    archived: bool = False
    time_estimate_ms: int | None = None
    time_spent_ms: int | None = None
    url: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    closed_at: datetime | None = None
    due_at: datetime | None = None


class ClickupTimeEntry(BaseModel):
    """The table ``clickup_time_entries``."""

    entry_id: str
    task_id: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    user_name: str | None = None
    billable: bool = False
    duration_ms: int | None = None
    description: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


def project(given: Any) -> dict[str, Any]:
    """The row of a project: from a folder, from a list that is in none, or from a task (the project that it is in).

    Raises:
        DefinitionError: it is none of them, or a task that is in none.
    """
    found, _ = payload(given, "a ClickUp folder, list or task", "id")
    if "list" in found:  # a task
        place, space = _place(found), inner(found, "space")
        if place is None:
            raise DefinitionError(f"the ClickUp task {found['id']!r} is in no folder and in no list")
        return {"project_id": place[0], "name": place[1], "space_id": text(space.get("id")), "archived": False}
    identifier = text(found.get("id"))
    listed = "folder" in found
    return {
        "project_id": f"list-{identifier}" if listed else identifier,
        "name": text(found.get("name")),
        "space_id": text(inner(found, "space").get("id")),
        "archived": flag(found.get("archived")),
    }


def task(given: Any) -> dict[str, Any]:
    """The row of a task.

    Raises:
        DefinitionError: it is no task.
    """
    found, identifier = payload(given, "a ClickUp task", "id")
    status, place, within = inner(found, "status"), _place(found), inner(found, "list")
    return {
        "task_id": identifier,
        "custom_id": text(found.get("custom_id")),
        "name": text(found.get("name")),
        "status": text(status.get("status")),
        "status_type": text(status.get("type")),
        "project_id": None if place is None else place[0],
        "list_id": text(within.get("id")),
        "list_name": text(within.get("name")),
        "parent_id": text(found.get("parent")),
        "archived": flag(found.get("archived")),
        "time_estimate_ms": number(found.get("time_estimate"), "time_estimate"),
        "time_spent_ms": number(found.get("time_spent"), "time_spent"),
        "url": text(found.get("url")),
        "created_at": _moment(found, "date_created"),
        "updated_at": _moment(found, "date_updated"),
        "closed_at": _moment(found, "date_closed"),
        "due_at": _moment(found, "due_date"),
    }


def time_entry(given: Any) -> dict[str, Any]:
    """The row of a time entry, with or without a task. While its timer runs, ``duration_ms`` is negative.

    The project is known from the task; where the entry was asked for with ``include_location_names``, from itself too.

    Raises:
        DefinitionError: it is no time entry.
    """
    found, identifier = payload(given, "a ClickUp time entry", "id")
    user, place = inner(found, "user"), inner(found, "task_location")
    folder = text(place.get("folder_id"))
    hidden = flag(place.get("folder_hidden")) or text(place.get("folder_name")) == "hidden"
    if hidden and place.get("list_id") is not None:
        folder = f"list-{place['list_id']}"
    return {
        "entry_id": identifier,
        "task_id": text(inner(found, "task").get("id")),
        "project_id": folder,
        "user_id": text(user.get("id")),
        "user_name": text(user.get("username")),
        "billable": flag(found.get("billable")),
        "duration_ms": number(found.get("duration"), "duration"),
        "description": text(found.get("description")),
        "started_at": _moment(found, "start"),
        "ended_at": _moment(found, "end"),
    }


def _place(found: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """Id and name of the project that a task is in."""
    folder, within = inner(found, "folder") or inner(found, "project"), inner(found, "list")
    identifier = text(folder.get("id"))
    if identifier is not None and not flag(folder.get("hidden")) and text(folder.get("name")) != "hidden":
        return identifier, text(folder.get("name"))
    listed = text(within.get("id"))
    return None if listed is None else (f"list-{listed}", text(within.get("name")))


def _moment(found: Mapping[str, Any], key: str) -> datetime | None:
    return after_epoch(found.get(key), key, per_second=1_000)
