"""Models that answer: a client of the chat API, what it costs, and how much may be used."""

from dataflows_memory.models.chat import ChatModel
from dataflows_memory.models.costs import Budget, Price, Used
from dataflows_memory.models.replies import Call, Reply
from dataflows_memory.models.scripted import ScriptedModel

__all__ = ["Budget", "Call", "ChatModel", "Price", "Reply", "ScriptedModel", "Used"]
