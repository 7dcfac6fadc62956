"""Findings: what was looked at, how it stands, what to do about it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, overload

from dataflows_sdk.core.shown import ShownAsTable

#: something that does not work; something that a person should do; worth knowing; good
Severity = Literal["problem", "warning", "note", "ok"]
SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "note", "ok")
MARKS: Mapping[Severity, str] = {"ok": "✓", "note": "·", "warning": "!", "problem": "✗"}
_COLOURS: Mapping[Severity, str] = {"ok": "#2a7d3f", "note": "#666", "warning": "#9a6700", "problem": "#b42318"}


@dataclass(frozen=True, slots=True)
class Finding(ShownAsTable):
    """One thing that was looked at.

    Attributes:
        code: of what kind: ``stuck``, ``overdue``, ``unknown``, ``bloat``, …; stable, for programs.
        severity: ``"ok"``, ``"note"``, ``"warning"`` (a person should do something), ``"problem"`` (it does not work).
        subject: what it is about: a workflow, a table, a session, a worker.
        message: how it stands.
        advice: what to do.
        numbers: what was measured, by name.
    """

    code: str
    severity: Severity
    subject: str
    message: str
    advice: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


class Diagnosis(Sequence[Finding]):
    """All findings, the worst first. Shown as text, and as a table in notebooks."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self._findings = sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> list[Finding]: ...
    def __getitem__(self, index: int | slice) -> Finding | list[Finding]:
        return self._findings[index]

    def __len__(self) -> int:
        return len(self._findings)

    def of(self, code_or_severity: str) -> list[Finding]:
        """The findings of a code such as ``"stuck"``, or of a severity such as ``"warning"``."""
        return [each for each in self._findings if code_or_severity in (each.code, each.severity)]

    def groups(self) -> Iterator[tuple[Severity, list[Finding]]]:
        """The findings by severity, the worst first."""
        for severity in SEVERITIES:
            if found := [each for each in self._findings if each.severity == severity]:
                yield severity, found

    @property
    def worst(self) -> Severity:
        """The worst severity there is."""
        return self._findings[0].severity if self._findings else "ok"

    @property
    def healthy(self) -> bool:
        """Whether there is neither a problem nor a warning."""
        return self.worst in ("note", "ok")

    @property
    def exit_code(self) -> int:
        """0 when all is well, 1 with warnings, 2 with problems."""
        return {"problem": 2, "warning": 1}.get(self.worst, 0)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {"healthy": self.healthy, "worst": self.worst, "findings": [asdict(each) for each in self._findings]}

    def __repr__(self) -> str:
        lines: list[str] = []
        for severity, found in self.groups():
            lines.append(f"{severity}:")
            for each in found:
                lines.append(f"  {MARKS[severity]} {each.code} {each.subject}: {each.message}")
                if each.advice:
                    lines.append(f"      → {each.advice}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = []
        for severity, found in self.groups():
            for each in found:
                advice = f"<br><small>→ {html.escape(each.advice)}</small>" if each.advice else ""
                rows.append(
                    f'<tr><td style="color:{_COLOURS[severity]}">{MARKS[severity]} {severity}</td>'
                    f"<td>{html.escape(each.code)}</td><td>{html.escape(each.subject)}</td>"
                    f'<td style="text-align:left">{html.escape(each.message)}{advice}</td></tr>'
                )
        return f"<table><tbody>{''.join(rows)}</tbody></table>"
