"""What is counted, and how watching is turned on."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import SpanProcessor

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, MissingExtraError, RunFailed
from dataflows_sdk.telemetry import observing

from ..conftest import MakeContext, wait_until
from .conftest import Watch

FAST = df.Retry(3, initial_delay="1ms", jitter=False)
Watched = Callable[..., Any]


def test_runs_and_steps_are_counted_by_how_they_ended(watched: Watched, watch: Watch) -> None:
    async def good(event: Any, step: df.Step) -> None:
        calls: list[int] = []

        def flaky() -> None:
            calls.append(1)
            if len(calls) == 1:
                raise OSError("once")

        await step.run("plain", lambda: 1)
        await step.run("flaky", flaky, retry=FAST)
        await step.sleep("nap", "10ms")
        await step.now()

    def bad(event: Any, step: df.SyncStep) -> None:
        step.run("boom", lambda: 1 / 0, retry=df.NO_RETRY)

    async def stuck(event: Any, step: df.Step) -> None:
        await step.wait_for_event("never")

    ctx = watched()
    workflow = df.Workflow("good", good)
    for run in ctx.start_many(workflow, [1, 2]):
        run.result("10s")
    with pytest.raises(RunFailed):
        ctx.run(df.Workflow("bad", bad)).result()
    waiting = ctx.start(df.Workflow("stuck", stuck))
    waiting.cancel()
    waiting.wait("10s")

    assert watch.counted("dataflows.runs.started", "dataflows.workflow") == {"good": 2, "bad": 1, "stuck": 1}
    ends = watch.counted("dataflows.runs.ended", "dataflows.workflow", "dataflows.run.status")
    assert ends == {("good", "succeeded"): 2, ("bad", "failed"): 1, ("stuck", "cancelled"): 1}
    assert watch.counted("dataflows.run.duration", "dataflows.workflow", "dataflows.run.status") == ends
    by = ("dataflows.workflow", "dataflows.step.op", "dataflows.step.outcome")
    steps = watch.counted("dataflows.steps", *by)
    assert steps == {
        ("good", "run", "completed"): 4,
        ("good", "run", "retrying"): 2,
        ("good", "sleep", "completed"): 2,
        ("bad", "run", "failed"): 1,
    }
    durations = watch.counted("dataflows.step.duration", *by)
    assert durations == {key: count for key, count in steps.items() if key[1] == "run"}
    assert watch.counted("dataflows.step.retries", "dataflows.workflow", "dataflows.step.op") == {("good", "run"): 2}
    (commits,) = watch.points("dataflows.commit.size")
    (latency,) = watch.points("dataflows.commit.duration")
    assert commits.count == latency.count > 5
    assert commits.sum > commits.count, "no commit carried more than one append"
    assert 0 < latency.sum < 30
    assert 0.0005 in latency.explicit_bounds
    labels = {
        label for name in ("steps", "runs.ended") for p in watch.points(f"dataflows.{name}") for label in p.attributes
    }
    assert labels == {"dataflows.workflow", "dataflows.step.op", "dataflows.step.outcome", "dataflows.run.status"}


def test_names_of_steps_are_labels_for_those_who_want_them(watched: Watched, watch: Watch) -> None:
    async def named(event: Any, step: df.Step) -> None:
        await step.map("each", abs, [1, 2])

    watched({"step_names": True}).run(df.Workflow("named", named)).result()
    assert watch.counted("dataflows.steps", "dataflows.step.name") == {"each": 2}


def test_metrics_without_traces(watched: Watched, watch: Watch) -> None:
    async def plain(event: Any, step: df.Step) -> None:
        await step.run("one", lambda: 1)

    watched({"traces": False}).run(df.Workflow("plain", plain)).result()
    assert watch.spans() == []
    assert watch.counted("dataflows.run.duration", "dataflows.workflow") == {"plain": 1}
    assert watch.counted("dataflows.steps", "dataflows.workflow") == {"plain": 1}


def test_runs_in_memory_of_all_contexts(watched: Watched, watch: Watch) -> None:
    go = threading.Event()
    inside = threading.Semaphore(0)

    def hold() -> None:
        inside.release()
        assert go.wait(20)

    def held(event: Any, step: df.SyncStep) -> None:
        step.run("hold", hold)

    workflow = df.Workflow("held", held)
    runs = [ctx.start(workflow) for ctx in (watched(), watched()) for _ in range(2)]
    for _ in runs:
        assert inside.acquire(timeout=20)
    (point,) = watch.points("dataflows.runs.live")
    assert point.value == 4
    go.set()
    for run in runs:
        run.result("10s")
    wait_until(lambda: watch.points("dataflows.runs.live")[0].value == 0, "nothing is in memory")


def test_claims_are_counted_by_what_the_runs_were(watched: Watched, watch: Watch, make_ctx: MakeContext) -> None:
    async def naps(event: Any, step: df.Step) -> None:
        await step.sleep("nap", "50ms")

    workflow = df.Workflow("naps", naps)
    only_starts = make_ctx(work=False)
    started = only_starts.start_many(workflow, range(5))
    ctx = watched(linger="0s")
    ctx.register(workflow)
    for run in started:
        run.result("20s")
    assert watch.counted("dataflows.claims", "dataflows.claim.was") == {"queued": 5, "sleeping": 5}
    (sizes,) = watch.points("dataflows.claim.size")
    assert (sizes.sum, sizes.max) == (10, 5)
    assert watch.counted("dataflows.runs.started", "dataflows.workflow") == {"naps": 5}


ZOMBIE = """
    import os, sys, time
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    import dataflows_sdk as df

    reader, exporter, provider = InMemoryMetricReader(), InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    @df.workflow("zombie")
    def zombie(event, step):
        for number in range(60):
            step.run("tick", time.sleep, 0.05)

    settings = df.Telemetry(tracer_provider=provider, meter_provider=MeterProvider([reader]))
    with df.connect(sys.argv[1], lease="1s", telemetry=settings) as ctx:
        run = ctx.start(zombie, id=sys.argv[2])
        print("started", flush=True)
        run.result("60s")
        deadline = time.monotonic() + 20
        while not exporter.get_finished_spans() or exporter.get_finished_spans()[-1].name != "activation":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
            if metric.name in ("dataflows.ownership.lost", "dataflows.runs.ended"):
                print(metric.name, sum(point.value for point in metric.data.data_points), flush=True)
        last = exporter.get_finished_spans()[-1]
        print(last.name, last.attributes["dataflows.activation.end"], last.status.status_code.name)
