"""Messages by subject, and durable streams of them, on a real database."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.core.subjects import matches
from dataflows_sdk.errors import ConsumerNotFoundError, DefinitionError, NotSerializableError, StreamNotFoundError
from dataflows_sdk.messages import Receipt
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext, wait_until

# --- told to whoever listens ------------------------------------------------------------------------------


def test_who_listens_hears_what_another_process_tells(make_ctx: MakeContext) -> None:
    here, there = make_ctx(work=False), make_ctx(work=False)
    with here.messages.subscribe("order.*", timeout=20) as some, here.messages.subscribe(timeout=20) as everything:
        when = datetime(2026, 1, 1, tzinfo=UTC)
        there.messages.publish("order.paid", {"id": 7, "at": when})
        there.messages.publish("order.paid.late", {"id": 8})
        there.messages.publish("order.lost", ["ä", None])
        assert [(each.subject, each.payload) for each in (next(some), next(some))] == [
            ("order.paid", {"id": 7, "at": when}),
            ("order.lost", ["ä", None]),
        ]
        assert [next(everything).subject for _ in range(3)] == ["order.paid", "order.paid.late", "order.lost"]


def test_without_a_listener_it_is_gone(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    assert ctx.messages.publish("order.paid", 1) == Receipt({})
    with ctx.messages.subscribe(timeout=20) as listening:
        ctx.messages.publish("order.paid", 2)
        assert next(listening).payload == 2


def test_a_large_message_is_heard_whole(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    large = {"text": "ß" * 100_000}
    with ctx.messages.subscribe("big", timeout=20) as listening:
        ctx.messages.publish("big", large)
        assert next(listening).payload == large


def test_equal_messages_in_one_transaction_are_as_many(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    with ctx.messages.subscribe("n", timeout=20) as listening:
        ctx.messages.publish_many([("n", 1)] * 3)
        assert [next(listening).payload for _ in range(3)] == [1, 1, 1]


def test_a_listener_in_an_async_loop(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)

    async def listens() -> list[Any]:
        found = []
        with ctx.messages.subscribe("n.*", timeout=20) as listening:
            await asyncio.to_thread(ctx.messages.publish_many, [(f"n.{number}", number) for number in range(5)])
            async for each in listening:
                found.append(each.payload)
                if len(found) == 5:
                    break
        return found

    assert asyncio.run(listens()) == list(range(5))


def test_waiting_ends_when_it_is_closed_or_when_nothing_comes(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    assert list(ctx.messages.subscribe("nobody", timeout=0.01)) == []
    listening = ctx.messages.subscribe("nobody")
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(listening))
    thread.start()
    listening.close()
    listening.close()
    thread.join(20)
    assert not thread.is_alive()
    assert list(listening) == []


def test_who_does_not_read_does_not_hold_up_the_others(make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows_sdk.messages.subscription._MOST_WAITING", 3)
    ctx = make_ctx(work=False)
    lazy = ctx.messages.subscribe("n", timeout=0.1)
    ctx.messages.publish_many([("n", number) for number in range(10)])
    wait_until(lambda: lazy.dropped == 7, "seven were dropped")
    assert [each.payload for each in lazy] == [0, 1, 2]


def test_a_listener_comes_back_when_its_connection_is_cut(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    listens = "query ilike 'listen \"dataflows_message%' and datname = current_database()"
    cut = f"select pg_terminate_backend(pid) from pg_stat_activity where {listens}"
    with ctx.messages.subscribe("n", timeout=20) as listening:
        with ctx._database.connection() as connection:
            assert connection.execute(cut).fetchall() == [(True,)]
        deadline = time.monotonic() + 20
        ended = threading.Event()

        def tells() -> None:
            while not ended.wait(0.05) and time.monotonic() < deadline:
                ctx.messages.publish("n", 1)

        thread = threading.Thread(target=tells)
        thread.start()
        assert next(listening).payload == 1
        ended.set()
        thread.join()


def test_a_context_that_nobody_holds_goes_though_somebody_listened(make_ctx: MakeContext, database_url: str) -> None:
    ctx = df.connect(database_url, work=False)
    ctx.messages.subscribe("n").close()
    reference = weakref.ref(ctx)
    del ctx
    wait_until(lambda: gc.collect() >= 0 and reference() is None, "the context is gone")


# --- streams ----------------------------------------------------------------------------------------------


def test_a_stream_keeps_what_concerns_it_in_order(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    stream = ctx.messages.stream("orders", ["order.>", "refund.*"])
    receipts = ctx.messages.publish_many([("order.a", 1), ("mail.sent", 2), ("refund.b", 3), ("order.c.d", 4)])
    assert [dict(each.streams) for each in receipts] == [{"orders": 1}, {}, {"orders": 2}, {"orders": 3}]
    assert [(each.seq, each.subject, each.payload) for each in stream.read()] == [
        (1, "order.a", 1),
        (2, "refund.b", 3),
        (3, "order.c.d", 4),
    ]
    assert [each.payload for each in stream.read(after=1, filter="order.>")] == [4]
    info = stream.info()
    assert (info.messages, info.first_seq, info.last_seq, info.bytes) == (3, 1, 3, 3)
    assert ctx.messages.streams() == [info]
    assert ctx.messages.stream("orders").info() == info


def test_a_key_counts_once_in_every_stream(make_ctx: MakeContext) -> None:
    ctxs = [make_ctx(work=False) for _ in range(2)]
    streams = [ctxs[0].messages.stream(name, "order.*") for name in ("a", "b")]
    receipts: list[Any] = []
    threads = [
        threading.Thread(target=lambda ctx=ctx: receipts.append(ctx.messages.publish("order.x", 1, key="k")))
        for ctx in ctxs * 5
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.duplicate for each in receipts) == [False] + [True] * 9
    assert {tuple(each.streams.items()) for each in receipts} == {(("a", 1), ("b", 1))}
    assert [stream.info().messages for stream in streams] == [1, 1]
    with ctxs[0].messages.subscribe(timeout=20) as listening:
        again = ctxs[0].messages.publish_many([("order.y", 1, "l"), ("order.y", 1, "l"), ("order.y", 2, "m")])
        assert [(each.streams["a"], each.duplicate) for each in again] == [(2, False), (2, True), (3, False)]
        assert [next(listening).payload for _ in range(2)] == [1, 2]


def test_numbers_have_no_gaps_with_many_publishers(make_ctx: MakeContext) -> None:
    ctxs = [make_ctx(work=False) for _ in range(3)]
    for name, subjects in (("all", ">"), ("even", "n.even"), ("odd", "n.odd")):
        ctxs[0].messages.stream(name, subjects)
    with ctxs[0].messages.subscribe(timeout=1) as listening:

        def publishes(ctx: df.Context, number: int) -> None:
            for each in range(10):
                ctx.messages.publish("n.even" if each % 2 == 0 else "n.odd", [number, each])

        threads = [threading.Thread(target=publishes, args=(ctxs[number % 3], number)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = [tuple(each.payload) for each in listening]
    found = [tuple(each.payload) for each in ctxs[0].messages.stream("all").read(limit=100)]
    assert told == found  # what is told is told in the order in which it is kept
    assert [each.seq for each in ctxs[0].messages.stream("all").read(limit=100)] == list(range(1, 61))
    assert sorted(found) == [(number, each) for number in range(6) for each in range(10)]
    assert [info.messages for info in ctxs[0].messages.streams()] == [60, 30, 30]


def test_what_is_too_old_too_much_or_too_large_goes(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(work=False, clock=clock)
    few = ctx.messages.stream("few", "n", max_messages=3)
    young = ctx.messages.stream("young", "n", max_age="1h")
    small = ctx.messages.stream("small", "n", max_bytes=20)
    reader = few.consumer("reader")
    assert ctx.messages.publish("n", "1234567890").streams == {"few": 1, "young": 1, "small": 1}
    assert [each.seq for each in reader.fetch()] == [1]
    clock.advance("50m")
    ctx.messages.publish_many([("n", number) for number in range(2, 7)])
    assert [each.seq for each in few.read()] == [4, 5, 6]
    assert [each.seq for each in small.read()] == [1, 2, 3, 4, 5, 6]  # 12 and 5
    clock.advance("20m")
    ctx.messages.publish("n", "12345678")
    assert [each.seq for each in young.read()] == [2, 3, 4, 5, 6, 7]
    assert [each.seq for each in small.read()] == [2, 3, 4, 5, 6, 7]
    assert small.info().bytes == 15
    assert reader.info().pending == 0
    ctx.messages.stream("few", "n", max_messages=1)
    ctx.purge("1h")  # retention looks after streams to which nobody publishes
    assert [each.seq for each in few.read()] == [7]


def test_a_stream_that_shrinks_by_thousands(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    stream = ctx.messages.stream("s", "n")
    ctx.messages.publish_many([("n", 1)] * 3_500)
    ctx.messages.stream("s", "n", max_bytes=10)
    ctx.messages.publish("n", 2)
    info = stream.info()
    assert (info.messages, info.bytes, info.first_seq) == (10, 10, 3_492)


def test_each_message_goes_to_one_reader_of_a_name_and_to_each_name(make_ctx: MakeContext) -> None:
    ctxs = [make_ctx(work=False) for _ in range(3)]
    ctxs[0].messages.stream("s", "n.*")
    ctxs[0].messages.publish_many([(f"n.{'a' if number % 3 else 'b'}", number) for number in range(60)])
    found: dict[str, list[int]] = {"all": [], "some": []}

    def reads(ctx: df.Context, name: str, subjects: str) -> None:
        consumer = ctx.messages.stream("s").consumer(name, filter=subjects)
        while messages := consumer.fetch(4):
            for message in messages:
                found[name].append(message.payload)
                assert message.ack()
                assert not message.ack()

    threads = [
        threading.Thread(target=reads, args=(ctx, *about)) for ctx in ctxs for about in (("all", ">"), ("some", "n.b"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found["all"]) == list(range(60))
    assert sorted(found["some"]) == list(range(0, 60, 3))
    infos = ctxs[0].messages.stream("s").consumers()
    assert [(each.name, each.waiting, each.pending, each.dead, each.seen) for each in infos] == [
        ("all", 0, 0, 0, 60),
        ("some", 0, 0, 0, 60),
    ]


def test_what_is_not_acknowledged_comes_again_until_it_was_too_often(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(work=False, clock=clock)
    stream = ctx.messages.stream("s", "n")
    ctx.messages.publish("n", "poison")
    consumer = stream.consumer("c", ack_wait="10s", max_deliver=3)
    for delivery in (1, 2, 3):
        (message,) = consumer.fetch()
        assert message.deliveries == delivery
        assert consumer.fetch() == []
        clock.advance("11s")
    assert consumer.fetch() == []
    assert [(each.payload, each.deliveries) for each in consumer.dead()] == [("poison", 3)]
    assert consumer.dead()[0].ack()
    assert consumer.info().dead == 0


def test_a_message_can_be_put_back_held_on_to_and_given_up(make_ctx: MakeContext) -> None:
    clock = VirtualClock()
    ctx = make_ctx(work=False, clock=clock)
    stream = ctx.messages.stream("s", "n")
    ctx.messages.publish_many([("n", number) for number in range(3)])
    consumer = stream.consumer("c", ack_wait="10s")
    back, held, bad = consumer.fetch(5)
    assert back.nak("5s")
    clock.advance("6s")
    assert held.in_progress()
    assert bad.term()
    (again,) = consumer.fetch(5)
    assert (again.payload, again.deliveries) == (0, 2)
    assert not back.nak()  # it is somebody else's now
    clock.advance("6s")
    assert consumer.fetch(5) == []
    clock.advance("6s")
    assert sorted(each.payload for each in consumer.fetch(5)) == [0, 1]
    assert [each.payload for each in consumer.dead()] == [2]
    assert (held.in_progress(), held.term(), held.ack()) == (False, False, True)


def test_where_a_consumer_begins_and_that_it_goes_on(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    stream = ctx.messages.stream("s", "n")
    ctx.messages.publish_many([("n", number) for number in range(1, 6)])
    assert [each.seq for each in stream.consumer("first").fetch(9)] == [1, 2, 3, 4, 5]
    assert [each.seq for each in stream.consumer("third", start=3).fetch(9)] == [4, 5]
    new = stream.consumer("new", start="new")
    assert new.fetch(9) == []
    ctx.messages.publish("n", 6)
    assert [each.seq for each in stream.consumer("new", start="first").fetch(9)] == [6]
    new.delete()
    with pytest.raises(ConsumerNotFoundError, match="new"):
        new.fetch()
    with pytest.raises(ConsumerNotFoundError):
        new.delete()
    stream.delete()
    for act in (stream.delete, stream.info, lambda: stream.consumer("x"), lambda: ctx.messages.stream("s")):
        with pytest.raises(StreamNotFoundError, match="'s'"):
            act()
    assert ctx.messages.publish("n", 7).streams == {}


def test_waiting_for_the_next_message(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    consumer = ctx.messages.stream("s", "n").consumer("c")
    assert consumer.fetch(wait="10ms") == []
    timer = threading.Timer(0.1, ctx.messages.publish, ("n", 1))
    timer.start()
    assert [each.payload for each in consumer.fetch(wait="20s")] == [1]
    ctx.messages.publish_many([("n", 2), ("n", 3)])
    iterator = iter(consumer)
    assert [next(iterator).payload for _ in range(2)] == [2, 3]

    async def reads() -> list[Any]:
        found = [each.payload for each in await consumer.afetch(wait="20s")]
        async for each in consumer:
            found.append(each.payload)
            return found
        return found

    ctx.messages.publish_many([("n", 4), ("n", 5)])
    assert asyncio.run(reads()) == [4, 5]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    acts=st.lists(
        st.tuples(st.sampled_from(["publish", "fetch", "ack", "nak", "late"]), st.integers(1, 4)),
        min_size=1,
        max_size=40,
    )
)
def test_nothing_is_lost_whatever_happens(make_ctx: MakeContext, acts: list[tuple[str, int]]) -> None:
    """Against a model: every message of the filter is acknowledged, in a hand, or still to come; never in two."""
    clock = VirtualClock()
    ctx = make_ctx(work=False, clock=clock)
    name = f"s{time.monotonic_ns()}"
    stream = ctx.messages.stream(name, f"{name}.*")
    consumer = stream.consumer("c", filter=f"{name}.a", ack_wait="10s", max_deliver=1_000)
    published: list[int] = []
    hands: dict[int, Any] = {}
    done: set[int] = set()
    for act, count in acts:
        if act == "publish":
            for number in range(count):
                kind = "a" if number % 2 == 0 else "b"
                seq = ctx.messages.publish(f"{name}.{kind}").streams[name]
                published += [seq] if kind == "a" else []
        elif act == "fetch":
            for message in consumer.fetch(count):
                assert message.seq not in hands
                assert message.seq not in done
                hands[message.seq] = message
        elif act == "late":
            clock.advance("11s")
            hands.clear()
        else:
            for seq in list(hands)[:count]:
                message = hands.pop(seq)
                assert message.ack() if act == "ack" else message.nak()
                done |= {seq} if act == "ack" else set()
    clock.advance("11s")
    rest = [each.seq for each in consumer.fetch(1_000)]
    assert sorted([*done, *rest]) == published
    stream.delete()
    ctx.close()


# --- projects ---------------------------------------------------------------------------------------------


def test_projects_are_apart(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    shop, other = ctx.messages.scope("shop", "dev"), ctx.messages.scope("shop", "prod")
    stream = shop.stream("orders", "order.>")
    other.stream("orders", "order.>", max_messages=1)
    with shop.subscribe(timeout=20) as own, ctx.messages.subscribe("atlasdb.>", timeout=20) as everything:
        other.publish("order.x", 0)
        assert shop.publish("order.paid", 1).streams == {"orders": 1}
        assert next(own).subject == "order.paid"
        assert [next(everything).subject for _ in range(2)] == [
            "atlasdb.shop.prod.order.x",
            "atlasdb.shop.dev.order.paid",
        ]
    assert [(each.subject, each.payload) for each in stream.read(filter="order.*")] == [("order.paid", 1)]
    consumer = stream.consumer("c", filter="order.paid")
    assert [(each.subject, each.payload) for each in consumer.fetch(5)] == [("order.paid", 1)]
    assert consumer.info().filter == "order.paid"
    assert [(each.name, each.subjects) for each in shop.streams()] == [("orders", ("order.>",))]
    assert [each.name for each in ctx.messages.streams()] == [
        "atlasdb.streams.shop.dev.orders",
        "atlasdb.streams.shop.prod.orders",
    ]
    for names in (("a.b", "dev"), ("*", "dev"), ("", "dev"), ("shop", "d v")):
        with pytest.raises(DefinitionError):
            ctx.messages.scope(*names)
    with pytest.raises(DefinitionError, match="already"):
        shop.scope("a", "b")


# --- what cannot be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subject", ["", ".", "a..b", "a.", ".a", "a b", "a.*", ">", "a\nb", "a\0b", "x" * 256, None, 7]
)
def test_subjects_that_cannot_be(make_ctx: MakeContext, subject: Any) -> None:
    with pytest.raises(DefinitionError, match=r"subject|pattern"):
        make_ctx(work=False).messages.publish(subject, 1)


def test_messages_that_cannot_be(make_ctx: MakeContext) -> None:
    ctx = make_ctx(work=False)
    stream = ctx.messages.stream("s", "n")
    for payload, error in ((object(), NotSerializableError), ("x" * (1024 * 1024 + 1), NotSerializableError)):
        with pytest.raises(error, match="'n'"):
            ctx.messages.publish_many([("n", 1), ("n", payload)])
    for key in ("", 7, "a\0"):
        with pytest.raises(DefinitionError):
            ctx.messages.publish("n", 1, key=key)  # type: ignore[arg-type]
    for messages in ([("n",)], ["n"], [("n", 1, "k", 2)]):
        with pytest.raises(DefinitionError):
            ctx.messages.publish_many(messages)  # type: ignore[arg-type]
    assert ctx.messages.publish_many([]) == []
    assert stream.info().messages == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda m: m.stream("s", []),
        lambda m: m.stream("", "n"),
        lambda m: m.stream("a.*", "n"),
        lambda m: m.stream("s", "a.>.b"),
        lambda m: m.stream("s", "n", max_messages=0),
        lambda m: m.stream("s", "n", max_bytes=True),
        lambda m: m.stream("s", "n", max_age="-1s"),
        lambda m: m.stream("s", "n", max_age="0s"),
        lambda m: m.stream("s", max_messages=3),
        lambda m: m.subscribe("a..b"),
        lambda m: m.stream("s", "n").consumer("*"),
        lambda m: m.stream("s", "n").consumer("c", filter="a..b"),
        lambda m: m.stream("s", "n").consumer("c", ack_wait="0s"),
        lambda m: m.stream("s", "n").consumer("c", max_deliver=0),
        lambda m: m.stream("s", "n").consumer("c", start="last"),
        lambda m: m.stream("s", "n").consumer("c", start=-1),
        lambda m: m.stream("s", "n").consumer("c").fetch(0),
        lambda m: m.stream("s", "n").read(limit=10_001),
        lambda m: (m.stream("s", "n"), m.publish("n", 1), m.stream("s").read()[0].ack()),
    ],
)
def test_arguments_that_make_no_sense(make_ctx: MakeContext, make: Any) -> None:
    with pytest.raises(DefinitionError):
        make(make_ctx(work=False).messages)


@given(
    st.lists(st.sampled_from(["a", "b", "*", ">"]), min_size=1, max_size=4), st.lists(st.sampled_from("ab"), min_size=1)
)
def test_matching_is_what_the_rules_say(pattern: list[str], subject: list[str]) -> None:
    def expected(wanted: list[str], words: list[str]) -> bool:
        if wanted == [">"]:
            return bool(words)
        if not wanted or not words:
            return not wanted and not words
        return wanted[0] in ("*", words[0]) and wanted[0] != ">" and expected(wanted[1:], words[1:])

    assert matches(".".join(pattern), ".".join(subject)) is expected(pattern, subject)
