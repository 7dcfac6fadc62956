"""Which finished runs are kept, and which go: by age, by size, by workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from dataflows_sdk.core.durations import Duration, format_duration, parse_duration
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.core.sizes import Size, format_size, parse_size
from dataflows_sdk.errors import DefinitionError

__all__ = ["Retention"]


@dataclass(frozen=True)
class Retention(ShownAsTable):
    """How long finished runs are kept. Give it to ``df.connect(retention=…)``.

    Runs that are not over, and quarantined ones, always stay.

    Args:
        age: runs that ended longer ago go; None: none goes by its age. Kept as a timedelta.
        size: of the whole journal, estimated: above it the runs that ended first go, until it is below. Kept as bytes.
        per_workflow: ages for workflows of these names instead of *age*; None keeps their runs for ever, whatever
            *size* says.

    Raises:
        DefinitionError: a size or the mapping makes no sense; InvalidDurationError for an age.
    """

    age: Duration | None = "365d"
    size: Size | None = None
    per_workflow: Mapping[str, Duration | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.per_workflow, Mapping):
            raise DefinitionError(
                f"per_workflow is a mapping such as {{'noise': '7d'}}, not {self.per_workflow!r:.100}"
            )
        for name in self.per_workflow:
            if not isinstance(name, str) or not name or "\0" in name:
                raise DefinitionError(f"per_workflow has names of workflows as keys, not {name!r:.100}")
        object.__setattr__(self, "age", None if self.age is None else _age("age", self.age))
        object.__setattr__(self, "size", None if self.size is None else parse_size(self.size))
        ages = {name: None if age is None else _age(name, age) for name, age in self.per_workflow.items()}
        object.__setattr__(self, "per_workflow", ages)

    @classmethod
    def of(cls, given: Retention | Duration | None) -> Retention | None:
        """A policy from what `connect` takes; None keeps everything.

        Raises:
            DefinitionError: it is neither a duration nor a `Retention`.
        """
        if given is None or isinstance(given, Retention):
            return given if given is not None and given.deletes else None
        return cls(age=given)

    @property
    def deletes(self) -> bool:
        """Whether anything ever goes by it."""
        return self.age is not None or self.size is not None or any(self.per_workflow.values())

    @property
    def limit(self) -> int | None:
        """The size in bytes."""
        return None if self.size is None else parse_size(self.size)

    def ages(self) -> list[tuple[str | None, timedelta]]:
        """Pairs of a workflow and its age; None for all workflows that have none of their own."""
        found: list[tuple[str | None, timedelta]] = [
            (name, parse_duration(age)) for name, age in self.per_workflow.items() if age is not None
        ]
        if self.age is not None:
            found.append((None, parse_duration(self.age)))
        return found

    def age_of(self, workflow: str) -> timedelta | None:
        """How long after their end the runs of a workflow stay; None: their age does not count."""
        age = self.per_workflow.get(workflow, self.age)
        return None if age is None else parse_duration(age)

    def kept(self) -> list[str]:
        """The workflows whose runs stay for ever."""
        return sorted(name for name, age in self.per_workflow.items() if age is None)

    def __str__(self) -> str:
        parts = []
        if self.age is not None:
            parts.append(f"runs go {format_duration(parse_duration(self.age))} after their end")
        for name, age in self.per_workflow.items():
            parts.append(
                f"those of {name} {'never' if age is None else f'after {format_duration(parse_duration(age))}'}"
            )
        if self.size is not None:
            parts.append(f"the oldest go above {format_size(parse_size(self.size))}")
        return ", ".join(parts) or "everything is kept"


def _age(name: str, age: Duration) -> timedelta:
    found = parse_duration(age)
    if found < timedelta(0):
        raise DefinitionError(f"{name}={age!r}: an age is not below 0")
    return found
