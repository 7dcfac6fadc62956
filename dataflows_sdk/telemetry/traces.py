"""Spans of runs, as OpenTelemetry's tracer makes them.

The span of a run is made when the run is over, by the process that ended it, with an id that follows from the run's:
attempts, waits and activations have named it as their parent long before, in whichever processes they were. Nothing
hangs below an activation but what the user's code makes there, for an activation whose process dies has no span.
"""

from __future__ import annotations

import json
import re
import threading
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from dataflows_sdk.telemetry.ids import root_number, step_number, trace_number

if TYPE_CHECKING:
    from dataflows_sdk.engine.live import Frame, LiveRun
    from dataflows_sdk.engine.runner import Engine
    from dataflows_sdk.telemetry import Telemetry

#: verbs without a function of the user's that are worth a span, with what it is called
VERBS = {"sleep": "sleep", "wait": "wait", "child": "child", "send": "send", "emit": "emit"}
_KINDS = {"send": SpanKind.PRODUCER, "emit": SpanKind.PRODUCER}
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class ChosenIds:
    """An id generator that gives, in one thread and for one span, the ids that it is told."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._chosen = threading.local()

    def choose(self, trace_id: int, span_id: int, start: Callable[[], Span]) -> Span:
        """Call *start*, which starts a span."""
        self._chosen.ids = trace_id, span_id
        try:
            return start()
        finally:
            self._chosen.ids = None

    def generate_trace_id(self) -> int:
        ids = getattr(self._chosen, "ids", None)
        return int(ids[0] if ids else self._inner.generate_trace_id())

    def generate_span_id(self) -> int:
        ids = getattr(self._chosen, "ids", None)
        return int(ids[1] if ids else self._inner.generate_span_id())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class RunTrace:
    """Where the spans of a run belong, and its activation here."""

    __slots__ = ("activation", "attributes", "began", "caller", "context", "links", "root")

    def __init__(
        self, root: SpanContext, caller: SpanContext | None, links: list[Link], attributes: dict[str, Any]
    ) -> None:
        self.root = root
        self.caller = caller
        self.links = links
        self.attributes = attributes
        self.context = set_span_in_context(NonRecordingSpan(root), Context())
        self.activation: Span | None = None
        self.began = time.time_ns()


class Traces:
    """Spans of the runs of one engine."""

    def __init__(self, engine: Engine, settings: Telemetry) -> None:
        self._clock = engine.clock
        self._redact = engine.redactor.redact_text
        self._worker = str(engine.worker_id)
        self._given = settings.tracer_provider
        self._links = settings.callers == "link"
        self._version = version("dataflows-sdk")
        self._provider: Any = None
        self._tracer: Any = None
        self._ids: ChosenIds | None = None

    def _tracer_now(self) -> Any:
        """The tracer; that of the global provider, which may be set after we were made."""
        provider = self._given or trace.get_tracer_provider()
        if provider is not self._provider:
            tracer: Any = provider.get_tracer("dataflows_sdk", self._version)
            ids = getattr(tracer, "id_generator", None)
            if ids is not None and not isinstance(ids, ChosenIds):
                # Providers keep one tracer per library, so this one is ours, and only ours.
                ids = tracer.id_generator = ChosenIds(ids)
            self._provider, self._tracer, self._ids = provider, tracer, ids
        return self._tracer

    # --- runs --------------------------------------------------------------------------------------------

    def begin(self, live: LiveRun) -> RunTrace:
        """An activation begins, and is the current span from here on."""
        tracer = self._tracer_now()
        run = self.place(live)
        attributes = {
            **run.attributes,
            "dataflows.activation": live.head.epoch,
            "dataflows.worker.id": self._worker,
            "dataflows.run.crashes": live.state.crashes,
        }
        run.activation = tracer.start_span("activation", context=run.context, attributes=attributes)
        # The task's own context, and its last use: nothing has to be put back. It may have inherited the span of
        # whoever woke the loop, so it begins with an empty one.
        attach(set_span_in_context(run.activation, Context()))
        return run

    def leave(self, run: RunTrace, how: str) -> None:
        """The activation is over; the run may not be."""
        span, run.activation = run.activation, None
        if span is None:
            return
        span.set_attribute("dataflows.activation.end", how)
        if how == "lost":
            span.set_status(Status(StatusCode.ERROR, "another process owns the run"))
        span.end()

    def end(self, live: LiveRun, run: RunTrace, status: str, data: str) -> None:
        """The run is over: its span, from its beginning on."""
        self.leave(run, status)
        resumed, created = live.state.resumed_at, live.state.created_at
        since = resumed if resumed is not None else created
        start = run.began if since is None else min(run.began, self.journal_time(since))
        attributes = {**run.attributes, "dataflows.run.status": status}
        parent = Context() if run.caller is None else set_span_in_context(NonRecordingSpan(run.caller), Context())
        span = self._chosen(run.root.trace_id, run.root.span_id, f"run {live.workflow.name}", parent, run,
                            attributes=attributes, links=run.links, start_time=start)  # fmt: skip
        if status in ("failed", "quarantined"):
            outcome = json.loads(data)
            error = outcome.get("error") or outcome.get("reason") or {}
            kind = error.get("type") or error.get("code") or ""
            span.set_attribute("error.type", kind)
            span.set_status(Status(StatusCode.ERROR, f"{kind}: {error.get('message', '')}"))
        span.end()

    def _chosen(self, trace_id: int, span_id: int, name: str, parent: Context, run: RunTrace, **more: Any) -> Span:
        """A span of an id that others know."""
        tracer = self._tracer_now()
        if self._ids is None:  # not the SDK that we know: a span with an id of its own, where the others are
            made: Span = tracer.start_span(name, context=run.context, **more)
            return made
        return self._ids.choose(trace_id, span_id, lambda: tracer.start_span(name, context=parent, **more))

    def place(self, live: LiveRun) -> RunTrace:
        """Where a run belongs: below the span that started it, or in a trace of its own."""
        created = live.state.created
        attributes: dict[str, Any] = {
            "dataflows.run.id": str(live.id),
            "dataflows.workflow": live.workflow.name,
            "dataflows.workflow.version": live.workflow.version,
        }
        caller = span_context(created.get("traceparent"))
        links: list[Link] = []
        fork = created.get("fork")
        if fork is not None:
            # What it has from its origin is also who started that one.
            origin = UUID(fork["of"])
            attributes["dataflows.fork.of"] = fork["of"]
            number = caller.trace_id if caller is not None and not self._links else trace_number(origin)
            links.append(Link(SpanContext(number, root_number(origin, 0), is_remote=True)))
            caller = None
        elif caller is not None and self._links and live.parent is None:
            links.append(Link(caller))
            caller = None
        number = caller.trace_id if caller is not None else trace_number(live.id)
        flags = TraceFlags(TraceFlags.SAMPLED if self._sampled(live, number, caller, attributes, links) else 0)
        root = SpanContext(number, root_number(live.id, live.state.resumes), is_remote=True, trace_flags=flags)
        return RunTrace(root, caller, links, attributes)

    def _sampled(
        self, live: LiveRun, number: int, caller: SpanContext | None, attributes: dict[str, Any], links: list[Link]
    ) -> bool:
        """Will the run's span be kept? Asked again by every process: samplers decide by the trace, so all agree."""
        sampler = getattr(self._tracer_now(), "sampler", None)
        if sampler is None:
            return caller is None or caller.trace_flags.sampled
        parent = Context() if caller is None else set_span_in_context(NonRecordingSpan(caller), Context())
        name = f"run {live.workflow.name}"
        result = sampler.should_sample(parent, number, name, SpanKind.INTERNAL, attributes, links)
        return bool(result.decision.is_sampled())

    def journal_time(self, at: datetime) -> int:
        """An instant of the journal on this machine's clock, which the other spans here are told by."""
        return time.time_ns() - int((self._clock.now() - at).total_seconds() * 1e9)

    # --- steps -------------------------------------------------------------------------------------------

    def _parent(self, run: RunTrace) -> Context | None:
        """A span that the user's code made around the step, as long as it is of this trace; else the run."""
        current = trace.get_current_span()
        context = current.get_span_context()
        if current is run.activation or not context.is_valid or context.trace_id != run.root.trace_id:
            return run.context
        return None

    def _step(self, run: RunTrace, frame: Frame) -> dict[str, Any]:
        return {
            "dataflows.run.id": run.attributes["dataflows.run.id"],
            "dataflows.workflow": run.attributes["dataflows.workflow"],
            "dataflows.step.key": frame.key,
            "dataflows.step.op": frame.op,
        }

    def attempt(self, live: LiveRun, run: RunTrace, frame: Frame, attempt: int) -> Callable[..., None]:
        """An attempt begins, and is the current span until what is returned is called."""
        attributes = self._step(run, frame)
        attributes["dataflows.attempt"] = attempt
        attributes["dataflows.activation"] = live.head.epoch
        span = self._tracer_now().start_span(
            f"step {base_name(frame.name)}", context=self._parent(run), attributes=attributes
        )
        token = attach(set_span_in_context(span))

        def ended(error: BaseException | None, retry_at: datetime | None, outcome: str) -> None:
            if not isinstance(error, GeneratorExit):  # a coroutine that was thrown away ends in a context not its own
                detach(token)
            span.set_attribute("dataflows.step.outcome", outcome)
            if retry_at is not None:
                span.set_attribute("dataflows.retry_at", retry_at.isoformat())
            if isinstance(error, Exception):
                self._fail(span, error)
            span.end()

        return ended

    def _fail(self, span: Span, error: Exception) -> None:
        """What `Span.record_exception` does, with secrets masked."""
        if not span.is_recording():
            return
        kind = type(error).__qualname__
        if type(error).__module__ != "builtins":
            kind = f"{type(error).__module__}.{kind}"
        message = self._redact(str(error))
        stack = self._redact("".join(traceback.format_exception(error)))
        span.add_event(
            "exception", {"exception.type": kind, "exception.message": message, "exception.stacktrace": stack}
        )
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {message}"))

    def completed(self, run: RunTrace, live: LiveRun, frame: Frame, outcome: str) -> None:
        """A verb that waited, here and before, or sent something."""
        record = frame.record
        before = record.started_at if record is not None else None
        start = self.journal_time(before) if before is not None else frame.since or time.time_ns()
        attributes = self._step(run, frame)
        attributes["dataflows.step.outcome"] = outcome
        name = f"{VERBS[frame.op]} {base_name(frame.name)}"
        kind = _KINDS.get(frame.op, SpanKind.INTERNAL)
        if frame.op == "child":
            span = self._chosen(run.root.trace_id, step_number(live.id, frame.key), name, run.context, run,
                                kind=kind, attributes=attributes, start_time=start)  # fmt: skip
        else:
            span = self._tracer_now().start_span(
                name, context=self._parent(run), kind=kind, attributes=attributes, start_time=start
            )
        if outcome == "failed":
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def traceparent(self, live: LiveRun, run: RunTrace, key: str | None) -> str:
        """What a child has as its parent."""
        span = run.root.span_id if key is None else step_number(live.id, key)
        return f"00-{run.root.trace_id:032x}-{span:016x}-{int(run.root.trace_flags):02x}"


def base_name(name: str) -> str:
    """A step's name without the key of a branch, so that names of spans stay few."""
    return name.partition("[")[0] or name if name.endswith("]") else name


def span_context(traceparent: Any) -> SpanContext | None:
    """What a ``traceparent`` names; None for what is none."""
    found = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if found is None:
        return None
    numbers = [int(part, 16) for part in found.groups()]
    context = SpanContext(numbers[0], numbers[1], is_remote=True, trace_flags=TraceFlags(numbers[2]))
    return context if context.is_valid else None


def current_traceparent() -> str | None:
    """The current span of this context; None without one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 0xFF:02x}"
