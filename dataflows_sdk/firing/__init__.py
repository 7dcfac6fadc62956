"""Triggers at work: schedules that fire, addresses that are called, events that are heard. ``ctx.triggers``.

Every firing has an id that is the same in every process, and the run's idempotency key is made of it, so that a due
time or a delivery begins one run however many processes look after it, and however often it is delivered.
"""

from __future__ import annotations

from dataflows_sdk.firing.desk import Triggers
from dataflows_sdk.firing.limits import RateLimit
from dataflows_sdk.firing.source import Deferred, Delivery, Trigger

__all__ = ["Deferred", "Delivery", "RateLimit", "Trigger", "Triggers"]