"""


@pytest.mark.slow
def test_a_lost_run_is_counted_by_who_lost_it(watched: Watched, watch: Watch, database_url: str) -> None:
    run_id = "0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b7a"
    script = textwrap.dedent(ZOMBIE)
    process = subprocess.Popen(
        [sys.executable, "-c", script, database_url, run_id], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        os.kill(process.pid, signal.SIGSTOP)
        ctx = watched(lease="1s")

        def zombie(event: Any, step: df.SyncStep) -> None:
            for _ in range(60):
                step.run("tick", lambda _seconds: None, 0.05)

        ctx.register(df.Workflow("zombie", zombie))
        ctx.get(run_id).result("30s")
        os.kill(process.pid, signal.SIGCONT)
        output, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)
            process.kill()
        process.wait()
    assert output.splitlines() == ["dataflows.ownership.lost 1", "activation lost ERROR"], errors[-2000:]
    assert watch.counted("dataflows.claims", "dataflows.claim.was") == {"lost": 1}
    assert watch.counted("dataflows.runs.ended", "dataflows.run.status") == {"succeeded": 1}
    assert len(watch.spans("run zombie")) == 1


def test_heartbeats_that_fail_are_counted(watched: Watched, watch: Watch) -> None:
    async def plain(event: Any, step: df.Step) -> None:
        await step.run("one", lambda: 1)

    ctx = watched(lease="400ms")
    ctx.run(df.Workflow("plain", plain)).result()
    heart = ctx._executor._heart
    pid = heart._connection.info.backend_pid
    with ctx._database.connection() as connection:
        connection.execute("select pg_terminate_backend(%s)", (pid,))
    wait_until(lambda: watch.points("dataflows.heartbeats.failed"), "the failure is counted")


# --- turning it on ----------------------------------------------------------------------------------------


class Broken(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("the exporter is broken")


def test_a_broken_exporter_breaks_no_run(make_ctx: MakeContext, watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    watch.provider.add_span_processor(Broken())

    async def plain(event: Any, step: df.Step) -> int:
        await step.sleep("nap", "1ms")
        return await step.run("one", lambda: 1)  # type: ignore[no-any-return]

    with caplog.at_level(logging.WARNING, "dataflows.telemetry"):
        assert make_ctx(telemetry=watch.settings()).run(df.Workflow("plain", plain)).result() == 1
    assert [record.getMessage() for record in caplog.records if record.name == "dataflows.telemetry"] == [
        "OpenTelemetry failed"
    ]


def in_a_process(code: str, *arguments: str, **environment: str) -> Any:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True, text=True, timeout=60, check=False, env={**clean, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


OFF = """
    import json, sys
    import dataflows_sdk as df

    async def plain(event, step):
        return await step.run("one", lambda: 1)

    with df.connect(sys.argv[1]) as ctx:
        ctx.run(df.Workflow("plain", plain)).result()
        df.configure_logging(json=True)
        df.logger().info("hello")
    print(json.dumps(sorted(name for name in sys.modules if name.startswith("opentelemetry"))))
