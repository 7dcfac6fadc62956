"""Plans, Mermaid and text."""

from __future__ import annotations

import re

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, FlowValidationError


def diamond() -> df.Flow:
    return (
        df.flow("diamond")
        .step("load", lambda: 1)
        .step("slow", lambda load: 1)
        .step("quick", lambda load: 1, on_error="goto:alarm", retry=1, timeout=1.5)
        .step("deep", lambda slow: 1)
        .step("end", lambda deep, quick: 1)
        .step("alarm", lambda error: 1)
    )


def test_plan() -> None:
    plan = diamond().plan()
    assert plan.levels == (("load",), ("slow", "quick"), ("deep", "alarm"), ("end",))
    assert plan.order == ("load", "slow", "quick", "deep", "alarm", "end")
    assert plan.critical_path == ("load", "slow", "deep", "end")
    assert (plan.critical_length, plan.width) == (4, 2)
    assert plan.roots == ("load",)
    assert plan.leaves == ("end", "alarm")
    assert str(plan) == (
        "diamond: 6 nodes, 4 levels, up to 2 at a time\n"
        "  1  load\n"
        "  2  slow, quick\n"
        "  3  deep, alarm\n"
        "  4  end\n"
        "  critical path (4 nodes): load → slow → deep → end"
    )


def test_plan_by_durations() -> None:
    plan = diamond().plan({"quick": 10, "slow": 1, "load": 0.5})
    assert plan.critical_path == ("load", "quick", "end")
    assert plan.critical_length == 10.5
    assert "critical path (10.5 s)" in str(plan)


@pytest.mark.parametrize("durations", [{"nope": 1.0}, {"load": -1.0}, {"load": float("nan")}, {"load": float("inf")}])
def test_bad_durations(durations: dict[str, float]) -> None:
    with pytest.raises(DefinitionError, match="durations"):
        diamond().plan(durations)


def test_plan_of_nothing_and_of_a_cycle() -> None:
    assert str(df.flow("f").plan()) == "f: nothing to do"
    cyclic = df.flow("f").step("a", lambda b: 1).step("b", lambda a: 1)
    with pytest.raises(FlowValidationError, match="cycle"):
        cyclic.plan()
    assert "a" in cyclic.text()
    assert not nx.is_directed_acyclic_graph(cyclic.to_networkx())


def test_triggers_are_no_roots() -> None:
    plan = df.flow("f").on("manual").step("a", lambda: 1).plan()
    assert (plan.levels, plan.roots, plan.leaves) == ((("trigger",), ("a",)), ("a",), ("a",))


def test_mermaid() -> None:
    flow = diamond().condition("ok?", lambda end: 1).step("z", lambda: 1, when="ok?")
    assert flow.mermaid() == (
        "flowchart TD\n"
        '    n0["load"]\n'
        '    n1["slow"]\n'
        '    n2["quick"]\n'
        '    n3["deep"]\n'
        '    n4["end"]\n'
        '    n5["alarm"]\n'
        '    n6{"ok#63;<br/><i>condition</i>"}\n'
        '    n7["z"]\n'
        "    n0 --> n1\n"
        "    n0 --> n2\n"
        "    n1 --> n3\n"
        "    n3 --> n4\n"
        "    n2 --> n4\n"
        "    n4 --> n6\n"
        '    n6 -->|"true"| n7\n'
        '    n2 -.->|"on error"| n5\n'
    )


def test_text() -> None:
    assert diamond().text() == (
        "diamond · 6 nodes · 4 levels\n"
        "\n"
        "  1  load   step\n"
        "  2  slow   step                                               ← load\n"
        "     quick  step, 1 retry, timeout 1.5 s, on error goto:alarm  ← load\n"
        "  3  deep   step                                               ← slow\n"
        "     alarm  step                                               ← on error of quick\n"
        "  4  end    step                                               ← deep, quick"
    )


EVIL = [
    '<script>alert("x")</script>',
    'a"]; click n0 href "x"',
    "end",
    "a\nb",
    "\x1b[31mred",
    "n0 --> n1",
    "}}",
    "`x`",
    "%%{init}%%",
]


@pytest.mark.parametrize("name", EVIL)
def test_names_cannot_break_out(name: str) -> None:
    flow = df.flow(name).step(name, lambda: 1).branch("b", lambda: 1, [name]).step("c", lambda: 1, when=f"b:{name}")
    lines = flow.mermaid().splitlines()
    assert len(lines) == 1 + 3 + 1
    for line in lines[1:]:
        for label in re.findall(r'"(.*)"', line):
            assert re.fullmatch(r"(?:[\w \-.,:]|#\d+;|<br/><i>|</i>)*", label), label
    for text in (flow.text(), str(flow.plan())):
        assert "\x1b" not in text
        assert "a\nb" not in text


@given(st.lists(st.text(max_size=12), min_size=1, max_size=4, unique=True))
def test_any_names_can_be_drawn_and_deterministically(names: list[str]) -> None:
    flow = df.flow("f")
    for name in names:
        flow = flow.step(name, lambda: 1)
    assert len(flow.mermaid().splitlines()) == 1 + len(names)
    assert flow.mermaid() == df.Flow.from_json(flow.to_json()).mermaid()
    assert flow.text() == df.Flow.from_json(flow.to_json()).text()
    assert all(char.isprintable() or char == "\n" for char in flow.text() + str(flow.plan()))


def test_long_plans_are_shortened() -> None:
    flow = df.flow("f")
    for number in range(40):
        flow = flow.step(f"a{number}", lambda: 1, after=f"a{number - 1}" if number else ())
    for number in range(40):
        flow = flow.step(f"b{number}", lambda: 1)
    shown = str(flow.plan())
    assert "… 29 more" in shown
    assert "… 28 more …" in shown
