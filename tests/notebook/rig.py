# ruff: noqa: E501 - what the page is to do stands in one line each
"""A real JupyterLab and a real Chromium, on loopback: makes notebooks, runs them, and looks at them as a person does.

    with Lab(folder) as lab, lab.browser() as browser, browser.open([cell, …]) as notebook:
        notebook.run_all()
        notebook.page.get_by_role("button", name="Approve").click()
        assert notebook.kernel("run.status") == "'succeeded'"

The browser resolves no name but this machine's, and what a page asks of others is kept in ``notebook.foreign``: that must stay
empty, as must ``notebook.errors``, what the page complained of.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import nbformat

from ..conftest import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--disable-dev-shm-usage",
    # routing in Playwright would switch the cache off, and JupyterLab would be loaded anew for each notebook
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
_FOREIGN = re.compile(r"^(?:https?|wss?)://(?!127\.0\.0\.1[:/])")
#: what JupyterLab and Chromium complain of by themselves, with no notebook of ours; the last when a kernel is shut down
_NOISE = ("favicon", "webmanifest", "sourcemap", "/api/me", "status of 404 (Not Found)", "debugger state", "Disposed")
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    # a cell that is out of view is not in the page otherwise
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none", "autoStartDefaultKernel": False},
}


#: parts of JupyterLab that ask the kernel for things of their own, and are not looked at here
UNUSED = ("debugger", "extensionmanager")


def chromium() -> str | None:
    """Where it is."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


