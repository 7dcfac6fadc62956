"""Two versions of a workflow in code: their sources beside each other, and how their runs have fared."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import takewhile

from dataflows_sdk.core.shown import Sheet, ShownAsTable, to_html
from dataflows_sdk.flow.fared import NodeFared, VersionFared, percent, seconds

#: lines that are shown around a change, and the most lines of a picture
_AROUND, _MOST = 3, 600
#: lines that are compared each with each; longer stretches that differ are told as a whole
_LONG = 2_000
_NEVER = NodeFared()
_GAP = '<tr><td colspan="5" style="text-align:left">⋯</td></tr>'


@dataclass(frozen=True, slots=True)
class CodeDiff(ShownAsTable):
    """The difference of two versions of a workflow in code.

    Attributes:
        workflow: its name.
        from_version, to_version: which.
        from_source, to_source: the code of each, without secrets; empty where it could not be read when it ran.
        fared: how the runs of both have fared. `VersionFared.nodes` has the steps by name: all branches of a map, and
            all calls of one name, together.
    """

    workflow: str
    from_version: str
    to_version: str
    from_source: str = field(repr=False)
    to_source: str = field(repr=False)
    fared: tuple[VersionFared, VersionFared] = field(repr=False)

    def __bool__(self) -> bool:
        return self.from_source != self.to_source

    def __str__(self) -> str:
        return "\n".join([*self.lines(), *self._fared()])

    def lines(self) -> list[str]:
        """The difference of the sources as ``diff -u`` gives it."""
        old, new = self.from_source.splitlines(), self.to_source.splitlines()
        if old == new:
            return [f"{self.workflow} {self.from_version} → {self.to_version}: the source is the same"]
        found = [f"--- {self.workflow} {self.from_version}", f"+++ {self.workflow} {self.to_version}"]
        for group in _groups(old, new):
            first, last = group[0], group[-1]
            found.append(f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@")
            for same, one, one_end, two, two_end in group:
                found += [f"{' ' if same else '-'}{line}" for line in old[one:one_end]]
                found += [] if same else [f"+{line}" for line in new[two:two_end]]
        return found

    def table(self) -> Sheet:
        """The steps of both versions: how often each ended, its median, and how often it failed."""
        heads = [f"{each.version}: {what}" for each in self.fared for what in ("ended", "median", "failed")]
        rows: list[tuple[object, ...]] = [("", "all runs")]
        for one in self.fared:
            rows[0] += (one.runs, seconds(one.median), percent(one.failure_rate))
        old, new = (each.nodes for each in self.fared)
        for step in {**old, **new}:
            # a version that never ran has no steps, which says nothing of the other's
            sign = "+" if old and step not in old else "-" if new and step not in new else ""
            row: tuple[object, ...] = (sign, step)
            for each in (old, new):
                found = each.get(step, _NEVER)
                row += (found.ended or "", seconds(found.median), percent(found.failure_rate))
            rows.append(row)
        notes = [
            f"{each.version}: the steps as of the newest {each.of:,} of {each.runs:,} runs"
            for each in self.fared
            if each.runs > each.of
        ]
        return Sheet("how they fared", rows, ("", "step", *heads), total=len(rows), notes=notes)

    def _fared(self) -> list[str]:
        old, new = (each.nodes for each in self.fared)
        lines = [f"{each.version}: {each}" for each in self.fared]
        return lines + [f"  {step}: {old.get(step, '–')} → {new.get(step, '–')}" for step in {**old, **new}]

    def _repr_html_(self) -> str:
        title = f"{self.workflow}: {self.from_version} → {self.to_version}"
        return f"<div><strong>{html.escape(title)}</strong></div>{self._beside()}{to_html(self.table())}"

    def _beside(self) -> str:
        """Both sources, line by line; what changed is marked up as deleted and inserted, and has a sign."""
        rows, most = [], _MOST
        for sign, number, old, other, new in _aligned(self.from_source.splitlines(), self.to_source.splitlines()):
            if not most:
                rows.append(_GAP)
                break
            most -= 1
            if sign == "…":
                rows.append(_GAP)
                continue
            left, right = _line(old, "del" if sign else ""), _line(new, "ins" if sign else "")
            cells = (_number(number), left, f"<td>{sign}</td>", _number(other), right)
            rows.append(f"<tr>{''.join(cells)}</tr>")
        if not rows:
            return "<div>the source is the same</div>"
        heads = "".join(
            f'<th scope="col" colspan="{wide}" style="text-align:left">{html.escape(str(each))}</th>'
            for wide, each in ((2, self.fared[0].version), (1, ""), (2, self.fared[1].version))
        )
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


#: whether two stretches are the same, and where they begin and end
_Stretch = tuple[bool, int, int, int, int]
#: a sign, and of both sides the number of the line and the line
_Line = tuple[str, int | None, str | None, int | None, str | None]


def _aligned(old: list[str], new: list[str]) -> Iterator[_Line]:
    """Lines of both side by side, where something changed and around it; nothing if they are the same."""
    for group in _groups(old, new):
        if group[0][1] or group[0][3]:
            yield "…", None, None, None, None
        for same, one, one_end, two, two_end in group:
            for at in range(max(one_end - one, two_end - two)):
                left = one + at if one + at < one_end else None
                right = two + at if two + at < two_end else None
                sign = "" if same else "~" if None not in (left, right) else "+" if left is None else "-"
                yield (
                    sign,
                    None if left is None else left + 1,
                    None if left is None else old[left],
                    None if right is None else right + 1,
                    None if right is None else new[right],
                )


def _groups(old: list[str], new: list[str]) -> Iterator[list[_Stretch]]:
    """Changes with the lines around them; those that are near each other together."""
    group: list[_Stretch] = []
    for same, one, one_end, two, two_end in _stretches(old, new):
        if not same:
            group.append((same, one, one_end, two, two_end))
            continue
        after = min(_AROUND, one_end - one) if group else 0
        before = min(_AROUND, one_end - one) if one_end < len(old) or two_end < len(new) else 0
        if group and after + before >= one_end - one:
            group.append((True, one, one_end, two, two_end) if before else (True, one, one + after, two, two + after))
            continue
        if group:
            yield [*group, (True, one, one + after, two, two + after)]
        group = [(True, one_end - before, one_end, two_end - before, two_end)] if before else []
    if any(not same for same, *_ in group):
        yield group


def _stretches(old: list[str], new: list[str]) -> Iterator[_Stretch]:
    """What is the same and what is not, in turn."""
    head = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    rest = zip(reversed(old[head:]), reversed(new[head:]), strict=False)
    tail = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], rest))
    one, two = old[head : len(old) - tail], new[head : len(new) - tail]
    if head:
        yield True, 0, head, 0, head
    if max(len(one), len(two)) > _LONG:
        yield False, head, head + len(one), head, head + len(two)
    else:
        for kind, *places in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
            first, first_end, second, second_end = (head + place for place in places)
            yield kind == "equal", first, first_end, second, second_end
    if tail:
        yield True, len(old) - tail, len(old), len(new) - tail, len(new)


def _range(first: int, end: int) -> str:
    """Lines as ``diff -u`` says them: the first and how many."""
    return f"{first + 1 if end > first else first},{end - first}"


def _number(number: int | None) -> str:
    return f'<td style="text-align:right"><small>{number or ""}</small></td>'


def _line(text: str | None, tag: str) -> str:
    if text is None:
        return "<td></td>"
    shown = html.escape(text.lstrip())
    marked = html.escape(text[: len(text) - len(text.lstrip())]) + (f"<{tag}>{shown}</{tag}>" if tag else shown)
    return f'<td style="text-align:left"><code style="white-space:pre-wrap">{marked}</code></td>'
