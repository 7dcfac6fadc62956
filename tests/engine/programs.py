"""Random programs for the engine: trees of verbs as plain data, two interpreters, and a model of what must come out.

A program is a list of nodes, each a dict with ``op``:

=========  ===============================================================================================
``step``   ``label``, ``fails`` (how many attempts fail), ``retries``, ``undo``
``sleep``  ``units``
``wait``   ``sent``: an event comes some time; else it times out
``par``    ``branches``: programs, side by side
``map``    ``body``: a program for each of ``count`` items; ``limit``: how many at once
``each``   ``count`` plain items, each a step
``child``  ``body``: a program that runs as a child
``try``    ``body``: what it raises is caught
``race``   a step against a sleep that is too long
``chance`` now, uuid and random, each journalled, shown to a step
=========  ===============================================================================================

Every step counts itself under its path. Paths are made by the interpreters, not by the engine, so that the
engine's own idea of identity is not what it is tested with.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import dataflows_sdk as df

_LABEL = re.compile(r"boom-\w+")
Program = list[dict[str, Any]]


# --- what happens -----------------------------------------------------------------------------------------


class Effects:
    """Counts effects, from any thread, by run and path."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {}

    def add(self, tag: str, path: str) -> int:
        with self._lock:
            counts = self._counts.setdefault(tag, Counter())
            counts[path] += 1
            return counts[path]

    def of(self, tag: str) -> Counter[str]:
        with self._lock:
            return Counter(self._counts.get(tag, Counter()))


EFFECTS = Effects()


def act(tag: str, path: str, fails: int, label: str) -> str:
    """A step's function."""
    EFFECTS.add(tag, path)
    if df.current_step().attempt <= fails:
        raise ConnectionError(f"boom-{label}")
    return label


async def act_async(tag: str, path: str, fails: int, label: str) -> str:
    return act(tag, path, fails, label)


def plain_item(item: list[Any]) -> Any:
    tag, path, index = item
    EFFECTS.add(tag, path)
    return index


def taking_back(tag: str, path: str) -> Any:
    def undo() -> None:
        EFFECTS.add(tag, f"undo {path}")

    return undo


def caught(error: Exception) -> list[str]:
    found = _LABEL.search(str(error))
    return ["caught", found.group() if found else repr(error)]


def policy(node: dict[str, Any]) -> df.Retry:
    return df.Retry(node["retries"], initial_delay="1ms", jitter=0)


# --- the interpreters -------------------------------------------------------------------------------------


@df.workflow("program-async")
async def run_async(event: Any, step: Any) -> Any:
    given = event.raw
    return await block_async(step, given["program"], given["tag"], given["path"], given["unit"])


async def block_async(step: Any, program: Program, tag: str, path: str, unit: float) -> list[Any]:
    results: list[Any] = []
    for place, node in enumerate(program):
        here = f"{path}/{place}"
        results.append(await node_async(step, node, tag, here, unit))
    return results


async def node_async(step: Any, node: dict[str, Any], tag: str, here: str, unit: float) -> Any:
    op = node["op"]
    if op == "step":
        fn = act_async if node["label"] < "m" else act
        undo = taking_back(tag, here) if node["undo"] else None
        return await step.run("step", fn, tag, here, node["fails"], node["label"], retry=policy(node), undo=undo)
    if op == "sleep":
        return await step.sleep("sleep", node["units"] * unit)
    if op == "wait":
        timeout = None if node["sent"] else unit
        return await step.wait_for_event("wait", event=f"event {here}", timeout=timeout)
    if op == "par":

        def branch(number: int, body: Program) -> Any:
            async def run(step: Any) -> Any:
                return await block_async(step, body, tag, f"{here}/{number}", unit)

            return run

        return await step.parallel("par", [branch(*pair) for pair in enumerate(node["branches"])])
    if op == "map":

        async def body(index: int, step: Any) -> Any:
            return await block_async(step, node["body"], tag, f"{here}/{index}", unit)

        return await step.map("map", body, range(node["count"]), concurrency=node["limit"])
    if op == "each":
        return await step.map("each", plain_item, [[tag, f"{here}/{i}", i] for i in range(node["count"])])
    if op == "child":
        payload = {"program": node["body"], "tag": tag, "path": here, "unit": unit}
        return await step.invoke("child", run_async, payload)
    if op == "try":
        try:
            return await block_async(step, node["body"], tag, here, unit)
        except Exception as error:
            return caught(error)
    if op == "race":

        async def quick(step: Any) -> Any:
            return await step.run("quick", act_async, tag, here, 0, "won")

        async def slow(step: Any) -> Any:
            await step.sleep("slow", 1000 * unit + 1000)

        return await step.parallel("race", {"slow": slow, "quick": quick}, join="any")
    assert op == "chance", op
    seen = [await step.now(), await step.uuid(), await step.random()]
    return seen == await step.run("chance", lambda value: value, seen)


@df.workflow("program-sync")
def run_sync(event: Any, step: Any) -> Any:
    given = event.raw
    return block_sync(step, given["program"], given["tag"], given["path"], given["unit"])


