"""What documents cost: validation by size, a node against the same step of code, a parallel loop, a snippet.

    python benchmarks/documents.py [--reps 5]

Needs nothing but the SDK: an embedded PostgreSQL in a temporary directory, durable as in earnest.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import pydantic

import dataflows_sdk as df
from dataflows_sdk.nodes.snippets import SnippetRunner

STEPS = 200
PAYLOAD = {"ok": True, "name": "x" * 40, "tags": ["alpha", "beta"], "note": "y" * 10}


class Nothing(pydantic.BaseModel):
    """A config with one field."""

    n: Any = 0


async def work(config: Nothing, call: df.Call) -> Any:
    """Give about 100 bytes."""
    return {**PAYLOAD, "n": config.n}


async def step_work(n: int) -> Any:
    return {**PAYLOAD, "n": n}


@df.workflow("same_as_code")
async def same_as_code(event: Any, step: Any) -> None:
    for n in range(STEPS):
        await step.run(f"n{n}", step_work, n)


def chain(count: int, name: str = "chain") -> df.Flow:
    flow = df.flow(f"{name}{count}").on_manual()
    for n in range(count):
        flow = flow.node(f"n{n}", "bench_work", {"n": n}, after=f"n{n - 1}" if n else ())
    return flow


def document(count: int) -> dict[str, Any]:
    """Conditions, calls with templates, loops and delays, ten nodes at a time."""
    nodes: list[dict[str, Any]] = [{"id": "t", "type": "trigger_manual"}]
    edges: list[dict[str, Any]] = []
    before = "t"
    for n in range(count // 5):
        c, h, each, b, d = (f"{letter}{n}" for letter in "chlbd")
        nodes += [
            {
                "id": c,
                "type": "logic_condition",
                "config": {"expression": f"{{{{trigger.n}}}} > {n} and trigger.vip == true"},
            },
            {"id": h, "type": "action_http", "config": {"url": "https://example.com/{{trigger.id}}", "body": {"n": n}}},
            {"id": each, "type": "logic_loop", "config": {"items": f"{{{{steps.{h}.output.body}}}}"}},
            {"id": b, "type": "action_notification", "config": {"channel": "ops", "message": "{{loop.item}}"}},
            {"id": d, "type": "logic_delay", "config": {"duration": "5m"}},
        ]
        edges += [
            {"source": before, "target": c},
            {"source": c, "target": h, "sourceHandle": "true"},
            {"source": h, "target": each},
            {"source": each, "target": b, "sourceHandle": "body"},
            {"source": each, "target": d, "sourceHandle": "done"},
        ]
        before = d
    return {"version": 1, "name": "large", "nodes": nodes, "edges": edges}


def timed(reps: int, run: Callable[[], Any]) -> tuple[float, str]:
    """Median in seconds, and it with the spread as text in ms."""
    found = []
    for _ in range(reps):
        begun = time.perf_counter()
        run()
        found.append(time.perf_counter() - begun)
    middle = statistics.median(found)
    return middle, f"{middle * 1e3:,.1f} ({min(found) * 1e3:,.1f} … {max(found) * 1e3:,.1f})"


async def snippets(reps: int, calls: int = 200) -> str:
    async with SnippetRunner() as runner:
        names = {"input": {"price": 3}}
        await runner.run("return input.price * 2", names=names)
        found = []
        for _ in range(reps):
            begun = time.perf_counter()
            for _ in range(calls):
                await runner.run("return input.price * 2", names=names)
            found.append((time.perf_counter() - begun) / calls)
    return f"{statistics.median(found) * 1e3:.2f} ({min(found) * 1e3:.2f} … {max(found) * 1e3:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=5)
    reps = parser.parse_args().reps
    df.node("bench_work", config=Nothing)(work)
    print("| what | ms, median (smallest … largest) | per node |\n| --- | ---: | ---: |")
    for count in (20, 200, 2_000):
        made = document(count)
        seconds, text = timed(reps, lambda made=made: df.Flow.from_json(made).check())  # type: ignore[misc]
        print(f"| reading and checking a document of {count} nodes | {text} | {seconds / count * 1e6:,.0f} µs |")
    with tempfile.TemporaryDirectory() as folder, df.connect(directory=f"{folder}/db") as ctx:
        flows = {count: chain(count) for count in (20, 200, 2_000)}
        ctx.run(same_as_code).result()
        for flow in flows.values():
            ctx.run(flow, {}).result()
        code: list[float] = []
        nodes: list[float] = []
        for _ in range(reps):  # in pairs, so that both meet the same machine
            code.append(timed(1, lambda: ctx.run(same_as_code).result())[0])
            nodes.append(timed(1, lambda: ctx.run(flows[200], {}).result())[0])
        ratio = statistics.median(one / other for one, other in zip(nodes, code, strict=True))
        for what, found in (("steps of code", code), (f"nodes: {ratio:.2f} × the code", nodes)):
            middle = statistics.median(found)
            print(f"| {STEPS} {what}, one after another | {middle * 1e3:,.1f} | {middle / STEPS * 1e6:,.0f} µs |")
        for count, flow in flows.items():
            seconds, text = timed(reps, lambda flow=flow: ctx.run(flow, {}).result())  # type: ignore[misc]
            print(f"| a run of {count} nodes | {text} | {seconds / count * 1e6:,.0f} µs |")
        loop = (
            df.flow("loop")
            .on_manual()
            .loop(
                "each",
                "{{trigger.items}}",
                lambda part: part.node("w", "bench_work", {"n": "{{loop.item}}"}),
                parallel=True,
            )
        )
        items = {"items": list(range(1_000))}
        seconds, text = timed(reps, lambda: ctx.run(loop, items).result())
        print(f"| a parallel loop over 1,000 items | {text} | {seconds / 1_000 * 1e6:,.0f} µs |")
    print(f"| a JavaScript snippet in a warm worker | {asyncio.run(snippets(reps))} | |")


if __name__ == "__main__":
    main()
