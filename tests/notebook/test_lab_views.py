# ruff: noqa: E501 - what the page is to do stands in one line each
"""The view of a run as a person uses it: watched live, wound back, answered and forked, also by keyboard alone."""

from __future__ import annotations

import json

import pytest

from .rig import Browser, Notebook

# the worker that has the browser has all of them; and no test of an event loop in between
pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]

SET_UP = """import dataflows_sdk as df, threading
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
"""
RUN = ".df-run"


def cells(url: str, *sources: str) -> list[str]:
    return [SET_UP.format(url=url), *sources]


def clean(notebook: Notebook) -> None:
    assert notebook.cell_errors() == []
    assert notebook.errors == []
    assert notebook.foreign == []


def test_a_run_is_watched_answered_and_wound_back(browser: Browser, dataflows_url: str) -> None:
    with browser.open(cells(dataflows_url, "run = ctx.start(orders)\nrun", "gate.set()\n")) as notebook:
        page = notebook.page
        # only the first two cells: the run stands at its gate
        notebook.command("notebook:move-cursor-up")
        page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 0; }")
        notebook.command("notebook:run-cell-and-select-next")
        notebook.command("notebook:run-cell-and-select-next")
        view = page.locator(RUN).first
        view.wait_for()
        view.locator("[data-step][data-status=running]", has_text="<script>").wait_for()
        notebook.shoot("view-running", view)
        notebook.command("notebook:run-cell")  # opens the gate
        send = view.locator("button[data-do=send]")
        send.wait_for()
        view.get_by_label("payload of go on").fill('"really"')
        send.click()
        notebook.until("run.status", "'succeeded'")
        assert notebook.kernel("run.result()") == "14"
        notebook.settle()
        clean(notebook)

        # it is over: what stands there now needs no kernel, and the slider works by keyboard
        notebook.settle()
        slider = page.locator("input[type=range].df-slider").first
        slider.focus()
        total = int(slider.get_attribute("max") or 0)
        assert total > 10
        for _ in range(3):
            page.keyboard.press("ArrowLeft")
        page.wait_for_function(
            "n => [...document.querySelectorAll('*')].map(e => (e.shadowRoot ?? e).querySelector?.('.df-slider')).find(e => e)"
            "?.getAttribute('aria-valuetext')?.startsWith(`event ${n} of`)",
            arg=total - 3,
        )
        number = page.locator(".jp-Notebook .jp-Cell").count()
        for key in ("d", "d", "x", "b"):  # in JupyterLab's command mode these delete, cut and add cells
            page.keyboard.press(key)
        assert page.locator(".jp-Notebook .jp-Cell").count() == number
        notebook.shoot("view-finished", notebook.output(1))
        clean(notebook)


def test_a_person_approves_from_the_view(browser: Browser, dataflows_url: str) -> None:
    with browser.open(cells(dataflows_url, "run = ctx.start(asks)\nrun")) as notebook:
        notebook.run_all()
        view = notebook.page.locator(RUN).first
        approve = view.locator("button[data-do=approve]")
        approve.wait_for()
        assert "Publish <b>3</b> rows?" in view.inner_text()
        notebook.shoot("view-approval", view)
        view.get_by_label("note on agree").fill("fine <i>by me</i>")
        approve.focus()
        notebook.page.keyboard.press("Enter")
        notebook.until("run.status", "'succeeded'")
        assert "ada" in notebook.kernel("str(run.timeline()['agree'].output)")
        assert "by me" in notebook.kernel("str(run.timeline()['agree'].output)")
        clean(notebook)


def test_two_views_of_one_run_and_a_fork(browser: Browser, dataflows_url: str) -> None:
    source = "gate.set()\nrun = ctx.start(orders)\nrun.send_event('go on', 1)\nrun.result()\nrun.view()"
    with browser.open(cells(dataflows_url, source, "run.view(at=3)")) as notebook:
        notebook.run_all()
        page = notebook.page
        page.wait_for_function("() => document.querySelectorAll('.df-run').length === 2")
        first, second = page.locator(RUN).nth(0), page.locator(RUN).nth(1)
        assert first.get_attribute("data-run") == second.get_attribute("data-run")
        assert first.get_attribute("data-n") != second.get_attribute("data-n")
        # each has a place of its own; by keyboard alone
        slider = first.locator(".df-slider")
        slider.focus()
        for _ in range(4):
            page.keyboard.press("ArrowLeft")
        page.wait_for_function(
            "() => { const [a, b] = document.querySelectorAll('.df-run'); return +a.dataset.n === +a.dataset.total - 4 && b.dataset.n !== a.dataset.n; }"
        )
        fork = first.locator("button[data-do=fork]")
        fork.focus()
        page.keyboard.press("Enter")
        start = first.locator("button[data-do=fork-now]")
        start.wait_for()
        assert "It is a new run" in first.inner_text()
        notebook.shoot("view-fork", first)
        start.focus()
        page.keyboard.press("Enter")
        first.get_by_text("run2 = ctx.get(").wait_for()
        assert notebook.kernel("len(ctx.runs('orders'))") == "2"
        assert notebook.kernel("ctx.runs('orders')[0].forked_from == run") == "True"

        # the whole of a step's values is asked of the kernel
        first.locator("[data-step]").first.click()
        first.get_by_role("button", name="whole values and the source").click()
        first.locator(".df-side .df-head", has_text="source").wait_for()
        clean(notebook)

        browser.theme("JupyterLab Dark")
        try:
            colours = first.evaluate("e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]")
            assert len(set(colours)) == 2
            notebook.shoot("view-dark", first)
        finally:
            browser.theme("JupyterLab Light")


def test_a_kernel_that_is_gone_leaves_the_last_picture(browser: Browser, dataflows_url: str) -> None:
    with browser.open(cells(dataflows_url, "run = ctx.start(asks)\nrun")) as notebook:
        notebook.run_all()
        view = notebook.page.locator(RUN).first
        view.locator("button[data-do=approve]").wait_for()
        notebook.restart_kernel()
        view.locator(".df-gone:not([hidden])").wait_for()
        assert "last that was known" in view.locator(".df-gone").inner_text()
        assert "agree" in view.inner_text()
        notebook.shoot("view-kernel-gone", view)
        assert notebook.foreign == []


def test_a_finished_run_is_whole_in_a_saved_notebook(browser: Browser, dataflows_url: str) -> None:
    source = "gate.set()\nrun = ctx.start(orders)\nrun.send_event('go on', 1)\nrun.result()\nrun"
    with browser.open(cells(dataflows_url, source)) as notebook:
        notebook.run_all()
        saved = notebook.save()
        clean(notebook)
    (shown,) = [out for out in saved["cells"][1]["outputs"] if "text/html" in out.get("data", {})]
    assert "application/vnd.jupyter.widget-view+json" not in shown["data"]
    assert "<script>alert" not in "".join(shown["data"]["text/html"])
    # a reader without a kernel who trusts it winds it back; one who does not sees the picture
    with browser.open(notebook.path, kernel=False) as reader:
        slider = reader.page.locator("input[type=range].df-slider").first
        slider.wait_for()
        slider.focus()
        reader.page.keyboard.press("ArrowLeft")
        clean(reader)
    shown["data"]["text/plain"] = "changed by hand"
    path = notebook.path.with_name("untrusted-run.ipynb")
    path.write_text(json.dumps(saved))
    with browser.open(path, kernel=False) as reader:
        picture = reader.output(1).locator("img").first
        picture.wait_for()
        assert picture.evaluate("e => e.naturalWidth") > 100
        clean(reader)
