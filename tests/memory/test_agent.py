"""Agents as runs. What the model says is scripted: the peer is a real server on loopback, and no model."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from dataflows_memory.agents.agent import Agents
from dataflows_memory.models import Budget, ChatModel, Price
from dataflows_memory.tools import Tool
from dataflows_sdk.context import Context
from dataflows_sdk.core.retry import NO_RETRY, Retry
from dataflows_sdk.errors import BudgetUsedUpError, DefinitionError, StepFailed, ToolError

from ..conftest import MakeContext, wait_until
from .openai_peer import CHAT, Peer, Status, Text, ToolCall, serving

FAST = Retry(3, initial_delay="1ms", max_delay="5ms")


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as peer:
        yield peer


@pytest.fixture
def model(peer: Peer) -> ChatModel:
    return ChatModel("gpt-4o-mini", base_url=peer.url, api_key=peer.key, retry=FAST, price=Price(input=1, output=2))


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def calls(**arguments: Any) -> Text:
    return Text(calls=(ToolCall("add", arguments),))


def heard(peer: Peer) -> list[str]:
    """What the model was told of its tools, in its last request."""
    return [each["content"] for each in peer.requests[-1].body["messages"] if each["role"] == "tool"]


def test_a_model_calls_tools_until_it_is_done(ctx: Context, model: ChatModel, peer: Peer) -> None:
    async def twice(n: int) -> int:
        """Double it."""
        return 2 * n

    agent = ctx.agent(model, [add, twice], instructions="Count.")
    both = Text("Let me see", calls=(ToolCall("add", {"a": 1, "b": 2}), ToolCall("twice", {"n": 4})))
    peer.script(both, Text("It is 3 and 8."))
    result = agent.run("What is 1 + 2, and twice 4?")
    assert (result.text, result.value, result.stopped, result.turns) == ("It is 3 and 8.",) * 2 + ("done", 2)
    assert [(each.name, each.told, each.error) for each in result.tools] == [("add", "3", False), ("twice", "8", False)]
    assert heard(peer) == ["3", "8"]
    assert peer.requests[0].body["messages"][0] == {"role": "system", "content": "Count."}
    assert result.money
    assert result.used.calls == 2
    steps = [step.name for step in ctx.get(result.run).timeline()]
    assert [name for name in steps if " " in name] == ["model 1", "tool 1.1 add", "tool 1.2 twice", "model 2"]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (ToolCall("add", {"a": "many", "b": 2}), "argument"),
        (ToolCall("add", "{broken"), "add:"),
        (ToolCall("ad", {}), "did you mean add?"),
        (ToolCall("breaks", {}), "ValueError: it broke"),
        (ToolCall("hangs", {}), "did not answer within 0.1 s"),
    ],
)
def test_what_goes_wrong_in_a_tool_is_told_to_the_model(
    ctx: Context, model: ChatModel, peer: Peer, call: ToolCall, told: str
) -> None:
    over = threading.Event()

    def breaks() -> None:
        raise ValueError("it broke")

    def hangs() -> None:
        over.wait(20)

    agent = ctx.agent(model, [add, breaks, Tool.of(hangs, wait=0.1)])
    peer.script(Text(calls=(call,)), Text("I give up."))
    result = agent.run("Try it.")
    over.set()
    assert result.text == "I give up."
    assert [each.error for each in result.tools] == [True]
    assert told in heard(peer)[0]


class Person(BaseModel):
    name: str
    age: int


def test_a_typed_result_is_asked_for_until_it_fits(ctx: Context, model: ChatModel, peer: Peer) -> None:
    agent = ctx.agent(model, result=Person)
    peer.script(Text('{"name": "Ada"}'), Text('```json\n{"name": "Ada", "age": 36}\n```'))
    result = agent.run("Who wrote the first program?")
    assert result.value == Person(name="Ada", age=36)
    assert "age" in peer.requests[1].body["messages"][-1]["content"]
    assert peer.requests[0].body["response_format"]["json_schema"]["strict"]
    assert agent.result(result.run).value == result.value


def test_turns_are_limited(ctx: Context, model: ChatModel, peer: Peer) -> None:
    agent = ctx.agent(model, [add], turns=2)
    peer.script(*[calls(a=1, b=1)] * 3)
    result = agent.run("Go on for ever.")
    assert (result.stopped, result.turns, result.value) == ("turns", 2, None)
    assert peer.count(CHAT) == 2


@pytest.mark.parametrize("budget", [Budget(tokens=5), {"money": "0.000001"}])
def test_a_budget_that_is_used_up_lets_the_run_wait_for_more(
    ctx: Context, model: ChatModel, peer: Peer, budget: Any
) -> None:
    agent = ctx.agent(model, [add], budget=budget)
    peer.script(calls(a=1, b=1), Text("2"))
    with pytest.raises(BudgetUsedUpError) as caught:
        agent.run("1 + 1?")
    assert peer.count(CHAT) == 1
    with pytest.raises(DefinitionError):
        agent.more(caught.value.run_id)
    agent.more(caught.value.run_id, tokens=10_000, money=5)
    assert agent.result(caught.value.run_id, timeout="20s").text == "2"


@pytest.mark.parametrize("decision", ["approved", "rejected"])
def test_a_person_is_asked_before_a_dangerous_tool(ctx: Context, model: ChatModel, peer: Peer, decision: str) -> None:
    gone: list[str] = []

    def delete(name: str) -> str:
        """Delete it."""
        gone.append(name)
        return "deleted"

    agent = ctx.agent(model, [Tool.of(delete, dangerous=True)], name="cleaner", approvers=["ada"])
    peer.script(Text(calls=(ToolCall("delete", {"name": "logs"}),)), Text("Done with it."))
    run = agent.start("Clean up.")
    [asked] = wait_until(lambda: ctx.approvals.pending(run), "somebody is asked")
    assert gone == []
    assert asked.message == 'May the agent \'cleaner\' call delete with {"name": "logs"}?'
    assert asked.approvers == ("ada",)
    ctx.approvals.respond(asked, decision, responder="ada", comment="as you like")
    result = agent.result(run, timeout="20s")
    assert result.text == "Done with it."
    assert gone == (["logs"] if decision == "approved" else [])
    if decision == "rejected":
        assert "ada refused it: as you like" in heard(peer)[0]
    assert ctx.approvals.pending(run) == []


def test_what_a_tool_wrote_is_undone_where_it_raises(ctx: Context, model: ChatModel, peer: Peer) -> None:
    table = ctx.warehouse.table("notes", {"id": int, "text": str}, key="id")

    def note(number: int, fails: bool) -> str:
        """Write it down."""
        table.upsert(id=number, text="x")
        if fails:
            raise RuntimeError("too late")
        return "written"

    agent = ctx.agent(model, [note])
    one, other = (Text(calls=(ToolCall("note", {"number": n, "fails": n == 1}),)) for n in (1, 2))
    peer.script(one, other, Text("ok"))
    agent.run("Write.")
    assert [row["id"] for row in table.find()] == [2]


# --- the text as it comes ---------------------------------------------------------------------------------


def test_the_text_is_told_as_it_comes_and_goes_on_after_a_cut(ctx: Context, model: ChatModel, peer: Peer) -> None:
    agent = ctx.agent(model, [add])
    said = "one two three four five six seven eight nine ten"
    peer.script(Text("I add.", calls=(ToolCall("add", {"a": 1, "b": 1}),)), Text(said, pieces=10, pause=0.06))
    run = agent.start("Count.")
    first = []
    for piece in agent.stream(run):
        first.append(piece)
        if piece.turn == 2 and piece.text:
            break  # the connection of whoever looks on is lost
    assert run.status not in ("succeeded", "failed"), "it was told while the model still spoke"
    rest = list(agent.stream(run, after=first[-1].id))
    assert "".join(each.text for each in first + rest if each.turn == 2) == said
    assert "".join(each.text for each in first if each.turn == 1) == "I add."
    ids = [each.id for each in first + rest]
    assert ids == sorted(set(ids))
    assert len(rest) > 2
    assert list(agent.stream(run, after=ids[-1])) == []


def test_a_connection_that_is_lost_in_an_answer_says_that_it_begins_anew(
    ctx: Context, model: ChatModel, peer: Peer
) -> None:
    agent = ctx.agent(model)
    peer.script(Text("alpha beta gamma delta", pieces=8, pause=0.06, drop_after=5), Text("omega"))
    run = agent.start("Say something.")
    pieces = list(agent.stream(run))
    last = max(at for at, each in enumerate(pieces) if each.anew)
    assert "alpha" in "".join(each.text for each in pieces[:last])
    assert "".join(each.text for each in pieces[last:]) == "omega"
    assert agent.result(run).text == "omega"


# --- crashes ----------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
import dataflows_sdk as df
from dataflows_memory.models import ChatModel

url, peer, key, noted = sys.argv[1:]


def note(text: str) -> str:
    "Write it down."
    with Path(noted).open("a") as file:
        file.write(text + "\\n")
    return "noted " + text


ctx = df.connect(url, lease="500ms")
agent = ctx.agent(ChatModel("gpt-4o-mini", base_url=peer, api_key=key), [note], name="noter")
run = agent.start("Note three things.")
print(run.id, flush=True)
run.wait()
"""


