"""Which node may start now: a pure function of the flow and of what its nodes came to. It executes nothing.

The rules, for a node N:

1. A node that fails with ``on_error="goto:N"`` enters N at once, whatever else N waits for. As long as such
a node is
   undecided, N does not start in the ordinary way either.
2. The branches that N's `when` names must be decided; if one of them did not take a wanted handle, N is
skipped. They
   are gates, they do not count as arrivals.
3. An incoming node *arrives* when it completed and took the edge (or failed with ``on_error="continue"``);
it is *dead*
   when it was skipped, took another handle, or failed with a goto. Then
   "all" starts when every incoming node is decided and one arrived;
   "any" starts at the first arrival;
   "n of m" starts at the n-th, and fails once fewer than n can still come, though at least one did.
   If every incoming node is dead, N is skipped, whatever the join.
4. N starts at most once; later arrivals change nothing.
5. When a node fails with ``on_error="stop"``, nothing more is decided: what did not start stays pending.

What becomes of a node does not depend on the order in which its branches finish, except for which arrivals
an "any" or
"n of m" join had seen when it started.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.kinds import is_branching
from dataflows_sdk.flow.model import FlowSpec, NodeSpec
from dataflows_sdk.flow.topology import Topology

State = Literal["pending", "running", "completed", "failed", "skipped"]
Final = Literal["completed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a node.

    Attributes:
        status: how it ended; ``"failed"`` means for good, after all retries.
        handles: the handles that a branching node took; None for a node that does not choose: all its edges
            count.
        plain: whether edges without a handle are followed.
    """

    status: Final
    handles: frozenset[str] | None = None
    plain: bool = True


COMPLETED = Outcome("completed")
FAILED = Outcome("failed")
SKIPPED = Outcome("skipped")


