"""Publishing workflows to workers, and taking them up there."""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import socket
import sys
import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.engine.chance import chance
from dataflows_sdk.engine.definitions import Workflow, describe
from dataflows_sdk.errors import PublishedCodeError, SigningKeyError, StoreError
from dataflows_sdk.publishing.keys import HOW, Keyring, find_keyring
from dataflows_sdk.publishing.loading import check_requirements, children_of, load
from dataflows_sdk.publishing.module import home_of_workflow, module_text
from dataflows_sdk.publishing.signing import Publication

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

log = logging.getLogger("dataflows.published")

#: seconds between two looks where nothing is announced: an announcement may be lost
_LOOK = 30.0
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Published(ShownAsTable):
    """A workflow or flow as it was published, or what is in the place of one.

    Attributes:
        name: of the workflow.
        kind: ``"code"`` or ``"flow"``.
        version: of the workflow, as its runs have it.
        source: the module, as text; empty when it was taken back.
        requires, python: what a worker must have.
        created_at, created_by: when and by whom it was published, or taken back.
        revoked: it was taken back.
        verified: whether one of the keys of this process signed all of this; what is not verified runs nowhere.
        problem: why a worker like this process does not run it; None if it does.
    """

    name: str
    kind: str
    version: str
    source: str
    requires: tuple[str, ...]
    python: str
    created_at: datetime
    created_by: str
    revoked: bool
    verified: bool
    problem: str | None

    def __repr__(self) -> str:
        standing = "NOT VERIFIED" if not self.verified else "taken back" if self.revoked else "verified"
        more = f": {self.problem}" if self.problem else ""
        return (
            f"<published {self.kind} {self.name!r} version {self.version} by {self.created_by} "
            f"at {self.created_at:%Y-%m-%d %H:%M}, {standing}{more}>"
        )


