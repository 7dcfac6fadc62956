"""What is counted, as OpenTelemetry's meter does. Labels are few on purpose: never a run, a key or an error's text."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

if TYPE_CHECKING:
    from dataflows_sdk.engine.runner import Engine
    from dataflows_sdk.telemetry import Telemetry

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LONG = (0.01, 0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

#: engines whose runs are counted; a provider takes one callback per name, however many contexts a process has
_engines: WeakKeyDictionary[MeterProvider, WeakSet[Engine]] = WeakKeyDictionary()


class Metrics:
    """The instruments of one engine."""

    def __init__(self, engine: Engine, settings: Telemetry) -> None:
        provider = settings.meter_provider or metrics.get_meter_provider()
        meter = provider.get_meter("dataflows_sdk", version("dataflows-sdk"))
        self.step_names = settings.step_names
        self.runs_started = meter.create_counter("dataflows.runs.started", "{run}", "runs whose code began here")
        self.runs_ended = meter.create_counter("dataflows.runs.ended", "{run}", "runs that came to their end here")
        self.run_duration = meter.create_histogram(
            "dataflows.run.duration", "s", "from a run's creation to its end", explicit_bucket_boundaries_advisory=_LONG
        )
        self.steps = meter.create_counter("dataflows.steps", "{step}", "attempts of steps, and waits that ended")
        self.step_duration = meter.create_histogram(
            "dataflows.step.duration",
            "s",
            "how long the functions of steps took, per attempt",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.retries = meter.create_counter("dataflows.step.retries", "{retry}", "failed attempts to be followed")
        self.claims = meter.create_counter("dataflows.claims", "{run}", "runs that this process took on")
        self.claim_size = meter.create_histogram(
            "dataflows.claim.size", "{run}", "runs taken on at once", explicit_bucket_boundaries_advisory=_SIZES
        )
        self.commit_size = meter.create_histogram(
            "dataflows.commit.size", "{append}", "appends per commit", explicit_bucket_boundaries_advisory=_SIZES
        )
        self.commit_duration = meter.create_histogram(
            "dataflows.commit.duration",
            "s",
            "from sending a batch to knowing that it is durable",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.lost = meter.create_counter("dataflows.ownership.lost", "{run}", "runs that another process took over")
        self.heartbeats_failed = meter.create_counter(
            "dataflows.heartbeats.failed", "{heartbeat}", "heartbeats that did not reach the database"
        )
        engines = _engines.setdefault(provider, WeakSet())
        engines.add(engine)
        if len(engines) == 1:

            def live(_options: CallbackOptions) -> Iterable[Observation]:
                return [Observation(sum(len(each.live) for each in list(engines)))]

            meter.create_observable_gauge("dataflows.runs.live", [live], "{run}", "runs in the memory of this process")
