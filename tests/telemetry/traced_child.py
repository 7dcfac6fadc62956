"""A process that is killed in the middle of a run: ``python traced_child.py URL FILE``; it writes its spans there."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import dataflows_sdk as df

ID = "0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b79"


def two() -> None:
    if len(sys.argv) == 3 and Path(__file__).name in sys.argv[0]:
        Path(sys.argv[2] + ".two").touch()
        time.sleep(60)


@df.workflow("traced-killed")
async def killed(event: Any, step: df.Step) -> str:
    await step.run("one", lambda: 1)
    await step.run("two", two)
    return "done"


def main() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    url, path = sys.argv[1:]
    with Path(path).open("w", buffering=1) as file:
        provider = TracerProvider()
        exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\n")
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with df.connect(url, lease="1s", telemetry=df.Telemetry(tracer_provider=provider)) as ctx:
            ctx.start(killed, id=ID).result()


if __name__ == "__main__":
    main()