class Publishing:
    """What is published in a database, and what of it this process took up.

    Args:
        context: not kept alive by this.
        key: what `connect` was given.
    """

    def __init__(self, context: Context, key: str | Iterable[str] | None = None) -> None:
        self._context = weakref.ref(context)
        self._given = key
        self._keys: Keyring | None = None
        self._lock = threading.RLock()
        self._loaded: dict[str, tuple[Publication, Workflow]] = {}
        #: per name, what came along in its module
        self._children: dict[str, list[Workflow]] = {}
        #: per name, the newest that was ever verified here
        self._newest: dict[str, Publication] = {}
        self._told: dict[str, str] = {}
        self._marks: dict[str, str] = {}
        self._follower: Follower | None = None

    # --- keys ----------------------------------------------------------------------------------------------

    def keys(self, *, make: bool = False) -> Keyring:
        """The keys of this context.

        Args:
            make: with the embedded database, make one if there is none.

        Raises:
            SigningKeyError: there is none, or it is no good.
        """
        if self._keys is None:
            context = self._whole
            server = context._server
            found = find_keyring(self._given, server.data_dir.parent if server is not None else None, make=make)
            for secret in found.secrets:
                context._redactor.add(secret)
            self._keys = found
        return self._keys

    @property
    def _whole(self) -> Context:
        context = self._context()
        if context is None:
            raise StoreError("the context is gone")
        return context

    # --- publishing ----------------------------------------------------------------------------------------

    def publish(
        self, workflow: Any, requires: Iterable[str], python: str | None, include: Iterable[str], by: str | None
    ) -> Published:
        """See `Context.publish`."""
        context = self._whole
        definition: Workflow = context._engine.resolve(workflow)
        what = f"{'flow' if definition.kind == 'flow' else 'workflow'} {definition.name!r}"
        version = python if python is not None else f">={sys.version_info[0]}.{sys.version_info[1]}"
        wanted = check_requirements(requires, version, what)
        keys = self.keys(make=True)
        text = module_text(workflow if not isinstance(workflow, str) else definition, include=include,
                           redactor=context._redactor)  # fmt: skip
        made = Publication(
            definition.name, definition.kind, definition.version, home_of_workflow(definition), text, wanted, version,
            revoked=False, created_at=context._engine.clock.now(), created_by=by or _who(),
        )  # fmt: skip
        columns = describe(definition)
        with self._lock:
            stored = self._store(made, keys)
        context._read("published", "know", (made.name, made.version, *(columns[each] for each in _COLUMNS)))
        return self._shown(stored, keys)

    def unpublish(self, name: str, by: str | None) -> Published:
        """See `Context.unpublish`."""
        keys = self.keys()
        row = next(iter(self._rows(name)), None)
        if row is None:
            raise _unknown(name)
        gone = replace(
            row, source="", requires=(), python="", revoked=True, created_at=self._whole._engine.clock.now(),
            created_by=by or _who(),
        )  # fmt: skip
        with self._lock:
            return self._shown(self._store(gone, keys), keys)

    def _store(self, made: Publication, keys: Keyring) -> Publication:
        """Sign and write it, later than what stands there; the same again is nothing new."""
        context = self._whole
        for _ in range(_TRIES):
            before = next(iter(self._rows(made.name)), None)
            believed = before is not None and before.doubt(keys) is None
            if before is not None and believed:
                if _content(before) == _content(made) and before.key_id == keys.ids[0]:
                    return before
                made = replace(made, created_at=max(made.created_at, before.created_at + timedelta(microseconds=1)))
            seen = self._newest.get(made.name)
            if seen is not None:
                made = replace(made, created_at=max(made.created_at, seen.created_at + timedelta(microseconds=1)))
            signed = made.signed(keys)
            database = context._database
            with database.connection() as connection, connection.transaction():
                old = before.signature if before is not None else None
                if database.run(connection, "published", "put", (*signed.row(), old)):
                    detail = {
                        "workflow": made.name,
                        "version": made.version,
                        "by": made.created_by,
                        "key": signed.key_id,
                    }
                    action = "unpublished" if made.revoked else "published"
                    database.run(connection, "published", "note", (action, json.dumps(detail)))
                    database.run(connection, "published", "tell", ())
                    return signed
        raise StoreError(f"{made.name!r} is being published by others again and again; try later")

    # --- looking -------------------------------------------------------------------------------------------

    def everything(self, name: str | None = None) -> list[Published]:
        """What stands in the table, of all names or of one, believed or not."""
        with contextlib.suppress(SigningKeyError):
            self.keys()
        return [self._shown(each, self._keys) for each in self._rows(name)]

    def get(self, name: str) -> Published:
        """One of them.

        Raises:
            PublishedCodeError: nothing was published under that name.
        """
        found = self.everything(name)
        if not found:
            raise _unknown(name)
        return found[0]

    def _rows(self, name: str | None) -> list[Publication]:
        rows = self._whole._read("published", "find", (None if name is None else [name],))
        return [Publication.of_row(row) for row in rows]

    def _shown(self, row: Publication, keys: Keyring | None) -> Published:
        doubt = row.doubt(keys) if keys is not None else f"this process has no key to verify it with: {HOW}"
        problem = doubt or self._old(row)
        with self._lock:
            if problem is None and row.name in self._told:
                problem = self._told[row.name]
        return Published(
            row.name, row.kind, row.version, row.source, row.requires, row.python, row.created_at, row.created_by,
            row.revoked, doubt is None, problem,
        )  # fmt: skip

    # --- taking up -----------------------------------------------------------------------------------------

    def load(self) -> list[Published]:
        """Take up what is published, and let go of what is not any more; gives everything that stands there.

        Raises:
            SigningKeyError: there is no key to verify with.
        """
        keys = self.keys()
        with self._lock:
            marks: dict[str, str] = dict(self._whole._read("published", "marks"))
            rows = self._rows(None)
            for row in rows:
                self._take(row, keys)
            there = {row.name for row in rows}
            for name in [each for each in self._loaded if each not in there]:
                self._drop(name)
                log.warning("%r is not published any more, and nobody took it back: its row is gone", name)
            self._marks = marks
            return [self._shown(row, keys) for row in rows]

    def look(self) -> None:
        """Load, if anything changed since the last time; one small statement if not."""
        if dict(self._whole._read("published", "marks")) != self._marks:
            self.load()

    def _take(self, row: Publication, keys: Keyring) -> None:
        known = self._loaded.get(row.name)
        if known is not None and known[0] == row:
            return
        refused = row.doubt(keys) or self._old(row)
        if refused is None:
            self._newest[row.name] = row
            if row.revoked:
                self._drop(row.name)
                self._told.pop(row.name, None)
                return
            refused = self._own(row.name)
        if refused is None:
            try:
                self._know(row, load(row))
                return
            except PublishedCodeError as error:
                refused = str(error)
        self._drop(row.name)
        if self._told.get(row.name) != refused:
            self._told[row.name] = refused
            log.error(
                "published workflow %r is refused: %s; its runs wait for a worker that accepts it", row.name, refused
            )

    def _know(self, row: Publication, workflow: Workflow) -> None:
        context = self._whole
        self._drop_children(row.name)
        children = [each for each in children_of(workflow) if context._catalog.get(each.name) is None]
        for each in (workflow, *children):
            context._engine.values.see(each.fn)
        context._catalog.add(workflow, *children)
        self._loaded[row.name] = (row, workflow)
        if children:
            self._children[row.name] = children
        self._told.pop(row.name, None)
        log.info("took up workflow %r version %s, published by %s at %s", row.name, row.version, row.created_by,
                 row.created_at)  # fmt: skip

    def _drop(self, name: str) -> None:
        known = self._loaded.pop(name, None)
        if known is not None:
            self._whole._catalog.forget(known[1])
            log.info("let go of workflow %r, published at %s", name, known[0].created_at)

        self._drop_children(name)

    def _drop_children(self, name: str) -> None:
        for child in self._children.pop(name, ()):
            self._whole._catalog.forget(child)

    def _old(self, row: Publication) -> str | None:
        """Whether somebody put an earlier row back: it is signed as well as the one that replaced it."""
        newest = self._newest.get(row.name)
        if newest is None or row.created_at > newest.created_at or row == newest:
            return None
        return (
            f"this is what was published at {row.created_at}, and this process has seen a later one, of "
            f"{newest.created_at}: an old row was put back; publish it again if that is what you want"
        )

    def _own(self, name: str) -> str | None:
        """Whether this process has code of its own for the name, which goes first."""
        found = self._whole._catalog.get(name)
        if found is None or (name in self._loaded and self._loaded[name][1] is found):
            return None
        if any(found is child for children in self._children.values() for child in children):
            return None
        return f"this process has a workflow of this name of its own, {'.'.join(found.origin)}"

    # --- from now on ---------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Load now and whenever something is published, until the context is closed. Idempotent."""
        self.load()
        if self._follower is None:
            context = self._whole
            self._follower = Follower(self)
            context._engine.on_published = self._follower.hurry
            context._closing.append(self._follower.stop)
            self._follower.start()


