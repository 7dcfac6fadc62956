"""A flow with every node type that can run, for kill sweeps and replays: what it gives is the same in every run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pydantic

import dataflows_sdk as df
from dataflows_sdk.errors import ApprovalClosedError
from dataflows_sdk.nodes.egress import EgressPolicy
from dataflows_sdk.nodes.mail import MailSettings
from dataflows_sdk.testing import record_effect

ID = "0190d8f5-6c2e-7b3a-9f10-3c5d2e1a4b78"


class EffectConfig(pydantic.BaseModel):
    """What the node of this file takes."""

    value: Any = None
    fail: bool = False


async def effect(config: EffectConfig, call: df.Call) -> Any:
    """Note an effect under the node's name; in a loop under that of its item."""
    record_effect(f"{call.node}/{config.value}" if call.node in ("item", "one") else call.node)
    if config.fail:
        raise ValueError("on purpose")
    return config.value


def declare() -> None:
    """The node type and the function, as often as asked for."""
    df.node("sweep_effect", config=EffectConfig)(effect)
    df.function("sweep-double")(lambda value: value * 2)


def noted(flow: df.Flow, name: str, value: Any = None, **more: Any) -> df.Flow:
    after = more.pop("after", ())
    config = {"value": value} | ({"fail": True} if more.pop("fail", False) else {})
    return flow._data(name, "sweep_effect", config, after, more)


def child_flow() -> df.Flow:
    return noted(df.flow("sweep-child").on_manual(), "in_child", "{{trigger.n}}")


def every_type_that_runs() -> df.Flow:
    flow = df.flow("sweep-types").on_manual({"type": "object", "required": ["n", "items"]})
    flow = flow.condition("more", "trigger.n > 1")
    flow = noted(flow, "yes", "{{trigger.n}}", after="more:true")
    flow = noted(flow, "no", after="more:false")
    flow = flow.switch("way", "{{steps.yes.output}}", {"three": 3}, default="other", after="yes")
    flow = flow.loop(
        "each",
        "{{trigger.items}}",
        lambda part: noted(part, "item", "{{loop.item}}").function(
            "double", "sweep-double", input="{{steps.item.output}}"
        ),
        parallel=True,
        after="way:three",
    )
    flow = flow.loop("again", "{{steps.each.output.items}}", lambda part: noted(part, "one", "{{loop.item}}"))
    flow = flow.fan_out("split", meet="any", cancel_remaining=True, after="again:done")
    flow = noted(flow, "quick", 1, after="split").delay("slow", "1h", after="split")
    flow = noted(flow, "met", "{{steps.again.output.items}}", after=["quick", "slow"])
    flow = flow.snippet("sum", "return input.reduce((a, b) => a + b, 0)", input="{{steps.met.output}}")
    flow = flow.http("call", "{{env.SWEEP_URL}}", json={"sum": "{{steps.sum.output}}"})
    flow = flow.email("mail", "a@example.com", subject="sum", body="{{steps.sum.output}}")
    flow = flow.notify("tell", "ops", message="{{steps.sum.output}}").delay("nap", "30ms")
    flow = flow.approval("ask", "{{steps.sum.output}}?", timeout="1h")
    flow = flow.subworkflow("child", "sweep-child", {"n": "{{steps.sum.output}}"}, after="ask:approved")
    flow = noted(flow, "bad", fail=True, on_error="goto:oops").handler("oops")
    return noted(
        flow,
        "end",
        {
            "sum": "{{steps.sum.output}}",
            "status": "{{steps.call.output.status}}",
            "items": "{{steps.each.output.items}}",
            "child": "{{steps.child.output}}",
            "error": "{{steps.oops.output.error.message}}",
            "decision": "{{steps.ask.output.decision}}",
            "why": "{{steps.nap.output.reason}}",
        },
        after="oops",
    )


EXPECTED = {
    "sum": 12,
    "status": 200,
    "items": [2, 4, 6],
    "child": 12,
    "error": "on purpose",
    "decision": "approved",
    "why": "elapsed",
}


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def server() -> Iterator[str]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/"
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def services(url: str) -> df.Services:
    """The address of a process that was killed is gone: each has its own, which the flow reads from the environment."""
    return df.Services(
        egress=EgressPolicy(allow=["127.0.0.1"]),
        mail=MailSettings.from_url("memory:?from=b@example.com"),
        env={"SWEEP_URL": url},
    )


def finish(ctx: Any, run: Any, seconds: float = 60.0) -> Any:
    """Answer what it asks, until it is over."""
    deadline = time.monotonic() + seconds
    while run.status not in ("succeeded", "failed", "cancelled", "quarantined"):
        assert time.monotonic() < deadline, str(run.explain())
        for asked in ctx.approvals.pending(run):
            try:
                ctx.approvals.respond(asked, True, responder="ann")
            except ApprovalClosedError:
                continue
        time.sleep(0.01)
    return run.result("5s")


def main_types(ctx: Any) -> Any:
    declare()
    with server() as url:
        ctx._engine._services = services(url)
        ctx.register(child_flow(), every_type_that_runs())
        return finish(ctx, ctx.start("sweep-types", {"n": 3, "items": [1, 2, 3]}, id=ID))
