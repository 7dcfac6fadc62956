"""Runs and their steps as items: what ran, how it ended, what came of it or went wrong, and when."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dataflows_memory.items import New
from dataflows_memory.tables import Source, alone, nobody
from dataflows_memory.writing import Stored
from dataflows_sdk.core.redact import REDACTOR

if TYPE_CHECKING:
    from dataflows_memory.store import Store
    from dataflows_memory.writing import Keeper

#: what a source of runs is called; no table can be called so
RUNS = "dataflows.runs"
#: runs that are read at a time
_PAGE = 100
#: so far is looked back: who ended first may have committed last. What is read twice changes nothing.
_BACK = timedelta(minutes=1)
#: letters of a value in a text
_SHOWN = 400


class Runs:
    """Follows the runs that end.

    Args:
        store: where items are kept.
    """

    def __init__(self, store: Store, now: Callable[[], datetime | None]) -> None:
        self._store = store
        self._now = now

    def declare(self, place: int, workflows: Sequence[str], steps: bool) -> Source:
        """Have a source for runs; where one is there that says otherwise, its items are made anew."""
        template = json.dumps({"workflows": sorted(set(workflows)), "steps": steps})
        self._store.ask("items", "make_source", [place, RUNS, template, []])
        source = self.source(place)
        assert source is not None
        if source.template != template:
            self.drop(source)
            return self.declare(place, workflows, steps)
        return source

    def source(self, place: int) -> Source | None:
        """What there is in a place."""
        rows = self._store.ask("items", "sources", [[place]])
        return next((source for source in map(Source.of, rows) if source.name == RUNS), None)

    def drop(self, source: Source) -> None:
        """Follow runs no longer, and forget their items."""
        with self._store.together() as connection:
            ids = [id_ for (id_,) in self._store.run(connection, "items", "runs_of", [source.place])]
            self._store.run(connection, "items", "forget", [ids])
            self._store.run(connection, "items", "drop_source", [source.id])

    def follow(self, source: Source, keeper: Keeper, most: int | None = None) -> tuple[Stored, bool]:
        """Read the runs that ended since, and whether those are all; as `Tables.follow`."""
        total, left, last = Stored(()), most, ""
        with alone(self._store, source) as mine:
            if not mine:
                return total, False
            wanted = json.loads(source.template)
            source = self.source(source.place) or source
            since = None if source.cursor is None else datetime.fromisoformat(source.cursor) - _BACK
            while left is None or left > 0:
                rows = self._store.ask("items", "ended_runs", [since, last, wanted["workflows"] or None, _PAGE])
                if not rows:
                    break
                items = [*_runs(rows), *(self._steps(rows) if wanted["steps"] else ())]
                sent = keeper.warm(items)
                since, last = rows[-1][4], str(rows[-1][0])
                with self._store.together() as connection:
                    total += replace(keeper.put(source.place, items, nobody(self._now())), items=())
                    self._store.run(connection, "items", "move_source", [source.id, since.isoformat()])
                total += Stored((), embedded=sent)
                if len(rows) < _PAGE:
                    return total, True
                left = None if left is None else left - len(rows)
            return total, left is None or left > 0

    def _steps(self, runs: Sequence[tuple[Any, ...]]) -> Iterator[New]:
        named = {str(id_): workflow for id_, workflow, *_ in runs}
        for run, key, op, attempt, status, output, error, finished in self._store.ask(
            "items", "steps_of", [list(named)]
        ):
            workflow = named[str(run)]
            tries = f" after {attempt} attempts" if attempt > 1 else ""
            parts = [f"Step {key} of workflow {workflow} {status}{tries}."]
            parts += [f"Result: {_shown(output)}"] if output is not None and status == "completed" else []
            parts += [f"Error: {_error(error)}"] if error is not None else []
            meta = {"workflow": workflow, "status": status, "step": key, "op": op}
            yield New(
                " ".join(parts), "step", f"{run}/{key}", meta=meta, valid_from=finished, run=str(run), step=str(key)
            )


def _runs(rows: Sequence[tuple[Any, ...]]) -> Iterator[New]:
    for id_, workflow, version, status, finished, seconds, payload, result, error in rows:
        parts = [f"Run of workflow {workflow} {status} at {finished:%Y-%m-%d %H:%M:%S} UTC after {seconds or 0:.3g} s."]
        parts += [f"Input: {_shown(payload)}"] if payload is not None else []
        parts += [f"Result: {_shown(result)}"] if result is not None else []
        parts += [f"Error: {_error(error)}"] if error is not None else []
        meta = {"workflow": workflow, "status": status, "version": version}
        yield New(" ".join(parts), "run", str(id_), meta=meta, valid_from=finished, run=str(id_))


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = REDACTOR.redact_text(text)  # before it is cut: half a token is not recognised any more
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _error(error: Mapping[str, Any] | Any) -> str:
    if isinstance(error, Mapping):
        return _shown(": ".join(str(error[name]) for name in ("type", "message") if error.get(name)))
    return _shown(error)
