"""What being watched costs: processor time of this process per step, in pairs.

    python benchmarks/observed.py                       # telemetry off against on (spans and numbers into memory)
    python benchmarks/observed.py --against DIRECTORY   # off, here against another checkout

Processor time rather than time: that of the disk would drown a microsecond. Each measurement is a process of its own on
one server; sides alternate, and what is told is the median of the differences within a pair.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STEPS, RUNS = 2000, 1500


def measure(url: str, watched: bool) -> None:
    """In a process of its own: print microseconds per step in sequence and per one-step run."""
    import dataflows_sdk as df

    async def one() -> int:
        return 1

    async def sequence(event: Any, step: Any) -> None:
        for _ in range(event.payload):
            await step.run("s", one)

    def blocking(event: Any, step: Any) -> None:
        for _ in range(event.payload):
            step.run("s", int)

    more: dict[str, Any] = {}
    if watched:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

        class Nowhere(SpanExporter):
            def export(self, spans: Any) -> SpanExportResult:  # what sending costs is the exporter's
                return SpanExportResult.SUCCESS

        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(Nowhere()))
        meters = MeterProvider([InMemoryMetricReader()])
        more["telemetry"] = df.Telemetry(tracer_provider=provider, meter_provider=meters)
    found = {}
    with df.connect(url, **more) as ctx:
        for name, fn in (("async", sequence), ("def", blocking)):
            workflow = df.Workflow(name, fn)
            ctx.run(workflow, 200).result()
            began = time.process_time()
            ctx.run(workflow, STEPS).result()
            found[f"W1 {name}, per step"] = (time.process_time() - began) / STEPS * 1e6
        workflow = df.Workflow("async", sequence)
        for run in ctx.start_many(workflow, [1] * 200):
            run.result()
        began = time.process_time()
        for run in ctx.start_many(workflow, [1] * RUNS):
            run.result()
        found["W2 async, per one-step run"] = (time.process_time() - began) / RUNS * 1e6
    print(json.dumps(found))


def one_side(checkout: Path, url: str, watched: bool) -> dict[str, float]:
    path = os.pathsep.join(str(checkout / part) for part in ("", "memory", "integrations"))
    command = [sys.executable, __file__, "--measure", url] + (["--watched"] if watched else [])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout of the project")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--measure", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--watched", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.watched)
        return
    from server import postgres

    other = ("on", ROOT, True) if options.against is None else ("there", options.against.resolve(), False)
    sides = [("off" if options.against is None else "here", ROOT, False), other]
    results: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in sides}
    with postgres() as server:
        for number in range(options.pairs):
            for name, checkout, watched in sides if number % 2 else sides[::-1]:
                with server.database() as url:
                    results[name].append(one_side(checkout, url, watched))
    first, second = results.values()
    for what in first[0]:
        differences = [b[what] - a[what] for a, b in zip(first, second, strict=True)]
        told = ", ".join(f"{name} {statistics.median(r[what] for r in rows):.1f}" for name, rows in results.items())
        spread = f"{min(differences):+.1f} … {max(differences):+.1f}"
        print(f"{what}: {told} µs; difference {statistics.median(differences):+.1f} µs ({spread})")


if __name__ == "__main__":
    main()
