# ruff: noqa: E501 - what the page is to do stands in one line each
"""What people see and do in JupyterLab: tables, magics and plans; a run watched live, wound back, answered and forked.

One module, so that the browser starts once; see `rig`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from .lab import RUN, cells, clean
from .rig import Browser, Notebook

# one process has the browser (TOGETHER in conftest.py); and no test of an event loop in between
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


# --- tables, magics and plans ------------------------------------------------------------------------------------

TABLES = """%load_ext dataflows_sdk
import dataflows_sdk as df
ctx = df.connect({url!r})
table = ctx.warehouse.table("tasks", {{"id": int, "name": str, "hours": float}}, key="id")
written = table.upsert_many([{{"id": n, "name": f"<script>alert({{n}})</script>", "hours": n / 2}} for n in range(40)])
@df.workflow("tidy")
async def tidy(event, step):
    return await step.run("one", lambda: 1)
run = ctx.run(tidy)
"""


@pytest.fixture
def notebook(browser: Browser, dataflows_url: str) -> Iterator[Notebook]:
    cells = [
        TABLES.format(url=dataflows_url),
        "ctx.runs()",
        "table",
        "ctx.sql('select status, count(*) as n from runs group by 1')",
        '%%flow sums\ndf.flow("sums").step("load", lambda: [1]).step("total", lambda load: sum(load))',
        "%runs tidy",
        "%%dfsql hours\nselect sum(hours) as hours from tasks",
        "ctx",
    ]
    with browser.open(cells) as notebook:
        yield notebook


def test_what_stands_on_the_last_line_is_a_table(notebook: Notebook, browser: Browser) -> None:
    notebook.run_all()
    runs, table, answer, flow, magic, hours, context = (notebook.output(cell) for cell in range(1, 8))
    assert "✓ succeeded" in runs.locator("table").inner_text()
    assert "tasks: 40 rows, key id" in table.inner_text()
    assert "<script>alert(1)</script>" in table.inner_text()
    assert "… and 20 more rows" in table.inner_text()
    assert "succeeded" in answer.locator("td").first.inner_text()
    assert flow.locator("img").first.evaluate("e => e.complete && e.naturalWidth") > 100
    assert "load → total" in flow.inner_text()
    assert "tidy" in magic.inner_text()
    assert hours.locator("td").inner_text() == "390.0"
    assert notebook.kernel("hours.fetchall()") == "[(390.0,)]"
    assert "1 succeeded" in context.inner_text()
    notebook.shoot("tables-runs", runs)
    notebook.shoot("tables-table", table)
    notebook.shoot("magic-flow", flow)
    notebook.shoot("tables-context", context)

    # the same in the dark: the texts of a table stand out from their ground
    browser.theme("JupyterLab Dark")
    try:
        light = table.locator("td").first.evaluate(
            "e => getComputedStyle(e).color.match(/[0-9]+/g).slice(0, 3).map(Number).reduce((a, b) => a + b)"
        )
        assert light > 450
        notebook.shoot("tables-table-dark", table)
    finally:
        browser.theme("JupyterLab Light")
    clean(notebook)


def test_a_reader_who_does_not_trust_it_sees_the_tables(notebook: Notebook, browser: Browser) -> None:
    notebook.run_all()
    saved = notebook.save()
    clean(notebook)
    # signed by nobody: changed by hand
    saved["cells"][1]["outputs"][0]["data"]["text/plain"] = "changed"
    path = notebook.path.with_name("untrusted.ipynb")
    path.write_text(json.dumps(saved))
    with browser.open(path, kernel=False) as reader:
        assert "✓ succeeded" in reader.output(1).locator("table").inner_text()
        assert "tasks: 40 rows" in reader.output(2).inner_text()
        assert reader.output(4).locator("img").first.evaluate("e => e.naturalWidth") > 100
        clean(reader)


def test_a_magic_says_what_is_wrong(browser: Browser) -> None:
    with browser.open(["%load_ext dataflows_sdk"]) as notebook:
        notebook.run_all()
        notebook.run("%runs")
        assert "no open context in this notebook" in notebook.output(1).inner_text()
        assert notebook.errors == notebook.foreign == []


def test_a_bar_comes_and_goes_while_a_cell_works(browser: Browser) -> None:
    cell = (
        "from dataflows_sdk import bars\nimport time\nwith bars.bar('counting', 40) as tell:\n"
        "    for n in range(41):\n        tell(n)\n        time.sleep(0.06)"
    )
    with browser.open([cell]) as notebook:
        notebook.run_all(wait=False)
        bar = notebook.output(0).locator("progress")
        bar.wait_for()
        assert bar.get_attribute("aria-label") in {"counting", None}
        notebook.shoot("progress", notebook.output(0))
        notebook.until_run()
        assert "counting: 40 of 40" in notebook.output(0).inner_text()
        assert bar.count() == 0
        clean(notebook)


# --- the view of a run -------------------------------------------------------------------------------------------


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


def test_a_person_edits_the_value_of_an_answer(browser: Browser, dataflows_url: str) -> None:
    source = "gate.set()\nfirst, second = ctx.start(pays), ctx.start(pays)\nfirst"
    with browser.open(cells(dataflows_url, source, "ctx.approvals.view()")) as notebook:
        notebook.run_all()
        view, inbox = notebook.page.locator(RUN).first, notebook.page.locator(".df-browse")

        # what is not taken is said, and what was written stays
        view.locator("button[data-do=edit]").click()
        amount = view.get_by_label("amount")
        amount.wait_for()
        assert view.get_by_label("to (may be empty)").input_value() == "<b>ada</b>"
        amount.fill("0")
        view.get_by_label("note on pay").fill("less")
        view.locator("button[data-do=approve]").click()
        view.get_by_role("alert").get_by_text("/amount").wait_for()
        assert amount.input_value() == "0"
        assert view.get_by_label("note on pay").input_value() == "less"
        notebook.shoot("view-edit", view)
        amount.fill("39")
        view.locator("button[data-do=approve]").click()
        notebook.until("first.status", "'succeeded'")
        notebook.until("first.result()", "{'amount': 39, 'to': '<b>ada</b>'}")

        inbox.scroll_into_view_if_needed()  # a list that nobody sees does not look
        inbox.get_by_text("1 shown").wait_for()
        inbox.locator("tr[data-line] button.df-open").click()
        edit = inbox.locator("button[data-do=edit]")
        edit.click()
        inbox.get_by_label("amount").fill("many")
        inbox.locator("button[data-do=approve]").click()
        inbox.get_by_role("alert").get_by_text("no number").wait_for()
        assert inbox.get_by_label("amount").input_value() == "many"
        notebook.shoot("browse-edit", inbox)
        edit.click()  # left as it is
        inbox.locator("button[data-do=approve]").click()
        notebook.until("second.result()", "{'amount': 40, 'to': '<b>ada</b>'}")
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


@pytest.mark.parametrize("end", ["kill_kernel", "stop_kernel"])
def test_a_kernel_that_ends_is_noticed_without_being_asked(browser: Browser, dataflows_url: str, end: str) -> None:
    with browser.open(cells(dataflows_url, "run = ctx.start(asks)\nrun", "ctx.browse()")) as notebook:
        notebook.run_all()
        view, runs = notebook.page.locator(RUN).first, notebook.page.locator(".df-browse")
        view.locator("button[data-do=approve]").wait_for()
        getattr(notebook, end)()
        # who waits for answers in vain says "No word from the kernel"
        for each in (view, runs):
            each.locator(".df-gone:not([hidden])", has_text=re.compile("The kernel (is gone|was restarted)")).wait_for()
            assert "agree" in view.inner_text()
        if end == "kill_kernel":
            notebook.until_idle()  # the server has started another, which knows nothing of this view
            assert view.locator(".df-gone").is_visible()
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


WRITES = """import dataflows_sdk as df
ctx = df.connect({url!r})
stock = ctx.warehouse.table("stock", {{"id": int, "name": str, "left": int}}, key="id")
@df.workflow("restock")
async def restock(event, step):
    await step.run("count", lambda: stock.upsert_many([{{"id": n, "name": f"<b>{{n}}</b>", "left": n}} for n in range(5)]).inserted)
    await step.run("order", lambda: event.payload["n"])
    return await step.run("store", lambda: stock.upsert({{"id": 3, "name": "three", "left": event.payload["n"]}}) and 1)
