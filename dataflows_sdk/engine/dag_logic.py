"""Nodes that steer a run: conditions, loops, delays, approvals, sub-workflows."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from dataflows_sdk.core.durations import parse_duration
from dataflows_sdk.core.ids import deterministic_id
from dataflows_sdk.engine import group
from dataflows_sdk.engine.dag_data import configured, note_warnings
from dataflows_sdk.engine.flow_run import FlowRun, executes
from dataflows_sdk.engine.live import Frame, current_branch
from dataflows_sdk.engine.scope import described
from dataflows_sdk.engine.units import Event as Record
from dataflows_sdk.engine.verb_rows import wanted_of
from dataflows_sdk.errors import (
    ApprovalRejectedError,
    DefinitionError,
    EventTimeoutError,
)
from dataflows_sdk.flow import conditions
from dataflows_sdk.flow.model import NodeSpec
from dataflows_sdk.nodes import logic
from dataflows_sdk.nodes.logic import ApprovalConfig, ConditionConfig, DelayConfig, LoopConfig, SwitchConfig
from dataflows_sdk.nodes.meta import SubworkflowConfig


async def decided(
    run: FlowRun, node: NodeSpec, shown: tuple[Any, ...], decide: Callable[[Frame], Any], op: str = "run"
) -> Any:
    """Record what a control node came to: as a step, so that its value, failure and time are seen like any other's."""
    frame = run.frame(node, op)
    value: Any = None
    error: Exception | None = None
    if frame.record is None or not frame.record.done:
        try:
            value = decide(frame)
        except Exception as raised:  # noqa: BLE001 - it becomes the failure of the step
            error = raised

    async def tell(*_: Any) -> Any:
        if error is not None:
            raise error
        return value

    return await run.verbs.run(node.id, tell, shown, None, retry=run.retry(node), item=frame, op=op)


# --- ways -------------------------------------------------------------------------------------------------


@executes("logic_condition")
async def _condition(run: FlowRun, node: NodeSpec) -> Any:
    def decide(frame: Frame) -> dict[str, bool]:
        # Not filled in first: a value that looks like an expression must not become one.
        config = ConditionConfig.model_validate(node.config)
        facts = run.facts()
        result = conditions.holds(config.condition, facts)
        note_warnings(frame, facts.missing)
        return {"result": result}

    return await decided(run, node, (), decide)


@executes("logic_switch")
async def _switch(run: FlowRun, node: NodeSpec) -> Any:
    def decide(frame: Frame) -> dict[str, Any]:
        kept = {key: value for key, value in node.config.items() if key != "cases"}
        plain = [
            {key: value for key, value in case.items() if key not in ("conditions", "expression")}
            for case in node.config.get("cases", ())
        ]
        filled: SwitchConfig = configured(
            run,
            node.model_copy(update={"config": {**kept, "cases": [{"handle": "", **each} for each in plain]}}),
            frame,
        )
        written = SwitchConfig.model_validate(node.config)
        cases = [
            case.model_copy(
                update={"conditions": given.conditions, "expression": given.expression, "handle": given.handle}
            )
            for case, given in zip(filled.cases, written.cases, strict=True)
        ]
        facts = run.facts()
        taken = logic.decide_switch(filled.model_copy(update={"cases": cases}), facts)
        note_warnings(frame, facts.missing)
        return {"value": filled.value, "case": taken}

    return await decided(run, node, (), decide)


@executes("logic_parallel")
async def _parallel(run: FlowRun, node: NodeSpec) -> Any:
    topology = run.topology
    followers = [topology.ids[each] for each in topology.followers[topology.index[node.id]]]
    return await decided(run, node, (), lambda _: {"branches": followers})


@executes("meta_error")
async def _error(run: FlowRun, node: NodeSpec) -> Any:
    def decide(_: Frame) -> dict[str, Any]:
        source = run.schedule.entered_by(node.id)
        error = run.errors.get(source) if source is not None else None
        if source is None or error is None:
            raise DefinitionError(f"node {node.id!r} is an error handler, and no error led to it")
        _, attempt = error.__dict__.get("__dataflows_step__", (None, 1))
        return {"error": described(error), "node_id": source, "attempt": attempt}

    return await decided(run, node, (), decide)


# --- time -------------------------------------------------------------------------------------------------


