"""How versions have fared, read from the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

from dataflows_sdk.flow.fared import NodeFared, VersionFared

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

#: runs of a version at whose steps is looked
_NEWEST = 1_000
#: runs, succeeded, failed, cancelled, and the median of their seconds
_Runs: TypeAlias = tuple[int, int, int, int, float | None]
_NONE: _Runs = (0, 0, 0, 0, None)


def fared(
    context: Context,
    workflow: str,
    wanted: Sequence[tuple[int | str, str]],
    contents: Mapping[str, str],
    *,
    folded: bool = False,
) -> tuple[VersionFared, ...]:
    """How the runs of some versions have fared.

    Args:
        wanted: of each what it is called, and its content.
        contents: the content of each hash that a run may have as its version; hashes of one content count together.
        folded: the steps of workflows in code: all branches of a map, and all calls of one name, are one step.
    """
    asked = (workflow, list(contents), list(contents.values()))
    rows = context._read("version_stats", "runs", asked)
    runs: dict[str, _Runs] = {version: (count, good, bad, ended, mid) for version, count, good, bad, ended, mid in rows}
    steps: dict[str, dict[str, NodeFared]] = {}
    for version, step, *figures in context._read("version_stats", "steps", (*asked, _NEWEST, folded)):
        steps.setdefault(version, {})["/".join(map(unquote, step.split("/")))] = NodeFared(*figures)
    return tuple(
        VersionFared(
            name,
            *runs.get(content, _NONE),
            steps.get(content, {}),
            min(_NEWEST, runs.get(content, _NONE)[0]),
        )
        for name, content in wanted
    )
