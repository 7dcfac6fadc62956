"""Traces and metrics by OpenTelemetry: ``connect(telemetry=True)``, or `Telemetry` with what differs.

This module loads nothing of OpenTelemetry; what does is loaded by a context that asks for it, and is behind the extra
``dataflows-sdk[otel]``. Exporters, sampling and resources are OpenTelemetry's own business: whatever the process has
set up (in code, or by ``opentelemetry-instrument``) is used.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError, MissingExtraError
from dataflows_sdk.telemetry.ids import trace_id

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from dataflows_sdk.engine.observer import Observer
    from dataflows_sdk.engine.runner import Engine

__all__ = ["Telemetry", "observing", "trace_id"]

log = logging.getLogger("dataflows.telemetry")

#: those of OpenTelemetry's standard variables that say where to send something
_WHERE_TO = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_METRICS_EXPORTER",
    "OTEL_TRACES_EXPORTER",
)


@dataclass(frozen=True, slots=True)
class Telemetry(ShownAsTable):
    """What a context tells OpenTelemetry.

    Args:
        traces: a span per run, activation, attempt of a step, wait and child.
        metrics: counters, histograms and the number of runs in memory.
        tracer_provider: instead of the process's global one.
        meter_provider: instead of the process's global one.
        callers: a run that is started within a span becomes a part of that trace (``"parent"``), or has a trace of its
            own that links to it (``"link"``): better where requests are short and runs take days.
        step_names: also label metrics with the names of steps. Only where these are few: each makes series of its own.

    Raises:
        DefinitionError: *callers* is something else.
    """

    traces: bool = True
    metrics: bool = True
    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    callers: Literal["parent", "link"] = "parent"
    step_names: bool = False

    def __post_init__(self) -> None:
        if self.callers not in ("parent", "link"):
            raise DefinitionError(f"Telemetry(callers=) is 'parent' or 'link', not {self.callers!r}")


def observing(telemetry: Telemetry | bool | None) -> Callable[[Engine], Observer] | None:
    """Makes an engine's observer; None where nobody wants one.

    Args:
        telemetry: None asks the environment: a standard variable such as ``OTEL_EXPORTER_OTLP_ENDPOINT`` that says
            where to send something turns it on, as far as OpenTelemetry is installed.

    Raises:
        MissingExtraError: it was asked for, and OpenTelemetry is not installed.
        DefinitionError: *telemetry* is something else.
    """
    if telemetry is False or (telemetry is None and not _environment_asks()):
        return None
    if telemetry is not None and not isinstance(telemetry, Telemetry | bool):
        raise DefinitionError(f"telemetry= is True, False or a df.Telemetry(...), not {telemetry!r}")
    try:
        from dataflows_sdk.telemetry.observer import OpenTelemetry
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        if telemetry is None:
            log.info("the environment names an exporter of OpenTelemetry, which is not installed")
            return None
        raise MissingExtraError(
            "telemetry= needs OpenTelemetry, which is not installed: pip install 'dataflows-sdk[otel]'"
        ) from error
    settings = telemetry if isinstance(telemetry, Telemetry) else Telemetry()
    return lambda engine: OpenTelemetry(engine, settings)


def _environment_asks() -> bool:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return any(os.environ.get(name, "").strip().lower() not in ("", "none") for name in _WHERE_TO)
