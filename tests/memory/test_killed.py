"""SIGKILL while a question is answered and an agent works: nothing that the journal has is paid again.

By default at a few passes; ``DATAFLOWS_SWEEP=all`` kills at every one.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from dataflows_sdk.testing import TestDatabases, kill_sweep

from . import asking_and_acting
from .openai_peer import CHAT, Behaviour, Request, Text, ToolCall, serving

_ASKED = (
    Text(calls=(ToolCall("recall", {"query": "fence green", "count": 1}),)),
    Text(calls=(ToolCall("sql", {"query": "select painter from fences"}),)),
    Text('"Miller" [2.1], in May [1].'),
)
_WORKED = (
    Text("Let me see.", calls=(ToolCall("count", {"kind": "green"}),)),
    Text(calls=(ToolCall("count", {"kind": "red"}), ToolCall("yard", {"input": "a fence"}))),
    Text("There are 9."),
)


def place(request: Request) -> tuple[bool, int]:
    """Whether it is of the question, and how often the model has spoken before."""
    messages = request.body["messages"]
    asked = any(asking_and_acting.QUESTION in str(each.get("content")) for each in messages)
    return asked, sum(each["role"] == "assistant" for each in messages)


def says(request: Request) -> Behaviour:
    """The same answer to the same conversation, whoever asks and however often."""
    asked, turn = place(request)
    return (_ASKED if asked else _WORKED)[turn]


@pytest.mark.slow
@pytest.mark.timeout(3600 if os.environ.get("DATAFLOWS_SWEEP") == "all" else 300)
def test_nothing_that_was_recorded_is_paid_again(
    dataflows_databases: TestDatabases, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = os.environ.get("DATAFLOWS_SWEEP")
    everything = wanted == "all"
    with serving() as peer:
        monkeypatch.setenv("OPENAI_BASE_URL", peer.url)
        monkeypatch.setenv("OPENAI_API_KEY", peer.key)
        taken = peer.take

        def take(request: Request) -> Behaviour:
            taken(request)
            return says(request)

        monkeypatch.setattr(peer, "take", take)
        report = kill_sweep(
            f"{Path(asking_and_acting.__file__)}:main",
            dataflows_databases,
            # what was recorded at that moment was told to nobody: the worst moment to pay again
            point="any" if everything else "commit.done",
            sample=None if everything else int(wanted or 3),
            seed=6,
            timeout="60s",
        )
        requests = [request for request in peer.requests if request.path == CHAT]
    assert report.ok, str(report)
    assert report.result == {
        "answer": [
            '"Miller" [2.1], in May [1].',
            ['{"painter": "Miller"}', "The fence of project Alpha was painted green in May."],
            3,
        ],
        "work": ["There are 9.", ["green: 3", "red: 3", "a fence ordered"], 3],
        "streamed": True,
    }
    # six calls where nothing is killed; a kill costs at most those that were under way, once: one of each run
    by_database: dict[str, Counter[tuple[bool, int]]] = {}
    for request in requests:
        by_database.setdefault(request.body["model"], Counter())[place(request)] += 1
    assert len(by_database) == len(report.cases) + 1
    for database, counted in by_database.items():
        again = [each for each, times in counted.items() if times > 1]
        assert len(counted) == 6, database
        assert max(counted.values()) <= 2, f"{database}: {counted}"
        assert len({asked for asked, _ in again}) == len(again), f"{database}: {counted}"
    assert sum(times for key, times in report.effects.items() if "model" in key) == 6
