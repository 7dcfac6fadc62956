"""``ctx.versions(workflow)``: what ran under a name, the newest first."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, SupportsIndex

from dataflows_sdk.core.shown import Sheet, ShownAsTable, counted, sheet_of
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.diff import FlowDiff
from dataflows_sdk.flow.diff import compare as compare_flows
from dataflows_sdk.flow.model import FlowSpec
from dataflows_sdk.versions.difference import CodeDiff
from dataflows_sdk.versions.faring import fared

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

#: letters of a version in what is said about it
_SHORT = 8


@dataclass(frozen=True, slots=True)
class WorkflowVersion(ShownAsTable):
    """A version of a workflow: the code, or the flow, that ran under its name.

    Attributes:
        version: what `Run.version` says: a hash of the definition.
        kind: ``"code"`` or ``"flow"``.
        since: when this database first met it.
        runs: how many runs there are of it.
        failed: how many of them failed.
        last: when the newest was created; None where there is none.
        source: the code, without secrets; of a flow its document as JSON.
    """

    workflow: str
    version: str
    kind: str
    since: datetime
    runs: int
    failed: int
    last: datetime | None
    source: str = field(repr=False)


class Versions(list[WorkflowVersion], ShownAsTable):
    """The versions of a workflow, the newest first."""

    def __init__(self, context: Context, workflow: str, versions: Iterable[WorkflowVersion]) -> None:
        super().__init__(versions)
        self._context = context
        self._workflow = workflow

    def _sheet(self) -> Sheet:
        return sheet_of(self, f"{self._workflow}: {counted(len(self), 'version')}")

    def find(self, version: str | SupportsIndex) -> WorkflowVersion:
        """A version by its hash, or by what that begins with; by its place, 0 is the newest.

        Raises:
            DefinitionError: there is none, or there are several.
        """
        if not isinstance(version, str):
            try:
                return self[version]
            except (IndexError, TypeError):
                raise DefinitionError(f"{self._known()}; there is no place {version!r}") from None
        found = [each for each in self if each.version.startswith(version)] if version else []
        if len(found) != 1:
            raise DefinitionError(f"{'several begin' if found else 'none begins'} with {version!r}: {self._known()}")
        return found[0]

    def compare(self, old: str | SupportsIndex = 1, new: str | SupportsIndex = 0) -> CodeDiff | FlowDiff:
        """Two versions side by side: their code, or their nodes, and how their runs and steps have fared.

        Of both it has the number of runs, how many failed, and of each step the median duration and the failure rate,
        of the newest 1,000 runs. A notebook shows both beside each other; ``.table()`` gives the figures.

        Args:
            old, new: which, as `find` takes them; by default the newest, and the one before it.

        Raises:
            DefinitionError: there is no such version.
        """
        one, other = self.find(old), self.find(new)
        labels = [each.version[:_SHORT] for each in (one, other)]
        flows = one.kind == other.kind == "flow"
        before, after = fared(
            self._context,
            self._workflow,
            [(label, each.version) for label, each in zip(labels, (one, other), strict=True)],
            {each.version: each.version for each in (one, other)},
            folded=not flows,
        )
        if flows:
            specs = [FlowSpec.from_document(json.loads(each.source)) for each in (one, other)]
            return replace(compare_flows(specs[0], specs[1], *labels), fared=(before, after))
        return CodeDiff(self._workflow, labels[0], labels[1], one.source, other.source, (before, after))

    def _known(self) -> str:
        some = ", ".join(each.version for each in self[:10])
        return f"workflow {self._workflow!r} has {counted(len(self), 'version')}: {some or 'nothing of it ever ran'}"


def versions_of(context: Context, workflow: str) -> Versions:
    """What ran under a name."""
    rows = context._read("version_stats", "versions", (workflow,))
    mask = context._redactor.redact_text
    return Versions(
        context,
        workflow,
        (
            WorkflowVersion(workflow, hash_, kind, since, runs, failed, last, mask(_source(source, spec)))
            for hash_, kind, source, spec, since, runs, failed, last in rows
        ),
    )


def _source(source: str | None, spec: str | None) -> str:
    return source or ("" if spec is None else json.dumps(json.loads(spec), ensure_ascii=False, indent=2))
