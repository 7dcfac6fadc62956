"""Approvals: what runs ask people, and their answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.ids import deterministic_id, new_id, parse_id
from dataflows_sdk.core.shown import Listing, Sheet, ShownAsTable, sheet_of
from dataflows_sdk.engine.units import Event, Message
from dataflows_sdk.errors import ApprovalClosedError, DefinitionError, InputError, RunFinishedError, RunNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dataflows_sdk.context import Context
    from dataflows_sdk.engine.step import Step
    from dataflows_sdk.notebook.widgets.browse import Browser
    from dataflows_sdk.runs import Run

#: letters of a question that are kept; characters of a value as JSON, proposed or answered
_SHOWN, _VALUE = 2_000, 100_000
_WORDS = {
    "approved": "approved",
    "approve": "approved",
    "rejected": "rejected",
    "reject": "rejected",
}


@dataclass(frozen=True, slots=True)
class Approval(ShownAsTable):
    """One question of a run.

    Attributes:
        id: what an answer is given to.
        run_id, workflow, node_id: who asks.
        message: what is asked.
        approvers: who may answer; empty for anybody.
        required: how many must approve.
        requested_at, expires_at: since when, and until when.
        value: what the question proposes, for the answer to change; None for nothing.
        schema: the JSON Schema that the value of an answer must fit; None for any JSON.
    """

    id: str
    run_id: UUID
    workflow: str
    node_id: str
    message: str
    approvers: tuple[str, ...]
    required: int
    requested_at: datetime
    expires_at: datetime | None
    value: Any = field(default=None, hash=False)
    schema: dict[str, Any] | None = field(default=None, hash=False, repr=False)


async def ask_people(
    step: Step,
    name: str,
    message: str,
    approvers: Iterable[str] = (),
    *,
    value: Any = None,
    schema: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Ask people within an ``async def`` workflow, as a flow's node `logic_approval` does, and wait for the answer.

    `Approvals.pending` lists the question, `Approvals.respond` answers it. One answer is enough, and there is no
    timeout.

    Args:
        step: of the workflow.
        name: of the wait: unique in its scope.
        message: what is asked; secrets in it are masked.
        approvers: who may answer; empty for anybody.
        value: what is proposed, as JSON; who answers may change it. Secrets in it are masked where it is shown.
        schema: a JSON Schema; the value of an answer must fit it.

    Returns:
        the answer: its ``decision``, ``"approved"`` or ``"rejected"``, its ``responder`` and ``comment``, and as its
        ``value`` what the person made of *value*; *value* itself where they left it alone, nothing if there is none.

    Raises:
        DefinitionError: *value* is no JSON or too long.
        InvalidInputSchemaError: *schema* is none.
        InputError: *value* does not fit *schema*.
    """
    proposed = None if value is None else _json(value, f"the value that {name!r} proposes")
    if schema is not None:
        _fit(schema, proposed, f"the value that {name!r} proposes", wanted=value is not None)
    verbs = step._verbs
    frame = verbs.enter("wait", name)
    approval = deterministic_id(step.run_id, frame.key)
    told = verbs.engine.redactor.redact_text(message)
    about = {
        "id": str(approval),
        "node": name,
        "message": told if len(told) <= _SHOWN else f"{told[:_SHOWN]}…",
        "approvers": list(approvers),
        "required": 1,
        "until": None,
    }
    if value is not None:
        about["proposed"] = verbs.engine.redactor.redact_value(proposed)
    if schema is not None:
        about["schema"] = _json(schema, f"the schema of {name!r}")
    asked = Event("approval.requested", frame.key, json.dumps(about))
    answer: dict[str, Any] = await verbs.wait_for_event(name, event=f"approval:{approval}", item=frame, asked=asked)
    return answer if value is None or "value" in answer else {**answer, "value": proposed}


