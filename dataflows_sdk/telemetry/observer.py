"""The engine's observer that tells OpenTelemetry."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflows_sdk.engine.observer import Attempted, Left, trace_callers, unobserved
from dataflows_sdk.telemetry.metrics import Metrics
from dataflows_sdk.telemetry.traces import VERBS, RunTrace, Traces, base_name, current_traceparent

if TYPE_CHECKING:
    from dataflows_sdk.engine.claims import Claimed
    from dataflows_sdk.engine.live import Frame, LiveRun
    from dataflows_sdk.engine.runner import Engine
    from dataflows_sdk.telemetry import Telemetry

log = logging.getLogger("dataflows.telemetry")


class _Harmless:
    """A block whose exceptions are told to the log, the first one loudly: no run fails because nobody can watch it."""

    def __init__(self) -> None:
        self._told = False

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _frames: object) -> bool:
        if not isinstance(error, Exception):
            return False
        log.log(logging.DEBUG if self._told else logging.WARNING, "OpenTelemetry failed", exc_info=error)
        self._told = True
        return True


class _Notes:
    """What is remembered of a run in memory."""

    __slots__ = ("began", "trace")

    def __init__(self, trace: RunTrace | None) -> None:
        self.trace = trace
        self.began = time.time_ns()


class OpenTelemetry:
    """Traces and metrics of one engine; see `dataflows_sdk.engine.observer.Observer`."""

    def __init__(self, engine: Engine, settings: Telemetry) -> None:
        self._clock = engine.clock
        self._traces = Traces(engine, settings) if settings.traces else None
        self._metrics = Metrics(engine, settings) if settings.metrics else None
        self._harmless = _Harmless()
        if settings.traces:
            trace_callers(current_traceparent)

    # --- runs --------------------------------------------------------------------------------------------

    def activated(self, live: LiveRun) -> Left:
        with self._harmless:
            if self._metrics is not None and live.head.epoch == 1:
                self._metrics.runs_started.add(1, {"dataflows.workflow": live.workflow.name})
            live.observed = _Notes(self._traces.begin(live) if self._traces is not None else None)

        def left(how: str) -> None:
            with self._harmless:
                if self._metrics is not None and how == "lost":
                    self._metrics.lost.add(1, {"dataflows.workflow": live.workflow.name})
                run = _trace(live)
                if self._traces is not None and run is not None:
                    self._traces.leave(run, how)

        return left

    def ended(self, live: LiveRun, status: str, data: str) -> None:
        with self._harmless:
            if self._traces is not None:
                self._traces.end(live, _trace(live) or self._traces.place(live), status, data)
        with self._harmless:
            if self._metrics is not None:
                labels = {"dataflows.workflow": live.workflow.name, "dataflows.run.status": status}
                self._metrics.runs_ended.add(1, labels)
                created = live.state.created_at
                if created is not None:
                    took = (self._clock.now() - created).total_seconds()
                else:  # it was created here, a moment before its code began
                    took = (time.time_ns() - live.observed.began) / 1e9
                self._metrics.run_duration.record(max(0.0, took), labels)

    def claimed(self, claims: Sequence[Claimed]) -> None:
        with self._harmless:
            if self._metrics is not None:
                self._metrics.claim_size.record(len(claims))
                for was, count in Counter(claim.was for claim in claims).items():
                    self._metrics.claims.add(count, {"dataflows.claim.was": was})

    def traceparent(self, live: LiveRun, key: str | None) -> str | None:
        with self._harmless:
            run = _trace(live)
            if self._traces is not None and run is not None:
                return self._traces.traceparent(live, run, key)
        return None

    # --- steps -------------------------------------------------------------------------------------------

    def attempt(self, live: LiveRun, frame: Frame, attempt: int) -> Attempted:
        told: Any = None
        with self._harmless:
            run = _trace(live)
            if self._traces is not None and run is not None:
                told = self._traces.attempt(live, run, frame, attempt)
        if self._metrics is None and told is None:
            return unobserved
        began = time.perf_counter()

        def ended(error: BaseException | None, retry_at: datetime | None) -> None:
            took = time.perf_counter() - began
            outcome = _outcome(error, retry_at)
            with self._harmless:
                if self._metrics is not None:
                    labels = self._labels(live, frame, outcome)
                    self._metrics.steps.add(1, labels)
                    self._metrics.step_duration.record(took, labels)
                    if retry_at is not None:
                        del labels["dataflows.step.outcome"]
                        self._metrics.retries.add(1, labels)
            with self._harmless:
                if told is not None:
                    told(error, retry_at, outcome)

        return ended

    def completed(self, live: LiveRun, frame: Frame, outcome: str) -> None:
        if frame.op not in VERBS:
            return
        with self._harmless:
            if self._metrics is not None:
                self._metrics.steps.add(1, self._labels(live, frame, outcome))
            run = _trace(live)
            if self._traces is not None and run is not None:
                self._traces.completed(run, live, frame, outcome)

    def _labels(self, live: LiveRun, frame: Frame, outcome: str) -> dict[str, str]:
        labels = {
            "dataflows.workflow": live.workflow.name,
            "dataflows.step.op": frame.op,
            "dataflows.step.outcome": outcome,
        }
        if self._metrics is not None and self._metrics.step_names:
            labels["dataflows.step.name"] = base_name(frame.name)
        return labels

    # --- the process -------------------------------------------------------------------------------------

    def committed(self, units: int, seconds: float) -> None:
        with self._harmless:
            if self._metrics is not None:
                self._metrics.commit_size.record(units)
                self._metrics.commit_duration.record(seconds)

    def heartbeat_failed(self) -> None:
        with self._harmless:
            if self._metrics is not None:
                self._metrics.heartbeats_failed.add(1)


def _trace(live: LiveRun) -> RunTrace | None:
    notes: _Notes | None = live.observed
    return notes.trace if notes is not None else None


def _outcome(error: BaseException | None, retry_at: datetime | None) -> str:
    if error is None:
        return "completed"
    if retry_at is not None:
        return "retrying"
    return "failed" if isinstance(error, Exception) else "interrupted"
