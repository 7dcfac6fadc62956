"""The chat client against the scripted peer: a real HTTP server, whose answers the tests write."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from dataflows_memory.models import Budget, ChatModel, Price, Reply, ScriptedModel, Used
from dataflows_memory.models.costs import check_budget
from dataflows_sdk.core.retry import Retry
from dataflows_sdk.errors import DefinitionError, ModelError, ModelRefusedError

from .openai_peer import Drop, Peer, Raw, Status, Text, ToolCall, serving

FAST = Retry(3, initial_delay="1ms", max_delay="5ms")
ASK = [{"role": "user", "content": "hello"}]


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as peer:
        yield peer


def model_of(peer: Peer, **options: Any) -> ChatModel:
    return ChatModel("gpt-4o-mini", base_url=peer.url, api_key=peer.key, retry=FAST, **options)


def test_an_answer_is_counted_in_tokens_and_money(peer: Peer) -> None:
    model = model_of(peer, price={"gpt-4o-mini": Price(input="0.15", output="0.60")})
    peer.script(Text("good morning"))
    reply = model.complete(ASK)
    assert reply.text == "good morning"
    assert reply.finish == "stop"
    assert reply.used.input > 0
    assert reply.used.output > 0
    assert reply.used.money == (reply.used.input * Decimal("0.15") + reply.used.output * Decimal("0.60")) / 1_000_000
    assert Reply.of_json(reply.to_json()) == reply
    model.close()


@pytest.mark.parametrize("streamed", [False, True])
def test_tool_calls_come_whole_in_one_piece_and_in_many(peer: Peer, streamed: bool) -> None:
    model = model_of(peer)
    peer.script(Text("I look", calls=(ToolCall("a", {"x": "é"}), ToolCall("b", "{broken")), pieces=5))
    pieces: list[str | None] = []
    reply = model.complete(ASK, on_text=pieces.append if streamed else None)
    assert [(call.name, call.arguments) for call in reply.calls] == [("a", '{"x": "\\u00e9"}'), ("b", "{broken")]
    assert reply.text == "I look"
    assert reply.used.tokens > 0
    assert "".join(each or "" for each in pieces) == ("I look" if streamed else "")
    model.close()


@pytest.mark.parametrize("trouble", [Status(429, retry_after=0.01), Status(500), Drop(), Drop(20), Raw(b"<html>")])
def test_what_passes_is_asked_again(peer: Peer, trouble: Any) -> None:
    model = model_of(peer)
    peer.script(trouble, Text("there"))
    assert model.complete(ASK).text == "there"
    assert peer.count() == 2
    model.close()


def test_a_stream_that_is_cut_begins_anew_and_says_so(peer: Peer) -> None:
    model = model_of(peer)
    peer.script(Text("one two three four", pieces=9, drop_after=4), Text("five"))
    pieces: list[str | None] = []
    assert model.complete(ASK, on_text=pieces.append).text == "five"
    again = pieces.index(None)
    assert "one" in "".join(each or "" for each in pieces[:again])
    assert "".join(each or "" for each in pieces[again:]) == "five"
    model.close()


@pytest.mark.parametrize(
    "refusal",
    [Status(400, "context_length_exceeded"), Status(404, "no such model"), Status(429, code="insufficient_quota")],
)
def test_what_does_not_pass_is_an_error_at_once(peer: Peer, refusal: Status) -> None:
    model = model_of(peer)
    peer.script(refusal)
    with pytest.raises(ModelRefusedError):
        model.complete(ASK)
    assert peer.count() == 1
    model.close()


def test_a_long_retry_after_is_left_to_the_step(peer: Peer) -> None:
    model = model_of(peer)
    peer.script(Status(429, retry_after=3600))
    with pytest.raises(ModelError) as caught:
        model.complete(ASK)
    assert caught.value.headers["retry-after"] == "3600"
    assert peer.count() == 1
    model.close()


def test_the_key_is_in_no_message_and_in_no_log(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    wrong = "sk-wrong-0aB1cD2eF3"
    model = ChatModel("gpt-4o-mini", base_url=peer.url, api_key=wrong, retry=FAST)
    with caplog.at_level(logging.DEBUG, "dataflows"), pytest.raises(ModelRefusedError) as caught:
        model.complete(ASK)
    assert wrong not in str(caught.value) + repr(model) + caplog.text
    model.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ChatModel(""), "name of a model"),
        (lambda: ChatModel("m", base_url="ftp://x"), "base_url"),
        (lambda: ChatModel("m", base_url="http://x", max_output=0), "max_output"),
        (lambda: ChatModel("m", base_url="http://x", price={"other": Price(1, 1)}), "has no 'm'"),
        (lambda: Price(input=-1, output=1), "sum of 0 or more"),
        (lambda: Price(input="a lot", output=1), "sum of 0 or more"),
        (lambda: Budget(tokens=0), "above 0"),
        (lambda: Budget(money="nan"), "sum of 0 or more"),
        (lambda: check_budget(Budget(money=1), priced=False), "price of the model"),
        (lambda: check_budget({"dollars": 1}, priced=True), "Budget(tokens"),
    ],
)
def test_what_makes_no_sense_is_said(make: Any, said: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        make()
    assert said in str(caught.value)


def test_a_budget_is_used_up_when_nothing_is_left() -> None:
    budget = Budget(tokens=100, money="0.5")
    assert budget.left(Used(60, 39, money=Decimal("0.4")))
    assert not budget.left(Used(60, 40, money=Decimal("0.1")))
    assert not budget.left(Used(1, 1, money=Decimal("0.5")))
    assert budget.more({"tokens": 1}).left(Used(60, 40, money=Decimal("0.1")))


def test_a_script_is_said_in_order_and_ends() -> None:
    model = ScriptedModel(("add", {"a": 1}), "it is  two", price=Price(1, 1))
    pieces: list[str | None] = []
    assert [(call.name, call.arguments) for call in model.complete(ASK).calls] == [("add", '{"a": 1}')]
    reply = model.complete(ASK, on_text=pieces.append)
    assert "".join(each or "" for each in pieces) == reply.text == "it is  two"
    assert reply.used.money
    assert len(model.asked) == 2
    with pytest.raises(ModelRefusedError, match="no further answer"):
        model.complete(ASK)
    with pytest.raises(DefinitionError, match="an answer is a text"):
        ScriptedModel(7)  # type: ignore[arg-type]
