"""The views that come with the library, on payloads as the references of the four APIs show them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.store.database import Database
from dataflows_sdk.warehouse.desk import Warehouse
from dataflows_sdk.warehouse.standard import STANDARD, clickup, hubspot, stripe, xero


class Hand:
    """Writes rows to the warehouse, and looks at its views as BI tools do."""

    def __init__(self, warehouse: Warehouse, connection: psycopg.Connection[Any]) -> None:
        self.warehouse = warehouse
        self.connection = connection

    def upsert(self, table: str, *rows: dict[str, Any]) -> None:
        self.warehouse.table(table).upsert_many(rows)

    def run(self, sql: str) -> list[Any]:
        return self.connection.execute(sql).fetchall()  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def hand(database_url: str) -> Iterator[Hand]:
    database = Database(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set timezone to 'UTC'")
        yield Hand(Warehouse(database), connection)
    database.close()


def found(hand: Hand, view: str, key: str) -> dict[Any, dict[str, Any]]:
    """The rows of a view by two columns."""
    cursor = hand.connection.execute(f"select * from warehouse.{view}")  # type: ignore[call-overload]
    names = [column.name for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    by = {(row[key], row["currency"]): row for row in rows}
    assert len(by) == len(rows)
    return by


# --- payloads ---------------------------------------------------------------------------------------------


def stripe_customer(identifier: str, email: str | None, name: str | None = None, created: int = 1_680_893_993) -> Any:
    return {
        "id": identifier,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": created,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "email": email,
        "invoice_prefix": "0759376C",
        "livemode": False,
        "metadata": {},
        "name": name,
        "phone": None,
    }


def stripe_charge(identifier: str, customer: Any, amount: int, currency: str = "usd", **changes: Any) -> Any:
    return {
        "id": identifier,
        "object": "charge",
        "amount": amount,
        "amount_captured": amount,
        "amount_refunded": 0,
        "balance_transaction": "txn_1MiN3gLkdIwHu7ixxapQrznl",
        "billing_details": {"address": {"country": None}, "email": None, "name": None, "phone": None},
        "captured": True,
        "created": 1_679_090_539,
        "currency": currency,
        "customer": customer,
        "disputed": False,
        "livemode": False,
        "paid": True,
        "payment_intent": None,
        "receipt_email": None,
        "refunded": False,
        "status": "succeeded",
        **changes,
    }


def hubspot_contact(identifier: str, email: str | None, first: str | None, last: str | None, **changes: Any) -> Any:
    return {
        "id": identifier,
        "properties": {
            "createdate": "2024-01-17T19:55:04.281Z",
            "email": email,
            "firstname": first,
            "hs_object_id": identifier,
            "lastmodifieddate": "2024-09-11T13:27:39.356Z",
            "lastname": last,
            "company": "HubSpot",
            "lifecyclestage": "customer",
        },
        "createdAt": "2024-01-17T19:55:04.281Z",
        "updatedAt": "2024-09-11T13:27:39.356Z",
        "archived": False,
        **changes,
    }


def clickup_task(identifier: str, folder: Any, status: str = "open", **changes: Any) -> Any:
    return {
        "id": identifier,
        "custom_id": None,
        "name": "New Task Name",
        "status": {"status": "in progress", "color": "#d3d3d3", "orderindex": 1, "type": status},
        "date_created": "1567780450202",
        "date_updated": "1567780450202",
        "date_closed": None,
        "archived": False,
        "creator": {"id": 183, "username": "John Doe"},
        "parent": None,
        "due_date": None,
        "time_estimate": 3_600_000,
        "time_spent": 1_800_000,
        "list": {"id": "123", "name": "Website list", "access": True},
        "folder": folder,
        "project": folder,
        "space": {"id": "789"},
        "url": f"https://app.clickup.com/t/{identifier}",
        **changes,
    }


def folder(identifier: str, name: str) -> Any:
    return {"id": identifier, "name": name, "hidden": False, "access": True}


HIDDEN = {"id": "457", "name": "hidden", "hidden": True, "access": True}


def time_entry(identifier: str, task: str | None, hours: float, user: int = 1, **changes: Any) -> Any:
    return {
        "id": identifier,
        "task": None if task is None else {"id": task, "custom_id": None, "name": "woof", "custom_type": None},
        "wid": "300702",
        "user": {"id": user, "username": "first_name last_name", "email": "test@example.com", "initials": "JK"},
        "billable": False,
        "start": "1592841559129",
        "end": "1592845899021",
        "duration": str(int(hours * 3_600_000)),
        "description": "",
        "tags": [],
        "source": "clickup",
        "at": "1592845899021",
        **changes,
    }


def xero_line(identifier: str, amount: float, project: str | None = None, tax: float = 0.0) -> Any:
    tracking = [] if project is None else [
        {"Name": "Region", "Option": "North", "TrackingCategoryID": "c1", "TrackingOptionID": "o1"},
        {"Name": "Project", "Option": project, "TrackingCategoryID": "c2", "TrackingOptionID": "o2"},
    ]  # fmt: skip
    return {
        "LineItemID": identifier,
        "Description": "Consulting",
        "Quantity": 1.0,
        "UnitAmount": amount,
        "LineAmount": amount,
        "TaxAmount": tax,
        "TaxType": "OUTPUT",
        "AccountCode": "200",
        "Tracking": tracking,
    }


def xero_invoice(identifier: str, *lines: Any, **changes: Any) -> Any:
    total = sum(each["LineAmount"] for each in lines)
    return {
        "Type": "ACCREC",
        "InvoiceID": identifier,
        "InvoiceNumber": f"INV-{identifier}",
        "Reference": "",
        "Status": "AUTHORISED",
        "LineAmountTypes": "Exclusive",
        "Contact": {"ContactID": "025867f1-d741-4d6b-b1af-9ac774b59ba7", "Name": "City Agency"},
        "DateString": "2009-05-27T00:00:00",
        "Date": "/Date(1243382400000+0000)/",
        "DueDateString": "2009-06-06T00:00:00",
        "DueDate": "/Date(1244246400000+0000)/",
        "LineItems": list(lines),
        "SubTotal": total,
        "TotalTax": 0.0,
        "Total": total,
        "UpdatedDateUTC": "/Date(1518685950940+0000)/",
        "CurrencyCode": "NZD",
        "CurrencyRate": 1.0,
        "AmountDue": total,
        "AmountPaid": 0.0,
        "AmountCredited": 0.0,
        "CreditNotes": [],
        **changes,
    }


# --- rows of payloads -------------------------------------------------------------------------------------


def test_rows_of_stripe() -> None:
    row = stripe.charge(stripe_charge("ch_1", {"id": "cus_1", "object": "customer"}, 1099, receipt_email="a@x.org"))
    assert (row["charge_id"], row["customer_id"], row["email"]) == ("ch_1", "cus_1", "a@x.org")
    assert (row["amount_captured"], row["currency"]) == (1099, "usd")
    assert row["created_at"] == datetime(2023, 3, 17, 22, 2, 19, tzinfo=UTC)
    old = stripe_charge("ch_2", None, 500, captured=False)
    del old["amount_captured"]
    assert stripe.charge(old)["amount_captured"] == 0
    assert stripe.customer({"id": "cus_1", "object": "customer", "deleted": True}) == {
        "customer_id": "cus_1",
        "deleted": True,
    }


def test_rows_of_hubspot() -> None:
    row = hubspot.contact(hubspot_contact("33451", "Maria@Example.org", "Maria", "Johnson"))
    assert (row["contact_id"], row["first_name"], row["lifecycle_stage"]) == ("33451", "Maria", "customer")
    assert row["updated_at"] == datetime(2024, 9, 11, 13, 27, 39, 356_000, tzinfo=UTC)
    assert hubspot.contact({"id": 7})["email"] is None


def test_rows_of_clickup() -> None:
    row = clickup.task(clickup_task("9hx", folder("456", "Website")))
    assert (row["project_id"], row["time_spent_ms"], row["status_type"]) == ("456", 1_800_000, "open")
    assert row["created_at"] == datetime(2019, 9, 6, 14, 34, 10, 202_000, tzinfo=UTC)
    assert clickup.task(clickup_task("9hx", HIDDEN))["project_id"] == "list-123"
    assert clickup.project(clickup_task("9hx", HIDDEN))["name"] == "Website list"
    assert clickup.project({"id": "457", "name": "Updated", "hidden": False, "space": {"id": "789"}}) == {
        "project_id": "457", "name": "Updated", "space_id": "789", "archived": False,
    }  # fmt: skip
    assert (
        clickup.project({"id": "124", "name": "L", "folder": HIDDEN, "space": {"id": "9"}})["project_id"] == "list-124"
    )
    entry = clickup.time_entry(time_entry("1963465985517105840", "1vwwavv", 1.5))
    assert (entry["task_id"], entry["duration_ms"], entry["project_id"], entry["user_id"]) == (
        "1vwwavv",
        5_400_000,
        None,
        "1",
    )
    place = {"list_id": "1", "folder_id": "2", "space_id": "3", "list_name": "L", "folder_name": "F"}
    assert clickup.time_entry(time_entry("1", None, 1, task_location=place))["project_id"] == "2"
    place["folder_name"] = "hidden"
    assert clickup.time_entry(time_entry("1", None, 1, task_location=place))["project_id"] == "list-1"
    assert clickup.time_entry(time_entry("1", None, 1) | {"task": "0"})["task_id"] is None
    with pytest.raises(DefinitionError, match="in no folder and in no list"):
        clickup.project({"id": "9hx", "list": {}})


def test_rows_of_xero() -> None:
    given = xero_invoice("1", xero_line("a", 115.0, "Alpha", tax=15.0), LineAmountTypes="Inclusive")
    row = xero.invoice(given)
    assert (row["type"], row["status"], row["currency"], row["issued_on"]) == (
        "ACCREC",
        "AUTHORISED",
        "NZD",
        date(2009, 5, 27),
    )
    (line,) = xero.invoice_lines(given)
    assert (line["net_amount"], line["project"]) == (Decimal("100.0"), "Alpha")
    assert line["updated_at"] == row["updated_at"] == datetime(2018, 2, 15, 9, 12, 30, 940_000, tzinfo=UTC)
    assert xero.invoice_lines(given, category="region")[0]["project"] == "North"
    del given["LineItems"], given["DateString"]
    assert xero.invoice_lines(given) == []
    assert xero.invoice(given)["issued_on"] == date(2009, 5, 27)
    notes = [{"CreditNoteID": "n", "AppliedAmount": 0.1}, {"CreditNoteID": "m", "AppliedAmount": 0.2}]
    assert xero.invoice(given | {"CreditNotes": notes})["credit_notes"] == Decimal("0.3")


@pytest.mark.parametrize("function", [stripe.customer, stripe.charge, hubspot.contact, clickup.task, clickup.time_entry,
                                      clickup.project, xero.invoice, xero.invoice_lines])  # fmt: skip
def test_what_is_no_payload(function: Any) -> None:
    for given in (None, [], "x", 7, {}, {"id": None, "InvoiceID": ""}, {"id": True, "InvoiceID": False}):
        with pytest.raises(DefinitionError):
            function(given)


@pytest.mark.parametrize(
    ("function", "given", "told"),
    [
        (stripe.charge, {"amount": 10.5}, "amount=10.5"),
        (stripe.charge, {"amount": True}, "amount=True"),
        (stripe.charge, {"created": 10**400}, "created="),
        (stripe.charge, {"amount": float("inf")}, "amount=inf"),
        (hubspot.contact, {"updatedAt": "yesterday"}, "updatedAt='yesterday'"),
        (clickup.time_entry, {"duration": "long"}, "duration='long'"),
        (xero.invoice, {"Total": "NaN"}, "Total='NaN'"),
        (xero.invoice, {"Total": "1,5"}, "Total='1,5'"),
        (xero.invoice, {"Date": "/Date(99999999999999999999)/"}, "Date="),
    ],
)
def test_values_that_cannot_be_read_are_named(function: Any, given: Any, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        function({"id": "x", "InvoiceID": "x", **given})


# --- unified customer -------------------------------------------------------------------------------------


def test_unified_customer(hand: Hand) -> None:
    view = hand.warehouse.standard("unified_customer")
    hand.upsert(
        "stripe_customers",
        *map(
            stripe.customer,
            [
                stripe_customer("cus_1", " Maria@Example.org ", "M. Johnson", created=1),
                stripe_customer("cus_2", "maria@example.org", "Maria J.", created=2),
                stripe_customer("cus_3", "only@stripe.org", "Only Stripe"),
                stripe_customer("cus_4", None, "No Mail"),
                stripe_customer("cus_5", "gone@stripe.org", "Gone"),
                stripe_customer("cus_6", "never@paid.org"),
            ],
        ),
    )
    hand.upsert("stripe_customers", stripe.customer({"id": "cus_5", "object": "customer", "deleted": True}))
    hand.upsert(
        "stripe_charges",
        *map(
            stripe.charge,
            [
                stripe_charge("1", "cus_1", 1099),
                stripe_charge("2", "cus_2", 5000, amount_refunded=2000, created=1_700_000_000),
                stripe_charge("3", "cus_2", 700, "jpy"),
                stripe_charge("4", "cus_2", 1500, "kwd", disputed=True),
                stripe_charge("5", "cus_2", 9999, status="failed"),
                stripe_charge("6", "cus_2", 9999, status="pending"),
                stripe_charge("7", "cus_2", 9999, captured=False, amount_captured=0),
                stripe_charge("8", "cus_3", 100, amount_captured=60),
                stripe_charge("9", "cus_4", 100),
                stripe_charge("10", None, 200, billing_details={"email": "GUEST@example.org", "name": "Guest"}),
                stripe_charge("11", None, 300),
                stripe_charge("12", None, 400, amount_refunded=400, refunded=True),
                stripe_charge("13", "cus_5", 500),
                stripe_charge("14", "cus_unknown", 600),
            ],
        ),
    )
    hand.upsert(
        "hubspot_contacts",
        *map(
            hubspot.contact,
            [
                hubspot_contact("1", "MARIA@example.org", "Maria", "Johnson"),
                hubspot_contact("2", "maria@example.org", "Old", "Name", updatedAt="2020-01-01T00:00:00Z"),
                hubspot_contact("3", "only@hubspot.org", None, "Only"),
                hubspot_contact("4", None, "No", "Mail"),
                hubspot_contact("5", "guest@example.org", "Gu", "Est", archived=True),
            ],
        ),
    )
    by = found(hand, "unified_customer", "customer")
    maria = by["maria@example.org", "USD"]
    assert (maria["payments"], maria["paid"], maria["refunded"], maria["net"]) == (
        2, Decimal("60.99"), Decimal("20.00"), Decimal("40.99"),
    )  # fmt: skip
    assert (maria["name"], maria["hubspot_contact_id"], maria["stripe_customer_ids"]) == (
        "Maria Johnson", "1", "cus_1, cus_2",
    )  # fmt: skip
    assert maria["first_paid_at"] < maria["last_paid_at"]
    assert by["maria@example.org", "JPY"]["paid"] == 700
    assert (by["maria@example.org", "KWD"]["paid"], by["maria@example.org", "KWD"]["disputes"]) == (Decimal("1.500"), 1)
    assert by["only@stripe.org", "USD"]["paid"] == Decimal("0.60")
    assert by["stripe:cus_4", "USD"]["name"] == "No Mail"
    assert (by["guest@example.org", "USD"]["known_to"], by["guest@example.org", "USD"]["name"]) == ("stripe", None)
    assert (by["stripe:unknown", "USD"]["payments"], by["stripe:unknown", "USD"]["net"]) == (2, Decimal("3.00"))
    assert by["gone@stripe.org", "USD"]["paid"] == Decimal("5.00")
    assert by["stripe:cus_unknown", "USD"]["paid"] == Decimal("6.00")
    assert (by["only@hubspot.org", None]["payments"], by["only@hubspot.org", None]["known_to"]) == (0, "hubspot")
    assert by["hubspot:4", None]["email"] is None
    assert by["never@paid.org", None]["known_to"] == "stripe"
    assert {customer for customer, _ in by} == {
        "maria@example.org", "only@stripe.org", "stripe:cus_4", "gone@stripe.org", "never@paid.org",
        "guest@example.org", "stripe:unknown", "stripe:cus_unknown", "only@hubspot.org", "hubspot:4",
    }  # fmt: skip
    assert sum(row["payments"] for row in by.values()) == 11  # of 14; failed, pending and not captured are none
    assert set(view.depends) == {"stripe_customers", "stripe_charges", "hubspot_contacts"}


# --- project profitability --------------------------------------------------------------------------------


@pytest.fixture
def projects(hand: Hand) -> Hand:
    hand.warehouse.standard("project_profitability")
    hand.upsert(
        "clickup_projects",
        *map(
            clickup.project,
            [
                {"id": "1", "name": "Alpha  Site", "hidden": False, "space": {"id": "789"}},
                {"id": "2", "name": "Beta", "hidden": False, "space": {"id": "789"}},
                {"id": "3", "name": "Twin", "hidden": False, "space": {"id": "789"}},
                {"id": "4", "name": "twin", "hidden": False, "space": {"id": "789"}},
            ],
        ),
    )
    return hand


def profit(hand: Hand) -> dict[Any, dict[str, Any]]:
    return found(hand, "project_profitability", "project")


def bill(hand: Hand, *given: Any) -> None:
    hand.upsert("xero_invoices", *map(xero.invoice, given))
    hand.upsert("xero_invoice_lines", *(line for each in given for line in xero.invoice_lines(each)))


def test_project_profitability(projects: Hand) -> None:
    hand = projects
    hand.upsert(
        "clickup_tasks",
        clickup.task(clickup_task("t1", folder("1", "Alpha Site"))),
        clickup.task(clickup_task("t2", folder("1", "Alpha Site"), "closed")),
        clickup.task(clickup_task("t3", folder("1", "Alpha Site"), archived=True)),
        clickup.task(clickup_task("t4", HIDDEN)),
    )
    hand.upsert(
        "clickup_time_entries",
        clickup.time_entry(time_entry("1", "t1", 1.5, billable=True)),
        clickup.time_entry(time_entry("2", "t3", 2, user=2)),  # also in an archived task
        clickup.time_entry(time_entry("3", None, 4)),
        clickup.time_entry(time_entry("4", "t1", -1_000)),  # its timer runs
        clickup.time_entry(time_entry("5", "unknown", 1, task_location={"folder_id": "2", "folder_name": "Beta"})),
    )
    hand.upsert("labour_rates", {"user_id": "1", "hourly_cost": 50, "currency": "nzd"})
    bill(
        hand,
        xero_invoice("1", xero_line("a", 1000.0, "ALPHA site"), xero_line("b", 500.0, "Beta")),
        xero_invoice("2", xero_line("c", 100.0, " alpha Site "), CurrencyCode="USD", Status="PAID"),
        xero_invoice("3", xero_line("d", 300.0, "Alpha Site"), Type="ACCPAY"),
        *(
            xero_invoice(f"x{status}", xero_line(f"l{status}", 7777.0, "Alpha Site"), Status=status)
            for status in ("DRAFT", "SUBMITTED", "VOIDED", "DELETED")
        ),
    )
    by = profit(hand)
    alpha = by["1", "NZD"]
    assert (alpha["name"], alpha["tasks"], alpha["open_tasks"], alpha["known_to"]) == ("Alpha  Site", 2, 1, "both")
    assert (alpha["hours"], alpha["billable_hours"], alpha["hours_without_rate"]) == (Decimal("3.5"), Decimal("1.5"), 2)
    assert (alpha["invoices"], alpha["invoiced"], alpha["bills"], alpha["labour"]) == (1, 1000, 300, 75)
    assert (alpha["profit"], alpha["margin"]) == (625, Decimal("0.6250"))
    assert (by["1", "USD"]["invoiced"], by["1", "USD"]["profit"], by["1", "USD"]["currency_rows"]) == (100, 100, 2)
    assert (by["2", "NZD"]["invoiced"], by["2", "NZD"]["hours"], by["2", "NZD"]["labour"]) == (500, 1, 50)
    nowhere = by["clickup:none", "NZD"]
    assert (nowhere["name"], nowhere["hours"], nowhere["profit"]) == ("(no project)", 4, -200)
    assert by["list-123", None]["tasks"] == 1
    assert (by["3", None]["known_to"], by["3", None]["hours"]) == ("clickup", 0)


def test_projects_are_found_by_a_link_before_a_name(projects: Hand) -> None:
    hand = projects
    hand.upsert(
        "project_links",
        {"xero_project": "P-100", "clickup_project_id": "1"},
        {"xero_project": "p-100 ", "clickup_project_id": "1"},  # the same, to a reader
        {"xero_project": "Beta", "clickup_project_id": "4"},
    )
    bill(
        hand,
        xero_invoice("1", xero_line("a", 1.0, "p-100")),
        xero_invoice("2", xero_line("b", 10.0, "Beta")),
        xero_invoice("3", xero_line("c", 100.0), Reference="P-100"),
        xero_invoice("4", xero_line("d", 1_000.0, "Elsewhere"), Reference="P-100"),  # a line knows better
        xero_invoice("5", xero_line("e", 10_000.0, "Twin")),  # two projects are called that
        xero_invoice("6", xero_line("f", 100_000.0)),
        xero_invoice("7", Reference="Alpha Site", SubTotal=20.0, Total=23.0, TotalTax=3.0),  # a summary
    )
    by = profit(hand)
    assert by["1", "NZD"]["invoiced"] == 121
    assert by["4", "NZD"]["invoiced"] == 10
    assert (by["2", None]["invoiced"], by["3", None]["invoiced"]) == (0, 0)
    for project, name, amount in (("xero:elsewhere", "Elsewhere", 1_000), ("xero:twin", "Twin", 10_000),
                                  ("xero:none", "(no project)", 100_000)):  # fmt: skip
        row = by[project, "NZD"]
        assert (row["name"], row["invoiced"], row["clickup_project_id"], row["known_to"]) == (
            name,
            amount,
            None,
            "xero",
        )
    assert sum(row["invoiced"] for row in by.values()) == 111_131


def test_credit_notes_and_lines_that_went(projects: Hand) -> None:
    hand = projects
    bill(hand, xero_invoice("1", xero_line("a", 100.0, "Beta"), xero_line("b", 300.0, "Alpha Site")))
    later = xero_invoice(
        "1",
        xero_line("a", 200.0, "Beta"),
        UpdatedDateUTC="/Date(1518685990000+0000)/",
        CreditNotes=[{"CreditNoteID": "n", "AppliedAmount": 50.0}],
        AmountCredited=80.0,  # 30 of it a payment in advance
    )
    bill(hand, later)
    by = profit(hand)
    assert by["2", "NZD"]["invoiced"] == 150
    assert by["1", None]["invoiced"] == 0
    bill(hand, later | {"CreditNotes": [{"CreditNoteID": "n", "AppliedAmount": 500.0}]})
    assert profit(hand)["2", "NZD"]["invoiced"] == 0


# --- definitions ------------------------------------------------------------------------------------------


def test_installing_again_changes_nothing(hand: Hand) -> None:
    for name in STANDARD:
        first = hand.warehouse.standard(name)
        again = hand.warehouse.standard(name)
        assert (again.version, again.changed_at) == (1, first.changed_at)
        assert again.description
        assert found(hand, name, "known_to") == {}
    with pytest.raises(DefinitionError, match="unified_customer, project_profitability"):
        hand.warehouse.standard("unified_customers")


def test_they_can_be_kept(hand: Hand) -> None:
    hand.warehouse.standard("unified_customer")
    sql = STANDARD["unified_customer"].sql
    kept = hand.warehouse.view("customers_kept", f"select customer || coalesce(currency, '') as id, * from ({sql}) u",
                        materialized=True, key="id")  # fmt: skip
    hand.upsert("stripe_charges", stripe.charge(stripe_charge("1", None, 100)))
    assert kept.staleness().rows == 1
    kept.refresh()
    assert hand.run("select net from warehouse.customers_kept") == [(Decimal("1.00"),)]
