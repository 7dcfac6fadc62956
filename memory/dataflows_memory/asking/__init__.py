"""Questions in words, answered from memory and tables with citations: ``ctx.memory.ask``."""

from dataflows_memory.asking.answers import Answered, Citation, Query
from dataflows_memory.asking.asker import Asker
from dataflows_memory.asking.prompt import PromptContext

__all__ = ["Answered", "Asker", "Citation", "PromptContext", "Query"]
