"""What a context has besides runs: saved flows, triggers, approvals, notifications; each made when first used."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflows_sdk.approvals import Approvals
    from dataflows_sdk.context import Context
    from dataflows_sdk.engine.definitions import Catalog
    from dataflows_sdk.engine.runner import Engine
    from dataflows_sdk.firing import Triggers
    from dataflows_sdk.flow.builder import Flow
    from dataflows_sdk.flows import Flows, SavedFlow
    from dataflows_sdk.nodes.notify import Subscription


class Desks:
    """A part of `Context`."""

    _engine: Engine
    _catalog: Catalog

    @cached_property
    def flows(self) -> Flows:
        """Flows that are kept in the database, with their versions."""
        from dataflows_sdk.flows import Flows

        return Flows(self._whole)

    @cached_property
    def triggers(self) -> Triggers:
        """What starts runs of active flows: schedules and webhooks."""
        from dataflows_sdk.firing import Triggers

        return Triggers(self._whole)

    def _triggers_changed(self, saved: SavedFlow) -> None:
        self.triggers.sync(saved)

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
