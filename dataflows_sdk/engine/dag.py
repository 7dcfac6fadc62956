"""Flows on the engine: a DAG is a workflow whose code is its graph.

There is no second scheduler. `FlowSchedule` decides, purely, which nodes may begin; each node is a step, a group of
steps or a child run of the same engine, under its own id, and everything else (records, retries, waits, suspension,
replay) is what every step has.
"""

from __future__ import annotations

import asyncio
import heapq
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.retry import NO_RETRY, Retry
from dataflows_sdk.engine import group
from dataflows_sdk.engine.decide import decide_leftovers
from dataflows_sdk.engine.definitions import Event, Workflow, hash_text
from dataflows_sdk.engine.faces import is_control_flow
from dataflows_sdk.engine.live import Branch, Frame, LiveRun, current_branch, quote
from dataflows_sdk.engine.state import StepRecord
from dataflows_sdk.engine.units import Event as Record
from dataflows_sdk.engine.units import Unit
from dataflows_sdk.engine.verbs import ReplayStopped, Verbs
from dataflows_sdk.errors import Cancelled, DefinitionError, JoinError
from dataflows_sdk.flow.callables import signature_of
from dataflows_sdk.flow.inputs import follow, gather
from dataflows_sdk.flow.model import ContextInput, NodeInput, NodeSpec, node_inputs, parse_input
from dataflows_sdk.flow.schedule import (
    COMPLETED,
    FAILED,
    SKIPPED,
    FlowSchedule,
    Outcome,
    flow_result,
    outcome_of,
)

if TYPE_CHECKING:
    from dataflows_sdk.flow.builder import Flow


class FlowWorkflow(Workflow):
    """A flow as a workflow."""

    kind = "flow"

    def __init__(self, flow: Flow) -> None:
        flow.check()

        async def run(event: Any, step: Any) -> Any:
            return await FlowRun(flow, event, step).run()

        super().__init__(flow.name, run, description=flow.description)
        self.flow = flow
        self.source = "\n\n".join(_sources(flow))
        self.version = hash_text(flow.fingerprint)
        self.spec = flow.to_json()

    @property
    def origin(self) -> tuple[str, str]:
        return "flow", self.name

    def info(self) -> dict[str, Any]:
        return {**super().info(), "nodes": len(self.flow.spec.nodes)}

    def upstream(self) -> Mapping[str, set[str]]:
        """The nodes that each node depends on, by the keys that their steps have."""
        import networkx as nx

        graph = self.flow.to_networkx()
        return {quote(node): {quote(other) for other in nx.ancestors(graph, node)} for node in graph}


def _sources(flow: Flow) -> list[str]:
    from dataflows_sdk.flow.source import source_of

    found = []
    for key, bound in flow.bindings.items():
        if callable(bound) and (source := source_of(bound)):
            found.append(f"# {key}\n{source}")
    return found


def flow_workflow(flow: Any) -> Workflow:
    """The workflow of a flow; DefinitionError for anything that is none."""
    from dataflows_sdk.flow.builder import Flow

    if isinstance(flow, Flow):
        return FlowWorkflow(flow)
    raise DefinitionError(
        f"{flow!r} is neither a workflow, a flow nor the name of one; use @df.workflow('name') or df.flow('name')"
    )


