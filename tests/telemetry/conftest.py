"""Contexts that are watched by the real SDK, into memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import dataflows_sdk as df

from ..conftest import MakeContext, wait_until


class Watch:
    """One process's OpenTelemetry."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(**options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    def settings(self, **more: Any) -> df.Telemetry:
        return df.Telemetry(tracer_provider=self.provider, meter_provider=self.meters, **more)

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """In the order in which they began; after the end of what is under way."""
        found = [span for span in self.exporter.get_finished_spans() if name is None or span.name == name]
        return sorted(found, key=lambda span: span.start_time or 0)

    def span(self, name: str) -> ReadableSpan:
        """The only one of this name, which may be about to end."""
        wait_until(lambda: self.spans(name), f"there is a span {name!r} among {[s.name for s in self.spans()]}")
        (found,) = self.spans(name)
        return found

    def names(self) -> list[str]:
        return sorted(span.name for span in self.spans())

    def points(self, name: str) -> list[Any]:
        """The data points of a metric."""
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def counted(self, name: str, *labels: str) -> dict[Any, float]:
        """A counter, or the number of records of a histogram, by the values of labels."""
        found: dict[Any, float] = {}
        for point in self.points(name):
            key = tuple(point.attributes[label] for label in labels)
            amount = point.count if hasattr(point, "count") else point.value
            found[key[0] if len(key) == 1 else key] = amount
        return found


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent is not None else None


def own(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def trace_of(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}"


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def watched(make_ctx: MakeContext, watch: Watch) -> Callable[..., Any]:
    """``watched(linger="0s")``: a context whose spans and numbers come into `watch`."""

    def make(settings: dict[str, Any] | None = None, **options: Any) -> Any:
        return make_ctx(telemetry=watch.settings(**(settings or {})), **options)

    return make
