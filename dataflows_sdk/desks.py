"""What a context has besides runs: saved flows, triggers, approvals, notifications; each made when first used."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from dataflows_sdk.arguments import moment_or_ago
from dataflows_sdk.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows_memory.agents.agent import Agents
    from dataflows_memory.asking.prompt import PromptContext
    from dataflows_memory.desk import Memory
    from dataflows_memory.tools.desk import Tools
    from dataflows_sdk.approvals import Approvals
    from dataflows_sdk.bulk import Bulk
    from dataflows_sdk.connections.clients import ServiceClient, ServiceClients
    from dataflows_sdk.connections.desk import Connections
    from dataflows_sdk.connections.schemes import AuthType
    from dataflows_sdk.context import Context
    from dataflows_sdk.core.redact import Secret
    from dataflows_sdk.doctor import Diagnosis
    from dataflows_sdk.engine.catalog import Catalog
    from dataflows_sdk.engine.definitions import Workflow
    from dataflows_sdk.engine.runner import Engine
    from dataflows_sdk.firing import Triggers
    from dataflows_sdk.flow.builder import Flow
    from dataflows_sdk.flows import Flows, SavedFlow
    from dataflows_sdk.functions import Functions
    from dataflows_sdk.jobs import Jobs
    from dataflows_sdk.keyvalues import KeyValues
    from dataflows_sdk.messages import Messages
    from dataflows_sdk.nodes.functions import FunctionVersion
    from dataflows_sdk.nodes.notify import Subscription
    from dataflows_sdk.notebook.widgets.browse import Browser
    from dataflows_sdk.publishing.desk import Published, Publishing
    from dataflows_sdk.queues import Queues
    from dataflows_sdk.syncing.desk import ContextWarehouse
    from dataflows_sdk.vault.desk import Vault
    from dataflows_sdk.versions import Versions
    from dataflows_sdk.warehouse.acting import Records
    from dataflows_sdk.warehouse.desk import Names
    from dataflows_sdk.warehouse.waits import RowWaits


class Desks:
    """A part of `Context`."""

    _engine: Engine
    _catalog: Catalog
    #: called when the context is closed; none of them may keep it alive
    _closing: list[Callable[[], None]]
    _key: str | Iterable[str] | None

    @cached_property
    def flows(self) -> Flows:
        """Flows that are kept in the database, with their versions."""
        from dataflows_sdk.flows import Flows

        return Flows(self._whole)

    @cached_property
    def triggers(self) -> Triggers:
        """What starts runs: schedules, webhooks, events; of flows, of workflows in code, and made by hand."""
        from dataflows_sdk.firing import Triggers

        return Triggers(self._whole)

    def _triggers_changed(self, saved: SavedFlow) -> None:
        self.triggers.sync(saved)

    def _code_names(self) -> list[str]:
        """The workflows in code that this process can begin."""
        return [each.name for each in self._catalog if each.kind == "code"]

    def _catalog_take(self, flow: Flow) -> None:
        """Know a flow's content from now on, unless it is known already."""
        definition = self._engine.resolve(flow)
        known = self._catalog.get(definition.name)
        if known is None or known.version != definition.version:
            self._catalog.add(definition)

    @cached_property
    def approvals(self) -> Approvals:
        """What runs ask people, and the way to answer."""
        from dataflows_sdk.approvals import Approvals

        return Approvals(self._whole)

    @cached_property
    def jobs(self) -> Jobs:
        """Background jobs: runs whose end is told to a URL."""
        from dataflows_sdk.jobs import Jobs

        return Jobs(self._whole)

    @cached_property
    def bulk(self) -> Bulk:
        """Cancel, resume or try again all runs of a filter."""
        from dataflows_sdk.bulk import Bulk

        return Bulk(self._whole)

    def versions(self, workflow: str | Workflow) -> Versions:
        """The versions of a workflow that ran on this database, the newest first; ``.compare()`` puts two side by side.

        Raises:
            DefinitionError: it is neither a workflow nor the name of one.
        """
        from dataflows_sdk.versions import versions_of

        name = workflow if isinstance(workflow, str) else getattr(workflow, "name", None)
        if not isinstance(name, str) or not name:
            raise DefinitionError(f"versions() wants a workflow or its name, not {workflow!r}")
        return versions_of(self._whole, name)

    def doctor(self) -> Diagnosis:
        """Look at the database: what is stuck, left behind, without code, growing, or out of reach, and what to do.

        Nothing is changed, and no statement takes long, however many runs there are.

        Raises:
            StoreUnavailableError: PostgreSQL does not answer.
        """
        from dataflows_sdk.doctor import diagnose

        whole = self._whole
        own = self._catalog.names() if whole._works else None
        return diagnose(whole._database, here=own, retention=whole._retention.shown, directory=self._directory)

    def browse(
        self,
        workflow: str | None = None,
        status: str | None = None,
        *,
        text: str | None = None,
        since: str | None = None,
        limit: int = 50,
    ) -> Browser:
        """The runs as a list in a notebook: with filters, pages, and the steps of the one that is chosen. Live.

        Args:
            workflow, status: what the filters begin with, as for `Context.runs`.
            text: in the name of a workflow or an idempotency key, or what an id begins with.
            since: an instant, or so long ago (``"24h"``).
            limit: rows on a page, at most 200.

        Raises:
            MissingExtraError: the extra ``notebook`` is not installed.
            DefinitionError: an unknown status, an instant that is none, or a limit out of range.
        """
        from dataflows_sdk.showing import browser

        asked = {"workflow": workflow, "status": status, "text": text, "since": since}
        return browser("runs", self._whole, asked, limit)

    @cached_property
    def messages(self) -> Messages:
        """Messages by subject, told to whoever listens and kept in durable streams."""
        from dataflows_sdk.messages import Messages

        return Messages(self._whole)

    @cached_property
    def functions(self) -> Functions:
        """Functions that are deployed as source, and called by slug."""
        from dataflows_sdk.functions import Functions

        return Functions(self._whole)

    def _own_version(self, name: str, version: str) -> Workflow | None:
        """The content that a run of a flow began with, where that says everything; None where today's code counts."""
        current = self._catalog.get(name)
        if current is None or current.kind != "flow" or current.version == version:
            return None
        found = self._catalog.get(name, version)
        if found is None:
            from dataflows_sdk.engine.dag import stored_flow

            rows = self._whole._read("look", "version", (name, version))
            found = stored_flow(name, version, rows[0][2].encode()) if rows and rows[0][2] else None
            if found is not None:
                self._catalog.remember(found)
        return found if found is not None and found.portable else None

    @cached_property
    def queues(self) -> Queues:
        """Where runs wait for a worker, and the limits under which they are let go."""
        from dataflows_sdk.queues import Queues

        return Queues(self._whole)

    @cached_property
    def kv(self) -> KeyValues:
        """Small values by key, which functions read and write too."""
        from dataflows_sdk.keyvalues import KeyValues

        return KeyValues(self._whole)

    # --- connected services ------------------------------------------------------------------------------

    @cached_property
    def vault(self) -> Vault:
        """Encrypts what is secret, and replaces keys."""
        from dataflows_sdk.vault.desk import Vault

        whole = self._whole
        return Vault(whole._database, self._directory, whole._redactor, whole._gate.passed)

    @property
    def _directory(self) -> Path | None:
        """Of the embedded database, where there is one."""
        server = self._whole._server
        return server.data_dir.parent if server is not None else None

    @cached_property
    def service_clients(self) -> ServiceClients:
        """External systems, and how this installation is known there; made by `service_client`."""
        from dataflows_sdk.connections.clients import ServiceClients

        return ServiceClients(self._whole)

    @cached_property
    def connections(self) -> Connections:
        """The access of users and accounts to external systems."""
        from dataflows_sdk.connections.desk import Connections

        return Connections(self._whole)

    def service_client(
        self,
        name: str,
        *,
        auth: AuthType | None = None,
        provider: str | None = None,
        client_id: str | None = None,
        client_secret: str | Secret | None = None,
        scopes: Iterable[str] | None = None,
        base_url: str | None = None,
        security_schema: Mapping[str, Any] | None = None,
        authorization_url: str | None = None,
        token_url: str | None = None,
        refresh_url: str | None = None,
        token_auth: str | None = None,
        user_info_url: str | None = None,
    ) -> ServiceClient:
        """The service client of a name, made or changed.

        What is not given stays as it is; the same again changes nothing.

        Args:
            auth: ``"oauth2"``, ``"api_key"`` or ``"basic"``; needed for a new one, unless *security_schema* says it.
            provider: whose system it is; the name by default.
            client_id, client_secret: how this installation is known there. The secret is encrypted.
            scopes: what connections may do if nothing else is said of them.
            base_url: where the API begins. Secrets of connections go to this server only.
            security_schema: a security scheme as OpenAPI describes one; by default that of a bearer token.
            authorization_url, token_url, refresh_url: of an OAuth flow, where no scheme has them.
            token_auth: how the client secret goes to *token_url*: in a header, ``"basic"``, as is usual, or in the
                ``"body"``.
            user_info_url: where the profile of the user is.

        Raises:
            DefinitionError: something does not fit, or *auth* is another one than that of existing connections.
            EncryptionKeyError: there is no key to encrypt the secret with.
        """
        extras = {
            "authorizationUrl": authorization_url, "tokenUrl": token_url, "refreshUrl": refresh_url,
            "x-token-auth": token_auth, "x-user-info-url": user_info_url,
        }  # fmt: skip
        return self.service_clients.put(
            name, auth, provider, client_id, client_secret, scopes, base_url, security_schema, extras
        )

    # --- the warehouse -----------------------------------------------------------------------------------

    @cached_property
    def warehouse(self) -> ContextWarehouse:
        """Tables that keep every version of every row, and know which run wrote it."""
        from dataflows_sdk.syncing.desk import ContextWarehouse

        engine, server = self._engine, self._whole._server
        clock = engine.clock
        made = ContextWarehouse(
            self._whole,
            now=clock.now if getattr(clock, "virtual", False) else lambda: None,
            on_loop=engine.on_loop,
            ago=lambda moment: moment_or_ago(moment, clock.now()),
            address=None if server is None else lambda: server.tcp_url,
        )
        made._scheduled = self._whole._refresher.kick
        made._writer.wrote = lambda table: engine.on_rows((table,))
        made._writer.finder = engine.values.finder
        return made

    @cached_property
    def memory(self) -> Memory:
        """What agents remember and recall: texts, documents, rows and runs."""
        from dataflows_sdk.plugins import desk

        made: Memory = desk("memory")(self._whole)
        return made

    def context(self, question: str, budget_tokens: int = 2_000, **options: Any) -> PromptContext:
        """What is remembered about a question, as numbered sources for a prompt; see `Memory.context` for the options.

        Raises:
            DefinitionError: no text is so short.
            RecallError, EmbeddingError: it cannot be looked for.
        """
        return self.memory.context(question, budget_tokens, **options)

    @cached_property
    def tools(self) -> Tools:
        """Sets of tools for models: ``ctx.tools(flows=[…], tables=[…], memory=scope)``."""
        from dataflows_sdk.plugins import desk

        made: Tools = desk("tools")(self._whole)
        return made

    @cached_property
    def agent(self) -> Agents:
        """Makes agents whose every call is a step of a run: ``ctx.agent(model, tools)``."""
        from dataflows_sdk.plugins import desk

        made: Agents = desk("agent")(self._whole)
        return made

    @cached_property
    def _row_waits(self) -> RowWaits:
        from dataflows_sdk.warehouse.waits import RowWaits

        return RowWaits(self._whole._database, self.warehouse)

    @cached_property
    def _records(self) -> Records:
        from dataflows_sdk.warehouse.acting import Records

        return Records(self.warehouse)

    @cached_property
    def db(self) -> Names:
        """The warehouse's tables as attributes: ``ctx.db.projects.upsert(clickup_id="P-1", name="Fence")``."""
        from dataflows_sdk.warehouse.desk import Names

        return Names(self.warehouse)

    # --- publishing --------------------------------------------------------------------------------------

    @cached_property
    def _publishing(self) -> Publishing:
        from dataflows_sdk.publishing.desk import Publishing

        return Publishing(self._whole, self._key)

    def publish(
        self,
        workflow: Any,
        *,
        requires: Iterable[str] = (),
        python: str | None = None,
        include: Iterable[str] = (),
        created_by: str | None = None,
    ) -> Published:
        """Give a workflow or flow of this notebook to the workers: the text of a module, signed with the context's key.

        What it uses comes along, recursively: imports, constants that are plain data, functions and classes of the
        notebook. Publishing changed code replaces what was published under the name; runs that are under way go on with
        it. The same code again is nothing new.

        Args:
            workflow: a workflow, a flow, or the name of one.
            requires: packages that a worker must have, ``("pandas>=2",)``.
            python: versions of Python; this one or later by default.
            include: further modules whose functions and classes are taken along as text instead of being imported.
            created_by: who publishes; by default the user of this process and the host.

        Raises:
            PublishError: something that it uses cannot be written down; the message names the variable.
            SigningKeyError: there is no key to sign with.
            FlowValidationError: the flow has problems.
        """
        return self._publishing.publish(workflow, requires, python, include, created_by)

    def unpublish(self, name: str, *, created_by: str | None = None) -> Published:
        """Take back what was published: workers begin and go on with no more runs of it. Its runs wait.

        Raises:
            PublishedCodeError: nothing was published under that name.
            SigningKeyError: there is no key to sign with.
        """
        return self._publishing.unpublish(name, created_by)

    @overload
    def published(self) -> list[Published]: ...
    @overload
    def published(self, name: str) -> Published: ...
    def published(self, name: str | None = None) -> Published | list[Published]:
        """What is published: all of it, or that of one name. ``.source`` is the module, ``.verified`` if it is true.

        Raises:
            PublishedCodeError: nothing was published under that name.
        """
        return self._publishing.everything() if name is None else self._publishing.get(name)

    def _published_as(self, name: str) -> tuple[str, ...]:
        """How a name stands among what is published, for people."""
        return tuple(f"it is published: {each!r}" for each in self._publishing.everything(name))

    def load_published(self, *, follow: bool = False) -> list[Published]:
        """Take up what is published, as far as the keys of this context verify it, and go on with runs of it.

        Args:
            follow: also take up what is published from now on, until the context is closed.

        Returns:
            everything that is published; ``.problem`` says what was refused, and why. That is logged, too.

        Raises:
            SigningKeyError: there is no key to verify with.
        """
        if follow:
            self._publishing.follow()
            return self._publishing.everything()
        return self._publishing.load()

    async def _find_function(self, slug: str) -> FunctionVersion | None:
        return await self.functions.find(slug)

    def notifications(
        self, channel: str | None = None, *, user_id: str | None = None, timeout: float | None = None
    ) -> Subscription:
        """What nodes of type ``action_notification`` tell in this process, from now on: an iterator that waits.

        Args:
            channel, user_id: whose; without both everything.
            timeout: seconds without one after which the iteration ends; None waits for ever.
        """
        return self._engine.services.notifications.subscribe(channel, user_id, timeout)

    @property
    def _whole(self) -> Context:
        whole: Any = self
        return whole  # type: ignore[no-any-return]


def weakly(desks: Desks) -> Callable[[str], Awaitable[FunctionVersion | None]]:
    """How nodes find stored functions, without keeping the context alive."""
    reference = weakref.ref(desks)

    async def find(slug: str) -> FunctionVersion | None:
        whole = reference()
        return None if whole is None else await whole._find_function(slug)

    return find


def offering(desks: Desks, part: str) -> Callable[[], Any]:
    """How the engine gets at a part of the context that is made when it is first used; it does not keep it alive."""
    reference = weakref.ref(desks)

    def get() -> Any:
        whole = reference()
        return None if whole is None else getattr(whole, part)

    return get