def test_killed_in_its_fourth_call_an_agent_does_not_pay_the_first_three_again(
    make_ctx: MakeContext, database_url: str, model: ChatModel, peer: Peer, tmp_path: Path
) -> None:
    noted = tmp_path / "noted"
    peer.script(
        *(Text(calls=(ToolCall("note", {"text": each}),)) for each in ("a", "b", "c")),
        Text("this is what is lost " * 20, pieces=100, pause=0.1),
        Text("Noted."),
    )
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, database_url, peer.url, peer.key, str(noted)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        run_id = child.stdout.readline().strip()
        wait_until(lambda: peer.count(CHAT) == 4, "the fourth call is under way")
        ctx = make_ctx(lease="500ms", work=False)
        seen = []
        for piece in _agent(ctx, model, noted).stream(run_id):
            seen.append(piece)
            if piece.turn == 4 and "lost" in piece.text:
                break
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert peer.count(CHAT) == 4
    agent = _agent(make_ctx(lease="500ms"), model, noted)
    result = agent.result(run_id, timeout="30s")
    assert (result.text, result.turns) == ("Noted.", 4)
    bodies = [json.dumps(request.body["messages"]) for request in peer.requests]
    assert peer.count(CHAT) == 5, "three that were answered, the fourth that was cut off, and it again"
    assert len(set(bodies[:4])) == 4
    assert bodies[4] == bodies[3]
    assert noted.read_text().split() == ["a", "b", "c"], "no tool was called twice"
    rest = list(agent.stream(run_id, after=seen[-1].id))
    last = max(at for at, each in enumerate(rest) if each.anew)
    assert "".join(each.text for each in rest[last:]) == "Noted.", "who looks on hears that it began anew"


