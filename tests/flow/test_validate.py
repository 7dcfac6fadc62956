"""Every problem, all at once, with the node's name."""

from __future__ import annotations

from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import FlowValidationError
from dataflows_sdk.flow.kinds import NodeKind, register_kind
from dataflows_sdk.flow.problems import Problem


def found(flow: df.Flow) -> list[tuple[str, str | None]]:
    return [(problem.code, problem.node) for problem in flow.validate()]


def one(flow: df.Flow) -> Problem:
    (problem,) = flow.validate()
    return problem


def ones(*names: str) -> df.Flow:
    flow = df.flow("f")
    for name in names:
        flow = flow.step(name, lambda: 1)
    return flow


def test_everything_wrong_is_listed_at_once_in_the_order_of_the_nodes() -> None:
    def a(c: int) -> int:
        return c

    flow = (
        df.flow("f")
        .step("a", a)
        .step("b", lambda a: 1)
        .step("c", lambda b: 1)
        .step("load", lambda: 1)
        .step("sum", lambda laod: 1)
        .step("x", lambda: 1, on_error="goto:nowhere")
        .step("x", lambda: 1)
        .step("y", lambda: 1, after=["load", "lod"], join=3)
        .step("z", lambda: 1, timeout="soon")
    )
    assert found(flow) == [
        ("cycle", "a"),
        ("missing-input", "sum"),
        ("bad-on-error", "x"),
        ("duplicate-name", "x"),
        ("unknown-reference", "y"),
        ("join-impossible", "y"),
        ("bad-timeout", "z"),
    ]
    with pytest.raises(FlowValidationError) as caught:
        flow.check()
    assert len(caught.value.problems) == 7
    message = str(caught.value)
    assert "flow 'f' has 7 problems:" in message
    for part in ("a → b → c → a", "did you mean 'load'?", "'nowhere'", "two nodes named 'x'", "soon"):
        assert part in message


def test_a_good_flow_is_returned_by_check() -> None:
    flow = ones("a")
    assert flow.check() is flow


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("x" * 101, "has 101 characters"),
        ("a\nb", "control characters"),
        ("a\x00b", "control characters"),
        ("a\ud800", "control characters"),
        ("a\u202eb", "control characters"),
        (" a", "begins or ends with a space"),
        ("a#b", "has a '#'"),
    ],
)
def test_bad_names(name: str, words: str) -> None:
    problem = one(ones(name))
    assert problem.code == "bad-name"
    assert words in problem.message
    assert len(problem.message) < 200
    assert found(df.flow(name).step("a", lambda: 1)) == [("bad-name", None)]


@pytest.mark.parametrize("name", ["x" * 100, "größe", "a b", "<script>", '"', "名前", "end", "a.b"])
def test_good_names(name: str) -> None:
    assert ones(name).validate() == []


@pytest.mark.parametrize("name", ["event", "step", "run", "error", "index"])
def test_reserved_names(name: str) -> None:
    assert found(ones(name)) == [("reserved-name", name)]


def test_duplicate_names() -> None:
    flow = ones("a", "a", "a")
    assert found(flow) == [("duplicate-name", "a")] * 2
    assert [problem.path for problem in flow.validate()] == ["/nodes/1/id", "/nodes/2/id"]


def test_empty_flow_and_meta() -> None:
    assert found(df.flow("f")) == [("empty", None)]
    assert found(ones("a").with_meta(k={1})) == [("not-json", None)]
    assert found(ones("a").node("j", "join", {"k": object()})) == [("not-json", "j")]


def test_unknown_type() -> None:
    problem = one(ones("a").node("b", "pyhton"))
    assert (problem.code, problem.hint) == ("unknown-type", "did you mean 'python'?")


# --- references -------------------------------------------------------------------------------------------


def test_unmatched_parameter_names_near_misses() -> None:
    problem = one(ones("orders").step("b", lambda order: 1))
    assert (problem.code, problem.node, problem.hint) == ("missing-input", "b", "did you mean 'orders'?")
    assert one(ones("a").step("b", lambda evnt: 1)).hint == "did you mean 'event'?"
    assert 'inputs={"zzz": "<node>"}' in one(ones("a").step("b", lambda zzz: 1)).hint
    assert one(ones("a").step("b-c", lambda b_c: 1)).hint == "a step is not given its own output"


