"""Documents and tables in the memory."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_memory.desk import Memory
from dataflows_sdk.context import Context
from dataflows_sdk.errors import DocumentError, RecallError, TableNotFoundError
from dataflows_sdk.warehouse import feed

from ..conftest import MakeContext, wait_until
from .fakes import FakeEmbedder

GUIDE = """# Guide

## Install

Run the installer and wait for the green lamp.

## Use

Press the red button. The gate opens.
"""


def test_a_document_is_found_by_its_chunks_and_cited_by_place(
    memory: Memory, embedder: FakeEmbedder, tmp_path: Path
) -> None:
    path = tmp_path / "guide.md"
    path.write_text(GUIDE)
    stored = memory.add_document(path, meta={"product": "gate"}, size=80, overlap=0)
    assert stored.added == len(stored.items) == 2
    hit = memory.recall("how do I open the gate", where={"product": "gate"})[0]
    assert (hit.item.origin, hit.item.ref, hit.item.heading) == ("document", str(path), "Guide > Use")
    assert hit.item.span is not None
    assert GUIDE[slice(*hit.item.span)] == hit.text
    assert hit.item.meta["title"] == "Guide"
    assert memory.add_document(path, meta={"product": "gate"}, size=80, overlap=0).added == 0
    before = len(embedder.seen)
    path.write_text(GUIDE.replace("red button", "blue button"))
    changed = memory.add_document(path, meta={"product": "gate"}, size=80, overlap=0)
    assert (changed.added, changed.ended, changed.unchanged) == (1, 1, 1)
    assert not [text for text in embedder.seen[before:] if text.endswith("green lamp.")]
    assert "blue button" in memory.recall("press button")[0].text
    assert "red button" in memory.recall("press button", as_of=memory.get(hit.item.id).valid_from)[0].text


def test_documents_that_cannot_be_remembered(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(RecallError, match="cited and replaced by its name"):
        memory.add_document("no title here", kind="text")
    with pytest.raises(DocumentError, match="has no text"):
        memory.add_document("   ", kind="text", ref="empty")
    with pytest.raises(DocumentError):
        memory.add_document(tmp_path / "nothing.md")
    assert memory.add_document("just a text", kind="text", ref="note").added == 1


def test_rows_are_true_as_long_as_they_were_so(make_ctx: MakeContext, embedder: FakeEmbedder) -> None:
    ctx = make_ctx()
    memory = Memory(ctx, embedder)

    @df.workflow("price")
    def price(event: Any, step: Any) -> None:
        def write() -> None:
            ctx.db.goods.upsert(goods_id="oil", notes=f"the price of oil is {event.payload}", unit="barrel")

        step.run("write", write)

    first, second = ctx.run(price, 70), ctx.run(price, 90)
    one, other = ctx.warehouse["goods"].history("oil")
    stored = memory.index_table("goods", "{goods_id}: {notes}", meta=["unit"])
    assert (stored.added, stored.ended) == (2, 1)
    now = memory.recall("oil price", where={"unit": "barrel"})[0].item
    then = memory.recall("oil price", as_of=one.valid_from)[0].item
    assert (now.text, now.run, now.step) == ("oil: the price of oil is 90", str(second.id), "write")
    assert (then.text, then.run, then.ref) == ("oil: the price of oil is 70", str(first.id), "goods/oil")
    assert (then.valid_from, then.valid_to) == (one.valid_from, other.valid_from)
    assert (other.valid_from, now.valid_to) == (now.valid_from, None)


def test_changes_are_read_before_an_answer_and_only_they_are_embedded(
    memory: Memory, context: Context, embedder: FakeEmbedder
) -> None:
    table = context.warehouse.table("tasks", {"id": int, "name": str, "hours": int}, key="id")
    table.upsert_many({"id": n, "name": f"task number {n}", "hours": n} for n in range(600))
    assert memory.index_table("tasks", "{name}", meta=["hours"]).added == 600
    before = len(embedder.seen)
    table.upsert_many({"id": n, "name": f"job number {n}", "hours": n} for n in range(6))
    table.update(7, hours=700)  # the text is as it was
    table.delete(8)
    assert {hit.text for hit in memory.recall("job", 6)} == {f"job number {n}" for n in range(6)}
    assert sorted(embedder.seen[before:]) == sorted([*(f"job number {n}" for n in range(6)), "job"])
    assert memory.recall("task number", where={"hours": 700})[0].item.ref == "tasks/7"
    assert not memory.recall("task number 8", where={"hours": 8})
    assert memory.refresh().added == 0
    memory.drop_index("tasks")
    assert len(memory.recall("task job")) == 0
    with pytest.raises(RecallError, match="is not followed"):
        memory.drop_index("tasks")


def test_versions_in_one_page_of_changes_and_another_template(memory: Memory, context: Context) -> None:
    table = context.warehouse.table("tasks", {"id": int, "name": str, "state": str}, key="id")
    for number in range(5):
        table.upsert(id=1, name=f"name {number}", state="open")
    table.delete(1)
    table.upsert(id=1, name="name again", state="open")
    assert memory.index_table("tasks", "{name}").added == 6
    history = memory.history("tasks/1")
    assert [item.text for item in history] == [*(f"name {n}" for n in range(5)), "name again"]
    for one, other in pairwise(history):
        assert one.valid_to is not None
        assert other.valid_from is not None
        assert one.valid_to <= other.valid_from
    memory.index_table("tasks", "{name} is {state}")
    assert [hit.text for hit in memory.recall("name")] == ["name again is open"]
    table.upsert(id=2, name=None, state=None)
    assert len(memory.recall("is", 10)) == len(memory.recall("name", 10))


@pytest.mark.parametrize(
    ("text", "meta", "message"),
    [
        ("no column", (), "names no column"),
        ("{nope}", (), "has no column 'nope'; it has id, name"),
        ("{name}", ("nope",), "has no column 'nope'"),
        ("{name.__class__}", (), "which is no column"),
        ("{name[0]}", (), "which is no column"),
        ("{}", (), "which is no column"),
        ("{name", (), "cannot be read"),
    ],
)
def test_templates_that_make_no_sense(
    memory: Memory, context: Context, text: str, meta: tuple[str, ...], message: str
) -> None:
    context.warehouse.table("tasks", {"id": int, "name": str}, key="id")
    with pytest.raises(RecallError, match=message):
        memory.index_table("tasks", text, meta=meta)


def test_tables_that_cannot_be_followed(memory: Memory, context: Context) -> None:
    with pytest.raises(TableNotFoundError):
        memory.index_table("nope", "{name}")
    context.warehouse.table("log", {"line": str})
    with pytest.raises(RecallError, match="has no key"):
        memory.index_table("log", "{line}")


def test_who_follows_at_the_same_time_reads_each_change_once(memory: Memory, context: Context) -> None:
    table = context.warehouse.table("tasks", {"id": int, "name": str}, key="id")
    memory.index_table("tasks", "{name}")
    for round_ in range(4):
        table.upsert_many({"id": n, "name": f"task {n} of round {round_}"} for n in range(50))
    others = [Memory(context, FakeEmbedder()) for _ in range(4)]
    threads = [threading.Thread(target=other.refresh) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    memory.refresh()
    assert [len(memory.history(f"tasks/{n}")) for n in range(50)] == [4] * 50
    assert len(memory.recall("task", 100)) == 50


def test_an_embedder_that_fails_leaves_the_changes_for_later(
    memory: Memory, context: Context, embedder: FakeEmbedder
) -> None:
    table = context.warehouse.table("tasks", {"id": int, "name": str}, key="id")
    memory.index_table("tasks", "{name}")
    table.upsert(id=1, name="paint the fence")
    embedder.error = ConnectionError("down")
    with pytest.raises(ConnectionError, match="down"):
        memory.refresh()
    embedder.error = None
    assert [hit.text for hit in memory.recall("fence")] == ["paint the fence"]


def test_what_is_committed_is_found_whatever_else_goes_on(memory: Memory, context: Context, database_url: str) -> None:
    table = context.warehouse.table("tasks", {"id": int, "name": str}, key="id")
    table.upsert(id=1, name="paint the fence")
    memory.index_table("tasks", "{name}")
    with psycopg.connect(database_url) as older:
        older.execute("create table anything ()")  # has a number of its own, and goes on
        table.upsert(id=2, name="paint the gate")
        found = memory.recall("paint")
        assert (len(found), found.note) == (2, "")
    assert len(memory.recall("paint")) == 2
    assert [len(memory.history(f"tasks/{n}")) for n in (1, 2)] == [1, 1]


def test_the_place_in_the_changes_moves_on_with_what_others_write(
    memory: Memory, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = context.warehouse.table("tasks", {"id": int, "name": str}, key="id")
    table.upsert(id=1, name="paint the fence")
    memory.index_table("tasks", "{name}")

    def place() -> str:
        return str(context._database.query("select cursor from dataflows_memory.source")[0][0])

    others = context.warehouse.table("others", {"id": int}, key="id")
    others.upsert(id=1)
    kept = place()
    assert len(memory.recall("paint")) == 1
    assert place() == kept  # nothing is written for a look
    monkeypatch.setattr(feed, "_FAR", 1)
    # not before the oldest transaction of the server is over, be it one of another test: until then it is no further
    wait_until(lambda: len(memory.recall("paint")) == 1 and place() != kept, "the place moved on")
