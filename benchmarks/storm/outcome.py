"""What came of it, for people and for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_SHOWN = 40


@dataclass
class Outcome:
    """Counts, what was demanded of them, and what contradicts the promises."""

    title: str
    counts: dict[str, float | str] = field(default_factory=dict)
    #: smallest numbers below which the test would mean nothing
    demanded: dict[str, float] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    @property
    def missed(self) -> list[str]:
        found = []
        for name, least in self.demanded.items():
            count = self.counts.get(name, 0)
            if not isinstance(count, int | float) or count < least:
                found.append(f"{name}: {count}, at least {least:g} were demanded: the test was too tame")
        return found

    @property
    def good(self) -> bool:
        return not self.violations and not self.missed

    def as_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "good": self.good,
            "counts": self.counts,
            "missed": self.missed,
            "violations": self.violations,
        }

    def table(self) -> str:
        lines = ["", self.title, ""]
        for name, count in self.counts.items():
            least = f"   (at least {self.demanded[name]:g})" if name in self.demanded else ""
            lines.append(f"  {name:<44} {count:>10}{least}")
        lines.append("")
        if self.violations:
            kinds = Counter(text.partition(":")[0] for text in self.violations)
            lines.append("VIOLATIONS: " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))
            lines += [f"  {text}" for text in self.violations[:_SHOWN]]
            if len(self.violations) > _SHOWN:
                lines.append(f"  … and {len(self.violations) - _SHOWN} more")
        lines += [f"  {text}" for text in self.missed]
        lines.append("all promises kept" if self.good else "NOT kept")
        return "\n".join(lines)
