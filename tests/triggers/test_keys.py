from __future__ import annotations

import hashlib
from typing import Any

import pytest

from dataflows_sdk.triggers.keys import run_key


@pytest.mark.parametrize(("workflow", "event"), [("wf", "ev"), ("größe", "schedule:t:2026-11-01T09:00:00Z")])
def test_run_key(workflow: str, event: str) -> None:
    assert run_key(workflow, event) == hashlib.sha256((workflow + event).encode()).hexdigest()


def test_run_key_is_the_known_hash() -> None:
    # printf %s abc | sha256sum
    assert run_key("a", "bc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("bad", [None, 7, b"wf"])
def test_no_texts(bad: Any) -> None:
    with pytest.raises(TypeError, match="workflow_id is a str"):
        run_key(bad, "ev")
    with pytest.raises(TypeError, match="trigger_event_id is a str"):
        run_key("wf", bad)


def test_empty_and_broken_texts() -> None:
    with pytest.raises(ValueError, match="workflow_id is empty"):
        run_key("", "ev")
    with pytest.raises(ValueError, match="trigger_event_id is empty"):
        run_key("wf", "")
    with pytest.raises(ValueError, match="surrogates"):
        run_key("wf", "\ud800")