class Follower:
    """A thread that takes up what is published: when it is told, and now and then.

    Args:
        publishing: whose context is not kept alive by this.
    """

    def __init__(self, publishing: Publishing, every: float = _LOOK) -> None:
        self._publishing = weakref.ref(publishing)
        self._every = every
        self._hurry = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._loop, name="dataflows-published", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """Something was published; from any thread."""
        self._hurry.set()

    def stop(self) -> None:
        """End the thread."""
        self._stop = True
        self._hurry.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(5)

    def _loop(self) -> None:
        while not self._stop:
            self._hurry.wait(self._every * (0.75 + chance() / 2))
            self._hurry.clear()
            publishing = self._publishing()
            if publishing is None or self._stop:
                return
            try:
                publishing.look()
            except StoreError as error:
                log.debug("published workflows wait for the database: %s", error)
            except Exception:
                if not self._stop:
                    log.exception("looking for published workflows failed and will be tried again")
            del publishing


_COLUMNS = ("kind", "source", "spec", "info")


def _content(row: Publication) -> tuple[Any, ...]:
    return (row.kind, row.version, row.home, row.source, row.requires, row.python, row.revoked)


def _unknown(name: str) -> PublishedCodeError:
    return PublishedCodeError(f"nothing is published under {name!r}; ctx.published() lists what is", name)


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a uid without a name, as in containers
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
