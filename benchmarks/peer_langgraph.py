"""LangGraph, Postgres checkpointer, ``durability="sync"``: a step is a node, its record a checkpoint."""

from __future__ import annotations

import asyncio
import operator
import time
import uuid
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from protocol import PAYLOAD, Job, Measurement, Stopwatch, main, per_step, throughput, workload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Sequence(TypedDict):
    n: int
    last: dict[str, Any]


class Collected(TypedDict):
    out: Annotated[list[Any], operator.add]


EMPTY: Sequence = {"n": 0, "last": {}}


def advanced(state: Sequence) -> Sequence:
    return {"n": state["n"] + 1, "last": {**PAYLOAD, "n": state["n"]}}


def thread() -> dict[str, Any]:
    return {"configurable": {"thread_id": uuid.uuid4().hex}, "recursion_limit": 2000}


def loop(saver: Any, steps: int, node: Callable[[Sequence], Any]) -> Any:
    """One node that runs until it has run ``steps`` times."""
    graph: Any = StateGraph(Sequence)
    graph.add_node("step", node)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: END if state["n"] >= steps else "step")
    return graph.compile(checkpointer=saver)


def chain(saver: Any, steps: int) -> Any:
    async def node(state: Sequence) -> Sequence:
        return advanced(state)

    graph = StateGraph(Sequence)
    names = [f"s{number}" for number in range(steps)]
    for name in names:
        graph.add_node(name, node)
    for left, right in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(left, right)
    return graph.compile(checkpointer=saver)


def fan_out(saver: Any, steps: int) -> Any:
    async def node(state: Any) -> Any:
        return {"out": [PAYLOAD]}

    graph = StateGraph(Collected)
    graph.add_node("one", node)
    graph.add_conditional_edges(START, lambda state: [Send("one", {"i": number}) for number in range(steps)])
    graph.add_edge("one", END)
    return graph.compile(checkpointer=saver)


@asynccontextmanager
async def savers(job: Job, count: int = 1) -> AsyncIterator[list[AsyncPostgresSaver]]:
    """Checkpointers that share a pool; each serialises its writes, so it takes several to go in parallel."""
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(job.dsn, min_size=count, max_size=max(20, count), kwargs=options) as pool:
        made = [AsyncPostgresSaver(cast("Any", pool)) for _ in range(count)]
        await made[0].setup()
        yield made


@workload("W1", "async")
async def sequential_async(job: Job) -> Measurement:
    starts: list[float] = []

    async def node(state: Sequence) -> Sequence:
        starts.append(time.perf_counter())
        return advanced(state)

    async with savers(job) as (saver,):
        await loop(saver, 5, node).ainvoke(EMPTY, thread(), durability="sync")
        graph = loop(saver, job.steps, node)
        starts.clear()
        with Stopwatch() as watch:
            await graph.ainvoke(EMPTY, thread(), durability="sync")
    return per_step(gaps(starts), watch)


@workload("W1", "sync")
def sequential_sync(job: Job) -> Measurement:
    starts: list[float] = []

    def node(state: Sequence) -> Sequence:
        starts.append(time.perf_counter())
        return advanced(state)

    with PostgresSaver.from_conn_string(job.dsn) as saver:
        saver.setup()
        loop(saver, 5, node).invoke(EMPTY, thread(), durability="sync")
        graph = loop(saver, job.steps, node)
        starts.clear()
        with Stopwatch() as watch:
            graph.invoke(EMPTY, thread(), durability="sync")
    return per_step(gaps(starts), watch)


def gaps(starts: list[float]) -> list[float]:
    """From the start of a step to the start of the next one: what the checkpoint between them costs."""
    return [after - before for before, after in pairwise(starts)]


@workload("W2", "async")
async def many_async(job: Job) -> Measurement:
    async with savers(job, job.settings["savers"]) as made:
        graphs = [chain(saver, job.steps) for saver in made]
        for graph in graphs[:4]:
            await graph.ainvoke(EMPTY, thread(), durability="sync")
        waiting = iter(range(job.runs))

        async def lane(graph: Any) -> None:
            for _run in waiting:
                await graph.ainvoke(EMPTY, thread(), durability="sync")

        with Stopwatch() as watch:
            lanes = job.settings["concurrency"]
            await asyncio.gather(*[lane(graphs[number % len(graphs)]) for number in range(lanes)])
    return throughput("runs_per_s", job.runs, watch)


@workload("W3", "async")
async def parallel(job: Job) -> Measurement:
    async with savers(job) as (saver,):
        graph = fan_out(saver, job.steps)
        with Stopwatch() as watch:
            state = await graph.ainvoke({"out": []}, thread(), durability="sync")
    assert len(state["out"]) == job.steps
    return throughput("steps_per_s", job.steps, watch)


if __name__ == "__main__":
    main()
