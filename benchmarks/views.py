# ruff: noqa: E501 - what the page is to do stands in one line each
"""How fast a run is seen: pages of runs in Chromium with nothing else in them, and views in a real JupyterLab.

    python benchmarks/views.py                     # first paint, slider, live update, size of the assets
    python benchmarks/views.py --only pages --nodes 20,2000 --frames 300
    python benchmarks/views.py --only lab --ticks 120

Needs playwright and a chromium (``CHROMIUM=…`` names one); the pages are what ``run.save_html`` writes, without server or database.
What is measured in JupyterLab, see `views_lab`, needs the groups ``test`` and ``bench``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from dataflows_sdk.flow.model import EdgeSpec, FlowSpec, NodeSpec
from dataflows_sdk.notebook import html
from dataflows_sdk.notebook.model import View

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]

#: from the module's begin to the first frame that shows it
FIRST = """() => new Promise(done => {
  const look = () => {
    const host = [...document.querySelectorAll('div')].find(each => each.shadowRoot), root = host?.shadowRoot.querySelector('.df-run');
    if (!root?.dataset.painted) { if (performance.now() > 20000) done(null); else requestAnimationFrame(look); return; }
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
  };
  look();
})"""

#: drags the slider, a place each frame, and says how long each frame took
DRAG = """([frames, jumps]) => new Promise(done => {
  const root = [...document.querySelectorAll('div')].find(each => each.shadowRoot).shadowRoot;
  const slider = root.querySelector('.df-slider'), total = +slider.max, found = [], script = [];
  let i = 0, seed = 7, before = 0;
  const next = () => jumps ? (seed = (seed * 1103515245 + 12345) % 2147483648) % total : Math.round(total * i / frames);
  const step = now => {
    if (before) { found.push(now - before); script.push(+root.querySelector('.df-run').dataset.took); }
    before = now;
    if (i++ >= frames) { done([found, script]); return; }
    slider.value = next();
    slider.dispatchEvent(new Event('input'));
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


def made(nodes: int, events: int) -> View:
    """A flow's run with so many steps in chains of twenty, joined here and there, and about so many events."""
    ids = [f"step {number}" for number in range(nodes)]
    wide = max(1, nodes // 20)
    edges = [EdgeSpec(source=a, target=b) for a, b in zip(ids, ids[wide:], strict=False)]
    edges += [EdgeSpec(source=ids[n], target=ids[n + wide + 1]) for n in range(0, nodes - wide - 1, 3)]
    spec = FlowSpec(name="measured", nodes=tuple(NodeSpec(id=each, type="python") for each in ids), edges=tuple(edges))
    pairs = max(nodes, (events - 2) // 2)
    found: list[list[Any]] = [[1, 0.0, "run.created", "", {"status": "running"}]]
    for number, each in enumerate(ids):
        tries = pairs // nodes + (number < pairs % nodes)
        for attempt in range(1, tries + 1):
            found.append([len(found) + 1, float(len(found)), "step.started", each, {"attempt": attempt}])
            last = attempt == tries
            data: dict[str, Any] = {"attempt": attempt}
            data |= {"out": "x" * 100} if last else {"err": "ValueError: again", "retry_at": float(len(found) + 1)}
            kind = "step.completed" if last else "step.failed"
            found.append([len(found) + 1, float(len(found)), kind, each, data])
    found.append([len(found) + 1, float(len(found)), "run.completed", "", {"out": "1"}])
    head = {
        "run": "01a2",
        "workflow": "measured",
        "version": "1",
        "status": "succeeded",
        "created": "2026-01-01T00:00:00+00:00",
    }
    return View({**head, "parent": None, "forked_from": None, "kind": "flow"}, found, spec)


def p95(values: list[float]) -> float:
    """The value that one in twenty is above."""
    return sorted(values)[int(len(values) * 0.95)]


def page_of(view: View, folder: Path) -> str:
    """The address of a page of a run."""
    return html.save(view, folder / f"{len(view.events)}-{len(view.shape.parts)}.html").as_uri()


def first(page: Any, address: str) -> float:
    """Milliseconds from the page's begin to the first frame that shows the run."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address, wait_until="commit")
    found = page.evaluate(FIRST)
    if found is None:
        raise SystemExit(f"the page shows nothing: {'; '.join(complaints)}")
    return float(found)


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="20,200,2000", help="steps of the runs")
    parser.add_argument("--events", type=int, default=10_000, help="events where the slider is moved")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--times", type=int, default=5, help="how often a page is opened")
    parser.add_argument("--only", default="pages,lab", help="pages that were saved, views in JupyterLab")
    parser.add_argument("--ticks", type=int, default=120, help="steps of a run that is watched, each timed")
    parser.add_argument("--steps", type=int, default=3_000, help="steps of the run that goes fast")
    given = parser.parse_args()
    if "pages" in given.only:
        pages(given)
    if "lab" in given.only:
        import views_lab

        views_lab.report([int(size) for size in given.nodes.split(",")], given.times, given.ticks, given.steps)


def pages(given: argparse.Namespace) -> None:
    """Pages of runs, as they are saved."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    print(
        "| nodes | events | page kB | first paint, ms (median, most) | slider, all along: p50, p95 ms | slider, jumps: p50, p95 ms | of it our script, p95 |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for nodes in map(int, given.nodes.split(",")):
            address = page_of(made(nodes, 2 * nodes + 2), Path(name))
            firsts = []
            for _ in range(given.times):
                page = browser.new_page(viewport={"width": 1200, "height": 900})
                firsts.append(first(page, address))
                page.close()
            view = made(nodes, given.events)
            address = page_of(view, Path(name))
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            first(page, address)
            size = Path(address.removeprefix("file://")).stat().st_size / 1_000
            along, _ = page.evaluate(DRAG, [given.frames, False])
            jumps, script = page.evaluate(DRAG, [given.frames, True])
            page.close()
            print(
                f"| {nodes:,} | {len(view.events):,} | {size:,.0f} | {median(firsts):.0f}, {max(firsts):.0f} "
                f"| {median(along):.0f}, {p95(along):.0f} | {median(jumps):.0f}, {p95(jumps):.0f} | {p95(script):.0f} |",
                flush=True,
            )
        browser.close()
    static = Path(html.__file__).parent / "widgets" / "static"
    print(f"\nassets: {sum(file.stat().st_size for file in static.iterdir()) / 1_000:.1f} kB")


if __name__ == "__main__":
    main()