@dataclass(frozen=True, slots=True)
class JoinFailure:
    """A join that can no longer hold. The node failed without having started; the message says why."""

    node: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from what happened.

    Attributes:
        start: nodes to start now, in the order of the flow.
        skip: nodes that are now known never to run.
        join_failures: nodes that failed because their join cannot hold; their `on_error` was already applied.
        cancel: running nodes that are called off, because the join that they lead to has begun; tell the schedule that
            they were skipped.
        finished: nothing runs and nothing will start.
        failed: the node whose failure stopped the flow, None while all is well.
    """

    start: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    join_failures: tuple[JoinFailure, ...] = ()
    cancel: tuple[str, ...] = ()
    finished: bool = False
    failed: str | None = None


@dataclass(slots=True)
class _Changes:
    """What one call brings about."""

    start: list[int] = field(default_factory=list)
    skip: list[int] = field(default_factory=list)
    join_failures: list[JoinFailure] = field(default_factory=list)
    cancel: list[int] = field(default_factory=list)
    #: decided nodes whose followers have not been told yet
    told: deque[tuple[int, Outcome]] = field(default_factory=deque)


class FlowSchedule:
    """The progress of one run: tell it what became of a node, it tells what may start.

    A call costs as much as the nodes that it touches; a whole run costs O(nodes + edges). Not thread-safe.
    """

    def __init__(self, flow: FlowSpec | Topology) -> None:
        self.topology = flow if isinstance(flow, Topology) else Topology(flow)
        top = self.topology
        count = len(top.ids)
        self._states: list[State] = ["pending"] * count
        self._live = [0] * count
        self._dead = [0] * count
        self._required_open = [len(required) for required in top.required]
        self._required_live = [0] * count
        self._closed = [False] * count
        self._goto_open = [len(sources) for sources in top.goto_from]
        self._entered: dict[int, int] = {}
        self._running = 0
        self._failed: int | None = None
        self._started = False

    # --- looking ----------------------------------------------------------------------------------------

    @property
    def states(self) -> dict[str, State]:
        """The state of every node."""
        return dict(zip(self.topology.ids, self._states, strict=True))

    @property
    def running(self) -> tuple[str, ...]:
        """The nodes that were started and have not ended."""
        return tuple(n for n, state in zip(self.topology.ids, self._states, strict=True) if state == "running")

    @property
    def failed(self) -> str | None:
        """The node whose failure stopped the flow."""
        return None if self._failed is None else self.topology.ids[self._failed]

    @property
    def finished(self) -> bool:
        """Nothing runs and nothing will start."""
        return self._started and self._running == 0

    def entered_by(self, node: str) -> str | None:
        """The failed node whose ``on_error="goto:…"`` started this one; None if it started in the ordinary
        way.
        """
        number = self.topology.index[node]
        source = self._entered.get(number)
        return None if source is None or self._states[number] == "pending" else self.topology.ids[source]

    # --- going on ---------------------------------------------------------------------------------------

    def start(self, trigger: str | None = None) -> Decision:
        """Begin a run.

        Args:
            trigger: the trigger node that fired; None for a run started by hand, which counts as the manual
                trigger or, if there is none, as the first. The other triggers, and nodes that no trigger
                leads to, are skipped.

        Raises:
            DefinitionError: there is no such trigger, or the run was begun before.
        """
        top = self.topology
        if self._started:
            raise DefinitionError(f"this run of flow {top.name!r} was already started")
        fired = top.trigger if trigger is None else top.index.get(trigger)
        if trigger is not None and fired not in top.triggers:
            names = ", ".join(repr(top.ids[number]) for number in top.triggers) or "none"
            raise DefinitionError(f"flow {top.name!r} has no trigger {trigger!r}; its triggers: {names}")
        self._started = True
        changes = _Changes()
        for number in top.triggers:
            if number == fired:
                self._states[number] = "completed"
                changes.told.append((number, COMPLETED))
            else:
                self._skip(number, changes)
        for number in range(len(top.ids)):
            self._decide(number, changes)
        return self._settle(changes)

    def complete(self, node: str, outcome: Outcome | Final) -> Decision:
        """A running node ended; ``"skipped"`` is for a node whose own condition did not hold.

        Raises:
            DefinitionError: the node is unknown or not running.
        """
        number = self.topology.index.get(node)
        if number is None or self._states[number] != "running":
            state = "unknown" if number is None else self._states[number]
            raise DefinitionError(f"node {node!r} of flow {self.topology.name!r} is {state}, not running")
        outcome = Outcome(outcome) if isinstance(outcome, str) else outcome
        self._running -= 1
        self._states[number] = outcome.status
        changes = _Changes(told=deque([(number, outcome)]))
        return self._settle(changes)

    @classmethod
    def restore(cls, flow: FlowSpec | Topology, states: Mapping[str, Outcome | State]) -> tuple[FlowSchedule, Decision]:
        """The schedule of a run of which this is known, and what may start now.

        Args:
            flow: the flow; prefer its shared `Topology`.
            states: the known nodes; ``"running"`` ones are not started again, missing and ``"pending"`` ones
                are decided. If it holds none of the flow's triggers, the run counts as started by hand. Give
                them in the order in which they happened: the first of several failures is the one that
                stopped the flow or entered a handler.

        Raises:
            DefinitionError: a state is about a node that the flow does not have.
        """
        schedule = cls(flow)
        top = schedule.topology
        unknown = [node for node in states if node not in top.index]
        if unknown:
            raise DefinitionError(f"flow {top.name!r} has no node {', '.join(map(repr, unknown))}")
        known = {top.index[node]: state for node, state in states.items() if state != "pending"}
        if not any(number in known for number in top.triggers):
            known |= {number: "completed" if number == top.trigger else "skipped" for number in top.triggers}
        schedule._started = True
        changes = _Changes()
        decided: list[tuple[int, Outcome]] = []
        for number, state in known.items():
            if state == "running":
                schedule._states[number] = "running"
                schedule._running += 1
                continue
            outcome = Outcome(state) if isinstance(state, str) else state
            schedule._states[number] = outcome.status
            decided.append((number, outcome))
        for number, outcome in decided:
            schedule._tell(number, outcome, changes, decide=False)
        for number in range(len(top.ids)):
            schedule._decide(number, changes)
        return schedule, schedule._settle(changes)

    # --- the rules --------------------------------------------------------------------------------------

    def _settle(self, changes: _Changes) -> Decision:
        while changes.told:
            number, outcome = changes.told.popleft()
            self._tell(number, outcome, changes, decide=True)
        ids = self.topology.ids
        if self._failed is not None:
            # what became ready in the same call as the failure is taken back: nothing starts after a stop
            for number in changes.start:
                self._states[number] = "pending"
                self._running -= 1
            changes.start.clear()
        return Decision(
            tuple(ids[number] for number in sorted(changes.start)),
            tuple(ids[number] for number in sorted(changes.skip)),
            tuple(changes.join_failures),
            tuple(ids[number] for number in sorted(changes.cancel)),
            self.finished,
            self.failed,
        )

    def _tell(self, number: int, outcome: Outcome, changes: _Changes, *, decide: bool) -> None:
        """Tell the followers of a node what became of it."""
        top = self.topology
        failed = outcome.status == "failed"
        goto = top.goto[number]
        if failed and goto is None and top.on_error[number] != "continue":
            if self._failed is None:
                self._failed = number
            return
        passes = outcome.status == "completed" or (failed and goto is None)
        for follower in top.followers[number]:
            handles = top.arrivals[follower].get(number)
            if handles is not None:
                live = passes and self._leaves_by(number, outcome, handles)
                (self._live if live else self._dead)[follower] += 1
            else:
                self._require(follower, number, outcome, passes)
            if decide:
                self._decide(follower, changes)
        if goto is not None:
            self._goto_open[goto] -= 1
            if failed and goto not in self._entered:
                self._entered[goto] = number
            if decide:
                self._decide(goto, changes)

    def _leaves_by(self, number: int, outcome: Outcome, handles: set[str | None]) -> bool:
        if None in handles and outcome.plain:
            return True
        if outcome.handles is not None:
            return any(handle in outcome.handles for handle in handles)
        # a branch that failed has not chosen; any other node may have named handles and leaves by all of them
        chose_nothing = outcome.status == "failed" and number in self.topology.branching
        return not chose_nothing and handles != {None}

    def _require(self, follower: int, number: int, outcome: Outcome, passes: bool) -> None:
        self._required_open[follower] -= 1
        wanted = self.topology.gates[follower].get(number)
        if wanted is None:
            self._required_live[follower] += passes
        elif passes and outcome.handles is not None and not outcome.handles.isdisjoint(wanted):
            self._required_live[follower] += 1
        else:
            self._closed[follower] = True

    def _decide(self, number: int, changes: _Changes) -> None:
        """Start, skip or fail a pending node if it is decided; rules 1 to 3."""
        # after a stop nothing is decided any more: what did not start stays pending, it was not skipped
        if self._states[number] != "pending" or self._failed is not None:
            return
        top = self.topology
        if number in self._entered:
            self._start(number, changes)
            return
        if self._goto_open[number] or self._required_open[number]:
            return
        if self._closed[number]:
            self._skip(number, changes)
            return
        total, live, dead = len(top.arrivals[number]), self._live[number], self._dead[number]
        if total == 0:
            entry = not top.triggers and not top.goto_from[number] and number not in top.handlers
            if self._required_live[number] or (entry and not top.required[number]):
                self._start(number, changes)
            else:
                self._skip(number, changes)
            return
        if dead == total:
            self._skip(number, changes)
            return
        needed = top.joins[number].n
        if needed is None:
            if live + dead == total:
                self._start(number, changes)
        elif live >= max(needed, 1):
            self._start(number, changes)
        elif live and total - dead < needed:
            self._fail(number, needed, changes)

    def _start(self, number: int, changes: _Changes) -> None:
        self._states[number] = "running"
        self._running += 1
        changes.start.append(number)
        for other in sorted(self.topology.cancels.get(number, ())):
            if self._states[other] == "running" and other in changes.start:
                changes.start.remove(other)  # it was to begin in this very moment
                self._running -= 1
                self._skip(other, changes)
            elif self._states[other] == "running":
                changes.cancel.append(other)
            elif self._states[other] == "pending":
                self._skip(other, changes)

    def _skip(self, number: int, changes: _Changes) -> None:
        self._states[number] = "skipped"
        changes.skip.append(number)
        changes.told.append((number, SKIPPED))

    def _fail(self, number: int, needed: int, changes: _Changes) -> None:
        top = self.topology
        total, dead = len(top.arrivals[number]), self._dead[number]
        message = (
            f"the join of {top.ids[number]!r} needs {needed} of its {total} branches, "
            f"but only {total - dead} can still arrive"
        )
        self._states[number] = "failed"
        changes.join_failures.append(JoinFailure(top.ids[number], message))
        changes.told.append((number, FAILED))


def ready(flow: FlowSpec | Topology, states: Mapping[str, Outcome | State]) -> Decision:
    """What may start, given what became of the nodes so far: a pure function, O(nodes + edges). See the
    module.
    """
    return FlowSchedule.restore(flow, states)[1]


def outcome_of(node: NodeSpec, value: Any) -> Outcome:
    """The outcome of a node that completed with a value: a branching node takes the handle that the value
    names.

    For ``branch`` nodes: a condition takes ``true`` or ``false``; a switch takes the case that its value
    spells, else its default, else none. A node of another type takes all its edges.
    """
    if not is_branching(node.type):
        return COMPLETED
    if node.type in _DATA:
        return _DATA[node.type](value)
    if node.config.get("kind") == "condition":
        return Outcome("completed", frozenset({"true" if value else "false"}))
    text = case_name(value)
    known: Iterable[str] = node.config.get("handles") or ()
    if text in known:
        return Outcome("completed", frozenset({text}))
    default = node.config.get("default")
    return Outcome("completed", frozenset({default}) if default is not None else frozenset())


def _condition_outcome(value: Any) -> Outcome:
    result = bool(value.get("result"))
    return Outcome("completed", frozenset(TRUE if result else FALSE), plain=result)


def _switch_outcome(value: Any) -> Outcome:
    case = value.get("case")
    return Outcome("completed", frozenset() if case is None else frozenset({case}), plain=case is not None)


def _approval_outcome(value: Any) -> Outcome:
    decision = str(value.get("decision"))
    return Outcome("completed", frozenset({decision}), plain=decision == "approved")


#: what counts as the branch of a condition that holds, and of one that does not
TRUE, FALSE = ("true", "if", "yes"), ("false", "else", "no")

_DATA: dict[str, Callable[[Any], Outcome]] = {
    "logic_condition": _condition_outcome,
    "logic_switch": _switch_outcome,
    "logic_approval": _approval_outcome,
}


def case_name(value: Any) -> str:
    """The case that a value spells: True → ``"true"``, an Enum member by its value, anything else as text."""
    value = value.value if isinstance(value, Enum) else value
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def flow_result(flow: FlowSpec | Topology, states: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    """What a flow returns: the output of the leaf that completed, or a dict by leaf if several did, None if
    none.

    Args:
        flow: the flow; prefer its shared `Topology`.
        states: the final state of each node, as words or outcomes.
        outputs: the outputs of the nodes that completed.
    """
    top = flow if isinstance(flow, Topology) else Topology(flow)
    done = []
    for number in top.leaves:
        state = states.get(top.ids[number])
        if (state.status if isinstance(state, Outcome) else state) == "completed":
            done.append(top.ids[number])
    if not done:
        return None
    return outputs[done[0]] if len(done) == 1 else {leaf: outputs[leaf] for leaf in done}
