"""JupyterLab and Chromium for the tests that look at them: a server for all, a window for each module."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from ..conftest import Need
from .rig import Browser, Lab, chromium


@pytest.fixture(scope="session")
def lab(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server of JupyterLab."""
    for package in ("jupyterlab", "playwright"):
        if importlib.util.find_spec(package) is None:
            need(f"{package} is not installed: pip install --group test")
    if chromium() is None:
        need("there is no chromium: apt-get install chromium fonts-dejavu-core, or name one with CHROMIUM=…")
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def browser(lab: Lab) -> Iterator[Browser]:
    """A window with JupyterLab; for a module at the most, because no event loop can run beside it."""
    with lab.browser() as browser:
        yield browser
