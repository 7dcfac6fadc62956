from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_sdk.core import ids
from dataflows_sdk.core.ids import deterministic_id, id_time, idempotency_key, new_id, new_uuid, parse_id
from dataflows_sdk.errors import DataflowsError, InvalidIdError

RUN = "0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b77"


def test_new_ids_are_uuid7_of_now() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    made = UUID(new_id())
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    at = id_time(made)
    assert at is not None
    assert before <= at <= datetime.now(UTC)
    assert new_uuid().version == 7


def test_ids_increase_strictly_as_text_and_as_numbers() -> None:
    made = [new_id() for _ in range(20_000)]
    assert made == sorted(set(made))
    numbers = [UUID(text).int for text in made]
    assert numbers == sorted(set(numbers))


def test_threads_get_distinct_ids_each_in_order() -> None:
    results: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def work(out: list[str]) -> None:
        start.wait()
        out.extend(new_id() for _ in range(5_000))

    threads = [threading.Thread(target=work, args=(out,)) for out in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(out == sorted(out) for out in results)
    assert len({text for out in results for text in out}) == 40_000


def test_a_wall_clock_that_goes_back_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = ids._Sequence()
    times = iter([5_000_000_000, 4_000_000_000, 1, 5_000_000_000, 5_001_000_000])
    monkeypatch.setattr(ids.time, "time_ns", lambda: next(times))
    made = [sequence.next() for _ in range(5)]
    assert made == sorted(set(made))
    assert [number >> 80 for number in made] == [5_000, 5_000, 5_000, 5_000, 5_001]


def test_a_full_counter_moves_on_to_the_next_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = ids._Sequence()
    monkeypatch.setattr(ids.time, "time_ns", lambda: 5_000_000_000)
    first = sequence.next()
    sequence.counter = ids._COUNTER_END - 1
    second = sequence.next()
    assert second > first
    assert (first >> 80, second >> 80) == (5_000, 5_001)
    assert UUID(int=second).version == 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_makes_other_ids() -> None:
    code = (
        "import os, sys\n"
        "from dataflows_sdk.core.ids import new_id, _sequence\n"
        "new_id()\n"
        "r, w = os.pipe()\n"
        "child = os.fork()\n"
        "out = [new_id() for _ in range(500)]\n"
        "if child == 0:\n"
        "    os.write(w, ''.join(out).encode()); os._exit(0)\n"
        "os.close(w)\n"
        "theirs = os.fdopen(r).read()\n"
        "os.waitpid(child, 0)\n"
        "assert len(theirs) == 36 * 500\n"
        # the random tail, which would be the same if the pool were shared
        "tails = {theirs[i + 28:i + 36] for i in range(0, len(theirs), 36)}\n"
        "assert len(tails & {text[28:] for text in out}) < 5, 'the child repeats its parent'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("text", [RUN, RUN.upper(), RUN.replace("-", ""), f"  {RUN}\n", UUID(RUN)])
def test_parse_id_accepts(text: str | UUID) -> None:
    assert parse_id(text) == UUID(RUN)


@pytest.mark.parametrize(
    "bad", ["", "abc", RUN[:-1], RUN + "0", "{" + RUN + "}", "urn:uuid:" + RUN, "٠" * 32, "x" * 5000]
)
def test_parse_id_refuses_text(bad: str) -> None:
    with pytest.raises(InvalidIdError, match="not an id") as caught:
        parse_id(bad)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, DataflowsError)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("bad", [None, 7, b"x", ["a"]])
def test_parse_id_refuses_other_types(bad: object) -> None:
    with pytest.raises(InvalidIdError, match=type(bad).__name__):
        parse_id(bad)  # type: ignore[arg-type]


def test_ids_without_a_time() -> None:
    assert id_time("9e5d1d26-ddb0-4f4f-ab3a-15a984d448f0") is None
    assert id_time("ffffffff-ffff-7fff-bfff-ffffffffffff") is None  # the year 10889


def test_derived_ids_are_stable_and_apart() -> None:
    # written down, because recorded runs depend on them: a change here is a change of the format
    assert idempotency_key(RUN, "fetch") == "94c0121f-948c-8dbf-85b1-a7575f6d1c5f"
    assert str(deterministic_id(RUN, "fetch")) == "67e2d4d7-db54-8acb-b534-c068b6f77e9e"


@given(st.text(min_size=1), st.text(min_size=1))
def test_derived_ids_depend_on_their_key_alone(one: str, two: str) -> None:
    assert idempotency_key(RUN, one) == idempotency_key(RUN.upper(), one) == idempotency_key(UUID(RUN), one)
    assert (idempotency_key(RUN, one) == idempotency_key(RUN, two)) == (one == two)
    assert (deterministic_id(RUN, one) == deterministic_id(RUN, two)) == (one == two)
    assert idempotency_key(RUN, one) != str(deterministic_id(RUN, one))
    assert deterministic_id(RUN, one).version == 8


def test_derived_ids_take_surrogates_and_refuse_nonsense() -> None:
    assert idempotency_key(RUN, "\ud800") != idempotency_key(RUN, "\ud801")
    for call in (idempotency_key, deterministic_id):
        with pytest.raises(InvalidIdError, match="key"):
            call(RUN, "")
        with pytest.raises(InvalidIdError, match="key"):
            call(RUN, None)  # type: ignore[arg-type]
        with pytest.raises(InvalidIdError, match="not an id"):
            call("run-7", "fetch")
