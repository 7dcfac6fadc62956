"""Random programs do what a small model says: in memory, rebuilt after every step, and in virtual time.

``DATAFLOWS_EXAMPLES=500`` looks at more of them.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows_sdk.context import Context, connect
from dataflows_sdk.errors import RunCancelled, RunFailed, RunFinishedError
from dataflows_sdk.testing import TestDatabases, VirtualClock

from . import programs
from .programs import EFFECTS, Program, expect

EXAMPLES = int(os.environ.get("DATAFLOWS_EXAMPLES", "60"))
_TAGS = itertools.count(1)
#: mode: options of the context, and what one unit of time is, in seconds
MODES: dict[str, tuple[dict[str, Any], float]] = {
    "plain": ({}, 0.003),
    "suspending": ({"linger": "0s"}, 0.003),
    "always-replay": ({"always_replay": True}, 0.003),
    "virtual": ({"clock": "virtual"}, 3600.0),
}

# --- programs ---------------------------------------------------------------------------------------------

labels = st.sampled_from(["a", "k", "m", "z"])
steps = st.fixed_dictionaries(
    {
        "op": st.just("step"),
        "label": labels,
        "fails": st.sampled_from([0, 0, 0, 0, 1, 2]),
        "retries": st.sampled_from([2, 2, 1, 0]),
        "undo": st.booleans(),
    }
)
sleeps = st.fixed_dictionaries({"op": st.just("sleep"), "units": st.integers(0, 4)})
waits = st.fixed_dictionaries({"op": st.just("wait"), "sent": st.booleans()})
# an event goes to a run, and the model does not know the ids of children
unsent = st.just({"op": "wait", "sent": False})
each = st.fixed_dictionaries({"op": st.just("each"), "count": st.integers(0, 4)})
small = st.sampled_from([{"op": "race"}, {"op": "chance"}])


def nested(bodies: st.SearchStrategy[Any], *, children: bool) -> st.SearchStrategy[Any]:
    body = st.lists(bodies, max_size=3)
    found = [
        st.fixed_dictionaries({"op": st.just("par"), "branches": st.lists(body, max_size=3)}),
        st.fixed_dictionaries(
            {
                "op": st.just("map"),
                "body": body,
                "count": st.integers(0, 3),
                "limit": st.sampled_from([None, None, 1]),
            }
        ),
        st.fixed_dictionaries({"op": st.just("try"), "body": body}),
    ]
    if children:
        found.append(st.fixed_dictionaries({"op": st.just("child"), "body": st.lists(lonely, max_size=3)}))
    return st.one_of(found)


lonely = st.recursive(
    st.one_of(steps, sleeps, unsent, each, small), lambda bodies: nested(bodies, children=False), max_leaves=5
)
nodes = st.recursive(
    st.one_of(steps, sleeps, waits, each, small), lambda bodies: nested(bodies, children=True), max_leaves=10
)
whole = st.lists(nodes, min_size=1, max_size=5)


# --- running them -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contexts(dataflows_databases: TestDatabases) -> Iterator[dict[str, Context]]:
    """A context of each mode; each on a database of its own, for all programs."""
    urls = {mode: dataflows_databases.create() for mode in MODES}
    made: dict[str, Context] = {}
    for mode, (options, _) in MODES.items():
        chosen = {**options, **({"clock": VirtualClock()} if options.get("clock") else {})}
        made[mode] = connect(urls[mode], **chosen)
    yield made
    for mode, context in made.items():
        context.close()
        dataflows_databases.drop(urls[mode])


def outcome(ctx: Context, mode: str, workflow: Any, program: Program, cancel: bool, seed: int) -> tuple[Any, str]:
    """Run a program to its end; gives what came of it and the tag of its effects."""
    tag = f"{mode}-{next(_TAGS)}"
    shape = expect(program)
    whole_program = [*program, {"op": "wait", "sent": True}] if cancel else program
    payload = {"program": whole_program, "tag": tag, "path": "", "unit": MODES[mode][1]}
    run = ctx.start(workflow, payload)
    # Some events are there before anybody waits, some come later; which, says the seed.
    for name in random.Random(seed).sample(sorted(shape.events), len(shape.events)):
        try:
            ctx.send_event(run, name, shape.events[name])
        except RunFinishedError:
            break
    if cancel and shape.error is None:
        gate = f"event /{len(program)}"
        deadline = time.monotonic() + 20
        while not any(e.kind == "step.waiting" and e.data.get("event") == gate for e in run.events()):
            assert time.monotonic() < deadline, f"the gate was never reached: {run.explain()}"
            time.sleep(0.003)
        run.cancel("enough")
    try:
        return ("value", run.result("20s")), tag
    except RunCancelled:
        return ("cancelled", None), tag
    except RunFailed as error:
        return ("error", str(error)), tag
    except TimeoutError:
        events = "\n".join(f"{e.seq} {e.kind} {e.key} {e.data}"[:200] for e in run.events()[-40:])
        raise AssertionError(f"{mode}: stuck: {run.explain()}\n{events}") from None


def check(ctx: Context, mode: str, workflow: Any, program: Program, cancel: bool, seed: int) -> None:
    wanted = expect(program, cancelled=cancel)
    (kind, value), tag = outcome(ctx, mode, workflow, program, cancel, seed)
    if wanted.error is not None:
        assert kind == "error", (mode, kind, value)
        assert wanted.error in value, (mode, value)
    elif cancel:
        assert kind == "cancelled", (mode, kind, value)
    else:
        assert (kind, value) == ("value", wanted.value), (mode, kind, value)
    happened = EFFECTS.of(tag)
    assert happened == wanted.effects, (
        f"{mode}: too often {happened - wanted.effects}, too seldom {wanted.effects - happened}"
    )


COMMON = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workflow", [programs.run_async, programs.run_sync], ids=["async", "sync"])
def test_programs_do_what_the_model_says(contexts: dict[str, Context], workflow: Any, mode: str) -> None:
    @COMMON
    @given(program=whole, cancel=st.sampled_from([False, False, True]), seed=st.integers(0, 10))
    def holds(program: Program, cancel: bool, seed: int) -> None:
        check(contexts[mode], mode, workflow, program, cancel, seed)

    holds()


def test_the_model_counts() -> None:
    """The model itself, on a program that has been thought through by hand."""
    step = {"op": "step", "label": "a", "fails": 1, "retries": 2, "undo": True}
    boom = {"op": "step", "label": "z", "fails": 2, "retries": 1, "undo": False}
    found = expect([step, {"op": "map", "body": [step], "count": 2, "limit": None}, {"op": "try", "body": [boom]}])
    assert found.value == ["a", [["a"], ["a"]], ["caught", "boom-z"]]
    assert found.effects == {"/0": 2, "/1/0/0": 2, "/1/1/0": 2, "/2/0": 2}
    assert expect([step, boom]).effects == {"/0": 2, "/1": 2, "undo /0": 1}
