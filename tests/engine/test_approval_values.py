"""The value that goes with the answer to an approval."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.approvals import Approval, ask_people
from dataflows_sdk.errors import ApprovalClosedError, DefinitionError, InputError, RunFailed

from ..conftest import wait_until

SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "integer", "minimum": 1}, "to": {"type": "string"}},
    "required": ["amount", "to"],
}
PROPOSED = {"amount": 40, "to": "ada"}


def asking(value: Any = None, schema: Any = None) -> df.Workflow:
    async def pay(event: Any, step: Any) -> Any:
        return await ask_people(step, "pay?", "Pay it?", ["ann"], value=value, schema=schema)

    return df.Workflow("pay", pay)


def asked_by(ctx: df.Context, run: df.Run) -> Approval:
    return wait_until(lambda: ctx.approvals.pending(run), "it asks")[0]


def test_a_value_is_edited_and_checked(ctx: df.Context) -> None:
    run = ctx.start(asking(PROPOSED, SCHEMA))
    asked = asked_by(ctx, run)
    assert (asked.value, asked.schema) == (PROPOSED, SCHEMA)
    assert hash(asked)
    with pytest.raises(InputError, match="/amount: ") as caught:
        ctx.approvals.respond(asked, True, responder="ann", value={"amount": 0, "to": "ada"})
    assert [each.pointer for each in caught.value.problems] == ["/amount"]
    with pytest.raises(DefinitionError, match="no JSON"):
        ctx.approvals.respond(asked, True, responder="ann", value={"amount": datetime(2026, 1, 1, tzinfo=UTC)})
    with pytest.raises(DefinitionError, match="no JSON"):
        ctx.approvals.respond(asked, True, responder="ann", value=float("nan"))
    with pytest.raises(DefinitionError, match="100,000 is the limit"):
        ctx.approvals.respond(asked, True, responder="ann", value="x" * 100_000)
    with pytest.raises(ApprovalClosedError, match="not for 'bob'"):
        ctx.approvals.respond(asked, True, responder="bob", value={"amount": 0})
    ctx.approvals.respond(asked, True, responder="ann", value={"amount": 39, "to": "ada"})
    assert run.result("20s")["value"] == {"amount": 39, "to": "ada"}


@pytest.mark.parametrize(("proposed", "answered"), [(PROPOSED, PROPOSED), (None, "nothing")])
def test_a_value_that_is_left_alone(ctx: df.Context, proposed: Any, answered: Any) -> None:
    run = ctx.start(asking(proposed))
    ctx.approvals.respond(asked_by(ctx, run), False, responder="ann")
    assert run.result("20s").get("value", "nothing") == answered


def test_a_long_value_and_one_with_signs_of_the_codec(ctx: df.Context) -> None:
    for value in ("é" * 15_000, {"$frame": 1, "$": {"$blob": "x"}}, [0, False, ""]):
        run = ctx.start(asking())
        ctx.approvals.respond(asked_by(ctx, run), True, responder="ann", value=value)
        assert run.result("20s")["value"] == value


@pytest.mark.parametrize(
    ("value", "schema", "message"),
    [
        ({"amount": 0, "to": "x"}, SCHEMA, "/amount"), (object(), None, "no JSON"),
        (None, {"type": "no such type"}, "cannot be used"), ("x" * 100_000, None, "limit"),
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense(ctx: df.Context, value: Any, schema: Any, message: str) -> None:
    with pytest.raises(RunFailed, match=message):
        ctx.start(asking(value, schema)).result("20s")


def test_a_flow_has_the_value_in_the_output(ctx: df.Context) -> None:
    flow = df.flow("ship").on_manual().approval("ok", "Ship?").step("then", lambda ok: ok["value"]["boxes"])
    run = ctx.start(flow, {})
    ctx.approvals.respond(asked_by(ctx, run), True, value={"boxes": 3})
    assert run.result("20s") == 3


def test_a_secret_in_what_is_proposed_is_masked(ctx: df.Context) -> None:
    run = ctx.start(asking({"to": "ada", "password": "plum-tree-93751"}))
    asked = asked_by(ctx, run)
    assert "plum-tree" not in repr(asked.value)
    ctx.approvals.respond(asked, True, responder="ann")
    assert run.result("20s")["value"]["password"] == "plum-tree-93751"