one = ctx.start(restock, {{"n": 10}})
one.result()
two = ctx.start(restock, {{"n": 20}})
two.result()
"""


def test_rows_at_a_point_and_one_run_beside_another(browser: Browser, dataflows_url: str) -> None:
    with browser.open([WRITES.format(url=dataflows_url), "one.view(against=two)"]) as notebook:
        notebook.run_all()
        view = notebook.page.locator(RUN).first
        view.locator("[data-table=stock]").wait_for()
        # what differs is on the boxes and in a list
        assert view.locator("[data-beside]").evaluate_all("all => all.map(e => e.dataset.beside)") == ["count", "order"]
        assert view.locator(".df-box.df-changed").evaluate_all("all => all.map(e => e.dataset.step)") == [
            "count",
            "order",
        ]
        notebook.shoot("view-against", view)
        view.get_by_role("button", name="stop comparing runs").click()
        assert view.locator(".df-box.df-changed").count() == 0
        # t goes from write to write; rows as of then are asked of the kernel
        view.locator(".df-slider").focus()
        notebook.page.keyboard.press("t")
        view.locator("[data-table=stock].df-now", has_text="+5").wait_for()
        view.locator("button[data-rows=stock]").click()
        rows = view.locator(".df-rows tbody tr")
        rows.first.wait_for()
        assert rows.all_inner_texts()[3].split("\t") == ["count", "3", "<b>3</b>", "3"]
        view.locator(".df-slider").focus()
        notebook.page.keyboard.press("t")
        view.locator("[data-table=stock].df-now", has_text="±1").wait_for()
        view.locator("button[data-changed=stock]").click()
        view.locator(".df-rows td", has_text="name = three, left = 10").wait_for()
        notebook.shoot("view-tables", view)
        clean(notebook)


NOTES = """import dataflows_sdk as df
ctx = df.connect({url!r})
ctx.memory.use("none")
@df.workflow("notes")
async def notes(event, step):
    await step.run("first", lambda: ctx.memory.remember("the gate is <b>open</b>", ref="gate").added)
    await step.run("second", lambda: ctx.memory.remember("the gate is shut", ref="gate").added)
    return await step.run("third", lambda: ctx.memory.remember("for ana", collection="more", scope="ana").added)
