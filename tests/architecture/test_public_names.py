"""``__all__`` of dataflows_sdk is what is there: for people (``dir``), for code and for type checkers.

Works for a module that imports its names and for one that fetches them on first use with ``__getattr__``.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dataflows_sdk

# in a process of its own: what other tests imported would show up as attributes of the package
PROBE = """
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
promised = list(getattr(package, "__all__", ()))
parts = {module.name for module in pkgutil.iter_modules(package.__path__)}
listed = {name for name in dir(package) if not name.startswith("_")} - {"annotations", "TYPE_CHECKING"}
missing = [name for name in promised if not hasattr(package, name)]
undocumented = [name for name in promised if name not in missing
                and callable(getattr(package, name)) and not (getattr(package, name).__doc__ or "").strip()]
star = {}
exec(f"from {sys.argv[1]} import *", star)
print(json.dumps({
    "missing": missing,
    "undocumented": undocumented,
    "not in __all__": sorted(listed - parts - set(promised)),
    "not in dir()": sorted(set(promised) - set(dir(package))),
    "twice": sorted({name for name in promised if promised.count(name) > 1}),
    "not by star": sorted(set(promised) - set(star)),
}))
"""


def promised_by(tree: ast.Module) -> set[str]:
    """What ``__all__ = […]`` says in the source."""
    names: set[str] = set()
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                names |= set(ast.literal_eval(value))
            case _:
                pass
    return names


def bound_at_the_top(tree: ast.Module) -> set[str]:
    """The names that a type checker sees in a module: also those under ``if TYPE_CHECKING:``."""
    names: set[str] = set()
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        match node:
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name.partition(".")[0] for alias in aliases}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.If(body=body, orelse=orelse):
                pending += [*body, *orelse]
            case ast.Try(body=body, handlers=handlers, orelse=orelse):
                pending += [*body, *orelse, *(part for handler in handlers for part in handler.body)]
            case _:
                pass
    return names


def findings(package: str, init: Path, path: Path | None = None) -> dict[str, list[str]]:
    """What is wrong with the public names, by kind; kinds without a finding are left out."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, package],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(path or "")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    tree = ast.parse(init.read_text())
    found["unseen by type checkers"] = sorted(promised_by(tree) - bound_at_the_top(tree))
    return {kind: names for kind, names in found.items() if names}


def test_public_names_are_the_names_that_exist() -> None:
    assert dataflows_sdk.__file__ is not None
    assert findings("dataflows_sdk", Path(dataflows_sdk.__file__)) == {}


LAZY = """
from typing import TYPE_CHECKING, Any
if TYPE_CHECKING:
    from sample.part import documented, plain
__all__ = ["documented", "plain"]
_HOMES = {"documented": "part", "plain": "part"}
def __getattr__(name: str) -> Any:
    import importlib
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(name)
def __dir__() -> list[str]:
    return sorted(__all__)
"""
EAGER = 'from sample.part import documented, plain\n__all__ = ["documented", "plain"]\n'
PART = 'def documented():\n    """Says what it does."""\nplain = 3\ndef bare(): ...\n'


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        (LAZY, {}),
        (EAGER, {}),
        (EAGER + "import os\nextra = 1\n", {"not in __all__": ["extra", "os"]}),
        (EAGER.replace("__all__ = [", '__all__ = ["plain", '), {"twice": ["plain"]}),
        (
            EAGER.replace("documented, plain", "documented, plain, bare").replace('["', '["bare", "'),
            {"undocumented": ["bare"]},
        ),
        (
            LAZY.replace("import documented, plain", "import documented"),
            {"unseen by type checkers": ["plain"]},
        ),
        (LAZY.replace("return sorted(__all__)", 'return ["documented"]'), {"not in dir()": ["plain"]}),
    ],
    ids=["lazy", "eager", "extra", "twice", "undocumented", "unseen", "dir"],
)
def test_the_check_finds(tmp_path: Path, init: str, expected: dict[str, list[str]]) -> None:
    package = tmp_path / "sample"
    package.mkdir()
    (package / "part.py").write_text(PART)
    (package / "__init__.py").write_text(init)
    assert findings("sample", package / "__init__.py", tmp_path) == expected