class Approvals(ShownAsTable):
    """The approvals of a database: ``ctx.approvals``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def pending(self, run: Run | str | UUID | None = None, *, approver: str | None = None) -> list[Approval]:
        """What waits for an answer, the oldest first; of one run, or what one person may answer."""
        wanted = None if run is None else run if isinstance(run, UUID) else _id(run)
        rows = self._context._read("approvals", "pending", (wanted,))
        now = self._context._engine.clock.now()
        found = [_approval(row) for row in rows]
        return Listing(
            each
            for each in found
            if (approver is None or not each.approvers or approver in each.approvers)
            and (each.expires_at is None or each.expires_at > now)
        )

    def view(self, *, approver: str | None = None) -> Browser:
        """What waits, as a list in a notebook: each with what it asks and buttons to approve or deny. Live.

        Args:
            approver: at first only what this person may answer.

        Raises:
            MissingExtraError: the extra ``notebook`` is not installed.
        """
        from dataflows_sdk.showing import browser

        return browser("approvals", self._context, approver)

    def respond(
        self,
        approval: Approval | str | UUID,
        decision: str | bool,
        *,
        responder: str | None = None,
        comment: str | None = None,
        value: Any = None,
    ) -> None:
        """Answer, once and for all. Of two answers at the same moment one is taken and the other one is told so.

        Args:
            decision: ``"approved"`` or ``"rejected"`` (``"approve"``, ``"reject"``, True, False).
            responder: who answers; must be one of the approvers where there are some.
            comment: goes into the node's output.
            value: goes there too, in place of what the question proposes: JSON of at most 100,000 characters that fits
                the question's schema, where it has one. None for none.

        Raises:
            DefinitionError: there is no such decision, or *value* is no JSON or too long.
            InputError: *value* does not fit the schema; ``.problems`` says where.
            ApprovalClosedError: it was answered already, or too late, or the run is over, or it is not theirs.
            RunNotFoundError: there is no such approval.
        """
        word = _decision(decision)
        given = approval.id if isinstance(approval, Approval) else str(approval)
        identifier = str(parse_id(given))
        rows = self._context._read("approvals", "approval", (identifier,))
        if not rows:
            raise RunNotFoundError(f"there is no approval {identifier}; ctx.approvals.pending() lists those that wait")
        question = _approval(rows[0])
        self._refuse_closed(question, status=rows[0][5], ended=rows[0][6], responder=responder)
        if value is not None:
            value = _json(value, "the value of an answer")
            if question.schema is not None:
                _fit(question.schema, value, "the value of the answer", wanted=True)
        now = self._context._engine.clock.now()
        nonce = new_id()
        answer = {
            "decision": word,
            "responder": responder,
            "comment": comment,
            "responded_at": now.isoformat(),
            "nonce": nonce,
        }
        if value is not None:
            answer["value"] = value
        name = f"approval:{identifier}"
        # One answer in all, or where several are required one of each person: the key says which was first.
        dedupe = name if question.required == 1 else f"{name}:{responder or ''}"
        encoded = self._context._engine.values.encode(answer, "answer to an approval")
        try:
            self._context._send(Message(question.run_id, "event", name, encoded.text, dedupe), encoded.blobs)
        except RunFinishedError:
            raise ApprovalClosedError(f"the run of approval {identifier} is over", "finished") from None
        self._was_taken(question, name, dedupe, nonce)

    def _refuse_closed(self, question: Approval, *, status: str, ended: str | None, responder: str | None) -> None:
        if ended is not None:
            output = json.loads(ended).get("value") or {}
            by = output.get("responder")
            how = f"{output.get('decision')}" + (f" by {by}" if by else "") if output else "it is over"
            reason = "expired" if output.get("reason") == "timeout" else "answered"
            raise ApprovalClosedError(f"approval {question.id} was answered already: {how}", reason)
        if status in ("succeeded", "failed", "cancelled"):
            raise ApprovalClosedError(f"approval {question.id}: its run is {status}", "finished")
        if question.approvers and responder not in question.approvers:
            raise ApprovalClosedError(
                f"approval {question.id} is for {', '.join(question.approvers)}, not for {responder!r}", "forbidden"
            )
        now = self._context._engine.clock.now()
        if question.expires_at is not None and question.expires_at <= now:
            raise ApprovalClosedError(
                f"approval {question.id} expired at {question.expires_at:%Y-%m-%d %H:%M:%S %Z}", "expired"
            )

    def _was_taken(self, question: Approval, name: str, dedupe: str, nonce: str) -> None:
        for _, payload, at, key in self._context._read("approvals", "answers", (question.run_id, name)):
            if key != dedupe:
                continue
            found = json.loads(payload)
            if found.get("nonce") != nonce:
                raise ApprovalClosedError(
                    f"approval {question.id} was answered already: {found.get('decision')} by {found.get('responder')}",
                    "answered",
                )
            if question.expires_at is not None and at > question.expires_at:
                raise ApprovalClosedError(f"approval {question.id} expired while it was answered", "expired")
            return

    def _sheet(self) -> Sheet:
        return sheet_of(self.pending(), "approvals that wait")


def _decision(given: Any) -> str:
    if isinstance(given, bool):
        return "approved" if given else "rejected"
    found = _WORDS.get(given) if isinstance(given, str) else None
    if found is None:
        raise DefinitionError(f'a decision is "approved" or "rejected", not {given!r}')
    return found


def _id(run: Any) -> UUID:
    found = getattr(run, "id", run)
    return found if isinstance(found, UUID) else parse_id(str(found))


def _approval(row: tuple[Any, ...]) -> Approval:
    run, _key, data, at, workflow = row[:5]
    details = json.loads(data)
    until = details.get("until")
    return Approval(
        details["id"],
        run,
        workflow,
        details["node"],
        details["message"],
        tuple(details["approvers"]),
        details["required"],
        at,
        None if until is None else datetime.fromisoformat(until),
        details.get("proposed"),
        details.get("schema"),
    )


def _json(value: Any, what: str) -> Any:
    """The value as JSON has it, a copy."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DefinitionError(f"{what} is no JSON: {error}") from None
    if len(text) > _VALUE:
        raise DefinitionError(
            f"{what} has {len(text):,} characters as JSON, and {_VALUE:,} is the limit: store it, and give its key"
        )
    return json.loads(text)


def _fit(schema: Mapping[str, Any], value: Any, what: str, *, wanted: bool) -> None:
    """Raises what is wrong with a schema and, where a value is wanted, with the value."""
    from dataflows_sdk.triggers.inputs import InputSchema  # jsonschema takes its time to be imported

    checked = InputSchema(schema)
    if wanted and (problems := checked.check(value)):
        lines = "; ".join(f"{each.pointer or 'all of it'}: {each.message}" for each in problems)
        raise InputError(f"{what} does not fit the question's schema: {lines}", problems)
