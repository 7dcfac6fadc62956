"""Nodes that are one durable step: those that act on the world outside, ours and those that others registered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape as html_escape
from typing import Any

from dataflows_sdk.core.current import current_step_info
from dataflows_sdk.engine.faces import is_async
from dataflows_sdk.engine.flow_run import EFFECT, FlowRun, executes
from dataflows_sdk.engine.live import Frame
from dataflows_sdk.errors import DefinitionError, TemplateError
from dataflows_sdk.flow.configs import parse_config
from dataflows_sdk.flow.kinds import kind_of
from dataflows_sdk.flow.model import NodeSpec
from dataflows_sdk.flow.templates import ABSENT, Missing, lookup, missing_at, parse_template, render
from dataflows_sdk.flow.texts import as_text
from dataflows_sdk.nodes.registry import Call, node_type

#: notes of paths that led nowhere, per step
_MOST_WARNINGS = 20


def rendered(run: FlowRun, node: NodeSpec, frame: Frame) -> Mapping[str, Any]:
    """A config with its templates filled in; paths that led nowhere are noted in the step's record.

    Raises:
        TemplateError: a template cannot be read, or the flow is strict and one leads nowhere.
    """
    missing: list[Missing] = []
    kind = kind_of(node.type)
    html = {name for name in (kind.html if kind is not None else ()) if isinstance(node.config.get(name), str)}
    plain = {name: value for name, value in node.config.items() if name not in html}
    given: dict[str, Any] = render(plain, run.roots, missing, strict=run.strict)
    for name in html:
        given[name] = escaped(node.config[name], run.roots, missing)
    if missing and run.strict:
        raise TemplateError(f"{missing[0]}. The flow is strict: every path has to lead somewhere")
    note_warnings(frame, missing)
    return given


def escaped(text: str, roots: Mapping[str, Any], missing: list[Missing]) -> str:
    """A field that is HTML, filled in: what comes from data can be no markup."""
    parts: list[str] = []
    for part in parse_template(text).parts:
        if isinstance(part, str):
            parts.append(part)
            continue
        found = lookup(roots, part.path)
        if found is ABSENT:
            missing.append(missing_at(roots, part))
        else:
            parts.append(html_escape(as_text(found)))
    return "".join(parts)


def note_warnings(frame: Frame, missing: list[Missing]) -> None:
    """Write down, with the step's record, which paths led nowhere."""
    if missing:
        texts = list(dict.fromkeys(str(each) for each in missing[:_MOST_WARNINGS]))
        frame.extra = f',"warnings":{json.dumps(texts)}'


def configured(run: FlowRun, node: NodeSpec, frame: Frame) -> Any:
    """The config of a control node, filled in and checked; what is recorded of the node needs none.

    Raises:
        TemplateError, NodeConfigError: it does not fit.
    """
    return parse_config(node.type, node.id, rendered(run, node, frame))


@executes(EFFECT)
async def _effect(run: FlowRun, node: NodeSpec) -> Any:
    """Run a node as one step: its config is the step's input, what it gives is the step's result."""
    declared = node_type(node.type)
    if declared is None or declared.run is None:
        raise DefinitionError(f"node {node.id!r}: nobody says how nodes of type {node.type!r} run")
    frame = run.frame(node, "run")
    function = declared.run
    given: Mapping[str, Any] = node.config
    fault: TemplateError | None = None
    if frame.record is None or not frame.record.done:
        try:
            given = rendered(run, node, frame)
        except TemplateError as error:
            fault = error

    def call(config: Mapping[str, Any]) -> Any:
        """The function's answer, or what is to be awaited for it."""
        if fault is not None:
            raise fault
        info = current_step_info()
        about = Call(
            node.id,
            str(run.live.id),
            run.flow.name,
            info.attempt,
            info.idempotency_key,
            run.roots,
            run.engine.services,
            run.engine.records(),
        )
        return function(parse_config(node.type, node.id, config), about)

    async def call_async(config: Mapping[str, Any]) -> Any:
        return await call(config)

    work = call_async if is_async(function) else call
    return await run.verbs.run(
        node.id, work, (given,), None, retry=run.retry(node), timeout=node.timeout_seconds, item=frame
    )
