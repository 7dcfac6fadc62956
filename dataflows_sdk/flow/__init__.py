"""The DAG as data: model, fluent builder, validation, plan, schedule, rendering. It executes nothing.

    builder → verbs, compile → model                        what people write, and what it becomes
    validate → validate_code, validate_graph, typecheck     every problem at once
    topology, schedule                                      what may start next, for the engine
    plan, render, graph                                     looking at it

Names are fetched when they are first used, because `import dataflows_sdk` imports this package and must stay
light. `dataflows_sdk.flow`, the attribute, is the function that begins a flow; write ``from
dataflows_sdk.flow.… import …`` to reach these modules.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflows_sdk.flow.builder import Flow as Flow
    from dataflows_sdk.flow.builder import flow as flow
    from dataflows_sdk.flow.inputs import Ref as Ref
    from dataflows_sdk.flow.inputs import Value as Value
    from dataflows_sdk.flow.inputs import ref as ref
    from dataflows_sdk.flow.inputs import value as value
    from dataflows_sdk.flow.model import EdgeSpec as EdgeSpec
    from dataflows_sdk.flow.model import FlowSpec as FlowSpec
    from dataflows_sdk.flow.model import Gate as Gate
    from dataflows_sdk.flow.model import NodeSpec as NodeSpec
    from dataflows_sdk.flow.model import RetrySpec as RetrySpec
    from dataflows_sdk.flow.model import WhenSpec as WhenSpec
    from dataflows_sdk.flow.problems import Problem as Problem

_WHERE = {
    **dict.fromkeys(("Flow", "flow"), "builder"),
    **dict.fromkeys(("Ref", "Value", "ref", "value"), "inputs"),
    **dict.fromkeys(("EdgeSpec", "FlowSpec", "Gate", "NodeSpec", "RetrySpec", "WhenSpec"), "model"),
    "Problem": "problems",
}

__all__ = [*_WHERE]  # noqa: PLE0604 - the table above, so that a name stands in one place


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
