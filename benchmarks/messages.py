"""What messages cost: publishing to nobody, into a stream, in lots and under a limit; reading in lots and one by one.

    python benchmarks/messages.py [--reps 5]

Needs nothing but the SDK: an embedded PostgreSQL in a temporary directory, durable as in earnest.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import dataflows_sdk as df

PAYLOAD = {"ok": True, "name": "x" * 40, "tags": ["alpha", "beta"], "note": "y" * 10}
ONE, MANY = 500, 10_000


def rates(reps: int, items: int, work: Callable[[], Any]) -> str:
    """Items per second: the median, the smallest and the largest."""
    found = []
    for _ in range(reps):
        begin = time.perf_counter()
        work()
        found.append(items / (time.perf_counter() - begin))
    return f"{statistics.median(found):,.0f} ({min(found):,.0f} … {max(found):,.0f})"


def read(stream: Any, name: str, lot: int, items: int) -> None:
    consumer = stream.consumer(name)
    for _ in range(0, items, lot):
        for message in consumer.fetch(lot):
            if lot == 1:
                message.ack()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=5)
    reps = parser.parse_args().reps
    print("| what, by one process | per second, median (smallest … largest) |\n| --- | ---: |")
    with tempfile.TemporaryDirectory() as folder, df.connect(directory=f"{folder}/db", work=False) as ctx:
        messages, names = ctx.messages, map(str, count())

        def publish(subject: str) -> None:
            for _ in range(ONE):
                messages.publish(subject, PAYLOAD)

        print(f"| publish, nobody listens and no stream keeps it | {rates(reps, ONE, lambda: publish('alone'))} |")
        stream = messages.stream("all", "kept")
        print(f"| publish into a stream | {rates(reps, ONE, lambda: publish('kept'))} |")
        lot = [("kept", PAYLOAD)] * MANY
        print(f"| publish_many, {MANY:,} at once | {rates(reps, MANY, lambda: messages.publish_many(lot))} |")
        messages.stream("short", "short", max_messages=1_000)
        print(f"| publish into a stream of at most 1,000 messages | {rates(reps, ONE, lambda: publish('short'))} |")
        print(f"| fetch, 500 at once | {rates(reps, MANY, lambda: read(stream, next(names), 500, MANY))} |")
        print(f"| fetch and acknowledge, one by one | {rates(reps, ONE, lambda: read(stream, next(names), 1, ONE))} |")


if __name__ == "__main__":
    main()
