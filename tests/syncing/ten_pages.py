"""Two full syncs of ten pages for the kill sweep; the second has other names for some rows, and lacks one."""

from __future__ import annotations

from typing import Any

import dataflows_sdk as df
from dataflows_sdk.testing import record_effect

RETRY = df.Retry(3, initial_delay="10ms")


def page(cursor: int | None, *, later: bool) -> df.Page:
    """Four rows, and an effect: the page was asked for."""
    record_effect()
    begin = cursor or 0
    rows = [{"id": n, "name": f"new {n}" if later and n % 3 == 0 else f"n{n}"} for n in range(begin, begin + 4)]
    return df.Page([row for row in rows if not (later and row["id"] == 13)], begin + 4 if begin < 36 else None)


@df.source("ten-pages-1")
def first(cursor: int | None) -> df.Page:
    return page(cursor, later=False)


@df.source("ten-pages-2")
def second(cursor: int | None) -> df.Page:
    return page(cursor, later=True)


def main(ctx: Any) -> str:
    """Both, one after the other. One that is under way is waited for; one that is done changes nothing again."""
    for number in (1, 2):
        if ctx.kv.get(f"sync {number}") is None:
            run = ctx.warehouse.sync(f"ten-pages-{number}", into="things", key="id", name="things", retry=RETRY)
            run.result("50s")
            ctx.kv.set(f"sync {number}", "done")
    return "done"


def observe(ctx: Any) -> dict[str, Any]:
    """Rows, their history, and where the sync stands."""
    table = ctx.warehouse.table("things")
    history = {
        n: [(each.operation, None if each.row is None else each.row["name"], each.step) for each in table.history(n)]
        for n in range(40)
    }
    (state,) = ctx.warehouse.syncs()
    return {
        "rows": [(row["id"], row["name"], row["_version"], row["_source"]) for row in table.find(order="id")],
        "history": history,
        "sync": (state.status, state.page, state.cursor),
        "open pages": ctx._database.read("sync", "targets", ("things", 2)),
    }
