"""The pictures in the documentation: what a person sees who does what its pages say.

``DATAFLOWS_SCREENSHOTS=docs/images pytest -n0 tests/notebook/test_docs_images.py`` makes them anew.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from .rig import Browser, Notebook

# one process has the browser (TOGETHER in conftest.py); and no test of an event loop in between
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")]

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
LARGEST = 120_000

SHOP = """import dataflows_sdk as df
ctx = df.connect({url!r})
stock = ctx.warehouse.table("stock", {{"id": int, "article": str, "left": int}}, key="id")
articles = enumerate(["lamp", "desk", "chair", "shelf", "stool"])
found = [{{"id": n, "article": each, "left": 12 - 3 * n}} for n, each in articles]
@df.workflow("restock")
async def restock(event, step):
    counted = await step.run("count", lambda: list(found))
    await step.run("store", lambda: stock.upsert_many(counted).inserted)
    short = await step.map("check", lambda row: row["left"] < event.payload["least"], counted)
    order = [row for row, low in zip(counted, short) if low]
    await step.sleep("delivery", "300ms")
    await step.run("book", lambda: stock.upsert_many([{{**row, "left": row["left"] + 10}} for row in order]).updated)
    return len(order)
run, other = [ctx.run(restock, {{"least": least}}) for least in (5, 10)]
def publish(tax):
    made = df.flow("publish").on_manual().step("fetch", lambda event: [120, 80, 45])
    made = made.step("total", (lambda fetch: sum(fetch) * 1.2) if tax else lambda fetch: sum(fetch))
    if tax:
        made = made.step("round", lambda total: round(total))
    made = made.approval("agree", "Publish 245 €?", approvers=["ada", "ben"], after="round" if tax else "total")
    return made.notify("tell", "done", after="agree:approved")
ctx.flows.save(publish(False))
ctx.flows.save(publish(True))
kept = ctx.memory.remember([
    "Invoices of the branch in Graz have a decimal comma and a date like 3.11.",
    "The supplier of shelves delivers on Tuesdays only.",
    "A comma in an address is no reason to refuse the row.",
    "Prices of lamps are without tax until the end of March.",
], ref="notes")
"""


@pytest.fixture
def notebook(browser: Browser, dataflows_url: str, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """The shop, and the cells that `showing` names, run."""
    with browser.open([SHOP.format(url=dataflows_url), *request.param], name="shop") as notebook:
        notebook.run_all()
        yield notebook
        assert notebook.errors == []
        assert notebook.foreign == []


def showing(*cells: str) -> pytest.MarkDecorator:
    """A notebook with these cells behind the first."""
    return pytest.mark.parametrize("notebook", [cells], indirect=True, ids=["notebook"])


@showing("run.view()")
def test_a_run_wound_back_with_the_tables_as_of_then(notebook: Notebook) -> None:
    page, view = notebook.page, notebook.page.locator(".df-run").first
    view.locator("[data-table=stock]").wait_for()
    view.locator("[data-step='check[3]']").click()
    view.locator(".df-slider").focus()
    total = int(view.get_attribute("data-total") or 0)
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function("n => document.querySelector('.df-run').dataset.n === n", arg=str(total - 4))
    assert view.locator("[data-step=book]").get_attribute("data-status") == "pending"
    assert view.locator("[data-step=count]").get_attribute("data-status") == "completed"
    notebook.shoot("run-view", view)

    # tables as of a point: right before two of the five rows were booked
    view.locator(".df-slider").focus()
    page.keyboard.press("t")
    view.locator("[data-table=stock].df-now").wait_for()
    page.keyboard.press("ArrowLeft")
    view.locator("button[data-rows=stock]").click()
    rows = view.locator(".df-rows tbody tr")
    rows.first.wait_for()
    assert rows.count() == 5
    view.locator(".df-side").evaluate("e => { e.scrollTop = e.scrollHeight; }")
    notebook.shoot("run-tables", view)


@showing("run.view(against=other)")
def test_one_run_beside_another(notebook: Notebook) -> None:
    view = notebook.page.locator(".df-run").first
    view.locator("[data-beside]").first.wait_for()
    assert view.locator(".df-box.df-changed").count() > 0
    notebook.shoot("run-against", view)


RUNS = """import time
for tax in (False, False, False, True, True):
    one = ctx.start(publish(tax), {})
    while not ctx.approvals.pending():
        time.sleep(0.02)
    ctx.approvals.respond(ctx.approvals.pending()[0], "approved", responder="ada")
    one.wait("20s")
