"""What the magics need to know of a notebook: its contexts, and what a cell defined."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from IPython.core.error import UsageError

from dataflows_sdk.context import Context
from dataflows_sdk.core.parsing import parse
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.flow.builder import Flow


def find_context(namespace: Mapping[str, Any], named: str | None, used: Context | None) -> Context:
    """The context that a magic works on: the named one, else the one that is used, else the only open one.

    Raises:
        UsageError: there is none, or several; the message says what to type.
    """
    if named is not None:
        found = namespace.get(named)
        if not isinstance(found, Context):
            what = "no variable of that name" if found is None else f"{named} is a {type(found).__name__}"
            raise UsageError(f"--ctx {named}: {what}; name a variable that holds what df.connect() returned")
        if found._closed:
            raise UsageError(f"--ctx {named}: that context is closed; df.connect() makes a new one")
        return found
    if used is not None and not used._closed:
        return used
    # the same context may have several names; of those that IPython makes (_, _3) nobody thinks
    open_ones = {
        id(value): (name, value)
        for name, value in reversed(list(namespace.items()))
        if isinstance(value, Context) and not value._closed and not name.startswith("_")
    }
    if len(open_ones) == 1:
        return next(iter(open_ones.values()))[1]
    if not open_ones:
        raise UsageError("no open context in this notebook: run `ctx = df.connect()` or `%dataflows connect` first")
    names = sorted(name for name, _ in open_ones.values())
    raise UsageError(f"several contexts are open ({', '.join(names)}): say which with --ctx {names[0]}")


def run_defining(shell: Any, cell: str, name: str | None) -> list[Flow | Workflow]:
    """Run a cell in the notebook's namespace; gives the flows and workflows that it defined, in the order of the text.

    Args:
        shell: IPython's.
        cell: the code.
        name: variable for the value of the last line, if that is an expression.

    Raises:
        UsageError: the cell awaits, or there is nothing on its last line that could have the name.
    """
    text = shell.transform_cell(cell)
    # the compiler keeps the text, so that a workflow finds its source
    file = shell.compile.cache(text, 0, cell)
    tree = parse(text, file)
    last = tree.body[-1] if tree.body else None
    target = name or "_flow"
    if isinstance(last, ast.Expr):
        assignment = ast.Assign([ast.Name(target, ast.Store())], last.value)
        tree.body[-1] = ast.fix_missing_locations(ast.copy_location(assignment, last))
    elif name is not None:
        raise UsageError(
            f"%%flow {name}: the last line of the cell is no expression, so there is nothing to call {name}"
        )
    try:
        code = shell.compile(tree, file, "exec")
    except SyntaxError as error:
        if "await" in str(error) or "async" in str(error):
            raise UsageError("%%flow defines and does not run: move the `await` to a cell of its own") from None
        raise
    namespace: dict[str, Any] = shell.user_ns
    exec(code, namespace)  # noqa: S102 - a cell of the person who ran it
    found: dict[int, Flow | Workflow] = {}
    for each in _bound(tree):
        value = namespace.get(each)
        if isinstance(value, (Flow, Workflow)):
            found.setdefault(id(value), value)
    return list(found.values())


def _bound(tree: ast.Module) -> list[str]:
    """The names that a cell gives at its top level."""
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    return list(dict.fromkeys(names))
