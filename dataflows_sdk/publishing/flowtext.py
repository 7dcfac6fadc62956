"""A flow as an expression: its document, and the functions of its nodes by name."""

from __future__ import annotations

import pprint
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflows_sdk.flow.builder import Flow
    from dataflows_sdk.publishing.gathering import Gathering

__all__ = ["flow_expression"]


def flow_expression(gathering: Gathering, flow: Flow) -> str:
    """Source that makes an equal flow, after the functions of its nodes have been taken along.

    Raises:
        PublishError: one of them cannot be.
        FlowValidationError: the flow has problems.
    """
    import dataflows_sdk

    flow.check()
    sdk = gathering.refer(dataflows_sdk)
    document = pprint.pformat(flow.to_json(), width=100, sort_dicts=False)
    if not flow.bindings:
        return f"{sdk}.Flow.from_json({document})"
    bound = [f"        {key!r}: {_bound(gathering, key, value)},\n" for key, value in flow.bindings.items()]
    indented = document.replace("\n", "\n    ")
    return f"{sdk}.Flow.from_json(\n    {indented},\n    bindings={{\n{''.join(bound)}    }},\n)"


def _bound(gathering: Gathering, key: str, value: Any) -> str:
    if callable(value) and (not isinstance(value, type) or value.__module__ != "builtins"):
        return gathering.name_for(re.sub(r"\W+", "_", key).strip("_") or "node", value)
    return gathering.expression(value, f"node {key!r}")