def block_sync(step: Any, program: Program, tag: str, path: str, unit: float) -> list[Any]:
    results: list[Any] = []
    for place, node in enumerate(program):
        results.append(node_sync(step, node, tag, f"{path}/{place}", unit))
    return results


def node_sync(step: Any, node: dict[str, Any], tag: str, here: str, unit: float) -> Any:
    op = node["op"]
    if op == "step":
        fn = act_async if node["label"] < "m" else act
        undo = taking_back(tag, here) if node["undo"] else None
        return step.run("step", fn, tag, here, node["fails"], node["label"], retry=policy(node), undo=undo)
    if op == "sleep":
        return step.sleep("sleep", node["units"] * unit)
    if op == "wait":
        timeout = None if node["sent"] else unit
        return step.wait_for_event("wait", event=f"event {here}", timeout=timeout)
    if op == "par":

        def branch(number: int, body: Program) -> Any:
            def run(step: Any) -> Any:
                return block_sync(step, body, tag, f"{here}/{number}", unit)

            return run

        return step.parallel("par", [branch(*pair) for pair in enumerate(node["branches"])])
    if op == "map":

        def body(index: int, step: Any) -> Any:
            return block_sync(step, node["body"], tag, f"{here}/{index}", unit)

        return step.map("map", body, range(node["count"]), concurrency=node["limit"])
    if op == "each":
        return step.map("each", plain_item, [[tag, f"{here}/{i}", i] for i in range(node["count"])])
    if op == "child":
        payload = {"program": node["body"], "tag": tag, "path": here, "unit": unit}
        return step.invoke("child", run_sync, payload)
    if op == "try":
        try:
            return block_sync(step, node["body"], tag, here, unit)
        except Exception as error:
            return caught(error)
    if op == "race":

        def quick(step: Any) -> Any:
            return step.run("quick", act, tag, here, 0, "won")

        def slow(step: Any) -> Any:
            step.sleep("slow", 1000 * unit + 1000)

        return step.parallel("race", {"slow": slow, "quick": quick}, join="any")
    assert op == "chance", op
    seen = [step.now(), step.uuid(), step.random()]
    return seen == step.run("chance", lambda value: value, seen)


# --- the model --------------------------------------------------------------------------------------------


class Boom(Exception):
    """The model's failure."""


@dataclass
class Expected:
    """What a program must do.

    Attributes:
        value: its result; None when it fails.
        error: the label of its failure.
        effects: how often each step's function is called.
        events: the events that must be sent to the run, with the payloads that it returns.
    """

    value: Any = None
    error: str | None = None
    effects: Counter[str] = field(default_factory=Counter)
    events: dict[str, Any] = field(default_factory=dict)


def expect(program: Program, *, cancelled: bool = False) -> Expected:
    """The model: no engine, no time, no concurrency."""
    found = Expected()
    undos: list[str] = []
    try:
        found.value = _block(program, "", found, undos)
    except Boom as boom:
        found.error = str(boom)
    if found.error is not None or cancelled:
        found.effects.update(f"undo {path}" for path in undos)
    return found


def _block(program: Program, path: str, found: Expected, undos: list[str]) -> list[Any]:
    return [_node(node, f"{path}/{place}", found, undos) for place, node in enumerate(program)]


def _all(programs: list[tuple[str, Program]], found: Expected, undos: list[str], limit: int | None = None) -> list[Any]:
    """Side by side: every branch runs to its end, then the first failure counts. One at a time: it ends there."""
    results: list[Any] = []
    failure: Boom | None = None
    for path, program in programs:
        try:
            results.append(_block(program, path, found, undos))
        except Boom as boom:
            failure = failure or boom
            if limit == 1:
                break
    if failure is not None:
        raise failure
    return results


def _node(node: dict[str, Any], here: str, found: Expected, undos: list[str]) -> Any:
    op = node["op"]
    if op == "step":
        found.effects[here] += min(node["fails"], node["retries"]) + 1
        if node["fails"] > node["retries"]:
            raise Boom(f"boom-{node['label']}")
        if node["undo"]:
            undos.append(here)
        return node["label"]
    if op == "wait":
        if not node["sent"]:
            return None
        found.events[f"event {here}"] = here
        return here
    if op == "par":
        return _all([(f"{here}/{n}", body) for n, body in enumerate(node["branches"])], found, undos)
    if op == "map":
        return _all([(f"{here}/{n}", node["body"]) for n in range(node["count"])], found, undos, node["limit"])
    if op == "each":
        found.effects.update(f"{here}/{n}" for n in range(node["count"]))
        return list(range(node["count"]))
    if op == "child":
        own: list[str] = []
        try:
            return _block(node["body"], here, found, own)
        except Boom:
            found.effects.update(f"undo {path}" for path in own)
            raise
    if op == "try":
        try:
            return _block(node["body"], here, found, undos)
        except Boom as boom:
            return ["caught", str(boom)]
    if op == "race":
        found.effects[here] += 1
        return {"quick": "won"}
    return True if op == "chance" else None
