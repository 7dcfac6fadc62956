"""One activation of a flow: which nodes run when, and what is noted of them.

There is no second scheduler. `FlowSchedule` decides, purely, which nodes may begin; each node is a step, a group of
steps or a child run of the same engine, under its own id, and everything else (records, retries, waits, suspension,
replay) is what every step has.
"""

from __future__ import annotations

import asyncio
import heapq
import json
from collections import ChainMap, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.retry import NO_RETRY, Retry
from dataflows_sdk.engine.decide import decide_leftovers
from dataflows_sdk.engine.definitions import Event
from dataflows_sdk.engine.faces import is_control_flow
from dataflows_sdk.engine.live import Branch, Frame, LiveRun, quote
from dataflows_sdk.engine.scope import Roots, Steps
from dataflows_sdk.engine.state import StepRecord
from dataflows_sdk.engine.units import Event as Record
from dataflows_sdk.engine.units import Unit
from dataflows_sdk.engine.verbs import ReplayStopped, Verbs
from dataflows_sdk.errors import Cancelled, DefinitionError, JoinError
from dataflows_sdk.flow import conditions
from dataflows_sdk.flow.callables import signature_of
from dataflows_sdk.flow.inputs import gather
from dataflows_sdk.flow.kinds import is_trigger
from dataflows_sdk.flow.model import NodeSpec, parse_input
from dataflows_sdk.flow.schedule import (
    FAILED,
    SKIPPED,
    Decision,
    FlowSchedule,
    Outcome,
    flow_result,
    outcome_of,
)
from dataflows_sdk.nodes.registry import node_type

if TYPE_CHECKING:
    from dataflows_sdk.flow.builder import Flow


