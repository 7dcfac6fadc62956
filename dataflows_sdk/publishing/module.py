"""A workflow or flow as the text of a module that stands by itself."""

from __future__ import annotations

import os
import re
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dataflows_sdk.core.redact import REDACTOR, Redactor
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import PublishError
from dataflows_sdk.flow.builder import Flow
from dataflows_sdk.publishing.gathering import Gathering, Piece
from dataflows_sdk.publishing.loading import load_text
from dataflows_sdk.publishing.secret_literals import has_secret

__all__ = ["export_module", "home_of_workflow", "module_text"]

_MOST = 1_000_000


def export_module(workflow: Workflow | Flow, path: str | os.PathLike[str], *, include: Iterable[str] = ()) -> Path:
    """Write a workflow or flow of a notebook as a module: what ``%%writefile`` does, with all that it needs.

    The text is the one that `Context.publish` would sign: imports, plain constants, the helper functions and classes of
    the notebook, and the workflow.

    Args:
        workflow: a workflow or flow.
        path: of the file, which is replaced.
        include: further modules whose functions and classes are taken along as text instead of being imported.

    Raises:
        PublishError: something that it uses cannot be written down; the message names the variable.
    """
    text = module_text(workflow, include=include)
    file = Path(path)
    file.write_text(text, encoding="utf-8")
    return file


def module_text(workflow: Any, *, include: Iterable[str] = (), redactor: Redactor = REDACTOR) -> str:
    """The module of a workflow or flow, proved by loading it.

    Raises:
        PublishError: something cannot be written down, looks like a secret, or does not load by itself.
    """
    flow = _flow_of(workflow)
    if flow is None and not isinstance(workflow, Workflow):
        raise PublishError(
            f"a workflow or a flow can be published, not {type(workflow).__name__} {workflow!r:.60}: "
            "use @df.workflow('name') or df.flow('name')"
        )
    name = workflow.name
    what = f"{'workflow' if flow is None else 'flow'} {name!r}"
    gathering = Gathering(what, {home_of_workflow(workflow), *_names(include)})
    if flow is not None:
        _take_flow(gathering, flow)
    else:
        _take_code(gathering, workflow, what)
    text = _assembled(gathering, what)
    _check_text(text, what, gathering, redactor)
    found = load_text(name, text, home_of_workflow(workflow), rehearsal=True)
    if found is None and flow is None:
        text = _registered(text, gathering, workflow, what)
        found = load_text(name, text, home_of_workflow(workflow), rehearsal=True)
    if found is None:
        raise PublishError(f"{what} cannot be published: its module does not define it")
    return text


def home_of_workflow(workflow: Any) -> str:
    """The module in which it was written; for a flow, the notebook."""
    if _flow_of(workflow) is not None:
        return "__main__"
    return str(workflow.origin[0] or "__main__")


def _flow_of(workflow: Any) -> Flow | None:
    found = workflow if isinstance(workflow, Flow) else getattr(workflow, "flow", None)
    return found if isinstance(found, Flow) else None


def _names(include: Iterable[str]) -> list[str]:
    names = [include] if isinstance(include, str) else list(include)
    if not all(isinstance(each, str) for each in names):
        raise PublishError(f"include= takes the names of modules, not {names!r:.100}")
    return names


def _take_code(gathering: Gathering, workflow: Workflow, what: str) -> None:
    fn = workflow.fn
    if getattr(fn, "__name__", "") == "<lambda>":
        raise PublishError(f"{what} cannot be published: it is a lambda, whose text cannot be told apart; write a def")
    if isinstance(fn, types.MethodType):
        raise PublishError(f"{what} cannot be published: it is a method of {type(fn.__self__).__name__}; write a def")
    inner = fn
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    name = str(getattr(inner, "__name__", "workflow"))
    gathering.function(name, fn, workflow.source or None, workflow)


def _take_flow(gathering: Gathering, flow: Flow) -> None:
    name = re.sub(r"\W+", "_", flow.name).strip("_").lower() or "flow"
    variable = gathering.free(name if name.isidentifier() else f"flow_{name}")
    text = gathering.expression(flow, variable)
    variable = gathering.free(variable)
    used = frozenset(gathering.pieces) | frozenset(gathering.imports)
    gathering.pieces[variable] = Piece(variable, f"{variable} = {text}", used, used)


