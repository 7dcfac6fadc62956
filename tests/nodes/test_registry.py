"""Types of others, notifications, and what the engine does to the fields of a config before a node sees them."""

from __future__ import annotations

import threading
from importlib.metadata import EntryPoint
from typing import Any

import pydantic
import pytest

import dataflows_sdk as df
from dataflows_sdk.engine.dag_data import escaped
from dataflows_sdk.errors import DefinitionError, NodeConfigError
from dataflows_sdk.flow import kinds
from dataflows_sdk.flow.configs import config_faults, parse_config, unknown_fields
from dataflows_sdk.nodes import registry
from dataflows_sdk.nodes.notify import Notification, Notifications

from ..conftest import MakeContext


class Score(pydantic.BaseModel):
    """A config."""

    text: str
    times: int = 1


async def score(config: Score, call: df.Call) -> int:
    """Scores a text."""
    return len(config.text) * config.times


@pytest.mark.parametrize("name", ["", "7up", "acme score", "acme-score", "acmé", None, 7])
def test_a_type_is_a_word(name: Any) -> None:
    with pytest.raises(DefinitionError, match="is a word"):
        df.node(name, config=Score)


@pytest.mark.parametrize("name", ["action_http", "python", "map", "trigger_manual"])
def test_the_own_types_cannot_be_replaced(name: str) -> None:
    with pytest.raises(DefinitionError, match="library's own"):
        df.node(name, config=Score)


@pytest.mark.parametrize("config", [None, dict, Score(text="x"), "Score"])
def test_a_config_is_a_model(config: Any) -> None:
    with pytest.raises(DefinitionError, match="pydantic model"):
        df.node("acme_other", config=config)


@pytest.mark.parametrize("fn", [lambda: 1, lambda config: 1, lambda a, b, c: 1])
def test_the_function_takes_the_config_and_the_call(fn: Any) -> None:
    with pytest.raises(DefinitionError, match="takes the config and the call"):
        df.node("acme_other", config=Score)(fn)
    assert kinds._KINDS.get("acme_other") is None


def test_a_type_of_others_is_checked_like_ours() -> None:
    df.node("acme_checked", config=Score, example={"text": "x"})(score)
    try:
        assert config_faults("acme_checked", {}) == [("/text", "is missing")]
        assert config_faults("acme_checked", {"text": "{{trigger.x}}", "times": "{{trigger.n}}"}) == []
        ((pointer, message),) = config_faults("acme_checked", {"text": "a", "times": "often"})
        assert pointer == "/times"
        assert "often" in message
        assert unknown_fields("acme_checked", {"text": "a", "txet": 1}) == ["txet"]
        assert parse_config("acme_checked", "n", {"text": "a", "times": 2}).times == 2
        with pytest.raises(NodeConfigError, match=r"node 'n' \(acme_checked\): text: is missing; times: "):
            parse_config("acme_checked", "n", {"times": "often"})
        flow = df.flow("x").node("a", "acme_checked", {"times": 0.5})
        assert {problem.path for problem in flow.validate()} == {"/nodes/0/config/text", "/nodes/0/config/times"}
    finally:
        kinds._KINDS.pop("acme_checked")
        registry._TYPES.pop("acme_checked")


def test_a_plug_in_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("acme", "no_such_module_of_acme", "dataflows_sdk.nodes")
    monkeypatch.setattr(kinds, "_loaded", [])
    monkeypatch.setattr(kinds, "entry_points", lambda group: [broken])
    with pytest.raises(DefinitionError, match="no_such_module_of_acme"):
        kinds.kind_of("acme_that_no_test_registers")


def test_what_data_brings_into_html_is_escaped() -> None:
    missing: list[Any] = []
    roots = {"trigger": {"name": "<b>&\"'", "rows": ["<i>"]}}
    text = "<p>{{trigger.name}} {{trigger.rows}} {{trigger.nope}}</p>"
    assert escaped(text, roots, missing) == "<p>&lt;b&gt;&amp;&quot;&#x27; [&quot;&lt;i&gt;&quot;] </p>"
    assert [each.text for each in missing] == ["trigger.nope"]


# --- notifications ----------------------------------------------------------------------------------------


def test_who_listens_hears_what_is_meant_for_him() -> None:
    desk = Notifications()
    with desk.subscribe("ops") as ops, desk.subscribe(user_id="ann") as ann, desk.subscribe() as every:
        assert desk.publish(Notification("ops", None, "t", "m")) == 2
        assert desk.publish(Notification(None, "ann", "t", "m")) == 2
        assert desk.publish(Notification("dev", None, "t", "m")) == 1
        assert next(ops).channel == "ops"
        assert next(ann).user_id == "ann"
        assert [next(every).channel for _ in range(3)] == ["ops", None, "dev"]
    assert desk.publish(Notification("ops", None, "t", "m")) == 0


def test_a_wait_ends_by_time_and_by_closing() -> None:
    desk = Notifications()
    assert list(desk.subscribe("ops", timeout=0.01)) == []
    waiting = desk.subscribe("ops")
    threading.Timer(0.05, waiting.close).start()
    assert list(waiting) == []
    other = desk.subscribe()
    desk.close()
    assert list(other) == []


def test_a_listener_that_does_not_read_holds_nobody_up() -> None:
    desk = Notifications()
    with desk.subscribe("ops") as slow:
        heard = sum(desk.publish(Notification("ops", None, "", str(n))) for n in range(1_500))
        assert heard == 1_000
        assert next(slow).message == "0"


def test_a_flow_tells(make_ctx: MakeContext) -> None:
    ctx = make_ctx()
    with ctx.notifications("ops", timeout=20) as listening:
        run = ctx.run(
            df.flow("tell").on_manual().notify("n", "ops", message="{{trigger.n}}", level="warning"), {"n": 7}
        )
        assert run.result() == {"heard_by": 1}
        note = next(listening)
        assert (note.message, note.level, note.run_id) == ("7", "warning", str(run.id))
