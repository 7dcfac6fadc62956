"""A question and an agent's task, for kill sweeps. OPENAI_BASE_URL names the peer; it is told which database asks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import dataflows_sdk as df
from dataflows_memory.desk import Memory
from dataflows_memory.models import ChatModel
from dataflows_sdk.testing import record_effect

QUESTION, TASK = "Who painted the fence?", "Count the fences."


class Counted(ChatModel):
    """Each call is an effect, of the question or of the task: a kill may cost one of each."""

    def complete(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        asked = any(QUESTION in str(each.get("content")) for each in messages)
        turn = sum(each["role"] == "assistant" for each in messages)
        record_effect(f"{'question' if asked else 'task'}: model {turn}")
        return super().complete(messages, **options)


def count(kind: str) -> str:
    """Count them.

    Args:
        kind: of fence.
    """
    record_effect()
    return f"{kind}: 3"


@df.workflow("yard")
def yard(event: Any, step: Any) -> Any:
    """Order from the yard."""
    return step.run("order", lambda: f"{event.payload} ordered")


def told(given: Any) -> Any:
    """What a tool gave, without the id of a run."""
    return given["result"] if isinstance(given, dict) else given


def observe(ctx: Any) -> int:
    """How many were ordered."""
    return len(ctx.runs("yard"))


def main(ctx: Any) -> Any:
    """Ask, and let an agent work; a second start finds the runs of the first one."""
    database = urlsplit(ctx.url).path.strip("/")
    table = ctx.warehouse.table("fences", {"id": int, "painter": str}, key="id")
    table.upsert(id=1, painter="Miller")
    memory = Memory(ctx, None)
    memory.remember("The fence of project Alpha was painted green in May.", ref="fence")
    # both are known before any run is begun, so that a second life goes on with what the first one left
    asker = memory.asker(Counted(database, name="small"))
    agent = ctx.agent(
        Counted(database, name="small"),
        [count, *ctx.tools([yard], tables=[], memory=None, people=False, runs=False).values()],
        name="counter",
    )
    asked = asker.start(QUESTION, tables=["fences"], cache=True)
    worked = agent.start(TASK, idempotency_key="task")
    answer, result = asker.answered(asked, timeout="30s"), agent.result(worked, timeout="30s")
    return {
        "answer": [answer.text, [each.text for each in answer.citations], answer.used.calls],
        "work": [result.text, [told(json.loads(each.told)) for each in result.tools], result.used.calls],
        "streamed": "".join(each.text for each in agent.stream(worked)).endswith(result.text),
    }
