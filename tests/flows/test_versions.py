"""The versions of a workflow that ran, and two of them side by side: code and how its runs have fared."""

from __future__ import annotations

import linecache
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.diff import FlowDiff
from dataflows_sdk.flow.fared import VersionFared
from dataflows_sdk.testing import VirtualClock
from dataflows_sdk.versions import CodeDiff
from dataflows_sdk.versions.difference import _aligned

from ..conftest import MakeContext


def first_version() -> Any:
    @df.workflow("bills")
    async def bills(event: Any, step: Any) -> int:
        rate = await step.run("rate/all", lambda: 1)
        await step.sleep("rest", event.payload)
        await step.map("bill", lambda n: n, [1, 2, 3])
        return rate

    return bills


def second_version() -> Any:
    @df.workflow("bills")
    async def bills(event: Any, step: Any) -> int:
        rate = await step.run("rate/all", lambda: 2)
        await step.sleep("rest", event.payload)
        await step.sleep("rest", event.payload)
        if event.payload == "7s":
            await step.run("stumble", lambda: 1 / 0, retry=df.NO_RETRY)
        return rate

    return bills


@pytest.fixture
def ran(make_ctx: MakeContext) -> Any:
    ctx = make_ctx(clock=VirtualClock())
    for make, rests in ((first_version, ("10s", "20s", "60s")), (second_version, ("5s", "7s"))):
        workflow = make()
        for rest in rests:
            ctx.start(workflow, rest).wait("30s")
    return ctx


def test_the_versions_of_a_workflow_with_their_runs(ran: Any) -> None:
    versions = ran.versions("bills")
    assert [(each.kind, each.runs, each.failed) for each in versions] == [("code", 2, 1), ("code", 3, 0)]
    assert versions[0].version == ran.runs("bills")[0].version
    assert "stumble" in versions[0].source
    assert "stumble" not in versions[1].source
    assert versions[0].last == max(run.created_at for run in ran.runs("bills"))
    assert "bills: 2 versions" in versions._repr_html_()
    # a process knows the workflows of every module that it loaded: those of other tests too
    bills = next(each for each in ran.workflows() if each.name == "bills")
    assert [each.version for each in ran.versions(bills)] == [each.version for each in versions]


def test_two_versions_of_code_side_by_side(ran: Any) -> None:
    versions = ran.versions("bills")
    diff = versions.compare()
    assert isinstance(diff, CodeDiff)
    assert diff
    assert (diff.from_version, diff.to_version) == tuple(each.version[:8] for each in reversed(versions))
    old, new = diff.fared
    assert (old.runs, old.succeeded, old.failed, old.median) == (3, 3, 0, pytest.approx(20.0))
    assert (new.runs, new.succeeded, new.failed) == (2, 1, 1)
    # branches and calls of one name are one step; a name with a slash in it is whole
    assert set(old.nodes) == {"rate/all", "rest", "bill"}
    assert set(new.nodes) == {"rate/all", "rest", "stumble"}
    assert (old.nodes["bill"].ended, new.nodes["rest"].ended) == (9, 4)
    assert old.nodes["rest"].median == pytest.approx(20.0)
    assert new.nodes["stumble"].failure_rate == 1.0

    text = str(diff)
    assert '-    rate = await step.run("rate/all", lambda: 1)' in text
    assert '+    rate = await step.run("rate/all", lambda: 2)' in text
    assert "3 runs, 0% failed, median 20 s" in text
    rows = {row[1]: row for row in diff.table().rows}
    assert rows["stumble"][:2] == ("+", "stumble")
    assert rows["bill"][:2] == ("-", "bill")
    assert rows["all runs"][2:5] == (3, "20 s", "0%")

    shown = diff._repr_html_()
    assert "<del>" in shown
    assert "    <ins>rate = await step.run(&quot;rate/all&quot;, lambda: 2)</ins>" in shown
    back = versions.compare(0, 1)
    assert (back.from_version, back.to_version) == (diff.to_version, diff.from_version)
    same = versions.compare(0, 0)
    assert not same
    assert "the source is the same" in str(same)
    assert "the source is the same" in same._repr_html_()


def test_versions_by_hash_and_by_place(ran: Any) -> None:
    versions = ran.versions("bills")
    newest = versions[0].version
    assert versions.find(newest) == versions.find(newest[:5]) == versions.find(0) == versions[0]
    assert versions.compare(versions[1].version, newest[:6]).to_version == newest[:8]
    for wrong in ("zzz", ""):
        with pytest.raises(DefinitionError, match=rf"none begins with .*{newest}"):
            versions.find(wrong)
    with pytest.raises(DefinitionError, match=r"2 versions.*there is no place 5"):
        versions.find(5)
    with pytest.raises(DefinitionError, match="there is no place None"):
        versions.compare(None)
    with pytest.raises(DefinitionError, match="nothing of it ever ran"):
        ran.versions("nobody").compare()
    for wrong in (None, 7, ""):
        with pytest.raises(DefinitionError, match="wants a workflow or its name"):
            ran.versions(wrong)


