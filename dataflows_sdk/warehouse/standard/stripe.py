"""Stripe: customers and charges, as its API reference describes the objects.

Amounts stay in the smallest unit of their currency, as Stripe sends them: ``1000`` in ``usd`` is ten dollars.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from dataflows_sdk.warehouse.standard.payloads import after_epoch, flag, inner, number, payload, reference, text


class StripeCustomer(BaseModel):
    """The table ``stripe_customers``."""

    customer_id: str
    email: str | None = None
    name: str | None = None
    phone: str | None = None
    livemode: bool | None = None
    deleted: bool = False
    created_at: datetime | None = None


class StripeCharge(BaseModel):
    """The table ``stripe_charges``."""

    charge_id: str
    customer_id: str | None = None
    payment_intent_id: str | None = None
    email: str | None = None
    name: str | None = None
    status: str | None = None
    captured: bool = False
    amount: int | None = None
    amount_captured: int | None = None
    amount_refunded: int | None = None
    currency: str | None = None
    disputed: bool = False
    description: str | None = None
    livemode: bool | None = None
    created_at: datetime | None = None


def customer(given: Any) -> dict[str, Any]:
    """The row of a customer. What Stripe sends of a deleted one has only its id: all else stays as it was.

    Raises:
        DefinitionError: it is no customer.
    """
    found, identifier = payload(given, "a Stripe customer", "id")
    if flag(found.get("deleted")):
        return {"customer_id": identifier, "deleted": True}
    return {
        "customer_id": identifier,
        "email": text(found.get("email")),
        "name": text(found.get("name")),
        "phone": text(found.get("phone")),
        "livemode": found.get("livemode"),
        "deleted": False,
        "created_at": after_epoch(found.get("created"), "created", per_second=1),
    }


def charge(given: Any) -> dict[str, Any]:
    """The row of a charge, whether or not Stripe was asked to expand its customer.

    Raises:
        DefinitionError: it is no charge.
    """
    found, identifier = payload(given, "a Stripe charge", "id")
    billing = inner(found, "billing_details")
    amount, captured = number(found.get("amount"), "amount"), flag(found.get("captured"))
    return {
        "charge_id": identifier,
        "customer_id": reference(found.get("customer")),
        "payment_intent_id": reference(found.get("payment_intent")),
        "email": text(billing.get("email")) or text(found.get("receipt_email")),
        "name": text(billing.get("name")),
        "status": text(found.get("status")),
        "captured": captured,
        "amount": amount,
        # older versions of the API do not say how much of it
        "amount_captured": number(found.get("amount_captured", amount if captured else 0), "amount_captured"),
        "amount_refunded": number(found.get("amount_refunded", 0), "amount_refunded"),
        "currency": text(found.get("currency")),
        "disputed": flag(found.get("disputed")),
        "description": text(found.get("description")),
        "livemode": found.get("livemode"),
        "created_at": after_epoch(found.get("created"), "created", per_second=1),
    }
