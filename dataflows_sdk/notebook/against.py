"""One run beside another: which steps differ, aligned by their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook.previews import cut
from dataflows_sdk.past import run_difference

if TYPE_CHECKING:
    from dataflows_sdk.archive import ArchivedRun
    from dataflows_sdk.runs import Run

#: steps that are told at most
STEPS = 2_000


def compared(run: Run | ArchivedRun, other: object) -> dict[str, Any]:
    """What differs, for a page: ``run`` (the other's id), ``head`` and ``steps`` as texts, ``count``.

    Raises:
        DefinitionError: what it is compared with is no run, or it is the run itself.
    """
    if not all(hasattr(other, name) for name in ("id", "state", "workflow")):
        raise DefinitionError(f"against= is another run, not {other!r}; ctx.get(id) gives one")
    beside = cast("Run", other)
    if beside.id == run.id:
        raise DefinitionError(f"against= is another run than {run.id}, which this is")
    found = run_difference(cast("Run", run), beside)
    masks = [each._context._redactor if hasattr(each, "_context") else REDACTOR for each in (run, beside)]

    def text(value: Any) -> str | None:
        if value is None:
            return None
        shown = str(value)
        for mask in masks:
            shown = mask.redact_text(shown)
        return cut(shown)

    return {
        "run": beside.id,
        "workflow": cut(beside.workflow),
        "head": [[name, text(left), text(right)] for name, (left, right) in found.head.items()],
        "steps": [[each.key, text(each.left), text(each.right)] for each in found.steps[:STEPS]],
        "count": len(found.steps),
    }
