"""A flow that writes records and waits for one, and one that a row begins; killed at the engine's fault points."""

from __future__ import annotations

import time
from typing import Any

import dataflows_sdk as df


def main(ctx: df.Context) -> Any:
    orders = ctx.warehouse.table("orders", {"id": int, "status": str, "n": int})
    flow = (
        df.flow("pays")
        .on_manual()
        .record("make", "orders", "upsert", data={"id": 1, "status": "open"})
        .record("change", "orders", "update", id=1, data={"n": 7})
        .delay("paid", until_field={"object": "orders", "id": 1, "field": "status", "value": "paid"}, timeout="40s")
        .record("log", "orders", "create", data={"id": 2, "n": "{{steps.change.output.n}}"})
    )
    settles = df.flow("settles").on_record("orders", "updated", where=[("n", "changed")])
    settles = settles.record("pay", "orders", "update", id="{{trigger.record.id}}", data={"status": "paid"})
    ctx.flows.save(settles).activate()
    ctx.register(flow)
    run = ctx.start(flow, {}, idempotency_key="the one")
    reason = run.result(timeout=40)
    assert reason["id"] == 2
    runs = ctx.runs(workflow="settles")
    deadline = time.monotonic() + 20
    while any(each.refresh().status not in ("succeeded", "failed") for each in runs) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [
        run.outputs()["steps"]["paid"]["output"]["reason"],
        [(version.operation, version.row.status, version.row.n, version.step) for version in orders.history(1)],
        [(version.operation, version.row.n, version.step) for version in orders.history(2)],
        [each.status for each in ctx.runs(workflow="settles")],
    ]
