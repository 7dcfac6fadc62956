"""What forks remember: for themselves, on top of what was there at their point, until it is merged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_memory.branches import BranchInfo
from dataflows_memory.desk import Memory
from dataflows_memory.items import Item
from dataflows_sdk.errors import RecallError, RunNotFoundError

from ..conftest import MakeContext, wait_until
from .fakes import FakeEmbedder


class Stage:
    """A workflow whose steps do what a test says, step by step, and a memory that says what they see."""

    def __init__(self, ctx: df.Context, embedder: FakeEmbedder) -> None:
        self.ctx = ctx
        self.memory = Memory(ctx, embedder)
        #: what each step does, in the original and in forks
        self.acts: dict[str, Callable[[], Any]] = {}
        self.steps = ["one", "two", "three"]
        stage = self

        @df.workflow("acts")
        def acts(event: Any, step: Any) -> list[Any]:
            return [step.run(name, lambda name=name: stage.acts.get(name, str)()) for name in stage.steps]

        self.workflow = acts
        ctx.register(acts)

    def run(self, **acts: Callable[[], Any]) -> Any:
        self.acts = acts
        run = self.ctx.start(self.workflow)
        run.result(timeout=30)
        return run

    def fork(self, run: Any, at: str, **acts: Callable[[], Any]) -> Any:
        self.acts = acts
        fork = run.fork(at)
        fork.result(timeout=30)
        return fork

    def seen(self, memory: Memory | None = None, **options: Any) -> set[str]:
        return {hit.text for hit in (memory or self.memory).recall("fence gate tower", 100, **options)}

    def seen_by(self, run: Any, **options: Any) -> set[str]:
        return self.seen(self.memory.on(run), **options)


@pytest.fixture
def stage(make_ctx: MakeContext, embedder: FakeEmbedder) -> Stage:
    return Stage(make_ctx(), embedder)


def test_a_fork_sees_its_point_and_writes_to_its_branch(stage: Stage) -> None:
    memory = stage.memory
    memory.remember("the gate is old", ref="gate")
    run = stage.run(
        one=lambda: memory.remember("the fence is red", ref="fence"),
        two=lambda: memory.remember("the fence is blue", ref="fence"),
    )
    memory.remember("the tower is high")
    assert stage.seen() == {"the gate is old", "the fence is blue", "the tower is high"}
    before: list[set[str]] = []
    fork = stage.fork(
        run,
        "two",
        two=lambda: (before.append(stage.seen()), memory.remember("the fence is green", ref="fence"))[1],
        three=lambda: (before.append(stage.seen()), memory.remember(["the gate is new", "a tower"]))[1],
    )
    assert before == [{"the gate is old", "the fence is red"}, {"the gate is old", "the fence is green"}]
    assert stage.seen() == {"the gate is old", "the fence is blue", "the tower is high"}
    assert stage.seen_by(fork) == {"the gate is old", "the fence is green", "the gate is new", "a tower"}
    assert stage.seen_by(fork, as_of=run.created_at) == {"the gate is old"}
    (info,) = memory.branches()
    assert isinstance(info, BranchInfo)
    assert (info.run, info.origin, info.workflow, info.items, info.denied) == (fork.id, run.id, "acts", 3, 1)
    assert info.merged_at is None
    assert info.point < fork.created_at

    merged = memory.merge(fork, conflicts="branch")
    assert (merged.added, merged.conflicts) == (3, (("text", "fence", 0),))
    assert stage.seen() == {"the gate is old", "the tower is high", "the fence is green", "the gate is new", "a tower"}
    newest = memory.history("fence")[-1]
    assert (newest.text, newest.run, newest.step) == ("the fence is green", fork.id, "two")
    assert memory.branches()[0].merged_at is not None
    again = memory.merge(fork)
    assert (again.added, again.ended, again.unchanged, again.conflicts) == (0, 0, 3, ())


def test_what_both_sides_changed_is_refused_or_chosen(stage: Stage) -> None:
    memory = stage.memory
    memory.remember("the gate is old", ref="gate")
    memory.remember("the tower is high", ref="tower")
    run = stage.run()
    fork = stage.fork(
        run,
        "two",
        two=lambda: memory.remember("the gate is green", ref="gate"),
        three=lambda: memory.remember("the fence is new", ref="fence"),
    )
    memory.remember("the gate is blue", ref="gate")
    before = stage.seen()
    with pytest.raises(RecallError, match=r"both changed 'gate' since .*nothing was merged.*conflicts=\"branch\""):
        memory.merge(fork)
    assert stage.seen() == before
    merged = memory.merge(fork, conflicts="main")
    assert merged.conflicts == (("text", "gate", 0),)
    assert stage.seen() == {"the gate is blue", "the tower is high", "the fence is new"}
    memory.merge(fork.id, conflicts="branch")
    assert stage.seen() == {"the gate is green", "the tower is high", "the fence is new"}
    # that somebody else said the same is no conflict
    other = stage.fork(run, "two", two=lambda: memory.remember("the fence is new", ref="fence"))
    assert memory.merge(other).conflicts == ()


def test_what_a_fork_takes_back_is_there_for_the_others(stage: Stage) -> None:
    memory = stage.memory
    gate, tower = memory.remember(["the gate is old", "the tower is high"]).items
    run = stage.run()
    late = memory.remember("the fence is late").items[0]
    fork = stage.fork(run, "one", one=lambda: memory.retract(gate), two=lambda: memory.update(tower, "the tower fell"))
    assert stage.seen() == {"the gate is old", "the tower is high", "the fence is late"}
    assert stage.seen_by(fork) == {"the tower fell"}
    assert memory.get(late).text == "the fence is late"
    with pytest.raises(RecallError, match=rf"item {tower} was not remembered by this fork.*on\(\"main\"\)"):
        memory.on(fork).forget(tower)
    merged = memory.merge(fork)
    assert (merged.added, merged.ended) == (1, 2)
    assert stage.seen() == {"the tower fell", "the fence is late"}
    assert memory.get(gate).retired_at is not None
    assert memory.get(tower).valid_to is not None
    # for good, wherever it stands
    (own,) = [hit.item.id for hit in memory.on(fork).recall("tower fell", 1)]
    assert memory.forget(own) == 3
    assert stage.seen_by(fork) == set()


def test_a_conversation_goes_on_twice(stage: Stage) -> None:
    memory = stage.memory
    memory.remember(["the gate, said one", "the fence, said two"], to="talk")
    run = stage.run(two=lambda: memory.remember("the tower, said three", to="talk"))
    fork = stage.fork(run, "two", two=lambda: memory.remember("a gate again, said four", to="talk"))
    assert [item.part for item in memory.history("talk")] == [0, 1, 2]
    seen = memory.on(fork).history("talk")
    assert [(item.part, item.text) for item in seen][1:] == [(1, "the fence, said two"), (2, "a gate again, said four")]
    (hit,) = memory.on(fork).recall("said four", 1, around=1)
    assert [item.text for item in hit.around] == ["the fence, said two", "a gate again, said four"]
    (hit,) = memory.recall("said three", 1, around=1)
    assert [item.text for item in hit.around] == ["the fence, said two", "the tower, said three"]
    assert [item.text for item in memory.on(fork).around(hit.item.id, 5, 5)][-1] == "a gate again, said four"


def test_forks_of_forks_stand_on_each_other(stage: Stage) -> None:
    memory = stage.memory
    memory.remember("the gate is old", ref="gate")
    run = stage.run(one=lambda: memory.remember("the fence is one", ref="fence"))
    first = stage.fork(
        run,
        "two",
        two=lambda: memory.remember("the tower is two", ref="tower"),
        three=lambda: memory.remember("the gate is three", ref="gate"),
    )
    memory.remember("the fence is late", ref="fence")
    second = stage.fork(first, "three", three=lambda: memory.remember("the fence is six", ref="fence"))
    assert stage.seen_by(second) == {"the gate is old", "the fence is six", "the tower is two"}
    assert stage.seen_by(first) == {"the gate is three", "the fence is one", "the tower is two"}
    with pytest.raises(RecallError, match=f"branches of {second.id} stand on that of {first.id}"):
        memory.discard(first)
    memory.merge(second)  # into the first
    assert stage.seen_by(first) == {"the gate is three", "the fence is six", "the tower is two"}
    assert stage.seen() == {"the gate is old", "the fence is late"}
    memory.merge(first, conflicts="branch")
    assert stage.seen() == {"the gate is three", "the fence is six", "the tower is two"}
    assert memory.discard(second) == 1
    assert memory.discard(first) == 3
    assert memory.branches() == []
    assert stage.seen() == {"the gate is three", "the fence is six", "the tower is two"}


def test_children_are_on_the_branch_of_their_parent(make_ctx: MakeContext, embedder: FakeEmbedder) -> None:
    ctx = make_ctx()
    memory = Memory(ctx, embedder)

    @df.workflow("child-on-a-branch")
    def child(event: Any, step: Any) -> Any:
        return step.run("say", lambda: memory.remember(f"the fence is {event.payload}", ref="fence").added)

    @df.workflow("parent-on-a-branch")
    def parent(event: Any, step: Any) -> Any:
        step.run("first", lambda: None)
        return step.invoke("child", child, "blue" if step.run("which", lambda: True) else "red")

    ctx.register(child, parent)
    run = ctx.start(parent)
    run.result(timeout=30)
    fork = run.fork("which", set={"which": False})
    fork.result(timeout=30)
    (own,) = fork.children()
    assert [each.text for each in memory.history("fence")] == ["the fence is blue"]
    for who in (fork, own):
        assert [each.text for each in memory.on(who).history("fence")] == ["the fence is red"]
    # the child alone: the outermost fork counts
    both = run.fork(["child", "say"])
    both.result(timeout=30)
    assert {info.run for info in memory.branches()} == {fork.id, both.id}


def test_rows_are_seen_as_of_the_point_and_as_the_fork_wrote_them(stage: Stage) -> None:
    ctx, memory = stage.ctx, stage.memory
    table = ctx.warehouse.table("things", {"name": str, "text": str}, key="name")
    table.upsert(name="gate", text="the gate is old")
    table.upsert(name="fence", text="the fence is old")
    run = stage.run(two=lambda: table.upsert(name="gate", text="the gate is two"))
    memory.index_table("things", "{text}")
    table.upsert(name="tower", text="the tower is late")
    # somebody else's transaction, open anywhere on the server, holds up the change feed
    wait_until(lambda: stage.seen() == {"the gate is two", "the fence is old", "the tower is late"}, "all is read")
    fork = stage.fork(run, "two", two=lambda: table.upsert(name="fence", text="the fence is new"))
    wait_until(lambda: stage.seen_by(fork) == {"the gate is old", "the fence is new"}, "all is read")
    assert stage.seen() == {"the gate is two", "the fence is new", "the tower is late"}


def test_a_replay_sees_its_point_and_says_nothing(make_ctx: MakeContext, embedder: FakeEmbedder) -> None:
    ctx = make_ctx()
    memory = Memory(ctx, embedder)
    seen: list[set[str]] = []

    @df.workflow("looks")
    async def looks(event: Any, step: Any) -> None:
        await step.run("one", lambda: memory.remember("the fence is one").added)
        seen.append({hit.text for hit in await memory.arecall("fence", 10)})
        await step.run("two", lambda: memory.remember("the fence is two").added)
        seen.append({hit.text for hit in await memory.arecall("fence", 10)})

    @df.workflow("says")
    async def says(event: Any, step: Any) -> None:
        await memory.aremember("the fence is said")

    run = ctx.start(looks)
    run.result(timeout=30)
    memory.remember("the fence is late")
    first = list(seen)
    assert first == [{"the fence is one"}, {"the fence is one", "the fence is two"}]
    seen.clear()
    assert run.replay().ok
    assert seen == first
    other = ctx.start(says)
    other.result(timeout=30)
    replayed = other.replay()
    assert "a replay changes nothing" in str(replayed.error)
    assert [item.text for item in memory.history(memory.recall("said", 1)[0].item.ref)] == ["the fence is said"]


def test_runs_of_a_state_are_left_out(stage: Stage) -> None:
    memory = stage.memory

    @df.workflow("fails")
    def fails(event: Any, step: Any) -> None:
        step.run("say", lambda: memory.remember("the gate failed").added)
        raise ValueError("no")

    failed = stage.ctx.start(fails)
    failed.wait(timeout=30)
    run = stage.run(one=lambda: memory.remember("the gate is good"))
    assert stage.seen() == {"the gate failed", "the gate is good"}
    assert stage.seen(without_runs=("failed", "cancelled")) == {"the gate is good"}
    assert stage.seen(without_runs="failed") == {"the gate is good"}
    assert stage.seen(without_runs=[run, "failed"]) == set()
    assert stage.seen_by(stage.fork(run, "two"), without_runs="failed") == {"the gate is good"}
    with pytest.raises(RecallError, match="'faild' is neither a run"):
        stage.seen(without_runs=("faild",))


def test_what_is_no_branch(stage: Stage) -> None:
    memory = stage.memory
    run = stage.run(one=lambda: memory.remember("the fence"))
    with pytest.raises(RecallError, match="is no fork"):
        memory.on(run)
    with pytest.raises(RunNotFoundError, match="there is no run 0190c3a4"):
        memory.merge("0190c3a4-0000-7000-8000-000000000000")
    with pytest.raises(RunNotFoundError, match="'nobody' is no id"):
        memory.discard("nobody")
    fork = stage.fork(run, "two")
    with pytest.raises(RecallError, match="conflicts='mine'"):
        memory.merge(fork, conflicts="mine")  # type: ignore[arg-type]
    assert (memory.merge(fork).added, memory.discard(fork)) == (0, 0)
    assert memory.on("main").recall("fence", 1)[0].text == "the fence"


def test_the_main_line_can_be_reached_from_a_fork(stage: Stage) -> None:
    memory = stage.memory
    run = stage.run()
    fork = stage.fork(run, "two", two=lambda: memory.on("main").remember("the fence is for all"))
    assert stage.seen() == {"the fence is for all"}
    assert stage.seen_by(fork) == set()


def test_a_scope_that_only_a_branch_has(stage: Stage) -> None:
    memory = stage.memory
    memory.remember("the gate")
    run = stage.run()
    fork = stage.fork(run, "two", two=lambda: memory.remember("the fence", scope="alice"))
    with pytest.raises(RecallError, match="nothing was ever remembered in scope 'alice'"):
        stage.seen(scope="alice")
    assert stage.seen_by(fork, scope="alice") == {"the fence"}
    assert stage.seen_by(fork, scope=None) == {"the fence", "the gate"}
    memory.merge(fork)
    assert stage.seen(scope="alice") == {"the fence"}


REFS = ["gate", "fence", "tower", "talk"]
#: on the branch or beside it, what, and the new text; None: it was never true
SAID = st.lists(
    st.tuples(st.booleans(), st.sampled_from(REFS), st.one_of(st.none(), st.integers(0, 5))), min_size=1, max_size=12
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=SAID, after=SAID, merge=st.sampled_from(["branch", "main"]))
def test_any_words_on_both_sides_are_as_a_model_says(
    stage: Stage, before: list[Any], after: list[Any], merge: Any
) -> None:
    memory, collection = stage.memory, f"c{len(stage.memory.collections())}"

    def say(memory: Memory, model: dict[str, str], ref: str, value: int | None, touched: set[str]) -> None:
        text = None if value is None else f"{ref} number {value}"
        if model.get(ref) == text:
            if text is not None:
                assert memory.remember(text, ref=ref, collection=collection).unchanged == 1
            return
        touched.add(ref)
        if text is not None:
            model[ref] = text
            memory.remember(text, ref=ref, collection=collection)
        else:
            del model[ref]
            found = memory.recall("number", 100, collection=collection)
            assert memory.retract(*[hit.item.id for hit in found if hit.item.ref == ref]) == 1

    def seen(memory: Memory) -> dict[str, str]:
        return {hit.item.ref: hit.text for hit in memory.recall("number", 100, collection=collection)}

    main: dict[str, str] = {}
    memory.remember("nothing", ref="nothing", collection=collection)
    for _, ref, value in before:
        say(memory, main, ref, value, set())
    fork = stage.run().fork("two")
    fork.result(timeout=30)
    on_branch, base = memory.on(fork), dict(main)
    branch = dict(main)
    touched, theirs = set[str](), set[str]()
    for own, ref, value in after:
        say(on_branch if own else memory, branch if own else main, ref, value, touched if own else theirs)
    assert {ref: text for ref, text in seen(memory).items() if ref in REFS} == main
    assert {ref: text for ref, text in seen(on_branch).items() if ref in REFS} == branch
    memory.merge(fork, conflicts=merge)
    now = {ref: text for ref, text in seen(memory).items() if ref in REFS}
    for ref in REFS:
        allowed = {branch.get(ref)}
        if ref not in touched or (merge == "main" and ref in theirs):
            allowed = {main.get(ref)}
        if base.get(ref) in (branch.get(ref), main.get(ref)):  # somebody said it, and took it back
            allowed |= {branch.get(ref), main.get(ref)} - ({base.get(ref)} if ref not in touched & theirs else set())
        assert now.get(ref) in allowed, ref
    memory.merge(fork, conflicts=merge)
    assert {ref: text for ref, text in seen(memory).items() if ref in REFS} == now


def test_items_that_have_ended_are_known_as_they_were_known(stage: Stage) -> None:
    """What was said later of earlier times is not seen from before."""
    memory = stage.memory
    memory.remember("the gate is old", ref="gate", since="2020-01-01")
    run = stage.run()
    known = memory.recall("gate", 1)[0].item
    memory.remember("the gate is new", ref="gate", since="2021-01-01")
    fork = stage.fork(run, "two")
    assert stage.seen_by(fork) == {"the gate is old"}
    assert stage.seen(known_at=run.finished_at) == {"the gate is old"}
    assert stage.seen(as_of="2020-06-01") == {"the gate is old"}
    assert isinstance(memory.get(known.id), Item)


def test_a_question_is_asked_where_it_comes_from(stage: Stage) -> None:
    memory = stage.memory
    memory.remember("the fence is red", ref="fence")
    run = stage.run(two=lambda: memory.remember("the fence is blue", ref="fence"))
    model = memory.scripted(*["The fence is what it is [1]."] * 3)
    told: list[Any] = []

    def ask() -> None:
        told.append(memory.ask("which colour has the fence", model=model, timeout="30s"))

    fork = stage.fork(run, "two", two=lambda: memory.remember("the fence is green", ref="fence"), three=ask)
    told.append(memory.ask("which colour has the fence", model=model, timeout="30s"))
    told.append(memory.on(fork).ask("which colour has the fence", model=model, timeout="30s"))
    cited = [answer.citations[0].text for answer in told]
    assert cited == ["the fence is green", "the fence is blue", "the fence is green"]


def test_an_agent_of_a_fork_is_on_its_branch(stage: Stage) -> None:
    memory = stage.ctx.memory
    memory.use(stage.memory._embedder)
    memory.remember("the fence is red", ref="fence")
    run = stage.run(two=lambda: memory.remember("the fence is blue", ref="fence"))

    def look() -> str:
        return " ".join(hit.text for hit in memory.recall("which colour has the fence", 1))

    def note(text: str) -> str:
        memory.remember(text, ref="gate")
        return "noted"

    said = [("look", {}), ("note", {"text": "the gate is green"}), "It is done."]
    agent = stage.ctx.agent(memory.scripted(*said * 2), [look, note], name="painter")
    told: list[Any] = []

    def ask() -> None:
        told.append(agent.run("Look at the fence.", timeout="30s"))

    fork = stage.fork(run, "two", three=ask)
    assert "the fence is red" in told[0].tools[0].told
    assert stage.seen_by(fork) == {"the fence is red", "the gate is green"}
    assert stage.seen() == {"the fence is blue"}
    assert memory._branches.named(told[0].run).run == str(fork.id)

    ask()  # by somebody who is in no fork
    assert "the fence is blue" in told[1].tools[0].told
    assert stage.seen() == {"the fence is blue", "the gate is green"}
