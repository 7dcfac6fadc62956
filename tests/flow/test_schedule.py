"""Which node may start when: by example, and against a naive model."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, FlowValidationError
from dataflows_sdk.flow.kinds import is_branching
from dataflows_sdk.flow.model import EdgeSpec, FlowSpec, Gate, NodeSpec, WhenSpec, parse_join
from dataflows_sdk.flow.schedule import (
    FAILED,
    FlowSchedule,
    Outcome,
    case_name,
    flow_result,
    outcome_of,
    ready,
)
from dataflows_sdk.flow.topology import Topology

from ..conftest import examples


def took(*handles: str) -> Outcome:
    return Outcome("completed", frozenset(handles))


def spec_of(nodes: dict[str, dict[str, Any]], *edges: str) -> FlowSpec:
    """`edges` as "a>b" or "a:handle>b"."""
    specs = []
    for edge in edges:
        source, _, target = edge.partition(">")
        source, _, handle = source.partition(":")
        specs.append(EdgeSpec(id=edge, source=source, target=target, source_handle=handle or None))
    made = [NodeSpec(**{"id": node, "type": "python", **fields}) for node, fields in nodes.items()]
    return FlowSpec(name="t", nodes=tuple(made), edges=tuple(specs))


def plain(*names: str) -> dict[str, dict[str, Any]]:
    return {name: {} for name in names}


def test_chain_runs_one_after_the_other() -> None:
    schedule = FlowSchedule(spec_of(plain("a", "b"), "a>b"))
    first = schedule.start()
    assert (first.start, first.finished) == (("a",), False)
    second = schedule.complete("a", "completed")
    assert (second.start, second.finished) == (("b",), False)
    last = schedule.complete("b", "completed")
    assert (last.start, last.skip, last.finished, last.failed) == ((), (), True, None)


def test_empty_flow_is_finished_at_once() -> None:
    assert FlowSchedule(spec_of({})).start().finished


def test_all_roots_start_in_the_order_of_the_flow() -> None:
    assert FlowSchedule(spec_of(plain("c", "a", "b"))).start().start == ("c", "a", "b")


DIAMOND = spec_of(
    {"if": {"type": "branch"}, "a": {}, "b": {}, "join": {}}, "if:true>a", "if:false>b", "a>join", "b>join"
)


@pytest.mark.parametrize(("handle", "runs", "skipped"), [("true", "a", "b"), ("false", "b", "a")])
def test_all_join_counts_only_branches_that_were_not_skipped(handle: str, runs: str, skipped: str) -> None:
    schedule = FlowSchedule(DIAMOND)
    schedule.start()
    decision = schedule.complete("if", took(handle))
    assert (decision.start, decision.skip) == ((runs,), (skipped,))
    assert schedule.complete(runs, "completed").start == ("join",)
    assert schedule.complete("join", "completed").finished


def test_join_is_skipped_when_every_branch_is() -> None:
    schedule = FlowSchedule(DIAMOND)
    schedule.start()
    decision = schedule.complete("if", took())
    assert decision.skip == ("a", "b", "join")
    assert decision.finished
    assert decision.failed is None


def test_skips_spread_down_a_long_chain() -> None:
    names = [f"n{i}" for i in range(5000)]
    edges = [f"{a}>{b}" for a, b in itertools.pairwise(names)]
    schedule = FlowSchedule(spec_of({"if": {"type": "branch"}, **plain(*names)}, "if:true>n0", *edges))
    schedule.start()
    assert len(schedule.complete("if", took("false")).skip) == 5000


def test_any_join_runs_once() -> None:
    schedule = FlowSchedule(spec_of({"a": {}, "b": {}, "j": {"join": "any"}}, "a>j", "b>j"))
    schedule.start()
    assert schedule.complete("a", "completed").start == ("j",)
    late = schedule.complete("b", "completed")
    assert (late.start, late.finished) == ((), False)
    assert schedule.complete("j", "completed").finished


@pytest.mark.parametrize("join", [2, "2-of-3", {"n": 2}, {"n": 2, "of": 3}, "2 of 3"])
def test_n_of_m_join(join: Any) -> None:
    schedule = FlowSchedule(spec_of({**plain("a", "b", "c"), "j": {"join": join}}, "a>j", "b>j", "c>j"))
    schedule.start()
    assert schedule.complete("b", "completed").start == ()
    assert schedule.complete("c", "completed").start == ("j",)
    assert schedule.complete("a", "completed").start == ()


def test_n_of_m_fails_clearly_once_fewer_can_arrive() -> None:
    failing = {"on_error": "goto:h"}
    spec = spec_of({"a": {}, "b": failing, "c": failing, "j": {"join": 2}, "h": {}}, "a>j", "b>j", "c>j")
    schedule = FlowSchedule(spec)
    schedule.start()
    schedule.complete("a", "completed")
    assert schedule.complete("b", "failed").join_failures == ()
    decision = schedule.complete("c", "failed")
    (failure,) = decision.join_failures
    assert failure.node == "j"
    assert failure.message == "the join of 'j' needs 2 of its 3 branches, but only 1 can still arrive"
    assert decision.failed == "j"
    assert schedule.states["j"] == "failed"


def test_join_failure_obeys_the_joins_own_on_error() -> None:
    spec = spec_of(
        {
            "if": {"type": "branch"},
            **plain("a", "b"),
            "j": {"join": 2, "on_error": "goto:h"},
            **plain("h", "z"),
        },
        "if:x>a",
        "if:y>b",
        "a>j",
        "b>j",
        "j>z",
    )
    schedule = FlowSchedule(spec)
    schedule.start()
    schedule.complete("if", took("x"))
    decision = schedule.complete("a", "completed")
    assert (decision.start, decision.skip, decision.failed) == (("h",), ("z",), None)
    assert schedule.entered_by("h") == "j"


def test_stop_starts_nothing_more_and_lets_the_others_end() -> None:
    schedule = FlowSchedule(spec_of(plain("a", "b", "c"), "b>c"))
    schedule.start()
    decision = schedule.complete("a", "failed")
    assert (decision.failed, decision.finished) == ("a", False)
    decision = schedule.complete("b", "completed")
    assert (decision.start, decision.failed, decision.finished) == ((), "a", True)
    assert schedule.states["c"] == "pending"


def test_after_a_stop_nothing_is_decided_not_even_a_skip() -> None:
    spec = spec_of(
        {
            "a": {},
            "if": {"type": "branch"},
            "risky": {"on_error": "goto:h"},
            "h": gated("if", "true"),
            "b": gated("if", "true"),
        }
    )
    schedule = FlowSchedule(spec)
    schedule.start()
    assert schedule.complete("a", "failed").failed == "a"
    for node, outcome in (("risky", FAILED), ("if", took("false"))):
        decision = schedule.complete(node, outcome)
        assert (decision.start, decision.skip) == ((), ())
    assert decision.finished
    assert (schedule.states["h"], schedule.states["b"]) == ("pending", "pending")
    assert schedule.entered_by("h") is None


def test_continue_goes_on_with_the_next_nodes() -> None:
    schedule = FlowSchedule(spec_of({"a": {"on_error": "continue"}, "b": {}}, "a>b"))
    schedule.start()
    decision = schedule.complete("a", "failed")
    assert (decision.start, decision.failed) == (("b",), None)
    assert schedule.states["a"] == "failed"


def test_a_branch_that_failed_has_chosen_no_handle() -> None:
    spec = spec_of({"if": {"type": "branch", "on_error": "continue"}, **plain("a", "b")}, "if:true>a", "if>b")
    schedule = FlowSchedule(spec)
    schedule.start()
    decision = schedule.complete("if", FAILED)
    assert (decision.start, decision.skip) == (("b",), ("a",))


def test_named_handles_of_a_node_that_does_not_branch_are_all_followed() -> None:
    schedule = FlowSchedule(spec_of(plain("a", "b"), "a:out>b"))
    schedule.start()
    assert schedule.complete("a", "completed").start == ("b",)


def test_plain_false_leaves_edges_without_a_handle() -> None:
    schedule = FlowSchedule(spec_of({"if": {"type": "branch"}, **plain("a", "b")}, "if>a", "if:false>b"))
    schedule.start()
    decision = schedule.complete("if", Outcome("completed", frozenset({"false"}), plain=False))
    assert (decision.start, decision.skip) == (("b",), ("a",))


def test_goto_leaves_the_ordinary_way() -> None:
    spec = spec_of({"a": {"on_error": "goto:h"}, **plain("b", "h", "end")}, "a>b", "b>end", "h>end")
    schedule = FlowSchedule(spec)
    assert schedule.start().start == ("a",)
    decision = schedule.complete("a", "failed")
    assert (decision.start, decision.skip) == (("h",), ("b",))
    assert schedule.entered_by("h") == "a"
    assert schedule.entered_by("end") is None
    assert schedule.complete("h", "completed").start == ("end",)


def test_handler_that_is_not_needed_is_skipped() -> None:
    spec = spec_of({"a": {"on_error": "goto:h"}, **plain("b", "h")}, "a>b")
    schedule = FlowSchedule(spec)
    schedule.start()
    decision = schedule.complete("a", "completed")
    assert (decision.start, decision.skip) == (("b",), ("h",))


def test_handler_of_several_nodes_runs_once() -> None:
    spec = spec_of({**{n: {"on_error": "goto:h"} for n in "abc"}, "h": {}})
    schedule = FlowSchedule(spec)
    schedule.start()
    assert schedule.complete("b", "failed").start == ("h",)
    assert schedule.complete("a", "failed").start == ()
    assert schedule.complete("c", "completed").skip == ()
    assert schedule.entered_by("h") == "b"


def test_handler_with_a_place_in_the_flow_waits_for_what_may_fail() -> None:
    spec = spec_of({"a": {}, "b": {"on_error": "goto:h"}, "h": {}}, "a>h")
    schedule = FlowSchedule(spec)
    schedule.start()
    assert schedule.complete("a", "completed").start == ()
    assert schedule.complete("b", "completed").start == ("h",)
    assert schedule.entered_by("h") is None


def gated(node: str, *handles: str) -> dict[str, Any]:
    return {"when": WhenSpec(gates=(Gate(node=node, handles=handles),))}


def test_a_gate_is_no_arrival() -> None:
    spec = spec_of(
        {"if": {"type": "branch"}, **plain("a", "b"), "x": {"join": "any", **gated("if", "true")}},
        "if:true>x",
        "a>x",
        "b>x",
    )
    schedule = FlowSchedule(spec)
    schedule.start()
    assert schedule.complete("if", took("true")).start == ()
    assert schedule.complete("a", "completed").start == ("x",)


def test_a_closed_gate_skips_although_the_data_came() -> None:
    spec = spec_of({"load": {}, "if": {"type": "branch"}, "x": gated("if", "true")}, "load>if", "load>x", "if:true>x")
    schedule = FlowSchedule(spec)
    schedule.start()
    assert schedule.complete("load", "completed").start == ("if",)
    decision = schedule.complete("if", took("false"))
    assert (decision.start, decision.skip, decision.finished) == ((), ("x",), True)


def test_gate_without_its_edge_still_holds() -> None:
    spec = spec_of({"if": {"type": "branch"}, "x": gated("if", "true")})
    schedule = FlowSchedule(spec)
    assert schedule.start().start == ("if",)
    assert schedule.complete("if", took("true")).start == ("x",)


def test_predicate_decides_by_skipping() -> None:
    flow = df.flow("f").step("a", lambda: 1).step("b", lambda: 2, when=lambda a: a > 1).step("c", lambda b: b)
    schedule = FlowSchedule(flow.topology)
    schedule.start()
    assert schedule.complete("a", "completed").start == ("b",)
    decision = schedule.complete("b", "skipped")
    assert (decision.skip, decision.finished) == (("c",), True)


def test_what_only_a_predicate_reads_must_be_there_but_does_not_count_for_an_any_join() -> None:
    flow = (
        df.flow("f")
        .step("a", lambda: 1)
        .step("b", lambda: 1)
        .step("c", lambda: 1)
        .step("x", lambda a, b: 1, join="any", when=lambda c: c)
    )
    schedule = FlowSchedule(flow.topology)
    schedule.start()
    assert schedule.complete("c", "completed").start == ()
    assert schedule.complete("b", "completed").start == ("x",)


# --- triggers ---------------------------------------------------------------------------------------------


TRIGGERED = spec_of(
    {
        "t1": {"type": "trigger_schedule"},
        "t2": {"type": "trigger_webhook"},
        **plain("a", "b", "both", "orphan"),
    },
    "t1>a",
    "t2>b",
    "t1>both",
    "t2>both",
)


@pytest.mark.parametrize(
    ("trigger", "start", "skip"),
    [("t1", ("a", "both"), ("t2", "b", "orphan")), ("t2", ("b", "both"), ("t1", "a", "orphan"))],
)
def test_only_the_trigger_that_fired_counts(trigger: str, start: tuple[str], skip: tuple[str]) -> None:
    decision = FlowSchedule(TRIGGERED).start(trigger)
    assert (decision.start, decision.skip) == (start, skip)


def test_a_run_by_hand_is_the_manual_trigger_or_the_first() -> None:
    assert FlowSchedule(TRIGGERED).start().start == ("a", "both")
    manual = spec_of({"t1": {"type": "trigger_schedule"}, "t2": {"type": "trigger_manual"}, **plain("a")}, "t2>a")
    assert FlowSchedule(manual).start().start == ("a",)


def test_trigger_only_flow_completes() -> None:
    decision = FlowSchedule(spec_of({"t": {"type": "trigger_manual"}})).start()
    assert decision.finished
    assert decision.failed is None


# --- misuse -----------------------------------------------------------------------------------------------


def test_misuse_is_refused_with_the_names() -> None:
    schedule = FlowSchedule(TRIGGERED)
    with pytest.raises(DefinitionError, match="no trigger 'a'; its triggers: 't1', 't2'"):
        schedule.start("a")
    schedule.start("t1")
    with pytest.raises(DefinitionError, match="already started"):
        schedule.start("t1")
    with pytest.raises(DefinitionError, match="node 'nope' of flow 't' is unknown"):
        schedule.complete("nope", "completed")
    with pytest.raises(DefinitionError, match="node 'b' of flow 't' is skipped, not running"):
        schedule.complete("b", "completed")
    with pytest.raises(DefinitionError, match="no node 'nope'"):
        FlowSchedule.restore(TRIGGERED, {"nope": "completed"})


def test_topology_refuses_what_cannot_be_scheduled() -> None:
    spec = spec_of({**plain("a", "b"), "c": {"join": "most", "on_error": "goto:x"}}, "a>b", "b>a", "q>a")
    with pytest.raises(FlowValidationError) as caught:
        Topology(spec)
    assert {problem.code for problem in caught.value.problems} == {
        "bad-join",
        "unknown-reference",
        "cycle",
    }
    assert len(caught.value.problems) == 4
    with pytest.raises(FlowValidationError, match="two nodes have one id"):
        Topology(FlowSpec(nodes=(NodeSpec(id="a", type="python"), NodeSpec(id="a", type="python"))))


# --- results ----------------------------------------------------------------------------------------------


def test_flow_result() -> None:
    spec = spec_of(plain("a", "b", "c"), "a>b", "a>c")
    done = dict.fromkeys("abc", "completed")
    assert flow_result(spec, done, {"a": 1, "b": 2, "c": 3}) == {"b": 2, "c": 3}
    assert flow_result(spec, {**done, "c": "skipped"}, {"a": 1, "b": 2}) == 2
    assert flow_result(spec, {**done, "b": FAILED, "c": Outcome("skipped")}, {"a": 1}) is None
    assert flow_result(spec_of({"t": {"type": "trigger_manual"}}), {"t": "completed"}, {}) is None


@pytest.mark.parametrize(
    ("config", "value", "handles"),
    [
        ({"kind": "condition"}, [], {"false"}),
        ({"kind": "condition"}, [0], {"true"}),
        ({"kind": "switch", "handles": ["big"]}, "big", {"big"}),
        ({"kind": "switch", "handles": ["3"]}, 3, {"3"}),
        ({"kind": "switch", "handles": ["true"]}, True, {"true"}),
        ({"kind": "switch", "handles": ["big"]}, "small", set()),
        ({"kind": "switch", "handles": ["big"], "default": "else"}, None, {"else"}),
    ],
)
def test_outcome_of_a_branch(config: dict[str, Any], value: Any, handles: set[str]) -> None:
    assert outcome_of(NodeSpec(id="b", type="branch", config=config), value).handles == handles


def test_outcome_of_other_nodes_takes_all_edges() -> None:
    assert outcome_of(NodeSpec(id="b", type="python"), "x").handles is None
    assert case_name(False) == "false"


# --- against a naive model --------------------------------------------------------------------------------

HANDLES = ("x", "y")


@st.composite
def flows(draw: st.DrawFn) -> tuple[FlowSpec, dict[str, Outcome]]:
    """A random DAG, and what each node would come to if it ran."""
    count = draw(st.integers(1, 12))
    ids = [f"n{i}" for i in range(count)]
    branching = {node for node in ids if draw(st.integers(0, 3)) == 0}
    nodes, edges = [], []
    outcomes: dict[str, Outcome] = {}
    for number, node in enumerate(ids):
        before = ids[:number]
        sources = draw(st.lists(st.sampled_from(before), unique=True, max_size=4)) if before else []
        for source in sources:
            handle = draw(st.sampled_from([None, *HANDLES])) if source in branching else None
            edges.append(EdgeSpec(id=f"{source}>{node}", source=source, target=node, source_handle=handle))
        fields: dict[str, Any] = {}
        if sources:
            fields["join"] = draw(st.sampled_from(["all", "all", "any", 2, "3-of-4"]))
        gates = sorted(branching & set(before))
        if gates and draw(st.integers(0, 3)) == 0:
            gate = Gate(node=draw(st.sampled_from(gates)), handles=(draw(st.sampled_from(HANDLES)),))
            fields["when"] = WhenSpec(gates=(gate,))
        after = ids[number + 1 :]
        policies = ["stop", "continue", "continue"] + (["goto"] * 2 if after else [])
        policy = draw(st.sampled_from(policies))
        fields["on_error"] = f"goto:{draw(st.sampled_from(after))}" if policy == "goto" else policy
        nodes.append(NodeSpec(id=node, type="branch" if node in branching else "python", **fields))
        status = draw(st.sampled_from(["completed"] * 4 + ["failed", "skipped"]))
        handles = None
        if status == "completed" and node in branching:
            handles = frozenset(draw(st.lists(st.sampled_from(HANDLES), max_size=1)))
        outcomes[node] = Outcome(status, handles)
    return FlowSpec(name="random", nodes=tuple(nodes), edges=tuple(edges)), outcomes


def naive(spec: FlowSpec, outcomes: dict[str, Outcome]) -> tuple[dict[str, str], bool]:
    """Final states if nothing stopped the flow, and whether something would; nodes in topological order."""
    final: dict[str, Outcome] = {}
    ran: set[str] = set()
    stops = False
    by_id = {node.id: node for node in spec.nodes}

    def passes(node: str) -> bool:
        outcome, policy = final[node], by_id[node].on_error
        return outcome.status == "completed" or (outcome.status == "failed" and policy == "continue")

    def live(edge: EdgeSpec) -> bool:
        if not passes(edge.source):
            return False
        if edge.source_handle is None or not is_branching(by_id[edge.source].type):
            return True
        return edge.source_handle in (final[edge.source].handles or ())

    for node in spec.nodes:
        gotos = [other.id for other in spec.nodes if other.goto == node.id]
        gates = node.when.gates if node.when is not None else ()
        incoming: dict[str, list[EdgeSpec]] = {}
        for edge in spec.edges:
            if edge.target == node.id and edge.source not in {gate.node for gate in gates}:
                incoming.setdefault(edge.source, []).append(edge)
        arrived = sum(any(map(live, edges)) for edges in incoming.values())
        needed = parse_join(node.join).n
        verdict = "run"
        if any(final[other].status == "failed" for other in gotos):
            pass
        elif not all(passes(g.node) and set(g.handles) & (final[g.node].handles or frozenset()) for g in gates):
            verdict = "skip"
        elif incoming:
            if arrived == 0:
                verdict = "skip"
            elif needed is not None and arrived < needed:
                verdict = "fail"
        elif gotos and not gates:
            verdict = "skip"
        if verdict == "run":
            ran.add(node.id)
            final[node.id] = outcomes[node.id]
        else:
            final[node.id] = Outcome("skipped" if verdict == "skip" else "failed")
        stops = stops or (final[node.id].status == "failed" and node.on_error == "stop")
    return {node: outcome.status for node, outcome in final.items()}, stops


@given(flows(), st.integers(0, 2**32))
@settings(max_examples=examples(100, 400), deadline=None)
def test_schedule_equals_the_naive_model(made: tuple[FlowSpec, dict[str, Outcome]], seed: int) -> None:
    spec, outcomes = made
    chance = random.Random(seed)
    expected, stops = naive(spec, outcomes)
    topology = Topology(spec)
    schedule = FlowSchedule(topology)
    decision = schedule.start()
    decided: dict[str, Any] = {}
    started: list[str] = []
    skipped: list[str] = []
    for _ in range(len(spec.nodes) + 1):
        started += decision.start
        skipped += decision.skip
        decided |= dict.fromkeys(decision.skip, "skipped")
        decided |= {failure.node: "failed" for failure in decision.join_failures}
        assert set(decision.start) <= set(schedule.running)
        assert (decision.failed is not None) <= (not decision.start)
        known = decided | dict.fromkeys(schedule.running, "running")
        again, nothing = FlowSchedule.restore(topology, known)
        assert again.states == schedule.states
        assert (nothing.start, nothing.skip, nothing.finished) == ((), (), decision.finished)
        if decision.failed is None:
            assert set(ready(topology, decided).start) == set(schedule.running)
            for node in schedule.running:
                assert again.entered_by(node) == schedule.entered_by(node)
        if decision.finished:
            break
        node = chance.choice(schedule.running)
        decided[node] = outcomes[node]
        decision = schedule.complete(node, outcomes[node])
    assert schedule.finished
    assert len(set(started)) == len(started)
    assert not set(started) & set(skipped)
    assert (schedule.failed is not None) == stops
    if stops:
        for node, state in schedule.states.items():
            assert state in {"pending", expected[node]}
    else:
        assert schedule.states == expected


@given(flows(), st.integers(0, 2**32))
@settings(max_examples=examples(60, 200), deadline=None)
def test_no_node_starts_before_its_join_holds(made: tuple[FlowSpec, dict[str, Outcome]], seed: int) -> None:
    spec, outcomes = made
    chance = random.Random(seed)
    schedule = FlowSchedule(spec)
    decision = schedule.start()
    nodes = {node.id: node for node in spec.nodes}
    while True:
        for node in decision.start:
            if schedule.entered_by(node) is not None:
                assert schedule.states[str(schedule.entered_by(node))] == "failed"
                continue
            gates = {gate.node for gate in nodes[node].when.gates} if nodes[node].when else set()
            sources = {edge.source for edge in spec.edges if edge.target == node} - gates
            states = [schedule.states[source] for source in sources]
            arrived = sum(state in {"completed", "failed"} for state in states)
            needed = parse_join(nodes[node].join).n
            assert all(schedule.states[gate] == "completed" for gate in gates)
            if sources and needed is None:
                assert not {"pending", "running"} & set(states)
                assert arrived >= 1
            elif sources:
                assert arrived >= needed
        if decision.finished:
            return
        node = chance.choice(schedule.running)
        decision = schedule.complete(node, outcomes[node])
