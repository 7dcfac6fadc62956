"""The live view in a real kernel, spoken to as a front end does: by comm messages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("anywidget")
jupyter_client = pytest.importorskip("jupyter_client")

VIEW = "application/vnd.jupyter.widget-view+json"
SETUP = """
import dataflows_sdk as df
ctx = df.connect({url!r})
flow = df.flow("asked").on_manual().step("prepare", lambda event: {{"rows": 3}})
flow = flow.approval("ok", "Go on?", after="prepare").notify("tell", "yes", after="ok:approved")
"""


class Kernel:
    """A kernel with one client that keeps all that is published."""

    def __init__(self) -> None:
        self.manager, self.client = jupyter_client.manager.start_new_kernel(kernel_name="python3")
        self.heard: list[dict[str, Any]] = []

    def run(self, code: str) -> list[dict[str, Any]]:
        """Run a cell; what it published."""
        start = len(self.heard)
        identifier = self.client.execute(code)
        self.until(lambda m: m["msg_type"] == "status" and m["content"]["execution_state"] == "idle", identifier)
        mine = [m for m in self.heard[start:] if m["parent_header"].get("msg_id") == identifier]
        errors = ["\n".join(m["content"]["traceback"]) for m in mine if m["msg_type"] == "error"]
        assert not errors, errors[0]
        return mine

    def until(self, wanted: Any, parent: str | None = None, start: int | None = None) -> dict[str, Any]:
        """The first message of that kind, as soon as it is there."""
        place, deadline = len(self.heard) if start is None else start, time.monotonic() + 60
        while True:
            while place < len(self.heard):
                message = self.heard[place]
                place += 1
                if wanted(message) and parent in (None, message["parent_header"].get("msg_id")):
                    return message
            assert time.monotonic() < deadline, "no such message came"
            self.heard.append(self.client.get_iopub_msg(timeout=60))

    def say(self, comm: str, content: dict[str, Any]) -> None:
        """A message of a page to its widget."""
        data = {"comm_id": comm, "data": {"method": "custom", "content": content}}
        session = self.client.session
        session.send(self.client.shell_channel.socket, "comm_msg", data)

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    found = Kernel()
    yield found
    found.stop()


def custom(message: dict[str, Any], do: str) -> bool:
    """Whether it is a message of a widget that does this."""
    return message["msg_type"] == "comm_msg" and message["content"]["data"].get("content", {}).get("do") == do


def test_watch_answer_and_what_is_left(kernel: Kernel, database_url: str) -> None:
    kernel.run(SETUP.format(url=database_url))
    before = len(kernel.heard)
    shown = kernel.run("run = ctx.start(flow, {})\nrun")
    display = next(m for m in shown if m["msg_type"] == "display_data")
    bundle = display["content"]["data"]
    assert set(bundle) >= {VIEW, "text/plain", "text/html", "image/svg+xml"}
    assert "asked" in bundle["text/plain"]
    model = bundle[VIEW]["model_id"]
    opened = next(m for m in shown if m["msg_type"] == "comm_open" and m["content"]["comm_id"] == model)
    state = opened["content"]["data"]["state"]
    assert state["graph"]["ids"] == ["prepare", "ok", "tell"]
    assert state["commands"] is True
    assert "History" in state["_esm"]

    # a page counts what it has, and asks again from any number
    kernel.say(model, {"do": "sync", "from": 0})
    again = kernel.until(lambda m: custom(m, "events") and m["content"]["data"]["content"]["from"] == 0)
    events = again["content"]["data"]["content"]["events"]
    assert events[0][2] == "run.created"

    kernel.run(
        "import time\nwhile not ctx.approvals.pending(run): time.sleep(0.01)\nprint(ctx.approvals.pending(run)[0].id)"
    )
    asked = next(m["content"]["text"].strip() for m in reversed(kernel.heard) if m["msg_type"] == "stream")
    kernel.say(model, {"do": "decide", "id": 1, "page": "p", "approval": asked, "decision": "approved"})
    reply = kernel.until(lambda m: custom(m, "reply"), start=before)["content"]["data"]["content"]
    assert reply["ok"], reply

    # the run is over: what stands there needs no kernel any more
    update = kernel.until(lambda m: m["msg_type"] == "update_display_data", start=before)
    assert update["content"]["transient"] == display["content"]["transient"]
    left = update["content"]["data"]
    assert VIEW not in left
    assert "<script" in left["text/html"]
    told = [m["content"]["data"]["content"] for m in kernel.heard[before:] if custom(m, "events")]
    numbers = sorted({event[0] for message in told for event in message["events"]})
    assert numbers == list(range(1, numbers[-1] + 1))
    assert any(event[2] == "run.completed" for message in told for event in message["events"])

    # of a run that is over a cell shows the page at once, and view() what can be asked
    done = kernel.run("run")
    result = next(m for m in done if m["msg_type"] == "execute_result")["content"]["data"]
    assert VIEW not in result
    assert "<script" in result["text/html"]
    viewed = kernel.run("view = run.view(at='tell')\nview")
    assert VIEW in next(m for m in viewed if m["msg_type"] == "display_data")["content"]["data"]
    kernel.run("assert view.cursor < len(view.events) and not view.follow\nview.close()\nctx.close()")


def test_what_a_page_holds_is_json(kernel: Kernel, database_url: str) -> None:
    before = len(kernel.heard)
    kernel.run(SETUP.format(url=database_url))
    shown = kernel.run("run = ctx.start(flow, {})\nview = run.view(keep=True)\nview")
    opened = next(m for m in shown if m["msg_type"] == "comm_open" and "head" in m["content"]["data"]["state"])
    state = opened["content"]["data"]["state"]
    assert json.loads(json.dumps(state["events"])) == state["events"]
    # who opens the page later gets what was told since
    kernel.run("assert view.events is view._view.events and view.get_state()['events'] is view.events")
    kernel.run("run.cancel()\nrun.wait('20s')\nassert view._feed.join(20)\nassert view.head['status'] == 'cancelled'")
    assert not [m for m in kernel.heard[before:] if m["msg_type"] == "update_display_data"]
    kernel.run("ctx.close()")
