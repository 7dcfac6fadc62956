"""The fluent builder: wiring, options, equality, JSON."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import networkx as nx
import pytest

import dataflows_sdk as df
from dataflows_sdk.core.retry import Retry
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.model import ContextInput, NodeInput, ValueInput, node_inputs


def edges(flow: df.Flow) -> list[str]:
    return [
        f"{edge.source}:{edge.source_handle}>{edge.target}" if edge.source_handle else f"{edge.source}>{edge.target}"
        for edge in flow.spec.edges
    ]


def inputs(flow: df.Flow, node: str) -> dict[str, Any]:
    return node_inputs(flow.spec.node(node))


def codes(flow: df.Flow) -> list[tuple[str, str | None]]:
    return [(problem.code, problem.node) for problem in flow.validate()]


def sums() -> df.Flow:
    return (
        df.flow("sums")
        .step("load", lambda event: list(range(event.payload["n"])))
        .step("total", lambda load: sum(load))
    )


# --- wiring -----------------------------------------------------------------------------------------------


def test_parameters_named_like_nodes_are_wired() -> None:
    flow = sums()
    assert inputs(flow, "load") == {"event": ContextInput("event")}
    assert inputs(flow, "total") == {"load": NodeInput("load")}
    assert edges(flow) == ["load>total"]
    assert flow.validate() == []
    assert flow.binding("total")([1, 2]) == 3


def test_names_are_normalised() -> None:
    flow = (
        df.flow("f").step("new-order", lambda: 1).step("the total", lambda new_order: 1).step("z", lambda the_total: 1)
    )
    assert edges(flow) == ["new-order>the total", "the total>z"]


def test_an_exact_name_wins_and_two_similar_ones_are_ambiguous() -> None:
    exact = df.flow("f").step("a-b", lambda: 1).step("a_b", lambda: 2).step("c", lambda a_b: 1)
    assert edges(exact) == ["a_b>c"]
    both = df.flow("f").step("a-b", lambda: 1).step("a b", lambda: 2).step("c", lambda a_b: 1)
    (problem,) = both.validate()
    assert problem.code == "ambiguous-parameter"
    assert "'a-b', 'a b'" in problem.message


def test_the_order_of_writing_does_not_matter() -> None:
    flow = df.flow("f").step("total", lambda load: 1).step("load", lambda: 1)
    assert edges(flow) == ["load>total"]


def test_context_names_and_defaults() -> None:
    def fn(event: Any, step: Any, run: Any, limit: int = 3, load: Any = None) -> None: ...

    flow = df.flow("f").step("load", lambda: 1).step("x", fn)
    assert inputs(flow, "x") == {
        "event": ContextInput("event"),
        "step": ContextInput("step"),
        "run": ContextInput("run"),
        "load": NodeInput("load"),
    }
    assert flow.validate() == []


def test_explicit_inputs() -> None:
    flow = (
        df.flow("f")
        .step("load", lambda: {"rows": [1]})
        .step("a.b", lambda: 1)
        .step(
            "x",
            lambda rows, first, n, deep, k, dotted: 1,
            inputs={
                "rows": "load",
                "first": df.ref("load.rows[0]"),
                "n": df.value({"k": [1, None]}),
                "deep": df.ref("event.payload.items.0"),
                "k": "event",
                "dotted": df.ref("a.b.c"),
            },
        )
    )
    assert inputs(flow, "x") == {
        "rows": NodeInput("load"),
        "first": NodeInput("load", ("rows", 0)),
        "n": ValueInput({"k": [1, None]}),
        "deep": ContextInput("event", ("payload", "items", 0)),
        "k": ContextInput("event"),
        "dotted": NodeInput("a.b", ("c",)),
    }
    assert edges(flow) == ["load>x", "a.b>x"]
    assert flow.validate() == []


def test_after_and_edge() -> None:
    flow = (
        df.flow("f")
        .step("a", lambda: 1)
        .step("b", lambda: 1, after="a")
        .step("c", lambda: 1, after=["a", "b"])
        .step("d", lambda: 1)
        .edge("c", "d", label="then")
    )
    assert edges(flow) == ["a>b", "a>c", "b>c", "c>d"]
    assert flow.spec.edges[-1].label == "then"


def test_kwargs_get_only_what_is_said() -> None:
    def fn(load: Any, *args: Any, **rest: Any) -> None: ...

    flow = df.flow("f").step("load", lambda: 1).step("x", fn, inputs={"extra": df.value(1)})
    assert inputs(flow, "x") == {"load": NodeInput("load"), "extra": ValueInput(1)}
    assert flow.validate() == []


def test_a_partial_s_own_keywords_are_not_wired() -> None:
    def fn(load: Any, limit: int) -> None: ...

    flow = df.flow("f").step("load", lambda: 1).step("limit", lambda: 1).step("x", functools.partial(fn, limit=3))
    assert inputs(flow, "x") == {"load": NodeInput("load")}


def test_every_sort_of_callable_can_be_a_step() -> None:
    class Service:
        def __call__(self, load: Any) -> None: ...

        def method(self, load: Any) -> None: ...

        @classmethod
        def make(cls, load: Any) -> None: ...

        @staticmethod
        def plain(load: Any) -> None: ...

    class Row:
        def __init__(self, load: Any) -> None: ...

    async def coroutine(load: Any, /, *, event: Any) -> None: ...

    flow = df.flow("f").step("load", lambda: [1])
    for number, fn in enumerate([Service(), Service().method, Service.make, Service.plain, Row, coroutine]):
        flow = flow.step(f"s{number}", fn)
    assert flow.validate() == []
    assert edges(flow) == [f"load>s{number}" for number in range(6)]
    assert inputs(flow, "s5")["event"] == ContextInput("event")


def test_builtins_are_wired_explicitly() -> None:
    flow = df.flow("f").step("load", lambda: "1").step("n", int, inputs={"x": "load"}).step("m", int)
    assert edges(flow) == ["load>n"]
    assert codes(flow) == [("unknown-signature", "m")]


# --- node types -------------------------------------------------------------------------------------------


def test_map() -> None:
    def enrich(row: dict[str, Any], rates: Any, step: Any, index: int) -> None: ...

    flow = (
        df.flow("f")
        .step("load", lambda: [{"id": 1}])
        .step("rates", lambda: 1)
        .map("enrich", enrich, over="load", concurrency=8, key=lambda row: row["id"])
    )
    node = flow.spec.node("enrich")
    assert node.config["over"] == {"ref": "load"}
    assert node.config["item"] == "row"
    assert node.config["concurrency"] == 8
    assert inputs(flow, "enrich") == {
        "rates": NodeInput("rates"),
        "step": ContextInput("step"),
        "index": ContextInput("index"),
    }
    assert edges(flow) == ["rates>enrich", "load>enrich"]
    assert flow.binding("enrich", "key")({"id": 7}) == 7
    assert flow.validate() == []


def test_the_first_parameter_of_a_map_is_the_item_whatever_its_name() -> None:
    flow = df.flow("f").step("load", lambda: [1]).map("m", lambda load: load, over="load")
    assert flow.spec.node("m").config["item"] == "load"
    assert inputs(flow, "m") == {}
    ints = df.flow("f").map("m", int, over=df.value(["1"]))
    assert ints.validate() == []
    assert "item" not in ints.spec.node("m").config


def test_condition_and_when() -> None:
    flow = (
        df.flow("f")
        .step("load", lambda: 1)
        .condition("is_big", lambda load: load > 9)
        .step("a", lambda load: 1, when="is_big")
        .step("b", lambda: 1, when="not is_big")
        .step("end", lambda a, b: a or b)
    )
    assert edges(flow) == ["load>is_big", "load>a", "is_big:true>a", "is_big:false>b", "a>end", "b>end"]
    assert flow.validate() == []


def test_branch_by_cases_and_by_when() -> None:
    by_cases = (
        df.flow("f")
        .branch("route", lambda event: event.payload, {"big": "a", "small": ["b", "c"]}, default="big")
        .step("a", lambda: 1)
        .step("b", lambda: 1)
        .step("c", lambda: 1)
    )
    assert edges(by_cases) == ["route:big>a", "route:small>b", "route:small>c"]
    by_when = (
        df.flow("f")
        .branch("route", lambda event: event.payload)
        .step("a", lambda: 1, when="route:big|huge")
        .step("b", lambda: 1, when="route:small")
    )
    assert by_when.spec.node("route").config["handles"] == ["big", "huge", "small"]
    assert edges(by_when) == ["route:big>a", "route:huge>a", "route:small>b"]
    assert by_cases.validate() == by_when.validate() == []


def test_when_with_a_function_and_with_data() -> None:
    flow = (
        df.flow("f")
        .step("load", lambda: 1)
        .condition("ok", lambda load: True)
        .step("x", lambda: 1, when=[lambda load: load > 1, {"field": "load", "op": "gt", "value": 1}, "ok"])
    )
    when = flow.spec.node("x").when
    assert when is not None
    assert when.code is not None
    assert when.code.inputs == {"load": {"ref": "load"}}
    assert when.conditions == {"field": "load", "op": "gt", "value": 1}
    assert [gate.node for gate in when.gates] == ["ok"]
    assert flow.binding("x", "when")(2) is True
    assert edges(flow) == ["load>ok", "load>x", "ok:true>x"]
    assert flow.validate() == []


def test_parallel_and_join() -> None:
    flow = (
        df.flow("f")
        .step("load", lambda: 1)
        .parallel("both", {"a": lambda load: 1, "b": lambda load: 2}, join="any", retry=2)
        .join("late", ["a", "b"])
    )
    assert edges(flow) == ["load>a", "load>b", "a>both", "b>both", "a>late", "b>late"]
    assert flow.spec.node("both").join == "any"
    retry = flow.spec.node("a").retry
    assert retry is not None
    assert retry.max_retries == 2
    assert flow.validate() == []


def test_subflow() -> None:
    child = sums()
    workflow = SimpleNamespace(name="ship")
    flow = (
        df.flow("f")
        .step("load", lambda: 1)
        .subflow("child", child, inputs={"n": "load"})
        .subflow("whole", "other", payload=df.ref("load.x"), wait=False)
        .subflow("deco", workflow)
    )
    assert flow.spec.node("child").config == {"flow": "sums", "inputs": {"n": {"ref": "load"}}}
    assert flow.spec.node("whole").config == {
        "flow": "other",
        "wait": False,
        "payload": {"ref": "load", "path": ["x"]},
    }
    assert flow.binding("child") is child
    assert flow.binding("deco") is workflow
    assert edges(flow) == ["load>child", "load>whole"]
    assert flow.validate() == []


def test_triggers_lead_to_the_roots_only() -> None:
    flow = (
        df.flow("f")
        .step("a", lambda: 1)
        .on("schedule", cron="0 9 * * *")
        .on({"type": "trigger_webhook", "config": {"path": "x"}})
        .step("b", lambda a: 1)
        .step("risky", lambda: 1, on_error="goto:alarm")
        .step("alarm", lambda error: 1)
    )
    assert [node.id for node in flow.spec.triggers] == ["trigger", "trigger_2"]
    assert edges(flow) == ["trigger>a", "trigger_2>a", "a>b", "trigger>risky", "trigger_2>risky"]
    assert flow.validate() == []
    assert df.flow("f").on(SimpleNamespace(type="manual", config={"k": 1})).spec.nodes[0].config == {"k": 1}


def test_what_a_handler_reads_does_not_bring_it_in() -> None:
    flow = (
        df.flow("f")
        .step("load", lambda: 1)
        .step("risky", lambda load: 1, on_error="goto:fallback")
        .step("fallback", lambda error, load: 2)
        .step("end", lambda risky, fallback: risky or fallback)
    )
    assert edges(flow) == ["load>risky", "risky>end", "fallback>end"]
    assert flow.validate() == []
    placed = (
        df.flow("f")
        .step("load", lambda: 1)
        .step("risky", lambda: 1, on_error="goto:x")
        .step("x", lambda load: 2, after="load")
    )
    assert edges(placed) == ["load>x"]


def test_any_registered_type_by_node() -> None:
    flow = df.flow("f").step("a", lambda: 1).node("j", "join", {"k": 1}, after="a", timeout=3)
    assert flow.spec.node("j").config == {"k": 1}
    assert flow.validate() == []


# --- options ----------------------------------------------------------------------------------------------


def test_options() -> None:
    policy = Retry(4, backoff="linear", initial_delay="250ms", max_delay="9s", jitter=False)
    flow = df.flow("f").step(
        "a",
        lambda: 1,
        retry=policy,
        timeout="1m30s",
        on_error="continue",
        undo=lambda result: None,
        description="words",
    )
    node = flow.spec.node("a")
    assert node.retry is not None
    assert node.retry.model_dump() == {
        "max_retries": 4,
        "backoff": "linear",
        "initial_delay_ms": 250,
        "max_delay_ms": 9000,
        "jitter": False,
    }
    assert (node.timeout_seconds, node.on_error, node.description) == (90, "continue", "words")
    assert flow.retry_of("a") == policy
    assert callable(flow.binding("a", "undo"))
    assert flow.validate() == []


def test_a_retry_with_exception_classes_stays_beside_the_spec() -> None:
    policy = Retry(1, retry_on=(OSError,))
    flow = df.flow("f").step("a", lambda: 1, retry=policy).step("b", lambda: 1)
    assert flow.retry_of("a") is policy
    assert flow.retry_of("b") is None
    without = df.Flow.from_json(flow.to_json()).retry_of("a")
    assert without is not None
    assert without.max_retries == 1
    assert df.Flow.from_json(flow.to_json(), bindings=flow.bindings).retry_of("a") is policy


def test_bad_options_are_problems_not_exceptions() -> None:
    flow = (
        df.flow("f")
        .step("a", lambda: 1, timeout="7 parsecs")
        .step("b", lambda: 1, timeout=timedelta(seconds=-1))
        .step("c", lambda: 1, retry="often")
        .step("d", lambda: 1, retry=-1)
        .step("e", lambda: 1, join="most")
        .step("f", lambda: 1, on_error=7)
        .step("g", lambda: 1, when=7)
        .step("h", lambda x: 1, inputs={"x": 7})
        .step("i", lambda x: 1, inputs={"x": df.value({1, 2})})
        .step("j", lambda: 1, timeout=0)
        .step("k", lambda: 1, retry={"initial_delay_ms": 500, "max_delay_ms": 1})
    )
    assert codes(flow) == [
        ("bad-timeout", "a"),
        ("bad-timeout", "b"),
        ("bad-retry", "c"),
        ("bad-retry", "d"),
        ("bad-join", "e"),
        ("bad-on-error", "f"),
        ("bad-when", "g"),
        ("bad-input", "h"),
        ("not-json", "i"),
        ("bad-timeout", "j"),
        ("bad-retry", "k"),
    ]


@pytest.mark.parametrize(
    "misuse",
    [
        lambda f: f.step("a", 7),
        lambda f: f.step(7, lambda: 1),
        lambda f: f.step("a", lambda: 1, retries=3),
        lambda f: f.step("a", lambda: 1, undo=7),
        lambda f: f.step("a", lambda: 1, inputs=[1]),
        lambda f: f.step("a", lambda: 1, after=7),
        lambda f: f.step("a", lambda: 1, after=[7]),
        lambda f: f.map("a", lambda: 1, over="x", key=7),
        lambda f: f.subflow("a", 7),
        lambda f: f.subflow("a", "b", inputs={}, payload="x"),
        lambda f: f.on(7),
        lambda f: f.edge("a", 7),
        lambda f: f.node("a", 7),
        lambda f: df.flow(7),
    ],
)
def test_plain_misuse_raises_at_once(misuse: Any) -> None:
    with pytest.raises(DefinitionError):
        misuse(df.flow("f"))


def test_ref_wants_text() -> None:
    with pytest.raises(TypeError, match=r"ref\(\) takes the name of a node"):
        df.ref(7)  # type: ignore[arg-type]


# --- immutability, equality -------------------------------------------------------------------------------


def test_methods_return_new_flows() -> None:
    base = df.flow("f").step("a", lambda: 1)
    more = base.step("b", lambda a: 1)
    assert [node.id for node in base.spec.nodes] == ["a"]
    assert [node.id for node in more.spec.nodes] == ["a", "b"]
    with pytest.raises(AttributeError):
        base.name = "g"  # type: ignore[misc]
    with pytest.raises(TypeError):
        base.bindings["a"] = None  # type: ignore[index]


CELL = """
flow = (
    df.flow("sums")
    .step("load", lambda event: list(range(event.payload["n"])))
    .step("total", lambda load: sum(load), retry=2, when=lambda load: load)
)
"""


def run_cell(source: str) -> df.Flow:
    scope: dict[str, Any] = {"df": df}
    exec(compile(source, "<cell>", "exec"), scope)
    return scope["flow"]


def test_running_a_cell_again_gives_an_equal_flow() -> None:
    first, again = run_cell(CELL), run_cell("\n\n\n" + CELL)
    assert first == again
    assert hash(first) == hash(again)
    assert len({first, again}) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sum(load)", "max(load)"),
        ('"n"', '"m"'),
        ("retry=2", "retry=3"),
        ("lambda load: load)", "lambda load: not load)"),
        ('"sums"', '"others"'),
    ],
)
def test_a_changed_cell_gives_another_flow(old: str, new: str) -> None:
    assert run_cell(CELL) != run_cell(CELL.replace(old, new))


def test_captured_values_and_defaults_count() -> None:
    def make(n: int) -> df.Flow:
        return df.flow("f").step("a", lambda: n)

    assert make(1) == make(1)
    assert make(1) != make(2)
    assert df.flow("f").step("a", lambda n=1: n) != df.flow("f").step("a", lambda n=2: n)
    assert df.flow("f").step("a", functools.partial(pow, 2)) != df.flow("f").step("a", functools.partial(pow, 3))
    assert sums() != "sums"


def test_description_and_meta() -> None:
    flow = df.flow("f", description="d", meta={"a": 1}).with_meta(b=2).describe("e")
    assert (flow.spec.description, flow.spec.meta) == ("e", {"a": 1, "b": 2})
    assert repr(sums()) == "<Flow 'sums': load, total>"


# --- JSON and networkx ------------------------------------------------------------------------------------


def rich() -> df.Flow:
    return (
        df.flow("new-order", description="d", meta={"k": 1})
        .on("schedule", cron="0 9 * * *")
        .step("load", lambda event: [1], retry=Retry(3), timeout="30s", undo=lambda result: None)
        .map("enrich", lambda row, load: row, over="load", concurrency=8, key=lambda row: row)
        .condition("is_big", lambda enrich: len(enrich) > 3)
        .step("ship", lambda enrich: 1, when="is_big")
        .step("post", lambda enrich: 1, when="not is_big", on_error="goto:alarm")
        .step("alarm", lambda error, load: None)
        .step("done", lambda ship, post: ship or post, when=lambda load: load)
        .branch("route", lambda done: "a", {"a": "x", "b": ["y"]})
        .step("x", lambda: 1)
        .step("y", lambda: 2, after="route")
        .parallel("both", {"p": lambda done: 1, "q": lambda done: 2}, join="1-of-2")
        .subflow("child", sums(), inputs={"n": df.ref("done.n")})
        .edge("x", "q", handle="out")
    )


def test_json_round_trip() -> None:
    flow = rich()
    text = flow.to_json_text()
    again = df.Flow.from_json(text, bindings=flow.bindings)
    assert again == flow
    assert again.to_json() == json.loads(text)
    assert again.validate() == flow.validate() == []
    assert again.step("more", lambda done: 1).spec.edges[-1].id == "done->more"


def test_networkx_round_trip() -> None:
    flow = rich()
    graph = flow.to_networkx()
    assert nx.is_directed_acyclic_graph(graph)
    assert graph.nodes["enrich"]["type"] == "map"
    assert graph.edges["is_big", "ship"]["handles"] == ["true"]
    assert df.Flow.from_networkx(graph, flow.bindings) == flow


def test_any_digraph_becomes_a_flow() -> None:
    graph: nx.DiGraph[Any] = nx.DiGraph(name="g")
    graph.add_node(1, fn=lambda: 1)
    graph.add_edge(1, "b")
    flow = df.Flow.from_networkx(graph, {"b": lambda: 2})
    assert flow.name == "g"
    assert edges(flow) == ["1>b"]
    assert flow.validate() == []
    with pytest.raises(DefinitionError, match="'b' of the graph has neither"):
        df.Flow.from_networkx(graph)
    with pytest.raises(DefinitionError, match="DiGraph"):
        df.Flow.from_networkx(nx.Graph())  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="same text"):
        df.Flow.from_networkx(nx.DiGraph([(1, "1")]))


def named(load: Any) -> None: ...


def test_bindings_by_name_and_what_is_missing() -> None:
    flow = df.flow("f").step("load", lambda: 1).step("a", named).step("b", named)
    document = flow.to_json()
    name = document["nodes"][1]["config"]["callable"]
    assert name.endswith(":named")
    load = flow.binding("load")
    assert df.Flow.from_json(document, bindings={"load": load, name: named}) == flow
    assert df.Flow.from_json(document, bindings={"load": load, "named": named}) == flow
    bare = df.Flow.from_json(document)
    assert codes(bare) == [("unbound", "load"), ("unbound", "a"), ("unbound", "b")]
    assert "bindings={'load': …}" in bare.validate()[0].hint
    changed = df.Flow.from_json(document, bindings={"load": lambda: 2, "named": named})
    assert codes(changed) == [("changed-code", "load")]
    assert changed.check() is changed


def test_a_name_in_a_document_is_never_imported() -> None:
    document = {"name": "f", "nodes": [{"id": "a", "type": "python", "config": {"callable": "os:abort"}}]}
    assert codes(df.Flow.from_json(document)) == [("unbound", "a")]


def in_a_new_process(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_building_and_scheduling_do_not_load_networkx() -> None:
    in_a_new_process(
        "import sys, dataflows_sdk as df;"
        "x = df.flow('a').step('b', lambda: 1); x.topology; x.to_json();"
        "assert 'networkx' not in sys.modules"
    )


def test_importing_the_package_alone_does_not_load_pydantic() -> None:
    in_a_new_process("import sys, dataflows_sdk.flow; assert not {'pydantic', 'networkx'} & set(sys.modules)")


def test_the_names_of_the_package() -> None:
    from dataflows_sdk.flow import Flow, Problem, flow, ref

    assert isinstance(flow("f"), Flow)
    assert ref("a") == df.ref("a")
    assert Problem("code", None, "words").severity == "error"
    with pytest.raises(ImportError):
        from dataflows_sdk.flow import nothing  # type: ignore[attr-defined]  # noqa: F401
