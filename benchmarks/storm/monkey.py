"""What is done to the workers and to PostgreSQL, at random, by a seed, and written down."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import psycopg

from storm.fleet import Fleet, Worker
from storm.named import named
from storm.postgres import Postgres

#: how often each comes in a round; the order within a round is random, so that also a short storm has all of them
ROUND = {"kill": 6, "stop": 6, "terminate": 6, "jump": 3, "restart": 1}
#: seconds between two restarts of PostgreSQL, at least
_RESTART_EVERY = 8.0
#: how many workers may be stopped at once
_STOPPED = 2


@dataclass
class Monkey:
    """Does one thing after another until the time is over.

    Args:
        fleet: the workers.
        postgres: their server.
        url: of the database, for looking for backends.
        seed: of everything that it decides.
        pause: seconds between two deeds, on average.
    """

    fleet: Fleet
    postgres: Postgres
    url: str
    seed: int
    pause: float = 0.7
    counts: Counter[str] = field(default_factory=Counter)
    #: workers that ended by themselves
    gone: list[str] = field(default_factory=list)
    #: what was done: seconds, deed
    deeds: list[tuple[float, str]] = field(default_factory=list)

    def rage(self, seconds: float) -> None:
        rng = random.Random(f"{self.seed} deeds")
        begun = time.monotonic()
        self._begun, self._restarted = begun, begun - _RESTART_EVERY / 2
        cards: list[str] = []
        due: list[tuple[float, str, Worker]] = []  # who is continued or started again, and when
        while (now := time.monotonic()) - begun < seconds:
            for entry in [entry for entry in due if entry[0] <= now]:
                due.remove(entry)
                self._again(entry[1], entry[2])
            self._look_after([entry[2] for entry in due])
            # All decisions are drawn, whatever comes of them, so that a seed always gives the same list.
            if not cards:
                cards = [deed for deed, count in ROUND.items() for _ in range(count)]
                rng.shuffle(cards)
            deed = cards.pop()
            worker = self._target(deed, rng.sample(self.fleet.workers, len(self.fleet.workers)))
            span, pause, pick = rng.random(), rng.uniform(0.2, 1.8) * self.pause, rng.random()
            again = self._do(deed, worker, span, pick)
            if again is not None:
                due.append((time.monotonic() + again, deed, worker))
            time.sleep(pause)
        for _, deed, worker in due:
            self._again(deed, worker)

    def _target(self, deed: str, workers: list[Worker]) -> Worker:
        """The first to whom it can be done: who is dead cannot be killed, who is stopped cannot be stopped."""
        fit = [worker for worker in workers if self.fleet.alive(worker) and (deed == "kill" or not worker.stopped)]
        return (fit or workers)[0]

    def _look_after(self, expected: list[Worker]) -> None:
        """A worker that is gone and that we did not kill: nothing here may end a process but we."""
        for worker in self.fleet.workers:
            if worker not in expected and not self.fleet.alive(worker):
                self.gone.append(f"end: worker {worker.number} ended by itself (see its log)")
                self.fleet.start(worker)

    def _note(self, deed: str, text: str) -> None:
        self.counts[deed] += 1
        self.deeds.append((time.monotonic() - self._begun, text))

    def _do(self, deed: str, worker: Worker, span: float, pick: float) -> float | None:
        """Do it, if it can be done; gives after how many seconds it is to be undone."""
        if deed == "kill" and self.fleet.kill(worker):
            self._note(deed, f"SIGKILL worker {worker.number}")
            return span
        if deed == "stop" and not worker.stopped and self._stopped() < _STOPPED and self.fleet.stop(worker):
            away = self.fleet.lease * (1.1 + 0.9 * span) if pick < 0.8 else self.fleet.lease * span
            self._note(deed, f"SIGSTOP worker {worker.number} for {away:.1f} s")
            return away
        if deed == "terminate":
            self._terminate(pick, 1 if span < 0.7 else 3)
        elif deed == "jump" and not worker.stopped and self.fleet.signal(worker, signal.SIGUSR1):
            self._note(deed, f"the wall clock of worker {worker.number} jumps")
        elif deed == "restart" and time.monotonic() - self._restarted > _RESTART_EVERY:
            self._note(deed, "PostgreSQL stops at once and starts again")
            self.postgres.crash()
            time.sleep(2 * span * span)
            self.postgres.start()
            self._restarted = time.monotonic()
        return None

    def _stopped(self) -> int:
        return sum(worker.stopped for worker in self.fleet.workers)

    def _again(self, deed: str, worker: Worker) -> None:
        if deed == "stop":
            self.fleet.go_on(worker)
        elif not self.fleet.alive(worker):
            self.fleet.start(worker)

    def _terminate(self, pick: float, count: int) -> None:
        rng = random.Random(pick)
        try:
            with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
                pids = [pid for (pid,) in connection.execute(named("look")["backends"])]
                for pid in rng.sample(pids, min(count, len(pids))):
                    connection.execute(named("look")["terminate"], (pid,))
                    self._note("terminate", f"pg_terminate_backend({pid})")
        except psycopg.Error as error:
            print(f"chaos: looking for backends failed: {error}", file=sys.stderr)
