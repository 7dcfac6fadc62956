# ruff: noqa: E501 - cells of notebooks
"""What notebooks of several modules begin with, and end with."""

from __future__ import annotations

from .rig import Notebook

VIEWS = """import dataflows_sdk as df, threading
from dataflows_sdk.approvals import ask_people
ctx = df.connect({url!r})
gate = threading.Event()
@df.workflow("orders")
async def orders(event, step):
    rows = await step.run("fetch", lambda: [1, 2, 3])
    await step.run("<script>alert('x')</script>", lambda: gate.wait(60))
    squares = await step.map("square", lambda n: n * n, rows)
    word = await step.wait_for_event("go on")
    return sum(squares)
asks = df.flow("asks").step("count", lambda: 3).approval("agree", "Publish <b>3</b> rows?", approvers=["ada"]).step("publish", lambda count, agree: count)
@df.workflow("pays")
async def pays(event, step):
    about = {{"type": "object", "properties": {{"amount": {{"type": "integer", "minimum": 1}}, "to": {{"type": "string"}}}}, "required": ["amount"]}}
    return (await ask_people(step, "pay", "Pay it?", value={{"amount": 40, "to": "<b>ada</b>"}}, schema=about))["value"]
"""
RUN = ".df-run"


def cells(url: str, *sources: str) -> list[str]:
    return [VIEWS.format(url=url), *sources]


def clean(notebook: Notebook) -> None:
    assert notebook.cell_errors() == []
    assert notebook.errors == []
    assert notebook.foreign == []
