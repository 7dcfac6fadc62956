"""Flows in the database: versions, comparing, restoring, standing; a run keeps the version that it began with."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import (
    DefinitionError,
    FlowNotActiveError,
    FlowNotFoundError,
    FlowStatusError,
    FlowValidationError,
)

from ..conftest import MakeContext, wait_until


def greeting(text: str, wait: str = "0s", name: str = "greet") -> df.Flow:
    """Waits, then says something."""
    return df.flow(name).on_manual(id="t").delay("wait", wait).switch("say", text, [text])


def test_saving_makes_versions_when_the_content_changed(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    saved = ctx.flows.save(greeting("one"), description="first", created_by="ann")
    assert (saved.name, saved.version, saved.status, saved.trigger_type, saved.created_by) == (
        "greet",
        1,
        "draft",
        "manual",
        "ann",
    )
    assert ctx.flows.save(greeting("one")).version == 1
    assert saved.save(greeting("two")).version == 2
    moved = greeting("two").to_json()
    moved["nodes"][1]["position"] = {"x": 1, "y": 2}
    assert saved.save(moved).version == 3
    assert [each.version for each in saved.versions()] == [3, 2, 1]
    assert [each.version for each in saved.versions(page=2, limit=2)] == [1]
    assert saved.get_version(1).created_by == "ann"
    assert saved.get_version(2).hash == saved.get_version(3).hash != saved.get_version(1).hash
    assert saved.refresh().flow(1).spec == greeting("one").spec


def test_comparing_a_real_history_of_edits(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    first = df.flow("edited").on_manual(id="t").delay("a", "1s").delay("b", "2s").delay("c", "3s")
    saved = ctx.flows.save(first)
    second = df.flow("edited").on_manual(id="t").delay("a", "5s").delay("b", "2s").delay("d", "3s")
    saved.save(second)
    third = second.to_json()
    third["nodes"][2]["position"] = {"x": 10, "y": 0}
    saved.save(third)
    diff = saved.compare(1, 3)
    assert [each.node_id for each in diff.added_nodes] == ["d"]
    assert [each.node_id for each in diff.removed_nodes] == ["c"]
    (modified,) = diff.modified_nodes
    assert (modified.node_id, modified.fields) == ("a", ("config.duration",))
    assert modified.old_data is not None
    assert modified.new_data is not None
    assert (modified.old_data["config"], modified.new_data["config"]) == ({"duration": "1s"}, {"duration": "5s"})
    assert diff.moved_nodes == ("b",)
    assert [(each.source, each.target) for each in diff.added_edges] == [("b", "d")]
    assert [(each.source, each.target) for each in diff.removed_edges] == [("b", "c")]
    assert "~ a: config.duration" in str(diff)
    assert not saved.compare(2, 2)
    with pytest.raises(FlowNotFoundError, match="no version 9"):
        saved.compare(1, 9)
    with pytest.raises(DefinitionError, match="a version is a number"):
        saved.compare("x", 1)  # type: ignore[arg-type]


def test_restoring_adds_a_version(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    saved = ctx.flows.save(greeting("one"))
    saved.save(greeting("two"))
    saved.save(greeting("three"))
    restored = saved.restore(1)
    assert restored.version == 4
    newest = restored.get_version(4)
    assert (newest.restored_from, newest.description) == (1, "Restored from version 1")
    assert newest.document == restored.get_version(1).document
    assert restored.flow(3).spec == greeting("three").spec
    assert not restored.compare(1, 4)
    assert restored.restore(3).version == 5


def test_versions_are_labelled(make_ctx: MakeContext) -> None:
    saved = make_ctx().flows.save(greeting("one"), label="first", tag="v1")
    assert (saved.get_version(1).name, saved.get_version(1).tag) == ("first", "v1")
    assert saved.label(1, tag="v1.0").tag == "v1.0"
    assert saved.get_version(1).name == "first"
    with pytest.raises(FlowNotFoundError):
        saved.label(2, name="x")


def test_concurrent_saves_get_different_numbers(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    errors: list[BaseException] = []

    def save(number: int) -> None:
        try:
            ctx.flows.save(greeting(str(number)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    saved = ctx.flows.get("greet")
    assert [each.version for each in saved.versions()] == list(range(8, 0, -1))


def test_the_standing_of_a_flow(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    saved = ctx.flows.save(greeting("hi"))
    with pytest.raises(FlowNotActiveError, match="is draft"):
        saved.start()
    with pytest.raises(FlowStatusError, match="is draft and can become active, archived, not paused"):
        saved.pause()
    with pytest.raises(FlowStatusError, match="no status 'published'"):
        saved.set_status("published")
    saved.activate()
    assert saved.start().result("20s")["case"] == "hi"
    assert saved.pause().status == "paused"
    with pytest.raises(FlowNotActiveError):
        saved.start()
    assert saved.activate().archive().status == "archived"
    with pytest.raises(FlowStatusError, match="can become draft"):
        saved.activate()
    assert saved.set_status("draft").status == "draft"
    assert [each.name for each in ctx.flows.list(status="draft")] == ["greet"]
    assert ctx.flows.list(status="active") == []


def test_deleting_hides_a_flow_and_frees_its_name(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    saved = ctx.flows.save(greeting("hi")).activate()
    made = saved.start()
    made.result("20s")
    identifier = saved.id
    saved.delete()
    assert ctx.flows.list() == []
    for name in ("greet", identifier, str(identifier)):
        with pytest.raises(FlowNotFoundError):
            ctx.flows.get(name)
    assert ctx.get(made.id).status == "succeeded"
    again = ctx.flows.save(greeting("other"))
    assert again.id != identifier
    assert again.version == 1
    with pytest.raises(FlowNotFoundError, match="deleted already"):
        saved.delete()


def test_cloning(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    saved = ctx.flows.save(greeting("hi")).activate()
    clone = saved.clone("copy")
    assert (clone.name, clone.status, clone.version) == ("copy", "draft", 1)
    assert [node.id for node in clone.flow().spec.nodes] == ["t", "wait", "say"]
    with pytest.raises(DefinitionError, match="already"):
        saved.clone("copy")


def test_what_is_wrong_is_not_saved(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    with pytest.raises(FlowValidationError, match="parsecs"):
        ctx.flows.save(df.flow("bad").delay("d", "5 parsecs"))
    with pytest.raises(FlowValidationError, match="trigger_type"):
        ctx.flows.save(greeting("x"), trigger_type="webhook")
    assert ctx.flows.list() == []
    saved = ctx.flows.save(df.flow("python").step("a", lambda: 1))
    with pytest.raises(FlowValidationError, match="is not bound"):
        saved.activate()
    seed = {
        "name": "New Order Processing",
        "nodes": [{"id": "t", "type": "trigger_record", "config": {"event": "created", "object": "orders"}}],
        "edges": [],
    }
    assert ctx.flows.save(seed, trigger_type="cdc").trigger_type == "cdc"


def test_a_run_finishes_on_its_own_version_while_newer_ones_are_saved(make_ctx: MakeContext) -> None:
    ctx = make_ctx(linger="0s")
    saved = ctx.flows.save(greeting("one", "1s")).activate()
    old = saved.start()
    wait_until(lambda: ctx.get(old.id).status == "sleeping", "it sleeps")
    for text in ("two", "three", "four"):
        saved.save(greeting(text, "1s"))
    new = saved.start()
    assert old.result("20s")["case"] == "one"
    assert new.result("20s")["case"] == "four"
    assert saved.refresh().version == 4


def test_another_process_takes_on_runs_of_flows_that_it_never_saw(make_ctx: MakeContext) -> None:
    first = make_ctx(linger="0s")
    saved = first.flows.save(greeting("one", "1500ms")).activate()
    made = saved.start()
    wait_until(lambda: first.get(made.id).status == "sleeping", "it sleeps")
    saved.save(greeting("two"))
    first.close()
    other = make_ctx(linger="0s")
    assert other.get(made.id).result("30s")["case"] == "one"
    again = other.flows.get("greet")
    assert again.flow().spec == greeting("two").spec
    assert again.start().result("20s")["case"] == "two"


def test_the_name_or_the_id_finds_a_flow(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    saved = ctx.flows.save(greeting("x"))
    for given in ("greet", saved.id, str(saved.id), saved):
        assert ctx.flows.get(given).id == saved.id
    bad: Any = 7
    with pytest.raises(FlowNotFoundError):
        ctx.flows.get("nobody")
    with pytest.raises(FlowNotFoundError):
        ctx.flows.get(bad)


def test_a_fork_of_a_saved_flow_stays_on_its_version_unless_it_is_given_another(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    saved = ctx.flows.save(greeting("one")).activate()
    run = saved.start()
    assert run.result("20s")["case"] == "one"
    saved.save(greeting("two"))
    assert run.fork(at="say").result("20s")["case"] == "one"
    assert run.fork(at="say", workflow=saved.refresh().flow()).result("20s")["case"] == "two"
    other = make_ctx()
    assert other.flows.get("greet").start().result("20s")["case"] == "two"
    assert other.get(run.id).fork(at="say").result("20s")["case"] == "one"


def test_white_space_around_a_name_is_not_kept(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    saved = ctx.flows.save(df.flow("  orders ").on_manual().delay("d", "0s"))
    assert saved.name == "orders"
    assert ctx.flows.save({**saved.get_version(1).document, "name": "\torders"}).version == 1
    assert [each.name for each in ctx.flows.list()] == ["orders"]
