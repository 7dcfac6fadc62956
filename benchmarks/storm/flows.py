"""The workflows of the chaos test, and what each of them must come to."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dataflows_sdk as df
from storm.named import named

#: quick enough for a test, patient enough for a server that restarts
PATIENT = df.Retry(12, initial_delay="50ms", max_delay="1s")
SHARDS = 64
#: file descriptor of the notes of this process; -1 where nobody reads them
_notes = -1


def take_notes(path: str) -> None:
    """From now on say what was acknowledged to the code of this process, one line each."""
    global _notes
    _notes = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def note(*words: object) -> None:
    """One write of one line: it outlives the process, however that ends."""
    if _notes >= 0:
        os.write(_notes, (" ".join(map(str, words)) + "\n").encode())


# --- what steps do ----------------------------------------------------------------------------------------


def prepare(n: int) -> int:
    time.sleep((n % 7) * 0.01)
    return n + 1


def flaky(n: int) -> int:
    time.sleep(0.005)
    if n % 3 == 0 and df.current_step().attempt == 1:
        raise ConnectionError("the first attempt never works")
    return 2 * n


def item(n: int) -> int:
    time.sleep((n % 5) * 0.02)
    return n * n


def book(connection: Any, run: str, step: str, n: int) -> int:
    """Once, or the sums are wrong."""
    connection.execute(named("steps")["ledger"], (run, step, n))
    time.sleep((n % 4) * 0.01)
    connection.execute(named("steps")["count"], (n, n % SHARDS))
    return n


def enter(connection: Any, run: str, queue: str, key: str) -> None:
    connection.execute(named("steps")["enter"], (run, queue, key))


def leave(connection: Any, run: str) -> None:
    connection.execute(named("steps")["leave"], (run,))


# --- workflows --------------------------------------------------------------------------------------------


@df.workflow("chaos-order")
async def order(event: Any, step: Any) -> int:
    n = event.payload["n"]

    async def left(step: Any) -> int:
        found = await step.run("flaky", flaky, n, retry=PATIENT)
        note("step", step.run_id, "parts[left]/flaky", found)
        return int(await step.transaction("book-left", book, step.run_id, "left", n, retry=PATIENT)) + int(found)

    async def right(step: Any) -> int:
        await step.sleep("nap", (n % 3) * 0.05)
        return int(await step.run("item", item, n % 10, retry=PATIENT))

    total = await step.run("prepare", prepare, n, retry=PATIENT)
    note("step", step.run_id, "prepare", total)
    total += await step.transaction("book", book, step.run_id, "book", n, retry=PATIENT)
    note("step", step.run_id, "book", n)
    await step.sleep("pause", (n % 5) * 0.1)
    parts = await step.parallel("parts", {"left": left, "right": right})
    total += parts["left"] + parts["right"]
    go = await step.wait_for_event("go")
    note("step", step.run_id, "go", go["n"])
    total += go["n"]
    total += await step.transaction("close", book, step.run_id, "close", n, retry=PATIENT)
    note("step", step.run_id, "close", n)
    return int(total)


@df.workflow("chaos-order-blocking")
def order_blocking(event: Any, step: Any) -> int:
    n = event.payload["n"]

    def left(step: Any) -> int:
        found = step.run("flaky", flaky, n, retry=PATIENT)
        return int(step.transaction("book-left", book, step.run_id, "left", n, retry=PATIENT)) + int(found)

    def right(step: Any) -> int:
        step.sleep("nap", (n % 3) * 0.05)
        return int(step.run("item", item, n % 10, retry=PATIENT))

    total = step.run("prepare", prepare, n, retry=PATIENT)
    note("step", step.run_id, "prepare", total)
    total += step.transaction("book", book, step.run_id, "book", n, retry=PATIENT)
    step.sleep("pause", (n % 5) * 0.1)
    parts = step.parallel("parts", {"left": left, "right": right})
    total += parts["left"] + parts["right"]
    go = step.wait_for_event("go")
    total += go["n"]
    total += step.transaction("close", book, step.run_id, "close", n, retry=PATIENT)
    note("step", step.run_id, "close", n)
    return int(total)


@df.workflow("chaos-race")
async def race(event: Any, step: Any) -> int:
    """An event is waited for while another branch is at work, so that the run stays in memory."""
    n = event.payload["n"]

    async def work(step: Any) -> int:
        total = 0
        for number in range(20):
            total += await step.run("slow", item, 3 + 5 * (number % 2), retry=PATIENT)
        return total

    async def listen(step: Any) -> int:
        first = await step.wait_for_event("go")
        second = await step.wait_for_event("again", event="go")
        return int(first["n"] + second["n"])

    parts = await step.parallel("parts", {"work": work, "listen": listen})
    return int(n + parts["work"] + parts["listen"])


@df.workflow("chaos-kid")
async def kid(event: Any, step: Any) -> int:
    n = event.payload["n"]
    booked = await step.transaction("book", book, step.run_id, "kid", n, retry=PATIENT)
    await step.sleep("nap", (n % 4) * 0.1)
    return 2 * int(await step.run("item", item, booked % 10, retry=PATIENT))


@df.workflow("chaos-family")
async def family(event: Any, step: Any) -> int:
    n = event.payload["n"]

    async def one(step: Any) -> int:
        return int(await step.invoke("kid", kid, {"n": n}))

    async def other(step: Any) -> int:
        return int(await step.invoke("kid", "chaos-kid", {"n": n + 1}))

    kids = await step.parallel("kids", {"one": one, "other": other})
    note("step", step.run_id, "kids[one]/kid", kids["one"])
    return int(kids["one"] + kids["other"])


@df.workflow("chaos-listener")
async def listener(event: Any, step: Any) -> int:
    """Hears an event for everybody: from outside, and from another run."""
    n = event.payload["n"]
    bell = await step.wait_for_event("bell", event=f"bell-{n}")
    peal = await step.wait_for_event("peal", event=f"peal-{n}")
    return int(bell + peal)


@df.workflow("chaos-ringer")
async def ringer(event: Any, step: Any) -> int:
    n = event.payload["n"]
    await step.run("item", item, n % 5, retry=PATIENT)
    await step.emit("ring", f"peal-{n}", n)
    return int(n)


@df.workflow("chaos-ping")
async def ping(event: Any, step: Any) -> int:
    n = event.payload["n"]
    await step.invoke("pong", pong, {"n": n, "to": step.run_id}, detach=True)
    answer = await step.wait_for_event("answer")
    return int(answer)


@df.workflow("chaos-pong")
async def pong(event: Any, step: Any) -> int:
    n = event.payload["n"]
    await step.sleep("think", (n % 3) * 0.2)
    await step.send_event("reply", event.payload["to"], "answer", n + 5)
    return int(n)


@df.workflow("chaos-fan")
async def fan(event: Any, step: Any) -> int:
    n = event.payload["n"]
    found = await step.map("items", item, [n % 10 + i for i in range(5)], concurrency=3, retry=PATIENT)
    return int(sum(found))


@df.workflow("chaos-capped")
async def capped(event: Any, step: Any) -> int:
    """Runs of a queue with few places say when they come in and when they leave."""
    n, queue, key = event.payload["n"], event.payload["queue"], event.payload["key"]
    await step.transaction("enter", enter, step.run_id, queue, key, retry=PATIENT)
    await step.run("inside", item, 4, retry=PATIENT)
    await step.transaction("leave", leave, step.run_id, retry=PATIENT)
    return int(n)


def book_slowly(connection: Any, run: str, step: str, n: int) -> int:
    """Long enough to be stopped in the middle."""
    note("booking", run, step)
    connection.execute(named("steps")["ledger"], (run, step, n))
    if step == "second":
        time.sleep(1.5)
    connection.execute(named("steps")["count"], (n, n % SHARDS))
    return n


@df.workflow("chaos-slow-booking")
async def slow_booking(event: Any, step: Any) -> int:
    n = event.payload["n"]
    total = 0
    for name in ("first", "second", "third"):
        total += await step.transaction(name, book_slowly, step.run_id, name, n, retry=PATIENT)
        note("step", step.run_id, name, n)
    return int(total)


# --- what they come to ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """A workflow: its result, the rows that its transactions leave, the events that it wants, its children."""

    workflow: Any
    result: Callable[[int], int]
    ledger: tuple[str, ...] = ()
    #: how many events called "go" it wants, each with a number of its own
    go: int = 0
    children: int = 0
    #: how often the driver starts it, beside the others
    weight: int = 0


def go_number(n: int, which: int) -> int:
    """What the *which*-th event of a run carries."""
    return n * 10 + which


def _order(n: int) -> int:
    return n + 1 + n + n + 2 * n + (n % 10) ** 2 + go_number(n, 0) + n


def _kid(n: int) -> int:
    return 2 * (n % 10) ** 2


KINDS: dict[str, Kind] = {
    "chaos-order": Kind(order, _order, ("book", "left", "close"), go=1, weight=5),
    "chaos-order-blocking": Kind(order_blocking, _order, ("book", "left", "close"), go=1, weight=3),
    "chaos-race": Kind(race, lambda n: n + 10 * (9 + 64) + go_number(n, 0) + go_number(n, 1), go=2, weight=4),
    "chaos-kid": Kind(kid, _kid, ("kid",), weight=1),
    "chaos-family": Kind(family, lambda n: _kid(n) + _kid(n + 1), children=2, weight=3),
    "chaos-listener": Kind(listener, lambda n: 2 * n, weight=2),
    "chaos-ringer": Kind(ringer, lambda n: n),
    "chaos-ping": Kind(ping, lambda n: n + 5, children=1, weight=2),
    "chaos-pong": Kind(pong, lambda n: n),
    "chaos-fan": Kind(fan, lambda n: sum((n % 10 + i) ** 2 for i in range(5)), weight=2),
    "chaos-capped": Kind(capped, lambda n: n, weight=4),
    # for the zombie that is made on purpose
    "chaos-slow-booking": Kind(slow_booking, lambda n: 3 * n, ("first", "second", "third")),
}