class Lab:
    """A server of JupyterLab in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notebooks = folder / "notebooks"
        self.token = secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    def __enter__(self) -> Self:
        self.notebooks.mkdir(parents=True)
        for name, value in SETTINGS.items():
            package, plugin = name.split(":")
            file = self.folder / "settings" / package / f"{plugin}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(value))
        config = self.folder / "config" / "labconfig" / "page_config.json"
        config.parent.mkdir(parents=True)
        config.write_text(
            json.dumps({"disabledExtensions": {f"@jupyterlab/{name}-extension": True for name in UNUSED}})
        )
        places = {f"JUPYTER_{name}_DIR": str(self.folder / name.lower()) for name in ("CONFIG", "RUNTIME", "DATA")} | {
            "JUPYTERLAB_SETTINGS_DIR": str(self.folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.folder / "ws"),
        }
        environment = {**os.environ, **places, "IPYTHONDIR": str(self.folder / "ipython"), "PYTHONWARNINGS": "ignore"}
        environment.pop("DATAFLOWS_URL", None)
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.notebooks}", "--LabApp.expose_app_in_browser=True",
            "--LabApp.extension_manager=readonly", "--LabApp.news_url=None", "--ServerApp.terminals_enabled=False",
        ]  # fmt: skip
        self._log = (self.folder / "server.log").open("w")
        self._process = subprocess.Popen(
            command, env=environment, stdout=self._log, stderr=self._log, cwd=self.notebooks
        )
        deadline = time.monotonic() + 90
        while not self._answers():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError("jupyter lab did not start:\n" + (self.folder / "server.log").read_text()[-3000:])
            time.sleep(0.1)
        return self

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/status?token={self.token}", timeout=5).close()
        except OSError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    @contextmanager
    def browser(self) -> Iterator[Browser]:
        """A browser with JupyterLab in it. While it is open, no asyncio loop can be run in this thread."""
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            chrome = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
            try:
                yield Browser(self, chrome.new_context(viewport={"width": 1200, "height": 900}))
            finally:
                chrome.close()


class Browser:
    """A window. JupyterLab stays in it, for that takes five seconds to start, and a notebook one."""

    def __init__(self, lab: Lab, context: BrowserContext) -> None:
        self.lab = lab
        self._context = context
        self._page: Page | None = None
        self.errors: list[str] = []
        self.foreign: list[str] = []

    def page(self) -> Page:
        """The page with JupyterLab."""
        if self._page is None:
            page = self._page = self._context.new_page()
            page.set_default_timeout(30_000)
            page.on("console", lambda said: self._complained(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: self._complained(str(error)))
            page.on("request", lambda asked: self.foreign.append(asked.url) if _FOREIGN.match(asked.url) else None)
            page.goto(
                f"http://127.0.0.1:{self.lab.port}/lab?token={self.lab.token}&reset", wait_until="domcontentloaded"
            )
            page.wait_for_function("() => window.jupyterapp?.restored")
            page.evaluate("() => window.jupyterapp.restored.then(() => null)")
        return self._page

    @contextmanager
    def file(self, path: Path) -> Iterator[Page]:
        """A page that was saved, in a tab of its own; what it complains of is in `errors`."""
        self.errors.clear()
        page = self._context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda said: self._complained(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self._complained(str(error)))
        page.goto(path.as_uri())
        try:
            yield page
        finally:
            page.close()

    def _complained(self, text: str) -> None:
        if not any(noise in text for noise in _NOISE):
            self.errors.append(text)

    def theme(self, name: str) -> None:
        """``"JupyterLab Dark"`` or ``"JupyterLab Light"``."""
        light = "true" if "Light" in name else "false"
        self.page().evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name}).then(() => null)", name
        )
        self.page().wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")

    @contextmanager
    def open(self, cells: Sequence[str] | Path, *, name: str = "test", kernel: bool = True) -> Iterator[Notebook]:
        """A notebook of these cells, or one that was saved, opened in JupyterLab; closed with its kernel at the end."""
        path = cells if isinstance(cells, Path) else self.lab.notebooks / f"{name}-{secrets.token_hex(3)}.ipynb"
        if not isinstance(cells, Path):
            made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
            made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
            nbformat.write(made, path)
        self.errors.clear()
        self.foreign.clear()
        page = self.page()
        page.evaluate(
            "path => window.jupyterapp.commands.execute('docmanager:open', {path}).then(() => null)", path.name
        )
        page.wait_for_function(
            "path => { const w = window.jupyterapp.shell.currentWidget; return w?.context?.path === path && w.context.isReady; }",
            arg=path.name,
        )
        notebook = Notebook(self, page, path)
        if kernel:
            notebook.start_kernel()
        try:
            yield notebook
        finally:
            notebook.close()


class Notebook:
    """A notebook in the browser."""

    def __init__(self, browser: Browser, page: Page, path: Path) -> None:
        self._browser = browser
        self.page = page
        self.path = path

    @property
    def errors(self) -> list[str]:
        """What the page complained of."""
        return self._browser.errors

    @property
    def foreign(self) -> list[str]:
        """What it asked of other machines."""
        return self._browser.foreign

    # --- driving -----------------------------------------------------------------------------------------

    def command(self, name: str, **arguments: Any) -> None:
        """Do what the menus do, by name."""
        self.page.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => null)", [name, arguments]
        )

    def start_kernel(self) -> None:
        """A kernel of its own, ready.

        JupyterLab starts the one that the notebook names. To ask for another meanwhile leaves its manager of widgets
        without a session now and then, and views at "Loading widget…".
        """
        self.page.evaluate(
            """async () => {
            const context = window.jupyterapp.shell.currentWidget.sessionContext;
            await context.ready;
            if (!context.session?.kernel) await context.changeKernel({name: 'python3'});
            }"""
        )
        self.until_idle()

    def restart_kernel(self) -> None:
        """As the button does, without asking."""
        self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart().then(() => null)"
        )
        self.until_idle()

    def kill_kernel(self) -> None:
        """As a crash does; the server starts another, and JupyterLab says so."""
        self.page.evaluate(
            "() => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code: 'import os; os._exit(1)', silent: true}); }"
        )
        self.page.locator(".jp-Dialog button.jp-mod-accept").click()

    def stop_kernel(self) -> None:
        """As the menu does."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown().then(() => null)")

    def until_idle(self) -> None:
        """Until there is a kernel with nothing to do."""
        self.page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'"
        )

    def run_all(self, *, wait: bool = True) -> None:
        """Run every cell; with ``wait=False`` only begin to."""
        if not wait:
            self.page.evaluate("() => { window.__run = window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
            return
        self.command("notebook:run-all-cells")
        self.settle()
        self._check()

    def until_run(self) -> None:
        """The end of what `run_all` began."""
        self.page.evaluate("() => window.__run.then(() => null)")
        self.settle()
        self._check()

    def _check(self) -> None:
        errors = self.cell_errors()
        assert not errors, errors

    def run(self, source: str) -> None:
        """Run code in a new cell at the end, and wait for it."""
        self.page.evaluate(
            """source => { const w = window.jupyterapp.shell.currentWidget, m = w.content.model;
            m.sharedModel.insertCell(m.cells.length, {cell_type: 'code', source, metadata: {}});
            w.content.activeCellIndex = m.cells.length - 1; w.content.deselectAll(); }""",
            source,
        )
        self.command("notebook:run-cell")
        self.settle()

    def settle(self) -> None:
        """Until the kernel is idle, no widget is being loaded, and the notebook is as it was a moment ago."""
        self.page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status !== 'busy'"
        )
        self.page.wait_for_function(
            "() => ![...document.querySelectorAll('.jp-OutputArea-output')].some(e => e.textContent.trim() === 'Loading widget...')"
        )
        self.page.evaluate(
            """() => new Promise(done => { const over = () => { watch.disconnect(); done(null); };
            let timer = setTimeout(over, 200); const last = setTimeout(over, 2000);
            const watch = new MutationObserver(() => { clearTimeout(timer); timer = setTimeout(over, 200); });
            watch.observe(document.querySelector('.jp-Notebook'), {subtree: true, childList: true}); })"""
        )

    def kernel(self, expression: str) -> str:
        """The repr of what an expression is in the kernel. It leaves no trace in the notebook."""
        told: dict[str, Any] = self.page.evaluate(
            """async text => { const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const asked = kernel.requestExecute({code: '', silent: true, store_history: false, user_expressions: {x: text}});
            const answer = await asked.done; return answer.content.user_expressions?.x ?? answer.content; }""",
            expression,
        )
        if told.get("status") != "ok":
            raise RuntimeError(f"{expression}: {told.get('ename')}: {told.get('evalue')}")
        text: str = told["data"]["text/plain"]
        return text

    def until(self, expression: str, wanted: str) -> None:
        """Until an expression has this repr in the kernel."""
        wait_until(lambda: self.kernel(expression) == wanted, f"{expression} is {wanted}")

    def save(self) -> dict[str, Any]:
        """Save it; gives what was saved."""
        self.command("docmanager:save")
        saved: dict[str, Any] = json.loads(self.path.read_text())
        return saved

    def close(self) -> None:
        """Close it, and end its kernel."""
        self.page.evaluate(
            """() => { const w = window.jupyterapp.shell.currentWidget, c = w.sessionContext;
            return Promise.resolve(c.session ? c.shutdown() : 0).then(() => { w.context.model.dirty = false; w.close(); return null; }); }"""
        )

    # --- looking -----------------------------------------------------------------------------------------

    def output(self, cell: int) -> Locator:
        """What a cell shows."""
        return (
            self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell")
            .nth(cell)
            .locator(".jp-OutputArea-output")
        )

    def cell_errors(self) -> list[str]:
        """The errors of the cells."""
        found: list[str] = self.page.evaluate(
            """() => window.jupyterapp.shell.currentWidget.content.widgets.flatMap((c, i) => c.model.type !== 'code' ? [] :
            Array.from({length: c.model.outputs.length}, (_, j) => c.model.outputs.get(j).toJSON())
            .filter(o => o.output_type === 'error').map(o => `cell ${i}: ${o.ename}: ${o.evalue}`))"""
        )
        return found

    def shoot(self, name: str, of: Locator | None = None) -> None:
        """A picture of the page, or of a part of it, into the folder that ``DATAFLOWS_SCREENSHOTS`` names."""
        folder = os.environ.get("DATAFLOWS_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            target = Path(folder) / f"{name}.png"
            if of is None:
                self.page.screenshot(path=target)
            else:
                of.scroll_into_view_if_needed()
                of.screenshot(path=target, animations="disabled")