@executes("logic_delay")
async def _delay(run: FlowRun, node: NodeSpec) -> Any:
    if node.config.get("until_field") is not None:
        return await _field(run, node)
    frame = run.frame(node, "sleep")
    until: datetime | None = None
    if frame.record is None:
        try:
            config: DelayConfig = configured(run, node, frame)
            seconds = logic.delay_seconds(config)
            until = logic.delay_until(config, node.id)
            if seconds is not None:
                until = run.engine.clock.now() + timedelta(seconds=seconds)
        except Exception as error:  # noqa: BLE001 - it becomes the failure of the step
            raise await run.failed(frame, error) from None
    elif frame.record.state == "failed":
        return await run.verbs.recorded(frame.record)
    instant = until or run.engine.clock.now()
    return _elapsed(await run.verbs.sleep(node.id, None, instant, item=frame, value=_elapsed))


async def _field(run: FlowRun, node: NodeSpec) -> Any:
    """Until a field of a record changes, or is as wanted."""
    frame = run.frame(node, "wait")
    table, key, field, wanted, timeout = "", None, "", None, None
    if frame.record is None:
        try:
            config: DelayConfig = configured(run, node, frame)
            asked = logic.until_field(config, node.id)
            table, key, field, timeout = asked["object"], asked["id"], asked["field"], config.timeout
            wanted = wanted_of(asked.get("op"), asked.get("value"), "value" in asked)
            if timeout is not None:
                parse_duration(timeout)
        except Exception as error:  # noqa: BLE001 - it becomes the failure of the step
            raise await run.failed(frame, error) from None
    return await run.verbs.wait_for_change(
        node.id, table, key, field, wanted, timeout=timeout, item=frame, ended=_changed
    )


def _changed(told: dict[str, Any] | None, at: datetime) -> dict[str, str]:
    return {"waited_until": at.isoformat(), "reason": "timeout" if told is None else "changed"}


def _elapsed(until: datetime) -> dict[str, str]:
    return {"waited_until": until.isoformat(), "reason": "elapsed"}


# --- people -----------------------------------------------------------------------------------------------


@executes("logic_approval")
async def _approval(run: FlowRun, node: NodeSpec) -> Any:
    frame = run.frame(node, "approval")
    if frame.record is not None and frame.record.done:
        return await run.verbs.recorded(frame.record)
    try:
        config: ApprovalConfig = configured(run, node, frame)
    except Exception as error:  # noqa: BLE001 - it becomes the failure of the step
        raise await run.failed(frame, error) from None
    answers: list[dict[str, Any]] = []
    deadline = _deadline(run, node, config)
    approval = deterministic_id(run.live.id, frame.key)
    while len(answers) < config.required:
        number = len(answers) + 1
        answer = await run.verbs.wait_for_event(
            node.id,
            event=f"approval:{approval}",
            item=run.frame(node, "wait", f"?{number}"),
            until=deadline,
            asked=_question(run, node, config, frame, str(approval), deadline) if number == 1 else None,
        )
        if answer is None:
            return await _late(run, node, config, frame)
        answers.append(answer)
        if answer.get("decision") != "approved":
            break
    last = {key: value for key, value in answers[-1].items() if key != "nonce"}
    value = {**last, "reason": "answered"}
    if config.required > 1:
        value["responders"] = [each.get("responder") for each in answers]
    return await _answered(run, node, frame, value)


def _deadline(run: FlowRun, node: NodeSpec, config: ApprovalConfig) -> datetime | None:
    """When it is too late: the first wait's record knows it after a replay."""
    first = run.live.records.get(run.key(node.id) + "?1")
    if first is not None:
        return first.until
    seconds = logic.approval_seconds(config)
    return None if seconds is None else run.engine.clock.now() + timedelta(seconds=seconds)


def _question(
    run: FlowRun, node: NodeSpec, config: ApprovalConfig, frame: Frame, approval: str, deadline: datetime | None
) -> Record:
    data = {
        "id": approval,
        "node": node.id,
        "message": run.engine.redactor.redact_text(config.message),
        "approvers": config.approvers,
        "required": config.required,
        "until": None if deadline is None else deadline.isoformat(),
    }
    return Record("approval.requested", frame.key, json.dumps(data))


async def _late(run: FlowRun, node: NodeSpec, config: ApprovalConfig, frame: Frame) -> Any:
    if config.on_timeout == "error":
        raise await run.failed(frame, EventTimeoutError(f"nobody answered the approval {node.id!r} in time"))
    decision = "approved" if config.on_timeout == "approve" else "rejected"
    value = {"decision": decision, "responder": None, "comment": None, "responded_at": None, "reason": "timeout"}
    return await _answered(run, node, frame, value)


