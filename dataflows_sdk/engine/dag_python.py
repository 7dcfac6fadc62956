"""Nodes made of Python callables: steps, maps, branches, joins and sub-flows of the builder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dataflows_sdk.engine import group
from dataflows_sdk.engine.flow_run import FlowRun, call_arguments, executes
from dataflows_sdk.engine.live import Branch, current_branch
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.callables import signature_of
from dataflows_sdk.flow.inputs import follow, gather
from dataflows_sdk.flow.model import ContextInput, NodeInput, NodeSpec, node_inputs, parse_input


def inputs_of(run: FlowRun, node: NodeSpec, fn: Callable[..., Any], step: Any = None) -> dict[str, Any]:
    """The values of a node's parameters."""
    signature = signature_of(fn)
    optional = signature.optional if signature is not None else ()
    return gather(node_inputs(node), run.known(), run.context(node, step), optional)


@executes("python")
async def _python(run: FlowRun, node: NodeSpec) -> Any:
    fn = run.flow.binding(node.id)
    if group.takes_step(fn):
        if node.config.get("executor") is not None:
            raise DefinitionError(
                f"node {node.id!r} has steps of its own, which stay in this process; give executor= to the steps in it"
            )
        return await _scoped(run, node, fn)
    args, kwargs = call_arguments(fn, inputs_of(run, node, fn))
    frame = run.frame(node, "run")
    return await run.verbs.run(
        node.id,
        fn,
        tuple(args),
        kwargs,
        retry=run.retry(node),
        timeout=node.timeout_seconds,
        undo=run.flow.binding(node.id, "undo"),
        executor=node.config.get("executor"),
        item=frame,
    )


async def _scoped(run: FlowRun, node: NodeSpec, fn: Callable[..., Any]) -> Any:
    """A node with durable steps of its own."""
    values = inputs_of(run, node, fn)
    values.pop("step", None)
    frame = run.frame(node, "node")
    if frame.record is not None and frame.record.state == "failed":
        return await run.verbs.recorded(frame.record)
    branch = Branch(run.live, run.key(node.id) + "/")
    token = current_branch.set(branch)
    try:
        value = await run.engine.calls.scoped(run.live, branch, fn, (), values)
    finally:
        current_branch.reset(token)
    await run.done(frame, value)
    return value


@executes("map")
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
    values = inputs_of(run, node, fn)
    values.pop("step", None)
    wired = node_inputs(node)
    wants_index = any(isinstance(source, ContextInput) and source.name == "index" for source in wired.values())
    frame = run.frame(node, "map")
    if group.is_given(frame) and frame.record is not None:
        given: list[Any] = await run.verbs.recorded(frame.record)
        return given
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
        executor=node.config.get("executor"),
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


@executes("branch")
async def _branch(run: FlowRun, node: NodeSpec) -> Any:
    fn = run.flow.binding(node.id)
    args, kwargs = call_arguments(fn, inputs_of(run, node, fn))
    frame = run.frame(node, "run")
    return await run.verbs.run(
        node.id, fn, tuple(args), kwargs, retry=run.retry(node), timeout=node.timeout_seconds, item=frame
    )


@executes("join")
async def _join(run: FlowRun, node: NodeSpec) -> dict[str, Any]:
    arrived = {
        name: follow(run.outputs[source.node], source.path, source.node)
        for name, source in node_inputs(node).items()
        if isinstance(source, NodeInput) and source.node in run.outputs
    }

    async def meet() -> dict[str, Any]:
        return arrived

    frame = run.frame(node, "run")
    value: dict[str, Any] = await run.verbs.run(node.id, meet, item=frame)
    return value


@executes("subflow")
async def _subflow(run: FlowRun, node: NodeSpec) -> Any:
    child = run.flow.binding(node.id) or node.config.get("flow")
    if "payload" in node.config:
        payload = _source(run, node, "payload")
    else:
        values = gather(node_inputs(node), run.known(), run.context(node))
        payload = values if node.config.get("inputs") else run.event.raw
    token = current_branch.set(run.branch)
    try:
        return await run.verbs.invoke(
            node.id,
            child,
            payload,
            detach=not node.config.get("wait", True),
            undo=run.flow.binding(node.id, "undo"),
            item=run.frame(node, "child"),
        )
    finally:
        current_branch.reset(token)


def _source(run: FlowRun, node: NodeSpec, role: str) -> Any:
    found = gather({role: parse_input(node.config[role])}, run.known(), run.context(node))
    return found[role]