def _agent(ctx: Context, model: ChatModel, noted: Path) -> Any:
    def note(text: str) -> str:
        """Write it down."""
        with noted.open("a") as file:
            file.write(text + "\n")
        return "noted " + text

    return ctx.agent(model, [note], name="noter")


DYING = """
import os, signal, sys, time
from pathlib import Path
import dataflows_sdk as df
from dataflows_memory.models import ChatModel
from dataflows_memory.tools import Tool

url, peer, key, noted = sys.argv[1:]


def pay(amount: int) -> str:
    "Pay it."
    Path(noted).write_text("paid")
    time.sleep(0.3)  # long enough for the step to be noted as begun
    os.kill(os.getpid(), signal.SIGKILL)


ctx = df.connect(url, lease="500ms")
tool = Tool.of(pay, dangerous=True)
agent = ctx.agent(ChatModel("gpt-4o-mini", base_url=peer, api_key=key), [tool], name="payer")
run = agent.start("Pay 5.")
while not (asked := ctx.approvals.pending(run)):
    time.sleep(0.02)
print(run.id, flush=True)
ctx.approvals.respond(asked[0], True)
run.wait()
"""


def test_a_dangerous_tool_that_was_under_way_is_not_called_again_by_itself(
    make_ctx: MakeContext, database_url: str, model: ChatModel, peer: Peer, tmp_path: Path
) -> None:
    peer.script(Text(calls=(ToolCall("pay", {"amount": 5}),)), Text("Paid."))
    noted = tmp_path / "noted"
    done = subprocess.run(
        [sys.executable, "-c", DYING, database_url, peer.url, peer.key, str(noted)],
        stdout=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == -9
    called: list[int] = []

    def pay(amount: int) -> str:
        """Pay it."""
        called.append(amount)
        return "paid"

    ctx = make_ctx(lease="500ms")
    agent = ctx.agent(model, [Tool.of(pay, dangerous=True)], name="payer")
    run = ctx.get(done.stdout.strip())
    wait_until(lambda: run.status == "waiting", "somebody is asked whether it was done")
    assert (noted.read_text(), called) == ("paid", [])
    run.resolve("tool 1.1 pay", "retry")
    assert agent.result(run, timeout="20s").text == "Paid."
    assert called == [5]


# --- bad input --------------------------------------------------------------------------------------------


def test_a_model_that_refuses_fails_the_run_with_its_reason(ctx: Context, peer: Peer) -> None:
    agent = ctx.agent(ChatModel("gpt-4o-mini", base_url=peer.url, api_key=peer.key, retry=NO_RETRY))
    peer.script(Status(401, "wrong key"))
    with pytest.raises(StepFailed) as caught:
        agent.run("Hello?")
    assert "wrong key" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"model": 7}, DefinitionError, "name of a model"),
        ({"tools": add}, ToolError, "a list"),
        ({"tools": ["add"]}, ToolError, "cannot be called"),
        ({"tools": [add, add]}, ToolError, "two tools"),
        ({"turns": 0}, DefinitionError, "turns=0"),
        ({"budget": Budget(money=1), "model": "unpriced"}, DefinitionError, "price"),
        ({"result": 3}, DefinitionError, "type"),
        ({"result": int}, DefinitionError, "pydantic model"),
        ({"name": ""}, DefinitionError, "name"),
        ({"instructions": None}, DefinitionError, "instructions"),
    ],
)
def test_an_agent_that_makes_no_sense_is_said_at_once(
    make_ctx: MakeContext, model: ChatModel, peer: Peer, options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    given: dict[str, Any] = {"model": model, **options}
    if given["model"] == "unpriced":
        given["model"] = ChatModel("gpt-4o-mini", base_url=peer.url, api_key=peer.key, name="unpriced")
    with pytest.raises(kind) as caught:
        Agents(make_ctx(work=False))(given.pop("model"), given.pop("tools", ()), **given)
    assert said in str(caught.value)


@pytest.mark.parametrize("task", ["", "  ", None, "a\0b", "x" * 1_000_001])
def test_a_task_that_is_none_is_said_at_once(ctx: Context, model: ChatModel, peer: Peer, task: Any) -> None:
    agent = ctx.agent(model)
    with pytest.raises(DefinitionError, match="task"):
        agent.run(task)
    assert peer.count() == 0


def test_a_run_of_somebody_else_is_no_result(ctx: Context, model: ChatModel, peer: Peer) -> None:
    one, other = ctx.agent(model, name="one"), ctx.agent(model, name="other")
    peer.script(Text("hello"))
    run = one.start("Hello?")
    with pytest.raises(DefinitionError, match="agent 'other'"):
        other.result(run)
    assert one.result(run).text == "hello"
