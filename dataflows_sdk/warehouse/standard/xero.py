"""Xero: invoices and bills with their lines, as its Accounting API sends them.

``ACCREC`` is an invoice to a customer, ``ACCPAY`` a bill of a supplier. The option of a tracking category says what
project a line is of; which category that is, is for the user to say (``Project`` by default).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from dataflows_sdk.warehouse.standard.payloads import day, decimal, inner, moment, payload, text


class XeroInvoice(BaseModel):
    """The table ``xero_invoices``."""

    invoice_id: str
    type: str | None = None
    status: str | None = None
    number: str | None = None
    reference: str | None = None
    contact_id: str | None = None
    contact_name: str | None = None
    currency: str | None = None
    currency_rate: Decimal | None = None
    sub_total: Decimal | None = None
    total_tax: Decimal | None = None
    total: Decimal | None = None
    amount_due: Decimal | None = None
    amount_paid: Decimal | None = None
    amount_credited: Decimal | None = None
    credit_notes: Decimal | None = None
    issued_on: date | None = None
    due_on: date | None = None
    updated_at: datetime | None = None


class XeroInvoiceLine(BaseModel):
    """The table ``xero_invoice_lines``."""

    line_id: str
    invoice_id: str
    description: str | None = None
    quantity: Decimal | None = None
    unit_amount: Decimal | None = None
    line_amount: Decimal | None = None
    tax_amount: Decimal | None = None
    net_amount: Decimal | None = None
    account_code: str | None = None
    item_code: str | None = None
    project: str | None = None
    updated_at: datetime | None = None


def invoice(given: Any) -> dict[str, Any]:
    """The row of an invoice or bill. ``credit_notes`` is what credit notes took off it; payments are not among that.

    Raises:
        DefinitionError: it is no invoice.
    """
    found, identifier = payload(given, "a Xero invoice", "InvoiceID")
    contact = inner(found, "Contact")
    notes = [each for each in found.get("CreditNotes") or () if isinstance(each, Mapping)]
    credited = [decimal(each.get("AppliedAmount"), "AppliedAmount") for each in notes]
    names = {
        "currency_rate": "CurrencyRate", "sub_total": "SubTotal", "total_tax": "TotalTax", "total": "Total",
        "amount_due": "AmountDue", "amount_paid": "AmountPaid", "amount_credited": "AmountCredited",
    }  # fmt: skip
    return {
        "invoice_id": identifier,
        "type": text(found.get("Type")),
        "status": text(found.get("Status")),
        "number": text(found.get("InvoiceNumber")),
        "reference": text(found.get("Reference")),
        "contact_id": text(contact.get("ContactID")),
        "contact_name": text(contact.get("Name")),
        "currency": text(found.get("CurrencyCode")),
        **{column: decimal(found.get(name), name) for column, name in names.items()},
        "credit_notes": sum((each for each in credited if each is not None), Decimal(0)),
        "issued_on": day(found.get("DateString") or found.get("Date"), "Date"),
        "due_on": day(found.get("DueDateString") or found.get("DueDate"), "DueDate"),
        "updated_at": _updated(found),
    }


def invoice_lines(given: Any, *, category: str = "Project") -> list[dict[str, Any]]:
    """The rows of the lines of an invoice; none where Xero sent the summary only.

    Args:
        category: the tracking category whose option says the project.

    Raises:
        DefinitionError: it is no invoice.
    """
    found, identifier = payload(given, "a Xero invoice", "InvoiceID")
    lines = [each for each in found.get("LineItems") or () if isinstance(each, Mapping)]
    with_tax = text(found.get("LineAmountTypes")) == "Inclusive"
    rows = []
    for place, line in enumerate(lines, 1):
        amount, tax = decimal(line.get("LineAmount"), "LineAmount"), decimal(line.get("TaxAmount"), "TaxAmount")
        net = amount if amount is None or not with_tax else amount - (tax or 0)
        rows.append(
            {
                "line_id": text(line.get("LineItemID")) or f"{identifier}/{place}",
                "invoice_id": identifier,
                "description": text(line.get("Description")),
                "quantity": decimal(line.get("Quantity"), "Quantity"),
                "unit_amount": decimal(line.get("UnitAmount"), "UnitAmount"),
                "line_amount": amount,
                "tax_amount": tax,
                "net_amount": net,
                "account_code": text(line.get("AccountCode")),
                "item_code": text(line.get("ItemCode")),
                "project": _option(line, category),
                "updated_at": _updated(found),
            }
        )
    return rows


def _option(line: Mapping[str, Any], category: str) -> str | None:
    for each in line.get("Tracking") or ():
        if isinstance(each, Mapping) and str(each.get("Name", "")).strip().lower() == category.strip().lower():
            return text(each.get("Option"))
    return None


def _updated(found: Mapping[str, Any]) -> datetime | None:
    return moment(found.get("UpdatedDateUTC"), "UpdatedDateUTC")
