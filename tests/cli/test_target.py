"""What a TARGET may be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from dataflows_sdk.cli.target import load_target
from dataflows_sdk.engine.catalog import CATALOG


@pytest.fixture(autouse=True)
def clean_imports(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules of the folder are new in every test."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    current, versions = dict(CATALOG._current), dict(CATALOG._versions)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]
    CATALOG._current, CATALOG._versions = current, versions


@pytest.mark.parametrize(
    ("target", "module", "name"),
    [
        ("flows_for_cli:hello", None, "cli-hello"),
        ("flows_for_cli:cli-hello", None, "cli-hello"),
        ("flows_for_cli.py:sums", None, "cli-sums"),
        ("./flows_for_cli.py:cli-sums", None, "cli-sums"),
        ("cli-waits", "flows_for_cli", "cli-waits"),
        ("sums", "flows_for_cli.py", "cli-sums"),
    ],
)
def test_found(target: str, module: str | None, name: str) -> None:
    found, flows = load_target(target, module)
    assert found.name == name
    assert [flow.name for flow in flows] == ["cli-sums"]


def test_the_only_one_needs_no_name(folder: Path) -> None:
    (folder / "only_one.py").write_text("import dataflows_sdk as df\nx = df.flow('only').step('a', lambda: 1)\ny = x\n")
    assert load_target("only_one")[0].name == "only"
    assert load_target(str(folder / "only_one.py"), None)[0].name == "only"


def test_a_neighbour_of_the_file_can_be_imported(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    (inner / "beside_it.py").write_text("VALUE = 3\n")
    (inner / "with_neighbour.py").write_text(
        "import dataflows_sdk as df\nfrom beside_it import VALUE\nf = df.flow('n').step('a', lambda: VALUE)\n"
    )
    assert load_target("inner/with_neighbour.py:f")[0].name == "n"


@pytest.mark.parametrize(
    ("target", "module", "says"),
    [
        ("flows_for_cli", None, "Name one: flows_for_cli:hello"),
        ("flows_for_cli:nobody", None, "has no workflow or flow 'nobody'; it has flows_for_cli:hello"),
        ("flows_for_cli:not_a_workflow", None, "is int 7"),
        ("no_such_module_here:x", None, "there is no module 'no_such_module_here'"),
        ("no/such.py:x", None, "there is no file no/such.py"),
        (":x", None, "TARGET is module:name"),
        ("", None, "TARGET is module:name"),
        ("..:x", None, "no name of a module"),
        ("x", "flows_for_cli", "has no workflow or flow 'x'"),
    ],
)
def test_refused(target: str, module: str | None, says: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        load_target(target, module)
    assert says in caught.value.message


def test_a_file_named_like_a_known_module_is_refused(folder: Path) -> None:
    (folder / "json.py").write_text("x = 1\n")
    with pytest.raises(click.UsageError, match="rename the file"):
        load_target("json.py:x")


def test_errors_of_the_module_are_its_own(folder: Path) -> None:
    (folder / "broken_one.py").write_text("import a_module_that_is_missing_here\n")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_missing_here"):
        load_target("broken_one:x")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_missing_here"):
        load_target("broken_one.py:x")
    assert "broken_one" not in sys.modules