ctx.flows.get("publish").compare(1, 2)"""


@showing(RUNS)
def test_two_versions_of_a_flow(notebook: Notebook) -> None:
    shown = notebook.output(1)
    assert "version 2: failed" in shown.inner_text()
    picture = shown.locator("img").first
    picture.wait_for()
    assert picture.evaluate("e => e.complete && e.naturalWidth") > 100
    assert "round" in shown.inner_text() or "round" in (picture.get_attribute("alt") or "")
    notebook.shoot("flow-versions", picture)


AGAIN = """@df.workflow("restock")
async def restock(event, step):
    counted = await step.run("count", lambda: list(found))
    await step.run("store", lambda: stock.upsert_many(counted).inserted)
    short = await step.map("check", lambda row: row["left"] < event.payload["least"], counted)
    order = [row for row, low in zip(counted, short, strict=True) if low]
    if not order:
        return 0
    await step.sleep("delivery", "100ms")
    await step.run("book", lambda: stock.upsert_many([{**row, "left": row["left"] + 10} for row in order]).updated)
    return len(order)
ended = [ctx.run(restock, {"least": least}).wait() for least in (0, 5, 10)]
ctx.versions("restock").compare()"""


@showing(AGAIN)
def test_two_versions_of_a_workflow_in_code(notebook: Notebook) -> None:
    shown = notebook.output(1)
    assert shown.locator("ins").count() == 4
    assert "delivery" in shown.inner_text()
    notebook.shoot("code-versions", shown)


@showing("waits = ctx.start(publish(False), {})\nwaits")
def test_a_run_that_waits_for_a_word(notebook: Notebook) -> None:
    view = notebook.page.locator(".df-run").first
    view.locator("button[data-do=approve]").wait_for()
    view.get_by_label("note on agree").fill("as agreed on Monday")
    notebook.shoot("run-approval", view)


@showing("ctx.runs()")
def test_a_table_of_runs(notebook: Notebook) -> None:
    shown = notebook.output(1)
    assert "restock" in shown.inner_text()
    notebook.shoot("runs-table", shown)


@showing('ctx.memory.search_box("decimal comma")')
def test_the_search_box_of_memory(notebook: Notebook) -> None:
    box = notebook.page.locator(".df-browse").first
    box.locator("tr[data-line]").first.wait_for()
    assert box.locator("mark").first.inner_text() != ""
    # the text is what people look for: it has room beside the scores
    assert box.locator("tr[data-line] td").first.evaluate("e => e.clientWidth") > 120
    box.locator("tr[data-line] button.df-open").first.click()
    box.locator(".df-side:not([hidden])").wait_for()
    notebook.shoot("memory-search", box)


def test_each_picture_is_made_here_small_and_described_where_it_stands() -> None:
    made = set(re.findall(r'shoot\("([\w-]+)"', Path(__file__).read_text()))
    assert made == {image.stem for image in IMAGES.iterdir()}
    used: set[str] = set()
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for words, name in re.findall(r"!\[([^\]]*)\]\((?:\S*/)?images/([\w-]+)\.png\)", page.read_text()):
            assert len(words.split()) > 3, (page, name)
            used.add(name)
    assert used == made
    for image in IMAGES.iterdir():
        data = image.read_bytes()
        assert len(data) <= LARGEST, image
        wide, high = struct.unpack(">II", data[16:24])
        assert wide > 400
        assert high > 60
