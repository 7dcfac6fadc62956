# ruff: noqa: E501 - what the page is to do stands in one line each
"""Lists to browse in JupyterLab: runs and approvals, what is remembered.

See `test_lab`.
"""

from __future__ import annotations

import pytest

from .lab import cells, clean
from .rig import Browser

# one process has the browser (TOGETHER in conftest.py); and no test of an event loop in between
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


def test_runs_are_browsed_and_an_approval_is_answered_from_the_list(browser: Browser, dataflows_url: str) -> None:
    source = "gate.set()\nruns = [ctx.start(asks, idempotency_key=f'key-{n}') for n in range(3)]\nctx.browse(limit=2)"
    with browser.open(cells(dataflows_url, source, "ctx.approvals.view()")) as notebook:
        notebook.run_all()
        page = notebook.page
        page.wait_for_function("() => document.querySelectorAll('.df-browse').length === 2")
        runs, inbox = page.locator(".df-browse").nth(0), page.locator(".df-browse").nth(1)

        # pages, a filter, and the details of a run; the list moves by itself
        runs.locator("button[data-do=older]").click()
        page.wait_for_function("() => document.querySelector('.df-browse').dataset.page === '2'")
        assert runs.locator("tr[data-line]").count() == 1
        runs.get_by_label("filter: text").fill("key-1")
        page.wait_for_function(
            "() => { const e = document.querySelector('.df-browse'); return e.dataset.page === '1' && e.dataset.shown === '1'; }"
        )
        line = runs.locator("tr[data-line] button.df-open")
        line.focus()
        page.keyboard.press("Enter")
        runs.locator(".df-side img").wait_for()
        assert "agree" in runs.locator(".df-side").inner_text()
        # the live view of that run opens within the list, and answers there
        runs.locator("button[data-do=open]").click()
        inside = runs.locator(".df-inside .df-run")
        inside.locator("[data-step=agree]").wait_for()
        inside.locator("[data-do=approve]").wait_for()
        inside.locator(".df-slider").focus()
        page.keyboard.press("ArrowLeft")
        inside.locator("button[data-do=live][aria-pressed=false]").wait_for()
        notebook.shoot("browse-runs", runs)
        runs.locator("button[data-do=close]").click()
        page.wait_for_function("() => !document.querySelector('.df-inside .df-run')")

        inbox.locator("tr[data-line]").nth(2).wait_for()
        assert "Publish <b>3</b> rows?" in inbox.inner_text()
        inbox.locator("tr[data-line] button.df-open").nth(1).click()
        inbox.get_by_label("note").fill("fine <i>by me</i>")
        notebook.shoot("browse-approvals", inbox)
        inbox.locator("button[data-do=approve]").click()
        notebook.until("runs[1].status", "'succeeded'")
        assert "by me" in notebook.kernel("str(runs[1].timeline()['agree'].output)")
        runs.locator("tr[data-line][data-status=succeeded]").wait_for()
        inbox.get_by_text("2 shown").wait_for()
        clean(notebook)


REMEMBERS = """import dataflows_sdk as df
ctx = df.connect({url!r})
ctx.memory.use("none")
@df.workflow("notes")
async def notes(event, step):
    await step.run("write", lambda: bool(ctx.memory.remember("The ferry <b>is</b> late", ref="ferry")))
ctx.run(notes)
ctx.memory.remember("The ferry is red", ref="colour")
ctx.memory.search_box("ferry")
"""


def test_what_is_remembered_is_looked_at_and_forgotten(browser: Browser, dataflows_url: str) -> None:
    with browser.open([REMEMBERS.format(url=dataflows_url)]) as notebook:
        notebook.run_all()
        box = notebook.page.locator(".df-browse")
        box.get_by_text("2 shown").wait_for()
        box.locator("tr[data-line] button.df-open").filter(has_text="late").click()
        side = box.locator(".df-side")
        side.locator("img").wait_for()
        assert "history: 1 version" in side.inner_text()
        notebook.shoot("search-details", box)

        # once is not enough, and the focus is on what does nothing
        side.locator("button[data-do=forget]").click()
        keep = side.locator("button[data-do=keep]")
        keep.wait_for()
        notebook.shoot("search-forget", box)
        notebook.page.keyboard.press("Enter")
        keep.wait_for(state="hidden")
        assert notebook.kernel("len(ctx.memory.history('ferry'))") == "1"
        side.locator("button[data-do=forget]").click()
        side.locator("button[data-do=forget-now]").click()
        box.get_by_text("1 shown").wait_for()
        assert "forgotten: ferry" in box.locator(".df-say").inner_text()
        assert side.is_hidden()
        assert notebook.kernel("ctx.memory.history('ferry')") == "[]"
        clean(notebook)
