"""Tools for agents, as plain values: what a model may call, with which arguments, and what it is told."""

from dataflows_memory.tools.desk import ContextTools, Tools
from dataflows_memory.tools.parameters import Parameters
from dataflows_memory.tools.results import result_text
from dataflows_memory.tools.schema import strict_schema, tool_name
from dataflows_memory.tools.tool import Tool, ToolBox, ToolResult

__all__ = [
    "ContextTools",
    "Parameters",
    "Tool",
    "ToolBox",
    "ToolResult",
    "Tools",
    "result_text",
    "strict_schema",
    "tool_name",
]