@pytest.mark.parametrize("role", ["inputs", "over", "after", "when", "gate", "payload", "edge", "case"])
def test_unknown_references(role: str) -> None:
    flow = ones("load")
    flow = {
        "inputs": lambda: flow.step("b", lambda x: 1, inputs={"x": df.ref("laod.k")}),
        "over": lambda: flow.map("b", lambda x: 1, over="laod"),
        "after": lambda: flow.step("b", lambda: 1, after="laod"),
        "when": lambda: flow.step("b", lambda: 1, when="not laod"),
        "gate": lambda: flow.step("b", lambda: 1, when="laod:x"),
        "payload": lambda: flow.subflow("b", "x", payload="laod"),
        "edge": lambda: flow.step("b", lambda: 1).edge("laod", "b"),
        "case": lambda: flow.branch("b", lambda: 1, {"x": "laod"}),
    }[role]()
    assert found(flow) == [("unknown-reference", "b")]
    assert "'laod'" in one(flow).message
    assert one(flow).hint == "did you mean 'load'?"


def test_many_unknown_references_stay_quick() -> None:
    flow = df.flow("f")
    for number in range(1000):
        flow = flow.step(f"step_{number}", lambda: 1, after=f"stop_{number}")
    problems = flow.validate()
    assert len(problems) == 1000
    assert problems[0].hint
    assert not problems[-1].hint


def test_extra_inputs_of_a_function_without_such_a_parameter() -> None:
    problem = one(ones("a").step("b", lambda rows: 1, inputs={"row": "a", "rows": "a"}))
    assert (problem.code, problem.hint) == ("unknown-parameter", "did you mean 'rows'?")


def test_reference_to_a_node_that_is_not_upstream() -> None:
    document = {
        "name": "f",
        "nodes": [
            {"id": "a", "type": "join"},
            {"id": "b", "type": "join"},
            {"id": "c", "type": "join", "config": {"inputs": {"x": {"ref": "a"}, "y": {"ref": "side"}}}},
            {"id": "side", "type": "join"},
        ],
        "edges": [{"source": "a", "target": "b"}, {"source": "b", "target": "c"}],
    }
    problem = one(df.Flow.from_json(document))
    assert (problem.code, problem.node, problem.path) == ("not-upstream", "c", "/nodes/2/config/inputs/y")
    assert "'side'" in problem.message
    document["edges"].append({"source": "c", "target": "a"})  # type: ignore[attr-defined]
    assert found(df.Flow.from_json(document)) == [("cycle", "a"), ("not-upstream", "c")]


def test_handler_may_read_only_what_comes_before_the_error() -> None:
    flow = ones("load", "side").step("risky", lambda load: 1, on_error="goto:h").step("h", lambda error, load, side: 1)
    assert found(flow) == [("not-upstream", "h")]
    assert "'side'" in one(flow).message


# --- the graph --------------------------------------------------------------------------------------------


def test_each_knot_is_named_in_order() -> None:
    flow = (
        df.flow("f")
        .step("b", lambda a: 1)
        .step("a", lambda b: 1)
        .step("x", lambda: 1, after="x")
        .step("p", lambda: 1, after="r")
        .step("q", lambda p: 1)
        .step("r", lambda q: 1)
        .step("behind", lambda r: 1)
    )
    problems = flow.validate()
    assert [problem.code for problem in problems] == ["cycle"] * 3
    assert [problem.message.partition(": ")[2] for problem in problems] == [
        "b → a → b",
        "x → x",
        "p → q → r → p",
    ]


def test_a_huge_cycle_is_shortened() -> None:
    flow = df.flow("f")
    for number in range(500):
        flow = flow.step(f"n{number}", lambda: 1, after=f"n{(number - 1) % 500}")
    assert "more" in one(flow).message
    assert len(one(flow).message) < 500


def test_goto_backwards_is_a_cycle() -> None:
    flow = ones("a").step("b", lambda a: 1, on_error="goto:a")
    problem = one(flow)
    assert (problem.code, problem.message) == ("goto-cycle", "on_error leads back: a → b → a")


