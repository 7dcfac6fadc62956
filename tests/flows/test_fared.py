"""Two versions of a flow beside each other: what changed, and how the runs and nodes of both have fared."""

from __future__ import annotations

import statistics
import xml.etree.ElementTree as ET
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.diff import FlowDiff
from dataflows_sdk.flow.fared import NodeFared, VersionFared, percent, seconds
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext, wait_until

SVG = "{http://www.w3.org/2000/svg}"


def pacing(second: str = "1s") -> df.Flow:
    """Waits as long as its payload says, and fails where that is no time; then waits again."""
    return df.flow("pacing").on_manual(id="t").delay("rest", "{{trigger.wait}}").delay("more", second)


def test_runs_that_are_known(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock)
    saved = ctx.flows.save(pacing())
    saved.activate()
    for wait in ("10s", "20s", "60s", "no time"):
        saved.start({"wait": wait}).wait("30s")
    saved = ctx.flows.save(pacing("3s").delay("a/b", "1m"))
    for wait in ("5s", "7s"):
        saved.start({"wait": wait}).wait("30s")
    held = saved.start({"wait": "1h"})
    held.cancel("enough")
    held.wait("30s")
    one, two = saved.compare(1, 2).fared  # type: ignore[misc]
    assert (one.version, one.runs, one.succeeded, one.failed, one.cancelled) == (1, 4, 3, 1, 0)
    assert (two.version, two.runs, two.succeeded, two.failed, two.cancelled) == (2, 3, 2, 0, 1)
    assert (one.failure_rate, two.failure_rate) == (0.25, 0.0)
    # the run that failed took no time at all: of 0, 11, 21 and 61 the middle
    assert (one.median, two.median) == (pytest.approx(16.0), pytest.approx(69.0))
    rest = one.nodes["rest"]
    assert (rest.ended, rest.failed, rest.tries, rest.failure_rate) == (4, 1, 4, 0.25)
    assert rest.median == pytest.approx(15.0, abs=0.1)
    assert (one.nodes["more"].ended, one.nodes["more"].median) == (3, pytest.approx(1.0))
    assert (two.nodes["a/b"].ended, two.nodes["a/b"].median) == (2, pytest.approx(60.0))
    assert two.nodes["rest"].median == pytest.approx(6.0)
    assert set(one.nodes) == {"rest", "more"}

    diff = saved.compare(1, 2)
    assert "version 1: 4 runs, 25% failed, median 16 s" in str(diff)
    assert "a/b: – → 60 s, 0% of 2 failed" in str(diff)
    sheet = diff.table()
    assert sheet.columns[4:] == (
        "version 1: ended", "version 1: median", "version 1: failed",
        "version 2: ended", "version 2: median", "version 2: failed",
    )  # fmt: skip
    rows = {row[1]: row for row in sheet.rows}
    assert rows["all runs"] == ("", "all runs", "", "", 4, "16 s", "25%", 3, "69 s", "0%")
    assert rows["more"][0] == "~"
    assert rows["more"][3:] == ("config.duration", 3, "1 s", "0%", 2, "3 s", "0%")
    assert rows["a/b"][:2] == ("+", "a/b")
    assert rows["a/b"][4:] == ("", "", "", 2, "60 s", "0%")

    root = ET.fromstring(diff.svg())
    texts = [
        [text.text or "" for text in box.iter(f"{SVG}text")] for box in root.iter(f"{SVG}g") if box.get("data-step")
    ]
    assert ["rest", "15 s · 25% failed"] in texts
    assert ["rest", "6 s · 0% failed"] in texts
    assert [text for text in texts if "a/b" in text[0]] == [["+ a/b", "60 s · 0% failed"]]
    assert "pacing: version 1" in diff.svg()
    assert "4 runs, 25% failed, median 16 s" in diff.svg()
    shown = diff._repr_mimebundle_()
    assert shown["image/svg+xml"] == diff.svg()
    assert "version 2: failed" in shown["text/html"]
    assert "lines added: more → a/b" in shown["text/html"]
    assert "25% failed" in shown["text/plain"]
    same = saved.compare(2, 2).fared
    assert same is not None
    assert (same[0].runs, same[1].runs) == (3, 3)


def test_steps_of_python_and_what_a_fork_took_over(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    tries: list[int] = []

    def flaky() -> int:
        tries.append(1)
        if len(tries) % 2:
            raise ValueError("every other time")
        return 1

    flow = df.flow("stepping").step("load", lambda: [1, 2]).step("flaky", flaky, retry=df.Retry(2, initial_delay="1ms"))
    saved = ctx.flows.save(flow)
    runs = [ctx.start(flow, {}).wait("30s") for _ in range(5)]
    assert {run.status for run in runs} == {"succeeded"}, runs[0].error
    # the code of the steps makes a version of the workflow, and is no part of the content
    assert saved.get_version(1).hash != runs[0].version
    found = fared_of(saved)
    took = {name: statistics.median(run.timeline()[name].seconds for run in runs) for name in ("load", "flaky")}
    assert (found.runs, found.of, found.failure_rate) == (5, 5, 0.0)
    assert (found.nodes["load"].ended, found.nodes["load"].tries) == (5, 5)
    assert (found.nodes["flaky"].ended, found.nodes["flaky"].failed, found.nodes["flaky"].tries) == (5, 0, 10)
    assert found.nodes["load"].median == pytest.approx(took["load"], rel=1e-6)
    # a fork does again what is behind its point: that alone is its own
    fork = runs[0].fork("flaky")
    assert fork.wait("30s").status == "succeeded"
    found = fared_of(saved)
    assert (found.runs, found.nodes["load"].ended, found.nodes["flaky"].ended) == (6, 5, 6)


def fared_of(saved: Any) -> VersionFared:
    found = saved.compare(1, 1).fared
    assert found is not None
    return found[0]


def test_nothing_ran() -> None:
    assert (NodeFared().failure_rate, VersionFared(1).failure_rate) == (None, None)
    assert (str(NodeFared()), str(VersionFared(1))) == ("never ended", "no runs")
    assert [seconds(each) for each in (None, 0.0, 0.0123, 1.5, 150.0, 10_000.0, 200_000.0)] == [
        "", "0 ms", "12.3 ms", "1.5 s", "2.5 min", "2.78 h", "2.31 d",
    ]  # fmt: skip
    assert [percent(each) for each in (None, 0.0, 0.001, 0.25, 0.999, 1.0)] == ["", "0%", "<1%", "25%", ">99%", "100%"]
    with pytest.raises(DefinitionError, match="compare"):
        FlowDiff(1, 2).table()


def test_how_long_people_took_to_answer(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(clock=clock)
    saved = ctx.flows.save(df.flow("asks").on_manual(id="t").approval("agree", "Go on?").delay("rest", "1s"))
    saved.activate()
    run = saved.start({})
    asked = wait_until(ctx.approvals.pending, "it asks")
    clock.advance("90s")
    ctx.approvals.respond(asked[0], "approved")
    run.wait("30s")
    waiting = saved.start({})
    wait_until(ctx.approvals.pending, "it asks")
    fared = saved.compare(1, 1).fared
    assert fared is not None
    assert (fared[0].nodes["agree"].ended, fared[0].nodes["agree"].median) == (1, pytest.approx(90.0, abs=1))
    waiting.cancel("enough")