def _registered(text: str, gathering: Gathering, workflow: Workflow, what: str) -> str:
    """For workflows that were declared by a call: df.workflow("report", report)."""
    import dataflows_sdk

    if workflow.triggers:
        raise PublishError(
            f"{what} cannot be published with its trigger: declare it with @df.workflow({workflow.name!r}, trigger=…)"
        )
    sdk = gathering.refer(dataflows_sdk)
    line = gathering.imports[sdk]
    if line not in text.split("\n"):
        text = _assembled(gathering, what)
    name = gathering.refer(workflow)
    return f"{text}\n\n{name} = {sdk}.workflow({workflow.name!r}, {name})\n"


def _assembled(gathering: Gathering, what: str) -> str:
    title = f"{what[0].upper()}{what[1:]}, taken out of a notebook with all that it needs."
    head = [f'"""{title}"""' if not set(title) & set('"\\') else repr(title)]
    if gathering.future_annotations:
        head.append("from __future__ import annotations")
    known = set(gathering.imports.values())
    imports = sorted(known | {f"import {each}" for each in gathering.submodules})
    if imports:
        head.append("\n".join(sorted(imports, key=lambda line: (line.startswith("from"), line))))
    parts: list[str] = []
    constants: list[str] = []
    for piece in _ordered(gathering.pieces):
        text = piece.text.rstrip("\n")
        if piece.used == piece.early and not text.startswith(("def ", "async ", "class ", "@")) and not parts:
            constants.append(text)  # one under the other, as a person writes them
        else:
            parts.append(text)
    blocks = ["\n\n".join([*head, *(["\n".join(constants)] if constants else [])]), *parts]
    return "\n\n\n".join(blocks) + "\n"


def _ordered(pieces: dict[str, Piece]) -> list[Piece]:
    """Every piece after those that must be there when it is defined, and after what these use."""
    reach = {name: _reached(pieces, name) for name in pieces}
    before = {
        name: {each for early in piece.early if early in pieces for each in ({early} | reach[early])} - {name}
        for name, piece in pieces.items()
    }
    wish = _by_use(pieces)
    done: dict[str, None] = {}
    while len(done) < len(pieces):
        ready = next((name for name in wish if name not in done and before[name] <= done.keys()), None)
        # a circle among definitions: the attempt to load the module will say what is missing
        chosen = ready or next(name for name in wish if name not in done)
        done[chosen] = None
    return [pieces[name] for name in done]


def _by_use(pieces: dict[str, Piece]) -> list[str]:
    """What is used before what uses it; constants first."""
    found: dict[str, None] = {}
    entered: set[str] = set()

    def enter(name: str) -> None:
        if name in entered or name not in pieces:
            return
        entered.add(name)
        for other in sorted(pieces[name].used):
            enter(other)
        found[name] = None

    simple = [name for name, piece in pieces.items() if not piece.used & pieces.keys() and "\n" not in piece.text]
    for name in (*sorted(simple), *pieces):
        enter(name)
    return list(found)


def _reached(pieces: dict[str, Piece], start: str) -> set[str]:
    found: set[str] = set()
    pending = [start]
    while pending:
        for other in pieces[pending.pop()].used:
            if other in pieces and other not in found:
                found.add(other)
                pending.append(other)
    return found


def _check_text(text: str, what: str, gathering: Gathering, redactor: Redactor) -> None:
    if len(text) > _MOST:
        largest = max(gathering.pieces.values(), key=lambda piece: len(piece.text))
        raise PublishError(
            f"{what} cannot be published: its module would have {len(text):,} characters, most of them "
            f"({len(largest.text):,}) for {largest.name!r}; a module has {_MOST:,} at most: data belongs into the "
            "payload, a file or a table"
        )
    if "\0" in text or (not text.isascii() and _has_surrogates(text)):
        raise PublishError(
            f"{what} cannot be published: PostgreSQL stores no NUL and no lone surrogate, and it has one"
        )
    for piece in gathering.pieces.values():
        if has_secret(piece.text, redactor):
            raise PublishError(
                f"{what} cannot be published: {piece.name!r} has what looks like a secret, which would stand in the "
                'database; read it in the step that uses it, for example os.environ["…"]'
            )


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
