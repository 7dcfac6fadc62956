"""How many runs triggers may begin in a time: of one workflow, and of all together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.shown import Listing, ShownAsTable
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.triggers.limits import Bucket, take_all

if TYPE_CHECKING:
    from dataflows_sdk.firing.source import Source
    from dataflows_sdk.store.database import Database

#: the row of the limit for all workflows together
ALL = ""


@dataclass(frozen=True, slots=True)
class RateLimit(ShownAsTable):
    """At most `rate` runs in `per_seconds`, and `burst` at once; see `Bucket`.

    Attributes:
        workflow: whose runs; None for all that triggers begin.
    """

    rate: float
    per_seconds: float
    burst: int | None
    workflow: str | None


class Limits:
    """The limits of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, workflow: str | None, rate: float, per_seconds: float, burst: int | None) -> None:
        """Set a limit, or change it; what is left of the old one is kept."""
        try:
            Bucket(rate, per_seconds, burst)
        except ValueError as error:
            raise DefinitionError(str(error)) from None
        config = json.dumps({"rate": rate, "per_seconds": per_seconds, "burst": burst})
        self._database.read("limits", "set", (workflow or ALL, config))

    def remove(self, workflow: str | None) -> bool:
        """Remove a limit; whether there was one."""
        return bool(self._database.read("limits", "remove", (workflow or ALL,)))

    def list(self) -> list[RateLimit]:
        """The limits, that for all workflows first."""
        rows = self._database.read("limits", "all")
        return Listing([RateLimit(**_fields(config), workflow=workflow or None) for workflow, config in rows])

    def concern(self, source: Source) -> bool:
        """Whether there is a limit for the runs of a trigger."""
        return bool(source.config.get("rate_limit")) or bool(self._database.read("limits", "of", (source.name, ALL)))

    def take(self, source: Source, event_id: str, now: datetime) -> float:
        """Take a token for the run that a firing would begin; 0, or in how many seconds there is one.

        A firing that began its run already takes none.
        """
        own = source.config.get("rate_limit")
        limited = bool(self._database.read("limits", "of", (source.name, ALL)))
        if (not own and not limited) or self._began(source, event_id):
            return 0.0
        run, database = self._database.run, self._database
        with database.connection() as connection, connection.transaction():
            rows = run(connection, "limits", "lock", (source.name, ALL)) if limited else []
            buckets = [Bucket(**_fields(config)) for _, config, _ in rows]
            states = [_state(bucket) for *_, bucket in rows]
            if own:
                buckets.append(Bucket(**_fields(own)))
                states.append(_state(run(connection, "triggers", "bucket", (source.trigger,))[0][0]))
            taken, _ = take_all(buckets, states, now)
            for (workflow, *_), each in zip(rows, taken, strict=False):
                run(connection, "limits", "put", (workflow, json.dumps(each.state)))
            if own:
                run(connection, "triggers", "set_bucket", (source.trigger, json.dumps(taken[-1].state)))
        return max(each.retry_after for each in taken)

    def _began(self, source: Source, event_id: str) -> bool:
        return bool(self._database.read("claim", "find_by_idempotency", ([source.name], [source.key(event_id)])))


def _fields(config: str | Mapping[str, Any]) -> dict[str, Any]:
    given = json.loads(config) if isinstance(config, str) else config
    return {"rate": given["rate"], "per_seconds": given.get("per_seconds", 1.0), "burst": given.get("burst")}


def _state(stored: str | None) -> dict[str, Any] | None:
    return None if stored is None else json.loads(stored)