class FlowRun:
    """One activation of a flow's run."""

    def __init__(self, flow: Flow, event: Event[Any], step: Any) -> None:
        self.flow = flow
        self.event = event
        self.verbs: Verbs = step._verbs
        self.live: LiveRun = self.verbs.live
        self.engine = self.verbs.engine
        self.step = step
        self.nodes = {node.id: node for node in flow.spec.nodes}
        self.schedule = FlowSchedule(flow.topology)
        self.outputs: dict[str, Any] = {}
        self.errors: dict[str, BaseException] = {}
        self.control: BaseException | None = None
        self._done: deque[tuple[str, Outcome]] = deque()
        self._bell = asyncio.Event()
        #: the scheduler waits for its bell; otherwise it counts as one of the run's active branches
        self._parked = False
        self._running = 0
        #: nodes whose outcome is recorded, by the seq of their record: they are told to the schedule in that order
        self._recorded: list[tuple[int, str]] = []

    async def run(self) -> Any:
        """Begin nodes as they become ready until none is left."""
        self._take(self.schedule.start(), None)
        while self._running or self._recorded or self._done:
            await self._next()
        if self.control is not None:
            raise self.control
        failed = self.schedule.failed
        if failed is not None:
            raise self.errors[failed]
        decide_leftovers(self._lost_nodes())
        return flow_result(self.flow.topology, self.schedule.states, self.outputs)

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
            self._take(self.schedule.complete(node, outcome), node)
        elif self._recorded:
            # One recorded node at a time, to its end: so an "any" join sees the arrivals that it saw.
            _, node = heapq.heappop(self._recorded)
            task = self._spawn(node)
            await asyncio.wait([task])
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
                for task in list(self.live.tasks):
                    task.cancel()

    def _take(self, decision: Any, _cause: str | None) -> None:
        if self.control is not None:
            return
        for node in decision.skip:
            self._note_skip(node)
        for failure in decision.join_failures:
            self.errors[failure.node] = JoinError(failure.message)
            self._note_join_failure(failure.node, self.errors[failure.node])
        for node in decision.start:
            record = self.live.records.get(quote(node))
            if record is not None and record.done:
                heapq.heappush(self._recorded, (record.seq, node))
            else:
                self._spawn(node)

    def _spawn(self, node_id: str) -> asyncio.Task[None]:
        live = self.live
        self._running += 1
        with live.lock:
            live.active += 1
        task: asyncio.Task[None] = self.engine.loop.create_task(self._node(self.nodes[node_id]))
        live.tasks.add(task)
        return task

    # --- one node ----------------------------------------------------------------------------------------

    async def _node(self, node: NodeSpec) -> None:
        live = self.live
        outcome: Outcome | None = FAILED
        try:
            outcome = await self._execute(node)
        except asyncio.CancelledError:
            outcome = None
            self.control = self.control or live.stopping or Cancelled()
        except BaseException as error:
            if is_control_flow(error) or isinstance(error, ReplayStopped):
                outcome = None
                self.control = self.control or error
            elif isinstance(error, Exception):
                self.errors[node.id] = error
            else:
                raise
        finally:
            task = asyncio.current_task()
            if task is not None:
                live.tasks.discard(task)
            self._running -= 1
            if outcome is not None and self.control is None:
                self._done.append((node.id, outcome))
            self._ring()
            with live.lock:
                live.active -= 1
            self.engine.consider(live)

    def _ring(self) -> None:
        """The scheduler has something to do; it counts as active from here on, not from when its task gets going."""
        if self._parked:
            self._parked = False
            with self.live.lock:
                self.live.active += 1
        self._bell.set()

    async def _execute(self, node: NodeSpec) -> Outcome:
        if node.when is not None and not await self._when(node):
            self._note_skip(node.id, "its condition did not hold")
            return SKIPPED
        execute = _EXECUTORS.get(node.type)
        if execute is None:
            raise DefinitionError(f"node {node.id!r}: this version cannot run nodes of type {node.type!r}")
        value = await execute(self, node)
        self.outputs[node.id] = value
        return outcome_of(node, value) if node.type == "branch" else COMPLETED

    async def _when(self, node: NodeSpec) -> bool:
        assert node.when is not None
        if node.when.conditions is not None:
            raise DefinitionError(
                f"node {node.id!r}: conditions written as data cannot be evaluated by this version; "
                "use a function: when=lambda load: load > 9"
            )
        predicate = self.flow.binding(node.id, "when")
        if node.when.code is None or predicate is None:
            return True
        inputs = {name: parse_input(document) for name, document in node.when.code.inputs.items()}
        values = gather(inputs, self.outputs, self._context(node))
        args, kwargs = _call(predicate, values)
        frame = self._frame(node, "run", "?when", "when " + node.id)
        return bool(await self.verbs.run(frame.name, predicate, tuple(args), kwargs, item=frame))

    def _context(self, node: NodeSpec, step: Any = None) -> dict[str, Any]:
        source = self.schedule.entered_by(node.id)
        error = self.errors.get(source) if source is not None else None
        return {"event": self.event, "step": step, "run": _RunView(self.live), "error": error}

    def _frame(self, node: NodeSpec, op: str, suffix: str = "", name: str | None = None) -> Frame:
        full = quote(node.id) + suffix
        frame = Frame(self.live.root, op, name or node.id, full, None)
        frame.record = self.live.records.pop(full, None)
        if self.live.stopping is not None:
            raise self.live.stopping
        return frame

    def inputs(self, node: NodeSpec, fn: Callable[..., Any], step: Any = None) -> dict[str, Any]:
        """The values of a node's parameters."""
        signature = signature_of(fn)
        optional = signature.optional if signature is not None else ()
        return gather(node_inputs(node), self.outputs, self._context(node, step), optional)

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
        key = quote(node_id)
        record = live.records.pop(key, None)
        if (record is not None and record.done) or live.dry or node_id not in self.nodes:
            return
        if self.nodes[node_id].type.startswith("trigger_"):
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
        data = f'{{"op":"{frame.op}","name":{json.dumps(frame.name)},"value":{encoded.text}}}'
        await self.verbs.face.commit(
            Unit(self.live.head, [Record("step.completed", frame.key, data)], blobs=encoded.blobs)
        )


class _RunView:
    """What a node may know of its run: the parameter ``run``."""

    __slots__ = ("id", "workflow")

    def __init__(self, live: LiveRun) -> None:
        self.id = str(live.id)
        self.workflow = live.workflow.name

    def __repr__(self) -> str:
        return f"<run {self.id} of {self.workflow!r}>"


# --- how each type of node runs ---------------------------------------------------------------------------