class FlowRun:
    """One activation of a flow's run, or of the body of one of its loops for one item.

    Args:
        flow: the whole flow.
        event: what started the run.
        verbs: the step verbs of the run.
        step: the handle that functions get.
        outer: for an iteration: the scope in which the loop stands.
        loop: for an iteration: the loop's id.
        branch: for an iteration: the branch that it is.
        words: for an iteration: what templates can read besides, ``loop`` and the name of the item.
    """

    def __init__(
        self,
        flow: Flow,
        event: Event[Any],
        verbs: Verbs,
        step: Any,
        *,
        outer: FlowRun | None = None,
        loop: str | None = None,
        branch: Branch | None = None,
        words: Mapping[str, Any] | None = None,
    ) -> None:
        self.flow = flow
        self.event = event
        self.verbs = verbs
        self.step = step
        self.live: LiveRun = verbs.live
        self.engine = verbs.engine
        self.outer = outer
        self.loop = loop
        self.branch = branch if branch is not None else self.live.root
        self.prefix = self.branch.path
        self.topology = flow.topologies[loop]
        self.nodes = {node: flow.nodes[node] for node in self.topology.ids}
        self.schedule = FlowSchedule(self.topology)
        self.outputs: dict[str, Any] = {}
        self.errors: dict[str, BaseException] = {}
        self.steps: Steps = Steps(self.outputs, self.errors, outer.steps if outer is not None else None)
        self.roots = Roots(
            {
                "trigger": event.raw,
                "steps": self.steps,
                "run": {"id": str(self.live.id), "started_by": event.name},
                "workflow": {"id": flow.name, "name": flow.name, "version": self.live.workflow.version},
                "env": self.engine.services.env,
                **(words or {}),
            },
            self.steps,
        )
        self.control: BaseException | None = None
        self._done: deque[tuple[str, Outcome]] = deque()
        self._bell = asyncio.Event()
        #: the scheduler waits for its bell; otherwise it counts as one of the run's active branches
        self._parked = False
        self._tasks: dict[str, asyncio.Task[None]] = {}
        #: nodes whose outcome is recorded, by the seq of their record: they are told to the schedule in that order
        self._recorded: list[tuple[int, str]] = []
        #: nodes that a join left behind
        self._called_off: set[str] = set()

    @property
    def strict(self) -> bool:
        """Whether a template that leads nowhere is an error."""
        return bool(self.flow.spec.meta.get("strict"))

    async def run(self) -> Any:
        """Begin nodes as they become ready until none is left."""
        self._take(self.schedule.start(self._trigger()))
        while self._tasks or self._recorded or self._done:
            await self._next()
        if self.control is not None:
            raise self.control
        failed = self.schedule.failed
        if failed is not None:
            raise self.errors[failed]
        if self.outer is None:
            decide_leftovers(self._lost_nodes())
        return flow_result(self.topology, self.schedule.states, self.outputs)

    def _trigger(self) -> str | None:
        """The trigger node that fired, if one did."""
        fired = self.event.trigger
        return fired if self.outer is None and fired in self.nodes else None

    def _lost_nodes(self) -> list[StepRecord]:
        """Recorded nodes that this version of the flow does not have."""
        nodes = {quote(node) for node in self.nodes}
        return [
            record
            for key, record in self.live.records.items()
            if record.done and key not in nodes and not any(sign in key for sign in "/[?")
        ]

    async def _next(self) -> None:
        if self._done:
            node, outcome = self._done.popleft()
            self._take(self.schedule.complete(node, outcome))
        elif self._recorded:
            # One recorded node at a time, to its end: so an "any" join sees the arrivals that it saw.
            _, node = heapq.heappop(self._recorded)
            await asyncio.wait([self._spawn(node)])
        else:
            self._bell.clear()
            self._parked = True
            with self.live.lock:
                self.live.active -= 1
            self.engine.consider(self.live)
            try:
                await self._bell.wait()
            except asyncio.CancelledError:
                self._ring()
                self.control = self.control or self.live.stopping or Cancelled()
                tasks = self.live.tasks if self.outer is None else self._tasks.values()
                for task in list(tasks):
                    task.cancel()

    def _take(self, decision: Decision) -> None:
        if self.control is not None:
            return
        for node in decision.skip:
            self._note_skip(node)
        for failure in decision.join_failures:
            self.errors[failure.node] = JoinError(failure.message)
            self._note_join_failure(failure.node, self.errors[failure.node])
        for node in decision.cancel:
            self._call_off(node)
        for node in decision.start:
            record = self.live.records.get(self.key(node))
            if record is not None and record.done:
                heapq.heappush(self._recorded, (record.seq, node))
            else:
                self._spawn(node)

    def _call_off(self, node: str) -> None:
        """The join that this node leads to has begun without it."""
        self._called_off.add(node)
        task = self._tasks.get(node)
        if task is None:
            return  # its end is recorded and will be told
        self.live.lost += (self.key(node),)
        for pending in [each for each in self.live.pendings if self.live.is_lost(each.frame)]:
            self.engine.unblock(self.live, pending, None, Cancelled(_CALLED_OFF))
        task.cancel()

    def _spawn(self, node_id: str) -> asyncio.Task[None]:
        live = self.live
        with live.lock:
            live.active += 1
        task: asyncio.Task[None] = self.engine.loop.create_task(self._node(self.nodes[node_id]))
        self._tasks[node_id] = task
        live.tasks.add(task)
        task.add_done_callback(live.tasks.discard)
        return task

    # --- one node ----------------------------------------------------------------------------------------

    async def _node(self, node: NodeSpec) -> None:
        live = self.live
        outcome: Outcome | None = FAILED
        try:
            outcome = await self._execute(node)
        except asyncio.CancelledError:
            outcome = self._left_behind(node)
        except BaseException as error:
            if is_control_flow(error) or isinstance(error, ReplayStopped):
                outcome = self._left_behind(node) if isinstance(error, Cancelled) else None
                if outcome is None:
                    self.control = self.control or error
            elif isinstance(error, Exception):
                if node.id in self._called_off:
                    outcome = self._left_behind(node)
                else:
                    self.errors[node.id] = error
            else:
                raise
        finally:
            self._tasks.pop(node.id, None)
            if outcome is not None and self.control is None:
                self._done.append((node.id, outcome))
            self._ring()
            with live.lock:
                live.active -= 1
            self.engine.consider(live)

    def _left_behind(self, node: NodeSpec) -> Outcome | None:
        """What becomes of a node that was cancelled: skipped if a join did not need it, else the whole run ends."""
        live = self.live
        if node.id in self._called_off and live.stopping is None:
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            self._note_skip(node.id, _CALLED_OFF)
            return SKIPPED
        self.control = self.control or live.stopping or Cancelled()
        return None

    def _ring(self) -> None:
        """The scheduler has something to do; it counts as active from here on, not from when its task gets going."""
        if self._parked:
            self._parked = False
            with self.live.lock:
                self.live.active += 1
        self._bell.set()

    async def _execute(self, node: NodeSpec) -> Outcome:
        record = self.live.records.get(self.key(node.id))
        if record is not None and record.state == "skipped":
            self.live.records.pop(record.key)
            return SKIPPED
        if node.when is not None and not await self._when(node):
            self._note_skip(node.id, "its condition did not hold")
            return SKIPPED
        value = await executor_of(node)(self, node)
        self.outputs[node.id] = value
        return outcome_of(node, value)

    async def _when(self, node: NodeSpec) -> bool:
        assert node.when is not None
        if node.when.conditions is not None and not conditions.holds(node.when.conditions, self.facts()):
            return False
        predicate = self.flow.binding(node.id, "when")
        if node.when.code is None or predicate is None:
            return True
        inputs = {name: parse_input(document) for name, document in node.when.code.inputs.items()}
        values = gather(inputs, self.known(), self.context(node))
        args, kwargs = call_arguments(predicate, values)
        frame = self.frame(node, "run", "?when", "when " + node.id)
        return bool(await self.verbs.run(frame.name, predicate, tuple(args), kwargs, item=frame))

    def facts(self) -> conditions.Facts:
        """What conditions are about: the roots of templates, and the outputs of nodes by their names."""
        return conditions.Facts(self.roots, strict=self.strict)

    def known(self) -> Mapping[str, Any]:
        """The outputs of the nodes that completed, here and in the scopes around."""
        return self.outputs if self.outer is None else ChainMap(self.outputs, *self._outer_outputs())

    def _outer_outputs(self) -> list[dict[str, Any]]:
        return [] if self.outer is None else [self.outer.outputs, *self.outer._outer_outputs()]

    def context(self, node: NodeSpec, step: Any = None) -> dict[str, Any]:
        """What parameters with a meaning of their own are given."""
        source = self.schedule.entered_by(node.id)
        error = self.errors.get(source) if source is not None else None
        return {"event": self.event, "step": step, "run": _RunView(self.live), "error": error}

    def key(self, node: str) -> str:
        """The key of a node's step."""
        return self.prefix + quote(node)

    def frame(self, node: NodeSpec, op: str, suffix: str = "", name: str | None = None) -> Frame:
        """The step of a node, with what is recorded of it."""
        full = self.key(node.id) + suffix
        frame = Frame(self.branch, op, name or node.id, full, None)
        frame.record = self.live.records.pop(full, None)
        if self.live.stopping is not None:
            raise self.live.stopping
        return frame

    def retry(self, node: NodeSpec) -> Retry:
        """The node's policy; a node that says nothing is tried once, as in the JSON language."""
        return self.flow.retry_of(node.id) or NO_RETRY

    # --- notes in the journal ----------------------------------------------------------------------------

    def _note_skip(self, node_id: str, reason: str = "no branch led to it") -> None:
        self._note(node_id, "step.skipped", {"reason": reason})

    def _note_join_failure(self, node_id: str, error: BaseException) -> None:
        self._note(node_id, "step.failed", {"retry_at": None, "error": self.engine.values.error_data(error)})

    def _note(self, node_id: str, kind: str, data: dict[str, Any]) -> None:
        live = self.live
        key = self.key(node_id)
        record = live.records.pop(key, None)
        if (record is not None and record.done) or live.dry or node_id not in self.nodes:
            return
        if is_trigger(self.nodes[node_id].type):
            return
        data = {"op": self.nodes[node_id].type, "name": node_id, **data}
        self.engine.writer.submit(Unit(live.head, [Record(kind, key, json.dumps(data))]))

    async def done(self, frame: Frame, value: Any) -> None:
        """A node that is more than one step came to its end: note it, for order and for those who look."""
        if frame.record is not None and frame.record.done:
            self.live.replayed += 1
            return
        if self.live.dry:
            return
        encoded = self.engine.values.encode(value, f"result of node {frame.name!r}")
        data = f'{{"op":"{frame.op}","name":{json.dumps(frame.name)}{frame.extra},"value":{encoded.text}}}'
        await self.verbs.face.commit(
            Unit(self.live.head, [Record("step.completed", frame.key, data)], blobs=encoded.blobs)
        )

    async def failed(self, frame: Frame, error: Exception) -> Exception:
        """A node that is more than one step failed: note it; gives the error, to be raised."""
        if frame.record is not None and frame.record.done:
            return error
        if self.live.dry:
            raise ReplayStopped(frame.key, frame.op)
        data = {"op": frame.op, "name": frame.name, "retry_at": None, "error": self.engine.values.error_data(error)}
        await self.verbs.face.commit(Unit(self.live.head, [Record("step.failed", frame.key, json.dumps(data))]))
        error.__dict__["__dataflows_step__"] = (frame.key, 1)
        return error


