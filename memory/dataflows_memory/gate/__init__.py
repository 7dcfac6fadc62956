"""SQL that a model wrote, run safely: one SELECT over the tables that are allowed, in bounded time."""

from dataflows_memory.gate.checking import Checked, check_query
from dataflows_memory.gate.describing import describe, readable
from dataflows_memory.gate.reader import Answer, Reader, run_query
from dataflows_memory.gate.relations import Relation

__all__ = ["Answer", "Checked", "Reader", "Relation", "check_query", "describe", "readable", "run_query"]