async def _python(run: FlowRun, node: NodeSpec) -> Any:
    fn = run.flow.binding(node.id)
    if group.takes_step(fn):
        return await _scoped(run, node, fn)
    args, kwargs = _call(fn, run.inputs(node, fn))
    frame = run._frame(node, "run")
    return await run.verbs.run(
        node.id,
        fn,
        tuple(args),
        kwargs,
        retry=run.retry(node),
        timeout=node.timeout_seconds,
        undo=run.flow.binding(node.id, "undo"),
        item=frame,
    )


async def _scoped(run: FlowRun, node: NodeSpec, fn: Callable[..., Any]) -> Any:
    """A node with durable steps of its own."""
    values = run.inputs(node, fn)
    values.pop("step", None)
    frame = run._frame(node, "node")
    if frame.record is not None and frame.record.state == "failed":
        return await run.verbs.recorded(frame.record)
    branch = Branch(run.live, quote(node.id) + "/")
    token = current_branch.set(branch)
    try:
        value = await run.engine.calls.scoped(run.live, branch, fn, (), values)
    finally:
        current_branch.reset(token)
    await run.done(frame, value)
    return value


async def _map(run: FlowRun, node: NodeSpec) -> list[Any]:
    fn = run.flow.binding(node.id)
    over = _source(run, node, "over")
    try:
        items = list(over)
    except TypeError:
        raise DefinitionError(
            f"node {node.id!r} maps over {type(over).__name__}, which is no collection; its source must be a list"
        ) from None
    key = run.flow.binding(node.id, "key")
    keys = [str(i) for i in range(len(items))] if key is None else [str(key(item)) for item in items]
    values = run.inputs(node, fn)
    values.pop("step", None)
    wired = node_inputs(node)
    wants_index = any(isinstance(source, ContextInput) and source.name == "index" for source in wired.values())
    frame = run._frame(node, "map")
    calls = []
    for index in range(len(items)):
        extra = dict(values)
        if wants_index:
            extra |= {n: index for n, s in wired.items() if isinstance(s, ContextInput) and s.name == "index"}
        calls.append(_ItemCall(fn, extra) if extra else fn)
    options = group.Options(
        node.config.get("concurrency"),
        run.retry(node),
        node.timeout_seconds,
        run.flow.binding(node.id, "undo"),
    )
    scoped = group.takes_step(fn)
    branches = group.keyed_items(frame, keys, calls, [(item,) for item in items])
    for branch in branches:
        branch.scoped = scoped
    return await group.run_group(run.live, run.verbs, frame, branches, options)


class _ItemCall:
    """The function of a map with its wired parameters; the item comes first."""

    def __init__(self, fn: Callable[..., Any], extra: dict[str, Any]) -> None:
        self._fn = fn
        self._extra = extra
        self.__wrapped__ = fn

    def __call__(self, item: Any, **more: Any) -> Any:
        return self._fn(item, **self._extra, **more)


async def _branch(run: FlowRun, node: NodeSpec) -> Any:
    fn = run.flow.binding(node.id)
    args, kwargs = _call(fn, run.inputs(node, fn))
    frame = run._frame(node, "run")
    return await run.verbs.run(
        node.id, fn, tuple(args), kwargs, retry=run.retry(node), timeout=node.timeout_seconds, item=frame
    )


async def _join(run: FlowRun, node: NodeSpec) -> dict[str, Any]:
    arrived = {
        name: follow(run.outputs[source.node], source.path, source.node)
        for name, source in node_inputs(node).items()
        if isinstance(source, NodeInput) and source.node in run.outputs
    }

    async def meet() -> dict[str, Any]:
        return arrived

    frame = run._frame(node, "run")
    value: dict[str, Any] = await run.verbs.run(node.id, meet, item=frame)
    return value


async def _subflow(run: FlowRun, node: NodeSpec) -> Any:
    child = run.flow.binding(node.id) or node.config.get("flow")
    if "payload" in node.config:
        payload = _source(run, node, "payload")
    else:
        values = gather(node_inputs(node), run.outputs, run._context(node))
        payload = values if node.config.get("inputs") else run.event.raw
    token = current_branch.set(run.live.root)
    try:
        return await run.verbs.invoke(
            node.id,
            child,
            payload,
            detach=not node.config.get("wait", True),
            undo=run.flow.binding(node.id, "undo"),
            item=run._frame(node, "child"),
        )
    finally:
        current_branch.reset(token)


def _source(run: FlowRun, node: NodeSpec, role: str) -> Any:
    found = gather({role: parse_input(node.config[role])}, run.outputs, run._context(node))
    return found[role]


def _call(fn: Callable[..., Any], values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    signature = signature_of(fn)
    if signature is None:
        return list(values.values()), {}
    return signature.arguments(values)


#: node types that this engine runs
_EXECUTORS: dict[str, Callable[[FlowRun, NodeSpec], Awaitable[Any]]] = {
    "python": _python,
    "map": _map,
    "branch": _branch,
    "join": _join,
    "subflow": _subflow,
}
