"""``dataflows demo``: a dataflow on real data, killed in the middle, finished by another process, and the proof."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataflows_sdk.cli.place import Place, database_options, json_option
from dataflows_sdk.errors import DataflowsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dataflows_sdk.cli.demo_question import Asked
    from dataflows_sdk.cli.demo_report import Narrator
    from dataflows_sdk.cli.demo_tables import Tables
    from dataflows_sdk.context import Context
    from dataflows_sdk.engine.state import JournalEvent
    from dataflows_sdk.runs import Run

#: seconds without any new event after which the demo gives up
_PATIENCE = 90.0
_POLL = 0.05
#: the share of the map that is done when the process is killed
_KILL_AT = 0.5


class DemoError(DataflowsError):
    """The demo did not come out as it should."""


@click.command()
@json_option
@database_options
def demo(as_json: bool, place: Place) -> None:
    """Kill a dataflow in the middle and see it finish.

    336,776 flights are read, validated, enriched and summed up by one process, which is killed with SIGKILL; another
    one goes on. Every step leaves a line in a file, which is compared with the journal: the exit code is 1 if anything
    was lost, or anything recorded ran twice. Then the rows become tables that know what they were before, and a
    question about them in words is answered with SQL and citations.
    """
    from dataflows_sdk.cli.demo_flow import data_directory

    data_directory()  # says at once which extra is missing
    begun = time.monotonic()
    from dataflows_sdk.cli.demo_report import Narrator

    narrator = Narrator(quiet=as_json)
    folder = Path(tempfile.mkdtemp(prefix="dataflows-demo-"))
    with place.open(make=True) as ctx:
        story = _Story(ctx, place, folder, narrator)
        try:
            good = story.tell(begun, as_json)
        except (KeyboardInterrupt, BrokenPipeError):
            story.abandon()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except BaseException:
            narrator.kept(folder)
            story.abandon()
            raise
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        narrator.kept(folder)
        sys.exit(1)


@dataclass
class _Worker:
    """A process that works on the run."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def failure(self) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace").strip()
        return f"the process of the demo ended with exit code {self.process.returncode}:\n{text[-2000:]}"


class _Story:
    """One demo, from the start of the run to the proof."""

    def __init__(self, ctx: Context, place: Place, folder: Path, narrator: Narrator) -> None:
        self.ctx = ctx
        self.place = place
        self.folder = folder
        self.narrator = narrator
        self.effects = folder / "effects.jsonl"
        self.workers: list[_Worker] = []
        self.run: Run | None = None
        self.seq = 0

    def tell(self, begun: float, as_json: bool) -> bool:
        """The whole demo; False when something does not add up."""
        from dataflows_sdk.cli.demo_flow import flights_flow
        from dataflows_sdk.cli.demo_proof import check_rows, prove

        say = self.narrator
        flow = flights_flow()
        say.opening(repr(self.ctx), flow)
        # This process does not work: the run is queued until one comes that does.
        run = self.run = self.ctx.start(flow, {"effects": str(self.effects)})
        first = self._work(run)
        say.first(run.id, first.pid)
        with say.board() as board:
            self._follow(run, first, board.take, lambda: board.share("enrich") >= _KILL_AT)
            first.process.kill()
            first.process.wait()
            board.freeze()
        say.killed(first.pid, first.process.returncode, self._gone(first), run.status, run.explain())
        second = self._work(run)
        say.second(second.pid)
        with say.board(board) as board:
            self._follow(run, second, board.take, lambda: board.over)
            _end(second)
        result = run.result()
        try:
            proof = prove(run.events(), self._lines(), first.pid, second.pid)
        except ValueError as error:
            raise DemoError(f"run {run.id}: {error}") from None
        rows = check_rows(result, _count_rows())
        with say.waiting("the same rows into tables of the warehouse, and a question about them"):
            tables, asked = self._tables()
        seconds = time.monotonic() - begun
        good = proof.holds and all(check.holds for check in rows)
        if as_json:
            say.as_json(run, first.pid, second.pid, proof, rows, result, tables, asked, seconds)
        else:
            say.finish(run, proof, rows, result, tables, asked, seconds, self.place)
        return good

    def _tables(self) -> tuple[Tables, Asked]:
        from dataflows_sdk.cli.demo_flow import data_directory, flights_file
        from dataflows_sdk.cli.demo_question import ask
        from dataflows_sdk.cli.demo_tables import tables

        unpacked = self.folder / "flights.csv"
        unpacked.write_bytes(flights_file())
        with self.place.open(work=True, triggers=False) as ctx:
            return tables(ctx, unpacked, data_directory()), ask(ctx)

    def _work(self, run: Run) -> _Worker:
        environment = dict(os.environ)
        if self.place.url is not None:
            environment["DATAFLOWS_URL"] = self.place.url  # not as an argument: it may hold a password
        else:
            environment.pop("DATAFLOWS_URL", None)
        log = self.folder / f"worker-{len(self.workers) + 1}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "dataflows_sdk.cli.demo_worker", run.id, str(self.place.directory)],
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment,
                start_new_session=True,  # Ctrl-C reaches this process, which then ends the other one
            )  # fmt: skip
        worker = _Worker(process, log)
        self.workers.append(worker)
        return worker

    def _follow(
        self, run: Run, worker: _Worker, take: Callable[[JournalEvent], None], enough: Callable[[], bool]
    ) -> None:
        """Hand on the journal's events as they come, until it is enough."""
        from dataflows_sdk.engine.state import parse

        last = time.monotonic()
        while not enough():
            ended = worker.process.poll()
            rows = self.ctx._read("look", "events", (run._id, self.seq, None))
            for number, kind, key, data, at, _ in rows:
                self.seq, last = number, time.monotonic()
                take(parse(number, kind, key, data, at))
            if not rows and ended is not None and not enough():
                if run.status in ("failed", "quarantined", "cancelled"):
                    run.result()
                raise DemoError(worker.failure())
            if time.monotonic() - last > _PATIENCE:
                raise DemoError(f"nothing happened for {_PATIENCE:.0f} s. {run.explain()}")
            time.sleep(_POLL)

    def _gone(self, worker: _Worker) -> bool:
        """Whether the database noticed: the lock that the process held is free."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            mine = [row for row in self.ctx._read("look", "workers") if _info(row[4]).get("pid") == worker.pid]
            if not any(row[6] for row in mine):
                return True
            time.sleep(_POLL)
        return False

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.effects.read_text(encoding="utf-8").splitlines()]

    def abandon(self) -> None:
        """End what was begun: the processes, and the run, so that no later demo takes it on."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.terminate()
        for worker in self.workers:
            with _patiently(worker.process):
                worker.process.wait(10)
        with suppress(DataflowsError):  # the error that brought us here is the one to tell
            if self.run is not None and self.run.status not in ("succeeded", "failed", "cancelled"):
                self.run.cancel("the demo was interrupted")


def _end(worker: _Worker) -> None:
    """Wait for a process whose run is over."""
    try:
        worker.process.wait(30)
    except subprocess.TimeoutExpired:
        raise DemoError(f"the run is over, and process {worker.pid} does not end") from None
    if worker.process.returncode != 0:
        raise DemoError(worker.failure())


@contextmanager
def _patiently(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _info(info: Any) -> dict[str, Any]:
    found = json.loads(info) if isinstance(info, str) else info
    return found if isinstance(found, dict) else {}


def _count_rows() -> int:
    """The rows of the file, counted by other means than the flow's."""
    from dataflows_sdk.cli.demo_flow import flights_file

    return len(flights_file().splitlines()) - 1
