# ruff: noqa: E501 - what the page is to do stands in one line each
"""How fast a run is seen in a real JupyterLab: first paint of ``run.view()``, and the way from a commit to pixels.

`views.py` calls it. The server of JupyterLab and the browser are those of the tests (`tests/notebook/rig.py`), so the
group ``test`` has to be installed; PostgreSQL is the one of the other benchmarks. All clocks are this machine's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from server import postgres

if TYPE_CHECKING:
    from tests.notebook.rig import Browser, Notebook

#: what the kernel, or a process beside it, runs; a stamp is taken before the commit, which is so a part of what is measured
DEFINITIONS = """
import asyncio, json, random, sys, threading, time
import dataflows_sdk as df

stamps, gate = [], threading.Event()

async def tick(pause):
    await asyncio.sleep(pause)
    stamps.append(time.time())

def pauses(count):
    found = random.Random(7)
    return [found.uniform(0.02, 0.4) for _ in range(count)]

@df.workflow("one box")
async def one_box(event, step):
    await step.run("gate", lambda: gate.wait(120) and None)
    for pause in pauses(event.payload):
        await step.run("tick", lambda: tick(pause))

@df.workflow("a box each")
async def a_box_each(event, step):
    await step.run("gate", lambda: gate.wait(120) and None)
    for number, pause in enumerate(pauses(event.payload)):
        await step.run(f"tick {number}", lambda: tick(pause))

@df.workflow("fast")
async def fast(event, step):
    await step.run("gate", lambda: gate.wait(120) and None)
    for number in range(event.payload):
        await step.run(f"step {number % 50}", lambda: number)

def chain(nodes, ticks):
    made = df.flow(f"chain of {nodes}").on_manual().step("gate", lambda event: gate.wait(120) and None)
    before = "gate"
    for number, pause in enumerate(pauses(ticks)):
        made = made.step(f"tick {number}", lambda pause=pause: tick(pause), after=before)
        before = f"tick {number}"
    for number in range(nodes - ticks - 1):
        made = made.step(f"rest {number}", lambda: None, after=before if number < 20 else f"rest {number - 20}")
    return made

