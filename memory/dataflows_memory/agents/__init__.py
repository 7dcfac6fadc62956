"""Agents as durable runs: ``ctx.agent``."""

from dataflows_memory.agents.agent import Agent
from dataflows_memory.agents.results import AgentResult, Piece, ToolUse

__all__ = ["Agent", "AgentResult", "Piece", "ToolUse"]
