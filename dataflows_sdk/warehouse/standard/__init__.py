"""Tables shaped as the APIs of Stripe, HubSpot, ClickUp and Xero describe their objects, and views that join them.

`stripe`, `hubspot`, `clickup` and `xero` have the tables, and functions that make their rows from what the API sends::

    ctx.warehouse.standard("unified_customer")
    ctx.warehouse.table("stripe_charges").upsert_many(map(stripe.charge, page["data"]))
    ctx.sql("from unified_customer")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.standard import clickup, hubspot, links, stripe, xero

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dataflows_sdk.warehouse.view import View
    from dataflows_sdk.warehouse.views import Views

__all__ = ["STANDARD", "StandardView", "Tables", "clickup", "hubspot", "install", "links", "stripe", "xero"]


class Tables(Protocol):
    """What makes tables: ``ctx.warehouse``."""

    def table(self, name: str, shape: Any, /, *, key: str) -> Any:
        """Make a table, unless it is there."""


@dataclass(frozen=True, slots=True)
class StandardView:
    """A view that comes with the library.

    Attributes:
        tables: what it reads: name, shape and key of each.
    """

    name: str
    description: str
    tables: Mapping[str, tuple[type[BaseModel], str]]

    @property
    def sql(self) -> str:
        """Its text."""
        return statement("standard", self.name, "dataflows_sdk.warehouse")


_CUSTOMERS = StandardView(
    "unified_customer",
    "Payments of Stripe and contacts of HubSpot, by e-mail: a row for each customer and currency.",
    {
        "stripe_customers": (stripe.StripeCustomer, "customer_id"),
        "stripe_charges": (stripe.StripeCharge, "charge_id"),
        "hubspot_contacts": (hubspot.HubspotContact, "contact_id"),
    },
)
_PROJECTS = StandardView(
    "project_profitability",
    "Work in ClickUp and invoices of Xero, by project: a row for each project and currency.",
    {
        "clickup_projects": (clickup.ClickupProject, "project_id"),
        "clickup_tasks": (clickup.ClickupTask, "task_id"),
        "clickup_time_entries": (clickup.ClickupTimeEntry, "entry_id"),
        "xero_invoices": (xero.XeroInvoice, "invoice_id"),
        "xero_invoice_lines": (xero.XeroInvoiceLine, "line_id"),
        "project_links": (links.ProjectLink, "xero_project"),
        "labour_rates": (links.LabourRate, "user_id"),
    },
)
#: by name
STANDARD: Mapping[str, StandardView] = {each.name: each for each in (_CUSTOMERS, _PROJECTS)}


def install(name: str, tables: Tables, views: Views) -> View:
    """Make the tables that a standard view reads, as far as they are missing, and the view.

    Raises:
        DefinitionError: there is no standard view of that name, or a table of the same name is of another shape.
    """
    found = STANDARD.get(name)
    if found is None:
        raise DefinitionError(f"there is no standard view {name!r}; there are: {', '.join(STANDARD)}")
    for table, (shape, key) in found.tables.items():
        tables.table(table, shape, key=key)
    return views.define(name, found.sql, description=found.description)