_CALLED_OFF = "the join that it leads to began without it"


class _RunView:
    """What a node may know of its run: the parameter ``run``."""

    __slots__ = ("id", "workflow")

    def __init__(self, live: LiveRun) -> None:
        self.id = str(live.id)
        self.workflow = live.workflow.name

    def __repr__(self) -> str:
        return f"<run {self.id} of {self.workflow!r}>"


Executor = Callable[[FlowRun, NodeSpec], Awaitable[Any]]
#: stands for all types that are one durable step
EFFECT = "*"
_EXECUTORS: dict[str, Executor] = {}


def executes(*types: str) -> Callable[[Executor], Executor]:
    """Say how nodes of a type run."""

    def declare(execute: Executor) -> Executor:
        for each in types:
            _EXECUTORS[each] = execute
        return execute

    return declare


def executor_of(node: NodeSpec) -> Executor:
    """How a node runs; types that are one durable step, of ours or of others, all run in the same way."""
    found = _EXECUTORS.get(node.type)
    if found is not None:
        return found
    declared = node_type(node.type)
    if declared is None or declared.run is None:
        raise DefinitionError(f"node {node.id!r}: this version cannot run nodes of type {node.type!r}")
    return _EXECUTORS[EFFECT]


def call_arguments(fn: Callable[..., Any], values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a function whose parameters are wired."""
    signature = signature_of(fn)
    if signature is None:
        return list(values.values()), {}
    return signature.arguments(values)