run = ctx.start(notes)
run.result()
ctx.memory.remember("the gate is painted", ref="gate")
"""


#: not where the third begins: that the second did may be noted in between, after its end
AFTER_THE_SECOND = """events = run.view().events
run.view(at=next(each[0] for each in events if each[2:4] == ["step.completed", "second"]))
"""


def test_the_memory_as_of_a_point(browser: Browser, dataflows_url: str) -> None:
    with browser.open([NOTES.format(url=dataflows_url), AFTER_THE_SECOND, "run"]) as notebook:
        notebook.run_all()
        view = notebook.page.locator(RUN).first
        said = view.locator("[data-said]")
        said.first.wait_for()
        # newest first, up to the point
        assert said.evaluate_all("all => all.map(e => e.dataset.act)") == ["remembered", "ended", "remembered"]
        assert view.locator(".df-said.df-now").count() == 2
        question = view.get_by_label("question to the memory as of this point")
        question.focus()
        view.locator("option", has_text="more / ana").wait_for(state="attached")
        question.fill("gate")
        question.press("Enter")
        hit = view.locator("[data-hit]")
        hit.first.wait_for()
        assert [text for text in hit.all_inner_texts() if "the gate is shut" in text] == hit.all_inner_texts()
        # after the first step the other was true; what is written in the box stays
        place = notebook.kernel(
            "[n + 1 for n, e in enumerate(run.view().events) if e[2:4] == ['step.completed', 'first']][0]"
        )
        view.locator(".df-slider").fill(place)
        view.locator(".df-said.df-now", has_text="the gate is <b>open</b>").wait_for()
        assert view.locator(".df-said").count() == 1 + hit.count()
        assert question.input_value() == "gate"
        view.locator("[data-do=recall]").click()
        view.locator("[data-hit]", has_text="the gate is <b>open</b>").wait_for()
        notebook.shoot("view-memory", view)
        # a page without a kernel has what was said, and no box
        still = notebook.page.locator(RUN).nth(1)
        still.locator("[data-said]").first.wait_for()
        assert still.locator("[data-said]").count() == 4
        assert still.locator("[data-do=recall]").count() == 0
        # from an archive it may be looked at, and not changed
        notebook.run("ctx.export('notes.duckdb')\ndf.open_archive('notes.duckdb').run(run.id).view(at='third')")
        kept = notebook.output(3).locator(RUN)
        kept.locator("[data-said]").first.wait_for()
        assert kept.locator("[data-do=recall], [data-do=cancel], [data-do=retry]").count() == 0
        kept.locator(".df-box[data-step=first]").click()
        kept.get_by_role("button", name="whole values and the source").click()
        kept.locator("pre", has_text="async def notes").wait_for()
        clean(notebook)
