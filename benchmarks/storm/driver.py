"""Who starts runs and sends events, and remembers everything that was acknowledged."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg

import dataflows_sdk as df
from dataflows_sdk.errors import RunFinishedError, StoreError
from storm import flows
from storm.flows import KINDS
from storm.named import named

log = logging.getLogger("storm.driver")

#: queues of the capped workflow: how many of its runs at once, in all and of one key
CAPS = {"narrow": (3, 1), "single": (1, None)}
KEYS = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Start:
    """An acknowledged start."""

    run: str
    workflow: str
    n: int
    how: str
    key: str | None = None


@dataclass(frozen=True)
class Sent:
    """An acknowledged event of a run."""

    run: str
    name: str
    n: int
    dedupe: str


@dataclass
class Acknowledged:
    """The list that the database is held against at the end."""

    starts: list[Start] = field(default_factory=list)
    events: list[Sent] = field(default_factory=list)
    #: name and number of events for everybody
    emitted: list[tuple[str, int]] = field(default_factory=list)
    #: starts whose transaction was rolled back: they must not be there
    undone: list[str] = field(default_factory=list)


def pick(rng: random.Random, capped: bool = True) -> str:
    names = [name for name in KINDS if capped or name != "chaos-capped"]
    return rng.choices(names, [KINDS[name].weight for name in names])[0]


def payload_of(workflow: str, n: int, rng: random.Random) -> dict[str, Any]:
    payload: dict[str, Any] = {"n": n}
    if workflow == "chaos-capped":
        payload |= {"queue": rng.choice(tuple(CAPS)), "key": rng.choice(KEYS)}
    return payload


def placed(ctx: df.Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Where a run of the capped workflow is to wait, if this version of the library has queues."""
    if "queue" in payload and hasattr(ctx, "queues"):
        return {"queue": payload["queue"], "key": payload["key"]}
    return {}


def worker_start(ctx: df.Context, rng: random.Random) -> None:
    """A start from within a worker, which then is the first owner of the run. Keys are shared by all workers."""
    workflow = rng.choice(("chaos-order", "chaos-fan", "chaos-family", "chaos-race"))
    if rng.random() < 0.5:
        key = rng.randrange(400)
        run = ctx.start(workflow, {"n": 1_000_000 + key}, idempotency_key=f"shared-{key}")
        flows.note("start", run.id, workflow, 1_000_000 + key, f"shared-{key}")
    else:
        n = rng.randrange(2_000_000, 9_000_000)
        run = ctx.start(workflow, {"n": n})
        flows.note("start", run.id, workflow, n, "-")