@pytest.mark.parametrize(
    ("on_error", "words"),
    [
        ("ignore", "'ignore'"),
        ("goto:", "''"),
        ("goto:nope", "'nope', which is no node"),
        ("goto:b", "the node itself"),
        ("goto:trigger", "the trigger 'trigger'"),
        ("STOP", "'STOP'"),
    ],
)
def test_bad_on_error(on_error: str, words: str) -> None:
    flow = df.flow("f").on("manual").step("b", lambda: 1, on_error=on_error)
    problems = [problem for problem in flow.validate() if problem.code == "bad-on-error"]
    assert len(problems) == 1
    assert words in problems[0].message


def test_unreachable_nodes_are_warnings() -> None:
    document = {
        "name": "f",
        "nodes": [
            {"id": "t", "type": "trigger_manual"},
            {"id": "a", "type": "join"},
            {"id": "lost", "type": "join"},
            {"id": "behind", "type": "join"},
        ],
        "edges": [{"source": "t", "target": "a"}, {"source": "lost", "target": "behind"}],
    }
    flow = df.Flow.from_json(document)
    assert found(flow) == [("unreachable", "lost"), ("unreachable", "behind")]
    assert {problem.severity for problem in flow.validate()} == {"warning"}
    assert flow.check() is flow


def test_handler_types_need_a_goto() -> None:
    register_kind(NodeKind("test_handler", "handler", handler=True))
    assert found(ones("a").node("h", "test_handler")) == [("unreachable", "h")]
    used = df.flow("f").step("a", lambda: 1, on_error="goto:h").node("h", "test_handler")
    assert used.validate() == []


def test_edges_into_triggers_and_duplicate_edges() -> None:
    flow = ones("a", "b").on("manual", id="t").edge("a", "t")
    assert ("edge-into-trigger", "t") in found(flow)
    assert found(ones("a", "b").edge("a", "b", id="e").edge("a", "b", id="e")) == [("duplicate-edge", "b")]


def test_handles_must_exist() -> None:
    flow = ones("a").branch("r", lambda: 1, ["x", "y"]).step("b", lambda: 1, when="r:z")
    assert found(flow) == [("unknown-handle", "b")]
    assert one(flow).hint == "it has 'x', 'y'"
    by_edge = ones("b").condition("c", lambda: 1).edge("c", "b", handle="maybe")
    assert found(by_edge) == [("unknown-handle", "b")]


def test_when_wants_a_condition() -> None:
    problem = one(ones("a").step("b", lambda: 1, when="a"))
    assert problem.code == "bad-when"
    assert '.condition("a", …)' in problem.hint


def test_contradictory_gates() -> None:
    flow = df.flow("f").condition("c", lambda: 1).step("b", lambda: 1, when=["c", "not c"])
    assert found(flow) == [("never-runs", "b")]


def test_branch_without_cases() -> None:
    assert found(df.flow("f").branch("b", lambda: 1)) == [("no-branches", "b")]


# --- joins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("join", "words"),
    [
        (0, "a join of 0 branches"),
        (-1, "a join of -1 branches"),
        (3, "needs 3 branches, but only 2 lead here"),
        ("2-of-1", "2 of 1 can never hold"),
        ("2-of-3", "says 2-of-3, but 2 branches lead here"),
        ({"n": 9}, "needs 9 branches"),
    ],
)
def test_joins_that_can_never_hold(join: Any, words: str) -> None:
    problem = one(ones("a", "b").step("j", lambda a, b: 1, join=join))
    assert problem.code == "join-impossible"
    assert words in problem.message


@pytest.mark.parametrize("join", ["all", "any", 1, 2, "1-of-2", "2-of-2", {"n": 2}])
def test_joins_that_can_hold(join: Any) -> None:
    assert ones("a", "b").step("j", lambda a, b: 1, join=join).validate() == []


def exclusive() -> df.Flow:
    return (
        df.flow("f")
        .condition("c", lambda: 1)
        .step("a", lambda: 1, when="c")
        .step("b", lambda: 1, when="not c")
        .step("a2", lambda a: 1)
    )


