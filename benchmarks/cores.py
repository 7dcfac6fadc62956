"""What the second core of a machine is worth.

Two workers and PostgreSQL share the cores, and what is called a core may be half of one: a thread of the processor, or
a share of a host. How much more two processes get done than one bounds what a second worker can bring.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

#: objects come and go, as in the engine; a loop over integers would say less
WORK = """
import sys, time
sys.stdin.readline()
end, done, kept = time.perf_counter() + {seconds}, 0, dict()
while time.perf_counter() < end:
    for number in range(1000):
        kept[number] = (number, str(number))
    done += 1
print(done)
"""
SECONDS, TIMES = 0.5, 5


def second_core() -> float:
    """The work of two processes of plain Python at once, divided by that of one alone; medians of pairs."""
    return statistics.median(work(2) / work(1) for _ in range(TIMES))


def work(processes: int) -> float:
    program = [sys.executable, "-c", WORK.format(seconds=SECONDS)]
    started = [
        subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    time.sleep(0.2)  # until all of them wait for the line
    done = 0
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        done += int(process.communicate()[0])
    return done


if __name__ == "__main__":
    print(f"two processes do {second_core():.2f} × the work of one")
