"""Forks: a new run that shares a past with another one. Deciding what it shares is pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataflows_sdk.engine.state import JournalEvent
from dataflows_sdk.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class ForkPlan:
    """What a fork takes over: events by seq, and new values by step key."""

    copied: tuple[int, ...]
    replaced: dict[str, Any]
    at: str


def plan_fork(
    events: Sequence[JournalEvent],
    at: str | int | None,
    replace: Mapping[str, Any],
    upstream: Mapping[str, set[str]] | None,
) -> ForkPlan:
    """Which steps of a run a fork keeps.

    Args:
        events: the original's journal.
        at: the step (key or name) or seq from which on things are done again; None: after the last record.
        replace: values instead of recorded ones, by step key or name.
        upstream: for a DAG, the ancestors of each node: then what does not depend on the cut is kept, wherever it
            stands in time. For code, everything that was recorded before the cut is kept.

    Raises:
        DefinitionError: no such step, or a replaced step that lies behind the cut.
    """
    keys = _step_keys(events)
    cut_key = ""
    if isinstance(at, str):
        cut_key = _find(keys, at)
        cut = keys[cut_key]
    elif at is None:
        cut = events[-1].seq + 1 if events else 1
    else:
        cut = int(at)
        if not 1 <= cut <= (events[-1].seq + 1 if events else 1):
            raise DefinitionError(f"the run has events 1 to {events[-1].seq}, there is no {cut}")
    replaced = {_find(keys, name): value for name, value in replace.items()}
    dropped = _dropped(keys, cut_key, set(replaced), upstream) if upstream is not None and cut_key else None
    if dropped is None:
        for key in replaced:
            if keys[key] >= cut and key != cut_key:
                raise DefinitionError(f"step {key!r} comes after the cut at {at!r}; fork at it or before it")
    # Groups around the cut were opened before it and are not over: their other branches keep what they have.
    around = _ancestors(cut_key)
    ends: dict[str, int] = {}
    kept: list[JournalEvent] = []
    for event in events:
        key = event.key
        if not (event.kind.startswith("step.") or event.kind == "scope.opened") or key.startswith("undo/"):
            continue
        if _within(key, cut_key) or any(_within(key, given) for given in replaced):
            continue
        if (event.seq >= cut and not _beside(key, cut_key, around)) if dropped is None else (_top(key) in dropped):
            continue
        if event.kind == "scope.opened":
            kept.append(event)
        elif key not in around:
            kept.append(event)
            if _is_end(event):
                ends[key] = event.seq
    # A step that had no end before the cut is done again from its beginning.
    copied = [e.seq for e in kept if e.kind == "scope.opened" or ends.get(e.key, 0) >= e.seq]
    return ForkPlan(tuple(copied), replaced, cut_key or str(cut))


def _beside(key: str, cut: str, around: set[str]) -> bool:
    """Whether a step stands in another branch of a group around the cut: it did not depend on the cut."""
    for group in around:
        if key.startswith(group + "["):
            branch = cut[: cut.index("]", len(group)) + 1]
            if not _within(key, branch):
                return True
    return False


def _is_end(event: JournalEvent) -> bool:
    if event.kind == "step.failed":
        return not event.data.get("retry_at")
    return event.kind in ("step.completed", "step.timed_out", "step.skipped")


def _step_keys(events: Sequence[JournalEvent]) -> dict[str, int]:
    """The seq at which each step begins."""
    keys: dict[str, int] = {}
    for event in events:
        if event.kind.startswith("step.") or event.kind == "scope.opened":
            keys.setdefault(event.key, event.seq)
    return keys


def _find(keys: Mapping[str, int], wanted: str) -> str:
    if wanted in keys:
        return wanted
    raise DefinitionError(
        f"the run has no step {wanted!r}; it has {', '.join(list(keys)[:20]) or 'none'}{' …' if len(keys) > 20 else ''}"
    )


def _within(key: str, cut: str) -> bool:
    return bool(cut) and (key == cut or key.startswith((cut + "/", cut + "[")))


def _ancestors(key: str) -> set[str]:
    """The groups around a step: ``a[1]/b[2]/c`` stands in ``a`` and in ``a[1]/b``."""
    found: set[str] = set()
    for position, sign in enumerate(key):
        if sign == "[":
            found.add(key[:position])
    return found


def _top(key: str) -> str:
    """The node of a DAG that a step belongs to."""
    for position, sign in enumerate(key):
        if sign in "/[#":
            return key[:position]
    return key


def _dropped(keys: Mapping[str, int], cut: str, replaced: set[str], upstream: Mapping[str, set[str]]) -> set[str]:
    """Nodes whose outcome depends on the cut or on a replaced value."""
    sources = {_top(cut)} | {_top(key) for key in replaced}
    nodes = {_top(key) for key in keys}
    return {node for node in nodes if upstream.get(node, set()) & sources} | {_top(cut)}