def test_joins_over_exclusive_branches() -> None:
    assert exclusive().step("j", lambda a2, b: 1).validate() == []
    assert exclusive().step("j", lambda a2, b: 1, join="any").validate() == []
    assert exclusive().step("j", lambda a, a2: 1, join=2).validate() == []
    problem = one(exclusive().step("j", lambda a2, b: 1, join=2))
    assert (problem.code, problem.node) == ("join-impossible", "j")
    assert "'c' lets at most 1 of them run" in problem.message
    free = exclusive().step("free", lambda: 1).step("j", lambda a, b, free: 1, join="2-of-3")
    assert free.validate() == []
    nested = (
        exclusive().condition("d", lambda: 1, when="c").step("e", lambda: 1, when="d").step("j", lambda e, b: 1, join=2)
    )
    assert found(nested) == [("join-impossible", "j")]


# --- maps, sub-flows --------------------------------------------------------------------------------------


def test_maps() -> None:
    def number() -> int:
        return 1

    flow = (
        df.flow("f")
        .step("n", number)
        .map("a", lambda x: 1, over="n")
        .map("b", lambda: 1, over=df.value([1]))
        .map("c", lambda x: 1, over=df.value("text"))
        .map("d", lambda x: 1, over=df.value([1]), concurrency=0)
        .map("e", lambda x: 1, over=df.value([1]), concurrency="many")  # type: ignore[arg-type]
        .map("g", lambda x: 1, over=df.value([1]), key=lambda: 1)  # type: ignore[misc]
        .node("h", "map", {"concurrency": 1})
    )
    assert found(flow) == [
        ("not-a-collection", "a"),
        ("missing-input", "b"),
        ("not-a-collection", "c"),
        ("bad-concurrency", "d"),
        ("bad-concurrency", "e"),
        ("bad-key", "g"),
        ("missing-input", "h"),
        ("unbound", "h"),
    ]


def test_subflow_recursion() -> None:
    assert found(ones("a").subflow("s", "f")) == [("subflow-recursion", "s")]
    through = df.flow("outer").subflow("s", df.flow("mid").subflow("t", "outer"))
    problem = one(through)
    assert problem.message == "the sub-flow leads back to its own flow: outer → mid → outer"
    guarded = df.flow("f").condition("c", lambda: 1).subflow("s", "f", when="c")
    assert [p.severity for p in guarded.validate()] == ["warning"]


def test_problems_of_a_child_are_problems_of_the_flow() -> None:
    child = df.flow("child").step("a", lambda nope: 1)
    assert found(df.flow("f").subflow("s", child)) == [("missing-input", "s/a")]


def test_malformed_inputs_of_a_document() -> None:
    document = {
        "name": "f",
        "nodes": [
            {"id": "a", "type": "join", "config": {"inputs": {"x": 7}}},
            {"id": "b", "type": "join", "config": {"inputs": [1]}},
            {"id": "c", "type": "subflow"},
            {"id": "d", "type": "python", "config": {"inputs": {"x": {"ref": "d"}}}},
            {"id": "e", "type": "join", "join": "some", "timeout_seconds": -1},
        ],
    }
    flow = df.Flow.from_json(document, bindings={"d": lambda x: x, "e": 7})
    assert found(flow) == [
        ("bad-input", "a"),
        ("bad-input", "b"),
        ("missing-input", "c"),
        ("self-reference", "d"),
        ("bad-timeout", "e"),
        ("bad-join", "e"),
    ]


def test_binding_that_cannot_be_called() -> None:
    document = {"name": "f", "nodes": [{"id": "d", "type": "python"}]}
    assert "bound to int" in one(df.Flow.from_json(document, bindings={"d": 7})).message


def test_a_branch_that_an_error_may_enter_excludes_nothing() -> None:
    flow = (
        df.flow("f")
        .condition("c", lambda: 1)
        .step("risky", lambda: 1, on_error="goto:b")
        .step("a", lambda: 1, when="c")
        .step("b", lambda: 1, when="not c")
        .step("j", lambda a, b: 1, join=2)
    )
    assert flow.validate() == []