def test_flows_in_code_as_their_graphs(make_ctx: MakeContext) -> None:
    ctx = make_ctx(clock=VirtualClock())
    for more in (False, True):
        flow = df.flow("pacing").delay("rest", "10s")
        ctx.start(flow.delay("more", "5s") if more else flow).wait("30s")
    diff = ctx.versions("pacing").compare()
    assert isinstance(diff, FlowDiff)
    assert [each.node_id for each in diff.added_nodes] == ["more"]
    assert diff.fared is not None
    assert [each.runs for each in diff.fared] == [1, 1]
    assert diff.fared[1].nodes["more"].median == pytest.approx(5.0)
    assert f"version {diff.to_version}" in diff.svg()


def test_a_flow_that_became_code(make_ctx: MakeContext) -> None:
    ctx = make_ctx(clock=VirtualClock())
    ctx.start(df.flow("bills").delay("rest", "10s")).wait("30s")
    ctx.close()
    ctx = make_ctx(clock=VirtualClock())  # a deploy
    ctx.start(first_version(), "1s").wait("30s")
    diff = ctx.versions("bills").compare()
    assert isinstance(diff, CodeDiff)
    assert re.search(r'^- +"id": "rest",$', str(diff), re.MULTILINE)
    assert "+async def bills(event: Any, step: Any) -> int:" in str(diff)
    assert set(diff.fared[0].nodes) == {"rest"}


def test_secrets_and_tags_in_a_source_do_no_harm(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    for number in (1, 2):
        source = f"""
@df.workflow("sly")
async def sly(event, step):
    token = "ghp_{"a1B2" * 9}"
    return "<script>alert({number})</script>"
"""
        path = f"<sly {number}>"
        linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
        space: dict[str, Any] = {"df": df}
        exec(compile(source, path, "exec"), space)
        ctx.run(space["sly"])
    diff = ctx.versions("sly").compare()
    for text in (str(diff), diff._repr_html_(), ctx.versions("sly")[0].source):
        assert "ghp_" not in text
    assert "<script>" not in diff._repr_html_()
    assert "&lt;script&gt;alert(2)" in diff._repr_html_()


NEITHER = (VersionFared("a"), VersionFared("b"))


def diff_of(old: str, new: str) -> CodeDiff:
    return CodeDiff("w", "a", "b", old, new, NEITHER)


def test_a_long_source_is_cut() -> None:
    old = [f"line {n}" for n in range(40_000)]
    new = [f"line {n}!" if n % 10 == 0 else f"line {n}" for n in range(40_000)]
    diff = diff_of("\n".join(old), "\n".join(new))
    assert len(diff._repr_html_()) < 300_000
    assert len(diff.lines()) > 40_000  # told as a whole, which takes no time
    one = diff_of("\n".join(old), "\n".join([*old[:20_000], "another", *old[20_000:]]))
    assert one.lines()[2:] == [
        "@@ -19998,6 +19998,7 @@", " line 19997", " line 19998", " line 19999", "+another",
        " line 20000", " line 20001", " line 20002",
    ]  # fmt: skip


def test_lines_are_put_beside_each_other() -> None:
    old, new = [*"abcdefghij", "x", "z"], [*"abcdefghij", "y", "y2", "z"]
    assert [(sign, number, other) for sign, number, _, other, _ in _aligned(old, new)] == [
        ("…", None, None), ("", 8, 8), ("", 9, 9), ("", 10, 10), ("~", 11, 11), ("+", None, 12), ("", 12, 13),
    ]  # fmt: skip
    assert [sign for sign, *_ in _aligned(["a", "b"], ["b"])] == ["-", ""]
    assert list(_aligned(old, old)) == []


LINES = st.lists(st.sampled_from("abcde"), max_size=40)


@given(old=LINES, new=LINES)
def test_the_lines_are_a_patch(old: list[str], new: list[str]) -> None:
    """What is told turns the old source into the new one, with no more around a change than `diff -u` tells."""
    lines = diff_of("\n".join(old), "\n".join(new)).lines()
    if old == new:
        assert len(lines) == 1
        return
    patched, at = list[str](), 0
    for line in lines[2:]:
        if line.startswith("@@"):
            first, count = map(int, (re.match(r"@@ -(\d+),(\d+)", line) or pytest.fail(line)).groups())
            start = first - 1 if count else first
            assert start >= at
            patched += old[at:start]
            at = start
        elif line[0] == "+":
            patched.append(line[1:])
        else:
            assert old[at] == line[1:]
            patched += [line[1:]] if line[0] == " " else []
            at += 1
    assert patched + old[at:] == new
    told = [line for line in lines[2:] if not line.startswith("@@")]
    for group in re.findall(r" +", "".join(line[0] for line in told)):
        assert len(group) <= 6
    sides = list(_aligned(old, new))
    assert [line for _, _, line, _, _ in sides if line is not None] == [line[1:] for line in told if line[0] in " -"]
    assert [line for _, _, _, _, line in sides if line is not None] == [line[1:] for line in told if line[0] in " +"]
