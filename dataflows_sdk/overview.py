"""What a context shows of itself in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.shown import MARKS, Sheet
from dataflows_sdk.errors import StoreError

if TYPE_CHECKING:
    from dataflows_sdk.context import Context


def overview(context: Context, where: str) -> Sheet:
    """Where a context is, and what is there; also when its database does not answer."""
    head: list[tuple[str, Any]] = [("database", where)]
    if context._closed:
        return Sheet("dataflows context (closed)", head)
    here = [each.name for each in context.workflows() if not each.name.startswith("dataflows.")]
    head += [("takes on runs", "yes" if context._works else "no"), ("workflows here", ", ".join(here))]
    try:
        counts = dict(context._read("look", "counts", ()))
        runs = ", ".join(f"{counts[word]:,} {word}" for word in MARKS if word in counts)
        head.append(("runs", runs or "none yet"))
        head.append(("tables", ", ".join(each.name for each in context.warehouse.tables()) or "none yet"))
    except StoreError as error:
        head.append(("now", f"the database does not answer: {error}"))
    return Sheet("dataflows context", head)