"""


def test_off_loads_nothing(database_url: str) -> None:
    assert in_a_process(OFF, database_url) == []
    assert in_a_process(OFF, database_url, OTEL_EXPORTER_OTLP_ENDPOINT="http://x", OTEL_SDK_DISABLED="true") == []
    assert in_a_process(OFF, database_url, OTEL_TRACES_EXPORTER="none") == []
    assert "opentelemetry.trace" in in_a_process(OFF, database_url, OTEL_EXPORTER_OTLP_ENDPOINT="http://localhost:1")


GLOBAL = """
    import json, sys
    import dataflows_sdk as df
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    async def plain(event, step):
        return await step.run("one", lambda: 1)

    plain = df.Workflow("plain", plain)
    with df.connect(sys.argv[1], telemetry=True) as ctx:
        ctx.run(plain).result()                  # nobody listens yet
        exporter, reader, provider = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        metrics.set_meter_provider(MeterProvider([reader]))
        run = ctx.run(plain)
        run.result()
    spans = exporter.get_finished_spans()
    found = {m.name for m in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics}
    from dataflows_sdk.telemetry import trace_id
    same = {f"{s.context.trace_id:032x}" for s in spans} == {trace_id(run.id)}
    there = [f"dataflows.runs.{name}" in found for name in ("ended", "live")]
    print(json.dumps([sorted(s.name for s in spans), same, *there]))
"""


def test_the_global_providers_are_used_whenever_they_are_set(database_url: str) -> None:
    assert in_a_process(GLOBAL, database_url) == [["activation", "run plain", "step one"], True, True, True]


MISSING = """
    import json, sys
    import dataflows_sdk as df

    class Nowhere:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "opentelemetry":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Nowhere())
    try:
        df.connect(sys.argv[1], telemetry=True)
    except df.errors.MissingExtraError as error:
        said = str(error)
    with df.connect(sys.argv[1]) as ctx:
        print(json.dumps([said, repr(ctx.runs())[:0]]))
"""


def test_a_missing_package_names_the_extra(database_url: str) -> None:
    said, _ = in_a_process(MISSING, database_url, OTEL_TRACES_EXPORTER="otlp")
    assert said == "telemetry= needs OpenTelemetry, which is not installed: pip install 'dataflows-sdk[otel]'"
    assert issubclass(MissingExtraError, df.DataflowsError)


def test_what_is_no_telemetry_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"telemetry= is True, False or a df.Telemetry\(...\), not 'yes'"):
        observing("yes")  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="'parent' or 'link', not 'both'"):
        df.Telemetry(callers="both")  # type: ignore[arg-type]


def test_another_sdk_than_the_known_one_gets_spans_with_ids_of_its_own(make_ctx: MakeContext, watch: Watch) -> None:
    class Wrapped:
        """A provider whose tracers have no id generator to be told by."""

        def get_tracer(self, *arguments: Any) -> Any:
            inner = watch.provider.get_tracer("another")

            class Tracer:
                start_span = staticmethod(inner.start_span)

            return Tracer()

    async def plain(event: Any, step: df.Step) -> None:
        await step.run("one", lambda: 1)

    settings = df.Telemetry(tracer_provider=Wrapped(), meter_provider=MeterProvider())  # type: ignore[arg-type]
    run = make_ctx(telemetry=settings).run(df.Workflow("plain", plain))
    from dataflows_sdk.telemetry import trace_id

    watch.span("run plain")
    assert {f"{span.get_span_context().trace_id:032x}" for span in watch.spans()} == {trace_id(run.id)}  # type: ignore[union-attr]
