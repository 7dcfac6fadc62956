"""Log records that say which run, step and attempt they belong to, in the style of the standard library.

What is known is the context of the code that logs, so it works for every logger, also those of libraries, in async code
and in the threads that the engine calls code in. Threads that a step starts by itself have no context, unless it gives
them one (``contextvars.copy_context().run``).
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from json import dumps
from typing import IO, Any
from weakref import WeakKeyDictionary

from dataflows_sdk.core.current import current_step
from dataflows_sdk.core.redact import RedactingFilter
from dataflows_sdk.engine.live import Branch, LiveRun, current_branch

__all__ = ["ContextFilter", "JsonFormatter", "RunLogger", "configure_logging", "logger"]

#: what a record may say of its place
FIELDS = ("run_id", "workflow", "step", "attempt", "trace_id", "span_id")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_TEXT = "%(asctime)s %(levelname)-7s %(name)s%(place)s: %(message)s"


def place() -> dict[str, Any]:
    """Of the code that calls this: its run and workflow; inside a step's function also the step's key and the attempt;
    and the current span, where OpenTelemetry is in use. Empty outside of all.
    """
    found: dict[str, Any] = {}
    info, branch = current_step.get(), current_branch.get()
    live = branch.live if branch is not None else None
    if live is not None:
        found["run_id"] = str(live.id)
        found["workflow"] = live.workflow.name
    if info is not None and info.active and (live is None or info.run_id == found["run_id"]):
        found["run_id"] = info.run_id
        found["step"] = info.key
        found["attempt"] = info.attempt
    tracing = sys.modules.get("opentelemetry.trace")
    if tracing is not None:
        span = tracing.get_current_span().get_span_context()
        if span.is_valid:
            found["trace_id"] = f"{span.trace_id:032x}"
            found["span_id"] = f"{span.span_id:016x}"
    return found


class ContextFilter(logging.Filter):
    """Adds ``run_id``, ``workflow``, ``step`` (its key), ``attempt``, ``trace_id`` and ``span_id`` to every record.

    What does not apply is an empty string, so that formats such as ``%(run_id)s`` always work; what a record says
    already is left alone. ``%(place)s`` is all of it for people to read. Drops nothing. Put it on a handler
    (``handler.addFilter(df.ContextFilter())``): filters of a logger do not see the records of its children. With a
    ``QueueHandler`` it belongs there, not on the handlers of the listener, which work in another thread.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete a record; always True."""
        found = place()
        for name in FIELDS:
            if not hasattr(record, name):
                setattr(record, name, found.get(name, ""))
        record.place = _readable(record)
        return True


def _readable(record: logging.LogRecord) -> str:
    known = record.__dict__
    if not known["run_id"]:
        return ""
    text = f" [{known['workflow']} {known['run_id']}"
    if known["step"]:
        text += f" {known['step']}"
    if known["attempt"] not in ("", 1):
        text += f" attempt {known['attempt']}"
    return text + "]"


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON.

    Members: ``at`` (UTC), ``level``, ``logger``, ``message``; where they apply those of `ContextFilter`, which need not
    be there for that; what was given as ``extra=``; ``error`` (``type``, ``message``) and ``traceback``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        found = place() if not hasattr(record, "run_id") else {}
        for name in FIELDS:
            value = record.__dict__.get(name) or found.get(name)
            if value not in (None, ""):
                line[name] = value
        for name, value in record.__dict__.items():
            if name not in _STANDARD and name not in FIELDS and name != "place":
                line.setdefault(name, value)
        if record.exc_info and record.exc_info[1] is not None:
            line.setdefault("error", _described(record.exc_info[1]))
            line["traceback"] = record.exc_text or self.formatException(record.exc_info)
        elif record.exc_text:
            line["traceback"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return dumps(line, default=str, ensure_ascii=False)


def configure_logging(
    *, json: bool = False, level: int | str = logging.INFO, stream: IO[str] | None = None
) -> logging.Handler:
    """Log everything from *level* on to stderr, with run, step and attempt, and with secrets masked. For scripts.

    A program that sets up logging by itself uses `ContextFilter` and `JsonFormatter` instead.

    Args:
        json: one JSON object per line, for machines; else text.
        level: of the root logger.
        stream: instead of stderr.

    Returns:
        The handler, which is on the root logger. Called again, it takes the place of the one before.

    Raises:
        ValueError: there is no such level.
    """
    root = logging.getLogger()
    root.setLevel(level)
    handler = _Ours(stream)
    handler.addFilter(ContextFilter())
    handler.addFilter(_name_error)
    handler.addFilter(RedactingFilter())
    handler.setFormatter(JsonFormatter() if json else logging.Formatter(_TEXT))
    for other in [each for each in root.handlers if isinstance(each, _Ours)]:
        root.removeHandler(other)
        other.close()
    root.addHandler(handler)
    return handler


def _name_error(record: logging.LogRecord) -> bool:
    """Keep what a machine wants to know of an exception, before it is turned into text."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        record.error = _described(error)
    return True


def _described(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "message": str(error)}


class _Ours(logging.StreamHandler[IO[str]]):
    """The handler of `configure_logging`."""


# --- code that is replayed --------------------------------------------------------------------------------


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that is silent while the code around it only repeats what is recorded. Made by `logger`."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is logging's
        """Whether a record of *level* would be made here and now."""
        return super().isEnabledFor(level) and not replaying()

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """As it is: ``extra=`` of a call is kept."""
        return msg, kwargs


def logger(name: str = "dataflows.workflow") -> RunLogger:
    """A logger for the code of workflows, which says each thing once however often the run is replayed.

    Between recorded steps it is silent; inside a step's function, and anywhere outside of workflows, it is
    ``logging.getLogger(name)``. What stands between the last recorded step and a crash is said again, and so is what
    tasks of your own say.

    Args:
        name: usually ``__name__``.
    """
    return RunLogger(logging.getLogger(name), {})


def replaying() -> bool:
    """Whether the workflow's code that calls this has been here before, in an earlier activation of its run."""
    branch = current_branch.get()
    if branch is None or branch.live is None:
        return False
    info = current_step.get()
    if info is not None and info.active and info.run_id == str(branch.live.id):
        return False
    return branch.live.dry or branch.replaying() or _went_on(branch, branch.live)


def _went_on(branch: Branch, live: LiveRun) -> bool:
    """Nothing recorded is ahead in this scope; did an earlier activation come further than that nevertheless?

    It did when the run was let go of later: until then everything goes on that does not wait. Not when it ended in a
    crash; then nobody knows, and a line is better said twice than never.
    """
    if branch.path and _group(branch.path) in _closed(live):
        return True
    state, last = live.state, branch.expected.get(branch.n)
    if branch.n > branch.last or (last is None and branch.path) or (last is not None and not last.done):
        return False
    if last is None:
        return state.left_seq > 0
    return state.left_seq > last.seq and last.key not in state.parked


def _group(path: str) -> str:
    """The key of the group that a branch belongs to."""
    return path[: path.rfind("[")]


#: for each run the groups that were over before this activation
_groups: WeakKeyDictionary[LiveRun, frozenset[str]] = WeakKeyDictionary()


def _closed(live: LiveRun) -> frozenset[str]:
    found = _groups.get(live)
    if found is None:
        records = (record for scope in live.expected.values() for record in scope.values())
        found = _groups[live] = frozenset(record.key for record in records if record.done)
    return found