def wide(nodes):
    made = df.flow(f"{nodes} nodes").on_manual()
    across = max(1, nodes // 20)
    for number in range(nodes):
        after = [f"step {number - across}"] if number >= across else []
        after += [f"step {number - across - 1}"] if number > across and number % 3 == 0 else []
        made = made.step(f"step {number}", lambda: None, after=after)
    return made
"""

#: the same in a process of its own: says the run's id, waits for a word, says when each step ended
BESIDE = """
ctx = df.connect(sys.argv[1])
run = ctx.start(one_box, int(sys.argv[2]))
print(run.id, flush=True)
sys.stdin.readline()
gate.set()
run.wait("120s")
print(json.dumps(stamps), flush=True)
ctx.close()
"""

#: runs a cell at the end; milliseconds to the first frame that shows its view, from its execution and from the output's arrival
FIRST = """source => new Promise((done, fail) => {
  const w = window.jupyterapp.shell.currentWidget, m = w.content.model, kernel = w.sessionContext.session.kernel;
  m.sharedModel.insertCell(m.cells.length, {cell_type: 'code', source, metadata: {}});
  w.content.activeCellIndex = m.cells.length - 1; w.content.deselectAll();
  const cell = w.content.widgets[m.cells.length - 1];
  let began = 0, came = 0;
  const hear = (_, message) => { if (!came && /^(display_data|execute_result)$/.test(message.header.msg_type)) came = performance.now(); };
  const look = () => {
    if (performance.now() - began > 30000) { fail(new Error('no view came')); return; }
    const root = cell.node.querySelector('.df-run');
    if (!root?.dataset.painted) { requestAnimationFrame(look); return; }
    const script = +root.dataset.first;
    requestAnimationFrame(() => requestAnimationFrame(() => { kernel.iopubMessage.disconnect(hear); const now = performance.now(); done([now - began, now - came, script]); }));
  };
  setTimeout(() => {
    kernel.iopubMessage.connect(hear);
    began = performance.now();
    window.jupyterapp.commands.execute('notebook:run-cell');
    requestAnimationFrame(look);
  }, 300);
})"""

#: takes the last cell away again
AWAY = "() => { const m = window.jupyterapp.shell.currentWidget.content.model; m.sharedModel.deleteCell(m.cells.length - 1); }"

#: from now on: how many events each frame showed first and when it was over, and each message of a widget: when it was sent, its direction
WATCH = """model => {
  const all = document.querySelectorAll('.df-run'), root = all[all.length - 1], kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  window.__frames = []; window.__messages = []; window.__took = [];
  let last = 0;
  new MutationObserver(() => {
    const total = +root.dataset.total;
    if (total > last) { last = total; requestAnimationFrame(() => { window.__frames.push([total, Date.now()]); window.__took.push(+root.dataset.took); }); }
  }).observe(root, {attributes: true, attributeFilter: ['data-total']});
  kernel.anyMessage.connect((_, {msg, direction}) => { if (msg.header.msg_type === 'comm_msg' && msg.content.comm_id === model) window.__messages.push([Date.parse(msg.header.date), direction, msg.content.data?.content?.do ?? msg.content.data?.method]); });
}"""


@dataclass(frozen=True)
class Live:
    """What was seen of a run that went on.

    Attributes:
        delays: from a stamp to the end of the frame that shows its event, ms.
        messages: to the page: when the kernel sent them, ms, and what they were.
        events: how many the run had.
        seconds: from the first message to the last.
        script: what a paint took of the page's thread, ms.
    """

    delays: list[float]
    messages: list[tuple[float, str]]
    events: int
    seconds: float
    script: list[float]

    @property
    def most(self) -> int:
        """The most messages within any second."""
        times = [at for at, _ in self.messages]
        return max((sum(at <= other < at + 1_000 for other in times) for at in times), default=0)


@contextmanager
def laboratory() -> Iterator[tuple[Browser, str]]:
    """JupyterLab in a browser, and the URL of an empty database."""
    root = str(Path(__file__).parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    from tests.notebook.rig import Lab

    with (
        tempfile.TemporaryDirectory() as folder,
        postgres() as server,
        Lab(Path(folder) / "lab") as lab,
        lab.browser() as browser,
    ):
        yield browser, server.url()


def p95(values: list[float]) -> float:
    """The value that one in twenty is above."""
    return sorted(values)[int(len(values) * 0.95)]


def first_paints(browser: Browser, url: str, nodes: int, times: int) -> list[list[float]]:
    """For each time: from the execution of the cell, from the arrival of its output, and what our script took of it; ms.

    The first one is a kernel's first, which loads anywidget.
    """
    cells = [DEFINITIONS, f"ctx = df.connect({url!r})\nrun = ctx.start(wide({nodes}), {{}})\nrun.wait('120s')"]
    found = []
    with browser.open(cells, name="first") as notebook:
        notebook.run_all()
        for _ in range(times):
            found.append(notebook.page.evaluate(FIRST, "run.view()"))
            notebook.page.evaluate(AWAY)
        notebook.kernel("ctx.close()")
        _clean(notebook)
    return found


def live(browser: Browser, url: str, what: str) -> Live:
    """Watch a run of the kernel: `what` is the expression that starts it."""
    cells = [DEFINITIONS, f"ctx = df.connect({url!r})\nrun = {what}\nview = run.view(keep=True)\nview"]
    with browser.open(cells, name="live") as notebook:
        notebook.run_all()
        _watch(notebook)
        notebook.kernel("gate.set()")
        notebook.page.wait_for_function(
            "() => /succeeded|failed/.test([...document.querySelectorAll('.df-run')].at(-1).dataset.status)",
            timeout=240_000,
        )
        return _seen(notebook, json.loads(notebook.kernel("json.dumps(stamps)")[1:-1]))


def live_beside(browser: Browser, url: str, count: int) -> Live:
    """Watch a run that another process works on."""
    command = [sys.executable, "-c", DEFINITIONS + BESIDE, url, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as beside:
        assert beside.stdin is not None
        assert beside.stdout is not None
        run = beside.stdout.readline().strip()
        cells = [
            DEFINITIONS,
            f"ctx = df.connect({url!r}, work=False)\nrun = ctx.get({run!r})\nview = run.view(keep=True)\nview",
        ]
        with browser.open(cells, name="beside") as notebook:
            notebook.run_all()
            _watch(notebook)
            beside.stdin.write("go\n")
            beside.stdin.flush()
            stamps = json.loads(beside.stdout.readline())
            notebook.page.wait_for_function(
                "() => [...document.querySelectorAll('.df-run')].at(-1).dataset.status === 'succeeded'", timeout=60_000
            )
            return _seen(notebook, stamps)


def _watch(notebook: Notebook) -> None:
    notebook.page.wait_for_selector(".df-run[data-painted]")
    notebook.page.evaluate(WATCH, notebook.kernel("view.comm.comm_id")[1:-1])


def _seen(notebook: Notebook, stamps: list[float]) -> Live:
    notebook.settle()
    kinds = json.loads(
        notebook.kernel("json.dumps([[e.kind, e.key or ''] for e in run.events()])")[1:-1].replace("\\'", "'")
    )
    frames, messages, script = notebook.page.evaluate("() => [window.__frames, window.__messages, window.__took]")
    notebook.kernel("ctx.close()")
    _clean(notebook)
    ends = [n for n, (kind, key) in enumerate(kinds, 1) if kind == "step.completed" and key.startswith("tick")]
    assert len(ends) == len(stamps), (len(ends), len(stamps))
    delays = [
        next(at for total, at in frames if total >= n) - stamp * 1_000 for n, stamp in zip(ends, stamps, strict=True)
    ]
    got = [(at, what) for at, way, what in messages if way == "recv"]
    return Live(delays, got, len(kinds), (got[-1][0] - got[0][0]) / 1_000 if got else 0.0, script)


def _clean(notebook: Notebook) -> None:
    errors = notebook.errors + notebook.cell_errors()
    if errors:
        raise SystemExit(f"benchmarks: the page complains: {'; '.join(errors)}")


def report(sizes: list[int], times: int, ticks: int, steps: int) -> None:
    """Measure, and print two tables."""
    with laboratory() as (browser, url):
        browser.page()
        print(
            "| nodes | first paint from the cell's execution, ms: the kernel's first · then median, most | from the output's arrival: first · median, most | our script, median |"
        )
        print("| ---: | ---: | ---: | ---: |")
        for nodes in sizes:
            cold, *warm = first_paints(browser, url, nodes, times + 1)
            cell, came, script = ([each[i] for each in warm] for i in range(3))
            print(
                f"| {nodes:,} | {cold[0]:.0f} · {median(cell):.0f}, {max(cell):.0f} | {cold[1]:.0f} · {median(came):.0f}, {max(came):.0f} | {median(script):.0f} |",
                flush=True,
            )
        print(
            "\n| run | events | commit to pixels, ms: p50, p95, most | messages | most in a second | our script, p95 |"
        )
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        watched = [
            (f"code, {ticks} steps in one box", lambda: live(browser, url, f"ctx.start(one_box, {ticks})")),
            ("the same in another process", lambda: live_beside(browser, url, ticks)),
            (f"code, {ticks} steps, a box each", lambda: live(browser, url, f"ctx.start(a_box_each, {ticks})")),
            *((f"flow of {nodes:,} nodes", lambda nodes=nodes: live(browser, url, f"ctx.start(chain({nodes}, {ticks}), {{}})")) for nodes in sizes if nodes > ticks),
            (f"code, {steps:,} steps as fast as they go", lambda: live(browser, url, f"ctx.start(fast, {steps})")),
        ]  # fmt: skip
        for name, measure in watched:
            seen = measure()
            delays = (
                f"{median(seen.delays):.0f}, {p95(seen.delays):.0f}, {max(seen.delays):.0f}" if seen.delays else "–"
            )
            print(
                f"| {name} | {seen.events:,} | {delays} | {len(seen.messages)} in {seen.seconds:.1f} s | {seen.most} | {p95(seen.script):.0f} |",
                flush=True,
            )
