"""What people see in JupyterLab: tables, magics and plans, in light and dark, trusted or not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from .rig import Browser, Notebook

# the worker that has the browser has all of them; and no test of an event loop in between
pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]

SET_UP = """%load_ext dataflows_sdk
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
def url(dataflows_url: str) -> str:
    return dataflows_url


@pytest.fixture
def notebook(browser: Browser, url: str) -> Iterator[Notebook]:
    cells = [
        SET_UP.format(url=url),
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


def clean(notebook: Notebook) -> None:
    assert notebook.cell_errors() == []
    assert notebook.errors == []
    assert notebook.foreign == []


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


def test_a_bar_comes_and_goes_while_a_cell_works(browser: Browser, url: str) -> None:
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
