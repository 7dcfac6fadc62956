"""What waits for people, as a list to answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dataflows_sdk.core.shown import Sheet
from dataflows_sdk.errors import ApprovalClosedError, DefinitionError, RunNotFoundError
from dataflows_sdk.notebook import svg, text
from dataflows_sdk.notebook.browsing import Action, Details, Field, Line, Page, Source
from dataflows_sdk.notebook.editing import fields_of, value_of
from dataflows_sdk.notebook.kept import source_of
from dataflows_sdk.notebook.model import read
from dataflows_sdk.runs import Run

if TYPE_CHECKING:
    from dataflows_sdk.approvals import Approval
    from dataflows_sdk.context import Context

_PAGE = 50


class ApprovalList(Source):
    """See `Approvals.view`."""

    title, code, live = "approvals that wait", "ctx.approvals.respond(…)", True
    opens = True
    empty = "nothing waits for an answer"

    def __init__(self, context: Context, approver: str | None) -> None:
        self._context = context
        self._approver = approver

    def fields(self) -> list[Field]:
        """The filters."""
        return [Field("text", "text"), Field("approver", "for whom", self._approver or "")]

    def page(self, asked: Mapping[str, str], after: str | None) -> Page:
        """The oldest first; a page begins behind the approval that the one before ended with."""
        words = asked.get("text", "").lower()
        found = [
            each
            for each in self._context.approvals.pending(approver=asked.get("approver"))
            if words in f"{each.workflow} {each.node_id} {each.message}".lower()
        ]
        if after is not None:
            since, _, identifier = after.partition(" ")
            found = [each for each in found if (each.requested_at.isoformat(), each.id) > (since, identifier)]
        found.sort(key=lambda each: (each.requested_at, each.id))
        first = found[:_PAGE]
        following = f"{first[-1].requested_at.isoformat()} {first[-1].id}" if len(found) > _PAGE else None
        columns = ("asks", "workflow", "step", "since", "until", "for")
        return Page(columns, [_line(each) for each in first], following)

    def details(self, identifier: str) -> Details:
        """The question, the run that asks, and the buttons."""
        asked = self._asked(identifier)
        run = Run(self._context, asked.run_id)
        view = read(source_of(run))
        rows = [
            ("workflow", asked.workflow), ("run", asked.run_id), ("step", asked.node_id), ("since", asked.requested_at),
            ("until", asked.expires_at or "no end"), ("for", ", ".join(asked.approvers) or "anybody"),
            ("must approve", asked.required),
        ]  # fmt: skip
        texts = [
            ("asks", asked.message),
            ("steps", text.tree(view)),
            ("in a cell", f'ctx.approvals.respond("{asked.id}", "approved")'),
        ]
        who = Field("responder", "who answers", asked.approvers[0] if asked.approvers else "", asked.approvers)
        actions = (
            Action("approve", "Approve", "yes", f'ctx.approvals.respond("{asked.id}", "approved")'),
            Action("deny", "Deny", "no", f'ctx.approvals.respond("{asked.id}", "rejected")'),
        )
        title = f"{asked.workflow} · {asked.node_id}"
        if asked.value is not None:
            texts.insert(1, ("proposes", json.dumps(asked.value, ensure_ascii=False, indent=1)))
        inputs, edits = (who, Field("comment", "note")), fields_of(asked.value, asked.schema)
        return Details(title, [Sheet("", rows)], texts, svg.dag(view), actions, inputs, edits)

    def opened(self, identifier: str) -> Run:
        """The run that asks, or asked."""
        rows = self._context._read("approvals", "approval", (identifier,))
        if not rows:
            raise RunNotFoundError(f"there is no approval {identifier!r}")
        return Run(self._context, rows[0][0]).refresh()

    def act(self, identifier: str, action: str, given: Mapping[str, str]) -> str:
        """Approve or deny, with the value that was edited, if one was."""
        words = {"approve": "approved", "deny": "rejected"}
        if action not in words:
            raise DefinitionError(f"{action!r} cannot be done with an approval: only {' or '.join(words)}")
        asked = self._asked(identifier)
        who, comment = given.get("responder", "").strip() or None, given.get("comment", "").strip() or None
        value = value_of(given, asked.value, asked.schema)
        try:
            self._context.approvals.respond(asked, words[action], responder=who, comment=comment, value=value)
        except ApprovalClosedError as error:
            if error.reason != "answered":
                raise
            raise ApprovalClosedError(self._decided(identifier), error.reason) from None
        told = words[action] + (f" by {who}" if who else "")
        return told if value is None else f"{told}, with the value as edited"

    def _asked(self, identifier: str) -> Approval:
        asked = next((each for each in self._context.approvals.pending() if each.id == identifier), None)
        if asked is None:
            raise ApprovalClosedError(self._decided(identifier), "answered")
        return asked

    def _decided(self, identifier: str) -> str:
        """Of one that does not wait any more: who decided what, as far as that is known."""
        rows = self._context._read("approvals", "approval", (identifier,))
        if not rows:
            raise RunNotFoundError(f"there is no approval {identifier!r}")
        output = json.loads(rows[0][6]).get("value") if rows[0][6] else None
        if not output:
            # taken, and not worked off yet; or the run was ended while it asked
            given = self._context._read("approvals", "answers", (rows[0][0], f"approval:{identifier}"))
            output = json.loads(given[0][1]) if given else {}
        if not output.get("decision"):
            return f"it waits no longer: its run is {rows[0][5]}"
        return f"already decided by {output.get('responder') or 'somebody'}: {output['decision']}"

    def mask(self, text: str) -> str:
        """A text without secrets."""
        return self._context._redactor.redact_text(text)


def _line(asked: Approval) -> Line:
    names = ", ".join(asked.approvers) or "anybody"
    cells = (asked.message, asked.workflow, asked.node_id, asked.requested_at, asked.expires_at, names)
    return Line(asked.id, cells, "waiting")