async def _answered(run: FlowRun, node: NodeSpec, frame: Frame, value: dict[str, Any]) -> Any:
    if value["decision"] == "rejected" and "rejected" not in run.flow.handles_used(node.id):
        by = value.get("responder") or value["reason"]
        error = ApprovalRejectedError(
            f"approval {node.id!r} was rejected ({by})" + (f": {value['comment']}" if value.get("comment") else "")
        )
        raise await run.failed(frame, error)
    await run.done(frame, value)
    return value


# --- other runs -------------------------------------------------------------------------------------------


@executes("meta_subworkflow")
async def _subworkflow(run: FlowRun, node: NodeSpec) -> Any:
    frame = run.frame(node, "child")
    name, payload, detach = "", None, node.config.get("mode") == "async"
    if frame.record is None:
        try:
            config: SubworkflowConfig = configured(run, node, frame)
            if run.live.depth + 1 > config.max_depth:
                raise DefinitionError(
                    f"node {node.id!r} would be sub-workflow {run.live.depth + 1} deep, and {config.max_depth} is the "
                    f"limit; does {config.workflow_id!r} call itself? Raise max_depth if it is meant to"
                )
            run.engine.resolve(config.workflow_id)
            name, payload = config.workflow_id, config.input
            if "input" not in config.model_fields_set:
                payload = run.event.raw
        except Exception as error:  # noqa: BLE001 - it becomes the failure of the step
            raise await run.failed(frame, error) from None
    elif frame.record.state == "failed" and frame.record.data.get("ended") is None:
        return await run.verbs.recorded(frame.record)
    token = current_branch.set(run.branch)
    try:
        value = await run.verbs.invoke(node.id, name, payload, detach=detach, item=frame)
    finally:
        current_branch.reset(token)
    return {"run_id": value} if detach else value


# --- loops ------------------------------------------------------------------------------------------------


@executes("logic_loop")
async def _loop(run: FlowRun, node: NodeSpec) -> Any:
    frame = run.frame(node, "loop")
    if group.is_given(frame) and frame.record is not None:
        return await run.verbs.recorded(frame.record)
    if frame.record is not None and frame.record.state == "failed" and run.key(node.id) not in run.live.state.scopes:
        return await run.verbs.recorded(frame.record)
    try:
        config: LoopConfig = configured(run, node, frame)
        items = logic.loop_items(config, node.id)
    except Exception as error:  # noqa: BLE001 - it becomes the failure of the step
        raise await run.failed(frame, error) from None
    iterations = [_Iteration(run, node, config, item, index, len(items)) for index, item in enumerate(items)]
    branches = [
        group.Item(str(index), f"{frame.key}[{index}]", None, (), True, iteration)
        for index, iteration in enumerate(iterations)
    ]
    options = group.Options(
        1 if config.mode == "sequential" else config.concurrency,
        on_error="return" if config.on_item_error == "continue" else "raise",
        value=lambda results: _gathered(results, iterations),
    )
    results = await group.run_group(run.live, run.verbs, frame, branches, options)
    return _gathered(results, iterations)


class _Iteration:
    """The body of a loop for one item."""

    def __init__(self, run: FlowRun, node: NodeSpec, config: LoopConfig, item: Any, index: int, count: int) -> None:
        self._run = run
        self._node = node
        self._words: dict[str, Any] = {
            "loop": {
                "item": item,
                "index": index,
                "count": count,
                "first": index == 0,
                "last": index == count - 1,
                "parent": run.roots.get("loop"),
            }
        }
        if config.item_var is not None:
            self._words[config.item_var] = item
        #: nodes of the body that failed, whether the iteration went on or not
        self.failed: dict[str, BaseException] = {}

    async def __call__(self) -> Any:
        outer = self._run
        branch = current_branch.get()
        outer_words = {word: outer.roots[word] for word in outer.roots if word not in _OWN_WORDS}
        inner = FlowRun(
            outer.flow,
            outer.event,
            outer.verbs,
            outer.step,
            outer=outer,
            loop=self._node.id,
            branch=branch,
            words={**outer_words, **self._words},
        )
        self.failed = inner.errors
        return await inner.run()


_OWN_WORDS = frozenset({"trigger", "steps", "run", "workflow", "env", "loop"})


def _gathered(results: list[Any], iterations: list[_Iteration]) -> dict[str, Any]:
    errors = [
        {"index": index, "node_id": node, "error": described(error)}
        for index, iteration in enumerate(iterations)
        for node, error in iteration.failed.items()
    ]
    items = [None if isinstance(result, BaseException) else result for result in results]
    return {"items": items, "count": len(items), "errors": errors}
