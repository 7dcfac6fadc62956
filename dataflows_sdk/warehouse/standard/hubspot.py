"""HubSpot: contacts, as the CRM's objects API sends them (what is known of a contact stands in its ``properties``)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from dataflows_sdk.warehouse.standard.payloads import flag, inner, moment, payload, text


class HubspotContact(BaseModel):
    """The table ``hubspot_contacts``."""

    contact_id: str
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    phone: str | None = None
    lifecycle_stage: str | None = None
    archived: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None


def contact(given: Any) -> dict[str, Any]:
    """The row of a contact; ask HubSpot for the properties email, firstname, lastname, company, phone, lifecyclestage.

    Raises:
        DefinitionError: it is no contact.
    """
    found, identifier = payload(given, "a HubSpot contact", "id")
    properties = inner(found, "properties")
    return {
        "contact_id": identifier,
        "email": text(properties.get("email")),
        "first_name": text(properties.get("firstname")),
        "last_name": text(properties.get("lastname")),
        "company": text(properties.get("company")),
        "phone": text(properties.get("phone")),
        "lifecycle_stage": text(properties.get("lifecyclestage")),
        "archived": flag(found.get("archived")),
        "created_at": moment(found.get("createdAt") or properties.get("createdate"), "createdAt"),
        "updated_at": moment(found.get("updatedAt") or properties.get("lastmodifieddate"), "updatedAt"),
    }
