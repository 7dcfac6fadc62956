"""The worker processes: each a process group of its own, started, stopped, continued, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


@dataclass
class Worker:
    """One place in the fleet; processes come and go in it."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    stopped: bool = False
    #: how many processes it has had
    lives: int = 0


class Fleet:
    """Workers on one database.

    Args:
        count: how many.
        url: of the database.
        folder: for their logs and notes.
        lease: in seconds.
        seed: of what they decide by themselves.
        starts: runs that each starts by itself, per second.
        fence: whether they write with the fence.
    """

    def __init__(
        self, count: int, url: str, folder: Path, *, lease: float, seed: int, starts: float = 0.0, fence: bool = True
    ) -> None:
        self.workers = [Worker(number) for number in range(count)]
        self.folder = folder
        #: every signal: when, to which group, which
        self.sent: list[tuple[float, int, str]] = []
        self.lease = lease
        for file in (*folder.glob("notes-*"), *folder.glob("worker-*.log"), *folder.glob("calm")):
            file.unlink()  # of an earlier session
        # Inherited: a process that is told so before it listens must not die of it.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        self._url, self._seed, self._starts, self._fence = url, seed, starts, fence

    def notes(self) -> list[str]:
        """Everything that was acknowledged to code in a worker; a last line that is not whole does not count."""
        found: list[str] = []
        for file in sorted(self.folder.glob("notes-*")):
            text = file.read_text()
            found += text[: text.rfind("\n") + 1].splitlines()
        return found

    def logs(self) -> str:
        return "".join(file.read_text(errors="replace") for file in sorted(self.folder.glob("worker-*.log")))

    def start(self, worker: Worker) -> None:
        worker.lives += 1
        command = [sys.executable, "-m", "storm.worker", f"{worker.number}.{worker.lives}", self._url]
        command += [str(self.folder / f"notes-{worker.number}"), "--lease", str(self.lease)]
        command += ["--seed", str(self._seed * 1000 + worker.number * 100 + worker.lives)]
        command += ["--starts", str(self._starts)]
        if not self._fence:
            command.append("--without-fence")
        path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
        with (self.folder / f"worker-{worker.number}.log").open("ab") as out:
            worker.process = subprocess.Popen(
                command,
                cwd=HERE,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        worker.stopped = False

    def start_all(self, seconds: float = 60) -> None:
        """Start everybody and wait until they are ready."""
        for worker in self.workers:
            self.start(worker)
        deadline = time.monotonic() + seconds
        while sum(line.startswith("ready ") for line in self.notes()) < len(self.workers):
            if time.monotonic() > deadline:
                raise SystemExit(f"chaos: the workers did not start:\n{self.logs()[-3000:]}")
            time.sleep(0.05)

    def signal(self, worker: Worker, number: int) -> bool:
        """Send a signal to the worker's group; False when it is gone."""
        process = worker.process
        if process is None or process.poll() is not None:
            return False
        # Not collected yet, so the number cannot be another's; and it has to lead a group of its own, or we would hit
        # whoever shares it.
        if os.getpgid(process.pid) != process.pid:
            raise RuntimeError(f"worker {worker.number} (pid {process.pid}) leads no process group; nothing was sent")
        self.sent.append((time.time(), process.pid, signal.Signals(number).name))
        os.killpg(process.pid, number)
        return True

    def stop(self, worker: Worker) -> bool:
        worker.stopped = self.signal(worker, signal.SIGSTOP)
        return worker.stopped

    def go_on(self, worker: Worker) -> None:
        if worker.stopped:
            self.signal(worker, signal.SIGCONT)
            worker.stopped = False

    def kill(self, worker: Worker) -> bool:
        done = self.signal(worker, signal.SIGKILL)
        if worker.process is not None:
            worker.process.wait()
        worker.stopped = False
        return done

    def alive(self, worker: Worker) -> bool:
        return worker.process is not None and worker.process.poll() is None

    def revive(self) -> None:
        """Everybody is there and goes on, and starts nothing by itself any more."""
        (self.folder / "calm").touch()
        for worker in self.workers:
            self.go_on(worker)
            if not self.alive(worker):
                self.start(worker)

    def leave(self, seconds: float = 30) -> list[int]:
        """Ask everybody to leave, kill who does not; gives the numbers of those that had to be killed."""
        for worker in self.workers:
            self.go_on(worker)
            self.signal(worker, signal.SIGTERM)
        stubborn = []
        for worker in self.workers:
            if worker.process is None:
                continue
            try:
                worker.process.wait(seconds)
            except subprocess.TimeoutExpired:
                stubborn.append(worker.number)
                self.kill(worker)
        return stubborn

    def close(self) -> None:
        for worker in self.workers:
            if self.alive(worker):
                self.kill(worker)
