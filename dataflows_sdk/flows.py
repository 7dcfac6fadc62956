"""Flows that are kept in the database: versions, their differences, and their standing.

Saving makes an immutable version whenever the content changed. A run keeps the version that it began with; what is
saved, restored, paused or deleted afterwards does not touch it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.ids import new_uuid, parse_id
from dataflows_sdk.core.shown import Listing, Sheet, ShownAsTable, sheet_of
from dataflows_sdk.errors import (
    DefinitionError,
    FlowNotActiveError,
    FlowNotFoundError,
    FlowStatusError,
    FlowValidationError,
    InvalidIdError,
    NodeUnavailableError,
)
from dataflows_sdk.flow.builder import Flow
from dataflows_sdk.flow.diff import FlowDiff, compare
from dataflows_sdk.flow.fared import VersionFared
from dataflows_sdk.flow.model import FlowSpec
from dataflows_sdk.versions import faring

if TYPE_CHECKING:
    from psycopg import Connection

    from dataflows_sdk.context import Context
    from dataflows_sdk.runs import Run

#: where a flow's status may go from where
MOVES: Mapping[str, tuple[str, ...]] = {
    "draft": ("active", "archived"),
    "active": ("paused", "archived"),
    "paused": ("active", "archived"),
    "archived": ("draft",),
}
_MOST = 200
#: what a notebook shows of a flow
_SHOWN = ("name", "status", "version", "trigger_type", "description", "updated_at", "id")


@dataclass(frozen=True, slots=True)
class FlowVersion(ShownAsTable):
    """One content that a flow has had.

    Attributes:
        version: 1, 2, 3, …
        hash: what it does; layout and descriptions do not count.
        document: as it was saved.
        name, tag, description: given by hand; the only things that may change.
        restored_from: the version that it repeats.
        automatic: made by the library and not by a person.
    """

    version: int
    hash: str
    document: Mapping[str, Any]
    name: str | None
    tag: str | None
    description: str
    restored_from: int | None
    automatic: bool
    created_at: datetime
    created_by: str | None

    def flow(self, bindings: Mapping[str, Any] | None = None) -> Flow:
        """The flow of this version; `bindings` as in `Flow.from_json`."""
        return Flow.from_json(dict(self.document), bindings=bindings)


def fared(context: Context, name: str, *versions: FlowVersion) -> tuple[VersionFared, VersionFared]:
    """How the runs of two versions have fared; versions that do the same share their runs."""
    wanted = {each.hash for each in versions}
    contents = {each: each for each in wanted}
    for hash_, document in context._read("version_stats", "contents", (name,)):
        with suppress(FlowValidationError):  # of a later version of this library
            if (content := FlowSpec.from_document(document).digest()[:16]) in wanted:
                contents[hash_] = content
    one, other = faring.fared(context, name, [(each.version, each.hash) for each in versions], contents)
    return one, other


class SavedFlow(ShownAsTable):
    """A flow in the database. Its attributes are as they were when it was read; `refresh` reads again."""

    def __init__(self, context: Context, row: tuple[Any, ...]) -> None:
        self._context = context
        self._take(row)

    def _take(self, row: tuple[Any, ...]) -> None:
        self.id: UUID = row[0]
        self.name: str = row[1]
        self.description: str = row[2]
        self.trigger_type: str | None = row[3]
        self.status: str = row[4]
        #: the number of the newest version
        self.version: int = row[5]
        self.created_at: datetime = row[6]
        self.updated_at: datetime = row[7]
        self.created_by: str | None = row[9]

    def __repr__(self) -> str:
        return f"<flow {self.name!r} version {self.version}, {self.status}>"

    def refresh(self) -> SavedFlow:
        """Read again how it stands.

        Raises:
            FlowNotFoundError: it was deleted.
        """
        rows = self._context._read("flows", "find", (self.id, None))
        if not rows:
            raise FlowNotFoundError(f"flow {self.name!r} was deleted")
        self._take(rows[0])
        return self

    # --- content -----------------------------------------------------------------------------------------

    def flow(self, version: int | None = None, *, bindings: Mapping[str, Any] | None = None) -> Flow:
        """Its content, of the newest version or of an older one."""
        return self.get_version(self.version if version is None else version).flow(bindings)

    def versions(self, *, page: int = 1, limit: int = 50) -> list[FlowVersion]:
        """Its versions, the newest first."""
        if limit < 1 or limit > _MOST or page < 1:
            raise DefinitionError(f"page is 1 or more and limit 1 to {_MOST}, not {page!r} and {limit!r}")
        rows = self._context._read("flows", "versions", (self.id, limit, (page - 1) * limit))
        return Listing([_version(row) for row in rows])

    def get_version(self, version: int) -> FlowVersion:
        """One version.

        Raises:
            FlowNotFoundError: there is none of that number.
        """
        if isinstance(version, bool) or not isinstance(version, int):
            raise DefinitionError(f"a version is a number, not {version!r}")
        rows = self._context._read("flows", "version", (self.id, version))
        if not rows:
            raise FlowNotFoundError(f"flow {self.name!r} has no version {version}; the newest is {self.version}")
        return _version(rows[0])

    def compare(self, old: int, new: int) -> FlowDiff:
        """What changed from one version to another: nodes and edges added, removed, modified, moved; how both fared.

        ``.fared`` has of both versions the number of runs, how many failed, and of each node the median duration and
        the failure rate, of the newest 1,000 runs. A notebook shows both side by side; ``.svg()`` gives that picture,
        ``.table()`` the figures.
        """
        one, other = self.get_version(old), self.get_version(new)
        found = compare(
            FlowSpec.from_document(dict(one.document)), FlowSpec.from_document(dict(other.document)), old, new
        )
        return replace(found, fared=fared(self._context, self.name, one, other))

    def save(self, flow: Flow | Mapping[str, Any] | str, **details: Any) -> SavedFlow:
        """Save new content under this name; `details` as in `Flows.save`."""
        made = flow if isinstance(flow, Flow) else Flow.from_json(flow, name=self.name)
        if made.name != self.name:
            raise DefinitionError(f"this is flow {self.name!r}, not {made.name!r}; ctx.flows.save() saves any flow")
        return self._context.flows.save(made, **details)

    def restore(self, version: int, *, created_by: str | None = None) -> SavedFlow:
        """Make a new version with the content of an old one; nothing is lost by it."""
        old = self.get_version(version)
        return self._context.flows._save(
            old.flow(),
            document=dict(old.document),
            description=f"Restored from version {version}",
            restored_from=version,
            created_by=created_by,
        )

    def label(
        self, version: int, *, name: str | None = None, tag: str | None = None, description: str | None = None
    ) -> FlowVersion:
        """Give a version a name, a tag or a description."""
        if not self._context._read("flows", "label", (self.id, version, name, tag, description)):
            raise FlowNotFoundError(f"flow {self.name!r} has no version {version}; the newest is {self.version}")
        return self.get_version(version)

    def clone(self, name: str, *, created_by: str | None = None) -> SavedFlow:
        """A new flow with the same content, as a draft."""
        document = {**self.get_version(self.version).document, "name": name}
        if self._context._read("flows", "find", (None, name)):
            raise DefinitionError(f"there is a flow {name!r} already")
        return self._context.flows.save(Flow.from_json(document), created_by=created_by)

    # --- standing ----------------------------------------------------------------------------------------

    def set_status(self, status: str) -> SavedFlow:
        """Move to another status: draft, active, paused, archived.

        Activating checks the flow as a whole and turns its triggers on; pausing and archiving turn them off. Runs that
        are under way go on.

        Raises:
            FlowStatusError: there is no such status, or no way to it from here.
            FlowValidationError: what is to be activated has problems.
        """
        if status not in MOVES:
            raise FlowStatusError(f"there is no status {status!r}; there are {', '.join(MOVES)}")
        self.refresh()
        if status == self.status:
            return self
        if status not in MOVES[self.status]:
            ways = ", ".join(MOVES[self.status])
            raise FlowStatusError(f"flow {self.name!r} is {self.status} and can become {ways}, not {status}")
        self._context.flows._move(self, status)
        return self.refresh()

    def activate(self) -> SavedFlow:
        """Let it run, and turn its triggers on."""
        return self.set_status("active")

    def pause(self) -> SavedFlow:
        """Begin no new runs."""
        return self.set_status("paused")

    def archive(self) -> SavedFlow:
        """Put it away; it can become a draft again."""
        return self.set_status("archived")

    def delete(self) -> None:
        """Remove it from the lists. Its runs and versions stay, and its name is free again."""
        self._context.flows._delete(self)

    def start(self, payload: Any = None, **options: Any) -> Run:
        """Start a run; `options` as in `Context.start`.

        Raises:
            FlowNotActiveError: it is not active.
        """
        self.refresh()
        if self.status != "active":
            raise FlowNotActiveError(f"flow {self.name!r} is {self.status}; activate() it first")
        return self._context.start(self._context.flows.register(self), payload, **options)

    def _sheet(self) -> Sheet:
        return Sheet(f"flow {self.name}", [(name, getattr(self, name)) for name in _SHOWN])


class Flows(ShownAsTable):
    """The flows of a database: ``ctx.flows``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def save(
        self,
        flow: Flow | Mapping[str, Any] | str,
        *,
        name: str | None = None,
        description: str = "",
        trigger_type: str | None = None,
        label: str | None = None,
        tag: str | None = None,
        automatic: bool = False,
        created_by: str | None = None,
    ) -> SavedFlow:
        """Save a flow under its name: a new flow begins as a draft, changed content becomes a new version.

        Args:
            flow: a Flow, a document, or JSON text. White space around its name is not kept.
            name: the flow's name, where the document has none.
            description: of this version.
            trigger_type: what starts it, by default what its trigger says.
            label, tag: of this version.

        Raises:
            FlowValidationError: it has errors; warnings do not matter.
        """
        made = flow if isinstance(flow, Flow) else Flow.from_json(flow, name=name)
        if made.name != made.name.strip():
            made = replace(made, name=made.name.strip())
        return self._save(
            made,
            document=made.to_json(),
            description=description,
            trigger_type=trigger_type,
            label=label,
            tag=tag,
            automatic=automatic,
            created_by=created_by,
        )

    def get(self, flow: str | UUID | SavedFlow) -> SavedFlow:
        """A flow by its name or id.

        Raises:
            FlowNotFoundError: there is none.
        """
        if isinstance(flow, SavedFlow):
            return flow.refresh()
        identifier: UUID | None = flow if isinstance(flow, UUID) else None
        if isinstance(flow, str):
            try:
                identifier = parse_id(flow)
            except InvalidIdError:
                identifier = None
        rows = self._context._read("flows", "find", (identifier, flow if isinstance(flow, str) else None))
        if not rows:
            raise FlowNotFoundError(f"there is no flow {str(flow)!r}; ctx.flows.list() lists those that exist")
        return SavedFlow(self._context, rows[0])

    def list(self, *, status: str | None = None, limit: int = 50, offset: int = 0) -> list[SavedFlow]:
        """The flows that are not deleted, those that changed last first."""
        if status is not None and status not in MOVES:
            raise FlowStatusError(f"there is no status {status!r}; there are {', '.join(MOVES)}")
        rows = self._context._read("flows", "list", (status, limit, offset))
        return Listing([SavedFlow(self._context, row) for row in rows])

    def register(self, saved: SavedFlow) -> str:
        """Make the newest content known to this process, so that it takes on its runs; the flow's name."""
        self._context._catalog_take(saved.flow())
        return saved.name

    # --- writing -----------------------------------------------------------------------------------------

    def _save(
        self,
        flow: Flow,
        *,
        document: Mapping[str, Any],
        description: str = "",
        trigger_type: str | None = None,
        restored_from: int | None = None,
        label: str | None = None,
        tag: str | None = None,
        automatic: bool = False,
        created_by: str | None = None,
    ) -> SavedFlow:
        flow.check()
        kind = _trigger_type(flow, trigger_type)
        now = self._context._engine.clock.now()
        text = json.dumps(document)
        database = self._context._database
        with database.connection() as connection, connection.transaction():
            row = self._locked(connection, flow.name, document, kind, now, created_by)
            identifier, newest = row
            before = database.run(connection, "flows", "version", (identifier, newest)) if newest else []
            changed = not before or json.loads(before[0][2]) != json.loads(text)
            if changed or restored_from is not None:
                number = newest + 1
                values = (identifier, number, flow.spec.digest()[:16], text, label, tag, description, restored_from)
                database.run(connection, "flows", "add_version", (*values, automatic, now, created_by))
                summary = str(document.get("description") or "")
                database.run(connection, "flows", "point", (identifier, number, summary, kind, now))
        saved = self.get(identifier)
        if saved.status == "active":
            self.register(saved)
            self._context._triggers_changed(saved)
        return saved

    def _locked(
        self,
        connection: Connection[Any],
        name: str,
        document: Mapping[str, Any],
        kind: str | None,
        now: datetime,
        created_by: str | None,
    ) -> tuple[UUID, int]:
        """The flow's id and newest version, its row locked; made if there is none."""
        database = self._context._database
        summary = str(document.get("description") or "")
        database.run(connection, "flows", "create", (new_uuid(), name, summary, kind, now, created_by))
        identifier: UUID = database.run(connection, "flows", "find", (None, name))[0][0]
        newest: int = database.run(connection, "flows", "lock", (identifier,))[0][0]
        return identifier, newest

    def _move(self, saved: SavedFlow, status: str) -> None:
        if status == "active":
            flow = (
                saved.flow().check()
            )  # also that no node needs a Python function, which a document cannot bring along
            for node in flow.spec.triggers:
                if node.type in _TO_COME:
                    raise NodeUnavailableError(
                        f"node {node.id!r} of flow {saved.name!r}: {node.type} needs {_TO_COME[node.type]}, which this "
                        "version does not have yet; start it from code meanwhile: ctx.run(flow, …)"
                    )
        now = self._context._engine.clock.now()
        if not self._context._read("flows", "set_status", (saved.id, status, now, saved.status)):
            raise FlowStatusError(f"flow {saved.name!r} is not {saved.status} any more; somebody else changed it")
        saved.refresh()
        self._context._triggers_changed(saved)

    def _delete(self, saved: SavedFlow) -> None:
        now = self._context._engine.clock.now()
        if not self._context._read("flows", "delete", (saved.id, now)):
            raise FlowNotFoundError(f"flow {saved.name!r} was deleted already")
        saved.status = "archived"
        self._context.triggers.forget(saved)

    def _sheet(self) -> Sheet:
        return sheet_of(self.list(), "flows", columns=_SHOWN)


def _version(row: Sequence[Any]) -> FlowVersion:
    return FlowVersion(row[0], row[1], json.loads(row[2]), *row[3:10])


_SAME_TRIGGER = {"cdc": "record"}
#: triggers of parts to come
_TO_COME = {"trigger_integration": "connections"}


def _trigger_type(flow: Flow, given: str | None) -> str | None:
    """What starts a flow, in one word; what was given must fit its trigger nodes and is kept as it is."""
    found = [node.type.removeprefix("trigger_") for node in flow.spec.triggers]
    if given is None:
        return found[0] if found else None
    if found and _SAME_TRIGGER.get(given, given) not in found:
        raise FlowValidationError(
            f"trigger_type is {given!r}, and the flow {flow.name!r} has a trigger of type {', '.join(found)}"
        )
    return given