class Driver:
    """Starts runs at a rate and sends them the events that they wait for. Two threads.

    Args:
        url: of the database.
        seed: of everything that it decides.
        rate: starts per second.
    """

    def __init__(self, url: str, seed: int, rate: float) -> None:
        self.acknowledged = Acknowledged()
        self.ctx = df.connect(url, work=False)
        self.ctx.register(*(kind.workflow for kind in KINDS.values()))
        self.has_queues = hasattr(self.ctx, "queues")
        if self.has_queues:
            for queue, (most, per_key) in CAPS.items():
                self.ctx.queues.set(queue, concurrency=most, concurrency_per_key=per_key)  # type: ignore[attr-defined]
        self._url = url
        self._rng = random.Random(f"{seed} starts")
        self._delays = random.Random(f"{seed} events")
        self._rate = rate
        self._n = 0
        self._ended = threading.Event()
        self._calm = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._starting, self._sending)]
        self._connection: psycopg.Connection[Any] | None = None
        self._looking: psycopg.Connection[Any] | None = None
        self.trouble = 0

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop_starting(self) -> None:
        """Nothing new; events are still sent, those that are left at once."""
        self._calm.set()
        self._threads[0].join(60)

    def close(self) -> None:
        self._ended.set()
        self._threads[1].join(60)
        self.ctx.close()

    # --- starts ------------------------------------------------------------------------------------------

    def _starting(self) -> None:
        while not self._calm.wait(self._rng.expovariate(self._rate)):
            try:
                self._start()
            except (StoreError, psycopg.Error) as error:
                # Not acknowledged: it may or may not be there. Whatever is there has to end well, too.
                self.trouble += 1
                log.info("a start was not acknowledged: %s", error)

    def _start(self) -> None:
        rng, ctx, known = self._rng, self.ctx, self.acknowledged
        self._n += 1
        n, workflow, how = self._n, pick(rng), rng.random()
        payload = payload_of(workflow, n, rng)
        place = placed(ctx, payload)
        if how < 0.4:
            run = ctx.start(workflow, payload, **place)
            known.starts.append(Start(run.id, workflow, n, "start"))
        elif how < 0.7:
            key = f"key-{n}"
            run = ctx.start(workflow, payload, idempotency_key=key, **place)
            known.starts.append(Start(run.id, workflow, n, "key", key))
            if rng.random() < 0.5:
                again = ctx.start(workflow, payload, idempotency_key=key, **place)
                known.starts.append(Start(again.id, workflow, n, "key again", key))
        elif how < 0.8:
            payloads = [{**payload, "n": n + i} for i in range(5)]
            self._n += 4
            for i, run in enumerate(ctx.start_many(workflow, payloads, **place)):
                known.starts.append(Start(run.id, workflow, n + i, "many"))
        else:
            self._in_a_transaction(workflow, payload, n, place, keep=how < 0.95)

    def _in_a_transaction(self, workflow: str, payload: Any, n: int, place: dict[str, Any], *, keep: bool) -> None:
        connection = self._connection
        if connection is None or connection.closed:
            connection = self._connection = psycopg.connect(self._url)
        try:
            run = self.ctx.start(workflow, payload, connection=connection, **place)
            if keep:
                connection.commit()
                self.acknowledged.starts.append(Start(run.id, workflow, n, "transaction"))
            else:
                connection.rollback()
                self.acknowledged.undone.append(run.id)
        except BaseException:
            connection.close()
            raise

    # --- events ------------------------------------------------------------------------------------------

    def _sending(self) -> None:
        """Whoever wants events gets them after a while, whoever started it, some of them twice."""
        planned: list[tuple[float, str, str, int, str]] = []
        seen: set[str] = set()
        while not self._ended.wait(0.05):
            try:
                self._plan(planned, seen)
                now = time.monotonic()
                calm = self._calm.is_set()
                for entry in [entry for entry in planned if entry[0] <= now or calm]:
                    self._send(*entry[1:])
                    planned.remove(entry)
            except (StoreError, psycopg.Error) as error:
                self.trouble += 1
                log.info("events will be sent again: %s", error)
                if self._looking is not None:
                    self._looking.close()

    def _plan(self, planned: list[tuple[float, str, str, int, str]], seen: set[str]) -> None:
        connection = self._looking
        if connection is None or connection.closed:
            connection = self._looking = psycopg.connect(self._url, autocommit=True)
        wanting = [name for name, kind in KINDS.items() if kind.go or name == "chaos-listener"]
        now = time.monotonic()
        for run, workflow, n in connection.execute(named("look")["unfinished"], (wanting,)):
            if run in seen:
                continue
            seen.add(run)
            for which in range(KINDS[workflow].go):
                at = now + self._delays.choice((0.0, 0.1, 0.5, 1.5, 4.0)) * self._delays.random()
                planned.append((at, "go", run, flows.go_number(n, which), f"go-{which}"))
            if workflow == "chaos-listener":
                for name in ("bell", "peal"):
                    planned.append((now + self._delays.uniform(0, 3), name, run, n, ""))

    def _send(self, name: str, run: str, n: int, dedupe: str) -> None:
        known = self.acknowledged
        if name == "go":
            try:
                for _ in range(1 + (n % 4 == 0)):
                    self.ctx.send_event(run, "go", {"n": n}, dedupe_key=dedupe)
            except RunFinishedError:
                log.info("run %s was over before its second event", run)
                return
            known.events.append(Sent(run, "go", n, dedupe))
        elif name == "bell":
            self.ctx.emit(f"bell-{n}", n)
            known.emitted.append((f"bell-{n}", n))
        else:
            key = f"ring-{run}"
            started = self.ctx.start("chaos-ringer", {"n": n}, idempotency_key=key)
            known.starts.append(Start(started.id, "chaos-ringer", n, "key", key))
