"""Flows on the engine: a DAG is a workflow whose code is its graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflows_sdk.engine import dag_python  # noqa: F401 - it says how nodes run
from dataflows_sdk.engine.definitions import Workflow, hash_text
from dataflows_sdk.engine.flow_run import FlowRun
from dataflows_sdk.engine.live import quote
from dataflows_sdk.errors import DefinitionError, FlowValidationError
from dataflows_sdk.flow.kinds import is_data

if TYPE_CHECKING:
    from dataflows_sdk.flow.builder import Flow


class FlowWorkflow(Workflow):
    """A flow as a workflow."""

    kind = "flow"

    def __init__(self, flow: Flow) -> None:
        flow.check()
        if any(is_data(node.type) for node in flow.spec.nodes):
            from dataflows_sdk.engine import dag_data, dag_logic  # noqa: F401 - they say how nodes run

        async def run(event: Any, step: Any) -> Any:
            return await FlowRun(flow, event, step._verbs, step).run()

        super().__init__(flow.name, run, description=flow.description)
        self.flow = flow
        self.source = "\n\n".join(_sources(flow))
        # What a document says is known in every process; what functions do is only known here.
        self.version = flow.spec.digest()[:16] if flow.portable else hash_text(flow.fingerprint)
        self.portable = flow.portable
        self.spec = flow.to_json()

    @property
    def origin(self) -> tuple[str, str]:
        return "flow", self.name

    @property
    def input_schema(self) -> Any:
        trigger = self.flow.spec.trigger
        return trigger.config.get("input_schema") if trigger is not None and trigger.type == "trigger_manual" else None

    def info(self) -> dict[str, Any]:
        return {**super().info(), "nodes": len(self.flow.spec.nodes)}

    def upstream(self) -> Mapping[str, set[str]]:
        """The nodes that each node depends on, by the keys that their steps have."""
        import networkx as nx

        graph = self.flow.to_networkx()
        return {quote(node): {quote(other) for other in nx.ancestors(graph, node)} for node in graph}


def stored_flow(name: str, version: str, spec: bytes | None) -> FlowWorkflow | None:
    """A flow as it was stored with its version; None where it needs Python functions, or cannot be read any more."""
    from dataflows_sdk.flow.builder import Flow

    if spec is None:
        return None
    try:
        flow = Flow.from_json(json.loads(spec), name=name)
        if not flow.portable:
            return None
        made = FlowWorkflow(flow)
    except (FlowValidationError, ValueError):
        return None
    made.version = version
    return made


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
