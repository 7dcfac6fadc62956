"""Addresses that are called."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors import RateLimitedError, WebhookBodyError, WebhookNotFoundError, WebhookRefusedError
from dataflows_sdk.firing.source import Delivery, Source
from dataflows_sdk.triggers.deliveries import parse_body, read_headers, safe_headers
from dataflows_sdk.triggers.signatures import secret_headers, verify

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.firing.starting import Starter

log = logging.getLogger("dataflows.triggers")

_LONGEST_BODY = 1024 * 1024


class Gate:
    """Lets in the calls that are what they say they are."""

    def __init__(self, context: Context, starter: Starter) -> None:
        self._context = context
        self._starter = starter

    def deliver(
        self, token: str, headers: Mapping[str, str], body: bytes, method: str, query: Mapping[str, Any] | None
    ) -> Delivery:
        """See `Triggers.deliver`."""
        rows = self._context._read("triggers", "by_token", (token,)) if isinstance(token, str) and token else []
        if not rows:
            raise WebhookNotFoundError("there is no webhook of that token, or its flow is not active")
        source = Source.of(rows[0])
        config = source.config
        if len(body) > _LONGEST_BODY:
            raise WebhookBodyError(f"the body has {len(body)} bytes, more than {_LONGEST_BODY}")
        kind, settings = config.get("verification_type", "none"), config.get("verification_config") or {}
        now = self._context._engine.clock.now()
        verdict = verify(kind, settings, headers, body, now)
        if not verdict.ok:
            log.warning("a call of %s was refused: %s", source, verdict.reason)
            raise WebhookRefusedError(verdict.reason)
        known = read_headers(headers)
        parsed = parse_body(next(iter(known.get("content-type", ())), None), body)
        if parsed.problem is not None:
            raise WebhookBodyError(parsed.problem)
        event_id = f"{source.trigger}:{verdict.delivery_id}"
        wait = self._starter.limits.take(source, event_id, now)
        if wait:
            raise RateLimitedError(f"{source} takes no more calls for {wait:.1f} s", wait)
        payload = {
            "body": parsed.value,
            "headers": safe_headers(headers, secret_headers(kind, settings)),
            "query": dict(query or {}),
            "method": method,
        }
        return self._starter.begin(source, "webhook", event_id, payload)
