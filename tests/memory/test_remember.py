"""What is remembered, replaced, taken back and forgotten."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_memory.desk import Memory
from dataflows_sdk.context import Context
from dataflows_sdk.errors import EmbeddingError, ItemNotFoundError, RecallError

from ..conftest import MakeContext
from .fakes import FakeEmbedder


def texts(memory: Memory, question: str, **options: Any) -> list[str]:
    return [hit.text for hit in memory.recall(question, 10, **options)]


def test_the_same_text_is_kept_once_and_embedded_once(memory: Memory, embedder: FakeEmbedder) -> None:
    first = memory.remember(["the fence is red", "the gate is open", "the fence is red"])
    again = memory.remember("the fence is red")
    elsewhere = memory.remember("the fence is red", scope="other")
    assert (first.added, first.embedded, len(first.items)) == (2, 2, 2)
    assert (again.added, again.unchanged, again.items) == (0, 1, first.items[:1])
    assert (elsewhere.added, elsewhere.embedded) == (1, 0)
    assert embedder.seen == ["the fence is red", "the gate is open"]


def test_another_text_takes_the_place_of_the_earlier_from_then_on(memory: Memory) -> None:
    memory.remember("oil costs 70", ref="oil", since="2026-01-01", meta={"unit": "barrel"})
    changed = memory.remember("oil costs 90", ref="oil", since="2026-03-01", meta={"unit": "barrel"})
    assert (changed.added, changed.ended) == (1, 1)
    assert texts(memory, "oil costs") == ["oil costs 90"]
    assert texts(memory, "oil costs", as_of="2026-02-01") == ["oil costs 70"]
    assert texts(memory, "oil costs", as_of="2026-03-01") == ["oil costs 90"]
    assert texts(memory, "oil costs", as_of="2025-12-31") == []
    one, other = memory.history("oil")
    assert (one.text, one.valid_to, other.text, other.valid_to) == (
        "oil costs 70",
        other.valid_from,
        "oil costs 90",
        None,
    )


def test_update_retract_and_known_at(memory: Memory) -> None:
    (item,) = memory.remember("alice leads alpha").items
    (now,) = memory.update(item, "bob leads alpha").items
    assert texts(memory, "leads alpha") == ["bob leads alpha"]
    known_at = memory.get(now).recorded_at
    assert memory.retract(now) == 1
    assert texts(memory, "leads alpha") == []
    assert texts(memory, "leads alpha", as_of=known_at, known_at=known_at) == ["bob leads alpha"]
    with pytest.raises(RecallError, match="is over: another one has taken its place"):
        memory.update(item, "carol leads alpha")
    assert memory.retract(now) == 0


def test_what_ends_by_itself_is_updated_until_then(memory: Memory) -> None:
    end = datetime.now(UTC) + timedelta(days=2)
    (item,) = memory.remember("apples are cheap", ref="offer", until=end).items
    (new,) = memory.update(item, "pears are cheap").items
    assert texts(memory, "cheap") == ["pears are cheap"]
    assert memory.get(new).valid_to == end
    assert texts(memory, "cheap", as_of=end) == []
    with pytest.raises(RecallError, match=r"is not before the end of item .* remember\(…, ref='offer'\)"):
        memory.update(new, "plums are cheap", since=end)
    with pytest.raises(RecallError, match="another one has taken its place"):
        memory.update(item, "plums are cheap")


def test_what_has_ended_by_itself_is_over(memory: Memory) -> None:
    (item,) = memory.remember("apples are cheap", ref="offer", since="2026-01-01", until="2026-02-01").items
    with pytest.raises(RecallError, match="is over"):
        memory.update(item, "pears are cheap")
    memory.remember("pears are cheap", ref="offer", since="2026-03-01")
    assert texts(memory, "cheap", as_of="2026-02-15") == []
    assert [each.valid_to for each in memory.history("offer")] == [datetime(2026, 2, 1, tzinfo=UTC), None]


def test_forgetting_leaves_nothing(memory: Memory, database_url: str) -> None:
    (item,) = memory.remember("a secret recipe", ref="recipe").items
    memory.remember("another secret recipe", ref="recipe")
    memory.remember("something else")
    assert memory.forget(ref="recipe") == 2
    assert texts(memory, "secret recipe") == ["something else"]
    with pytest.raises(ItemNotFoundError, match=f"no item {item}"):
        memory.get(item)
    with psycopg.connect(database_url) as connection:
        for table in ("item", "posting", "vectors_1"):
            rows = connection.execute(f"select to_jsonb(t)::text from dataflows_memory.{table} t").fetchall()
            assert not [row for row in rows if "recip" in str(row)]
        assert connection.execute("select count(*) from dataflows_memory.vectors_1").fetchone() == (1,)


def test_a_conversation_grows_and_its_turns_know_their_neighbours(memory: Memory, embedder: FakeEmbedder) -> None:
    for turn in ("I went to Rome", "With whom?", "With Bob, in May"):
        memory.remember(turn, to="chat")
    assert [item.part for item in memory.history("chat")] == [0, 1, 2]
    assert "With whom?\nWith Bob, in May" in embedder.seen
    hits = memory.recall("Rome with whom", around=1)
    assert {hit.text for hit in hits} == {"I went to Rome", "With whom?", "With Bob, in May"}
    assert [item.text for item in hits[0].around] == [item.text for item in memory.around(hits[0].item.id)]
    assert "words around" in hits[0].parts
    before = len(embedder.seen)
    memory.remember("Lovely", to="chat")
    wanted = {"Lovely", "With Bob, in May\nLovely", "With whom?\nWith Bob, in May\nLovely"}
    assert sorted(embedder.seen[before:]) == sorted(wanted)


def test_a_whole_is_replaced_with_its_parts(memory: Memory) -> None:
    memory.remember(["one fish", "two fish", "red fish"], ref="poem")
    changed = memory.remember(["one fish", "blue fish"], ref="poem")
    assert (changed.added, changed.ended, changed.unchanged) == (1, 2, 1)
    assert sorted(texts(memory, "fish")) == ["blue fish", "one fish"]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ("", {}, "an empty text"),
        ("  \n", {}, "an empty text"),
        (17, {}, "'int' object is not iterable|a text is remembered"),
        ([17], {}, "a text is remembered, not int"),
        ("a\0b", {}, "NUL"),
        ("x", {"meta": {"a": object()}}, "meta is a JSON object"),
        ("x", {"meta": {"a": float("nan")}}, "meta is a JSON object"),
        ("x", {"meta": {"a": "\0"}}, "NUL"),
        ("x", {"ref": ""}, "ref='' is no name"),
        ("x", {"ref": "a", "to": "b"}, "give one of them"),
        ("x", {"scope": "a\nb"}, "is no name"),
        ("x", {"collection": ""}, "collection='' is no name"),
        ("x", {"since": "2026-02-01", "until": "2026-01-01"}, "is not before until"),
    ],
)
def test_what_cannot_be_remembered(memory: Memory, arguments: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((RecallError, TypeError), match=message):
        memory.remember(arguments, **options)
    assert all(each["items"] == 0 for each in memory.collections())


def test_ten_megabytes(words_only: Memory) -> None:
    with pytest.raises(RecallError, match="10,000,001 letters"):
        words_only.remember("a" * 10_000_001)
    words_only.remember("needle " + "hay " * 250_000)
    assert len(words_only.recall("needle")) == 1


def test_an_embedder_that_fails_loses_nothing(memory: Memory, embedder: FakeEmbedder) -> None:
    memory.remember("before")
    embedder.error = EmbeddingError("down")
    with pytest.raises(EmbeddingError, match="down"):
        memory.remember("after")
    embedder.error = None
    assert texts(memory, "after before") == ["before"]
    assert memory.remember("after").added == 1


def test_two_models_are_not_mixed(memory: Memory, context: Context) -> None:
    memory.remember("one")
    other = Memory(context, FakeEmbedder("another", 64))
    with pytest.raises(RecallError, match="embedded by 'fake-hashed-words', and this memory has 'another'"):
        other.remember("two")
    with pytest.raises(RecallError, match="cannot be compared"):
        other.recall("one")
    assert other.remember("two", collection="its own").added == 1
    with pytest.raises(RecallError, match="have 64 numbers in this database and 32 now"):
        Memory(context, FakeEmbedder("another", 32)).remember("x", collection="third")


def test_a_collection_keeps_its_language_and_neighbours(words_only: Memory) -> None:
    words_only.collection("deutsch", language="german", around=0)
    words_only.collection("deutsch", language="german", around=0)
    words_only.remember("Die Häuser der Kunden", collection="deutsch")
    assert texts(words_only, "haus", collection="deutsch") == ["Die Häuser der Kunden"]
    with pytest.raises(RecallError, match="language='german' and around=0"):
        words_only.collection("deutsch")
    with pytest.raises(RecallError, match="around=9"):
        words_only.collection("x", around=9)


def test_in_a_step_it_commits_with_the_record(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    memory = Memory(ctx, FakeEmbedder())
    tries: list[int] = []

    @df.workflow("note")
    def note(event: Any, step: Any) -> list[str]:
        def write() -> list[str]:
            memory.remember(f"attempt {len(tries)} saw the fence", ref="fence")
            memory.remember("it was red", to="log")
            seen = [hit.text for hit in memory.recall("fence red")]
            tries.append(1)
            if len(tries) == 1:
                raise ConnectionError("once")
            return seen

        return step.run("write", write, retry=df.Retry(3, initial_delay="1ms"))

    run = ctx.start(note, {})
    assert sorted(run.result(timeout=30)) == ["attempt 1 saw the fence", "it was red"]
    (item,) = memory.history("fence")
    assert (item.text, item.run, item.step) == ("attempt 1 saw the fence", str(run.id), "write")
    assert "written by step 'write' of run" in item.source
    assert [each.text for each in memory.history("log")] == ["it was red"]


def test_many_write_the_same_at_once(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    memory = Memory(ctx, FakeEmbedder())
    memory.remember("begin", to="log")
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for n in range(5):
                memory.remember(f"{number} says {n}", to="log")
                memory.remember(f"the last was {number} {n}", ref="last")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    log = memory.history("log")
    assert sorted(item.part for item in log) == list(range(21))
    assert len({item.text for item in log}) == 21
    assert len([item for item in memory.history("last") if item.valid_to is None]) == 1


def test_what_is_said_of_the_future_is_not_true_yet(memory: Memory, words_only: Memory) -> None:
    for one, name in ((memory, "default"), (words_only, "words")):
        one.remember("the price is ten", ref="price", collection=name)
        one.remember([f"something of the price {n}" for n in range(10)], collection=name)
        one.remember("the price is twelve", ref="price", since="2999-01-01", collection=name)
        assert one.recall("price is ten", 1, collection=name)[0].text == "the price is ten"
        assert one.recall("price is twelve", 1, as_of="2999-01-02", collection=name)[0].text == "the price is twelve"
        texts = {hit.text for hit in one.recall("price", 100, collection=name)}
        assert "the price is ten" in texts
        assert "the price is twelve" not in texts
