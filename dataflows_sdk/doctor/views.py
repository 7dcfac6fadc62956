"""Views that are to refresh themselves: whether they do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from dataflows_sdk.core.durations import format_duration
from dataflows_sdk.doctor.findings import Finding
from dataflows_sdk.doctor.looking import Patient

#: seconds after which something is late
_LATE = 60.0


def views(patient: Patient) -> Iterator[Finding]:
    """Refreshes that fail, and those that nobody makes."""
    rows = patient.ask("views")
    well = 0
    for name, failures, error, retry_in, late, busy in rows:
        if failures:
            again = f"in {format_duration(timedelta(seconds=round(retry_in)))}" if retry_in > 0 else "soon"
            yield Finding(
                "view_failing", "warning", name, f"was not refreshed {failures} times: {error:.200}",
                f"it has its old rows and is tried again {again}; mend its text or the rows that it reads, then "
                f"ctx.warehouse.view({name!r}).refresh()",
                {"failures": failures},
            )  # fmt: skip
        elif late > _LATE and not busy:
            since = format_duration(timedelta(seconds=round(late)))
            yield Finding(
                "view_overdue", "warning", name, f"has been due for {since}, and nobody refreshes it",
                "a context that works does: a worker, or any connect() without work=False", {"seconds": late},
            )  # fmt: skip
        else:
            well += 1
    if well:
        yield Finding("views", "ok", "views", f"{well} are refreshed in time", numbers={"views": well})


CHECKS = (views,)
