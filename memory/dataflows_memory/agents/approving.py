"""A person's word before a dangerous tool is called."""

from __future__ import annotations

import json
from typing import Any

from dataflows_sdk.core.ids import deterministic_id
from dataflows_sdk.engine.units import Event

_SHOWN = 2_000


async def approved(step: Any, name: str, message: str, approvers: tuple[str, ...]) -> dict[str, Any]:
    """Ask, as an approval that ``ctx.approvals`` lists, and wait for the answer: ``decision``, ``comment``, …

    Args:
        step: of the workflow.
        name: of the wait.
        message: what is asked.
        approvers: who may answer; empty for anybody.
    """
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
    asked = Event("approval.requested", frame.key, json.dumps(about))
    answer: dict[str, Any] = await verbs.wait_for_event(name, event=f"approval:{approval}", item=frame, asked=asked)
    return answer
