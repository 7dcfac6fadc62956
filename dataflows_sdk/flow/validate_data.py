"""Problems of nodes that are described by their config: fields, templates, handles, loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dataflows_sdk.errors import TemplateError
from dataflows_sdk.flow import conditions, templates
from dataflows_sdk.flow.checking import Checking
from dataflows_sdk.flow.configs import config_faults, known_fields, unknown_fields
from dataflows_sdk.flow.kinds import is_data, is_trigger
from dataflows_sdk.flow.model import NodeSpec, parse_join
from dataflows_sdk.flow.templates import Reference

#: fields that hold conditions, whose plain words are paths
_CONDITIONS = ("conditions", "expression")


def check_data_node(checking: Checking, node: NodeSpec) -> None:
    """Check the config of one node."""
    if not is_data(node.type):
        _check_when(checking, node)
        return
    for pointer, message in config_faults(node.type, node.config):
        field = pointer.lstrip("/").replace("/", ".") or "config"
        checking.add("bad-config", node.id, f"{field}: {message}", path=f"/config{pointer}")
    for name in unknown_fields(node.type, node.config):
        hint = checking.did_you_mean(name, known_fields(node.type))
        message = f"{node.type} does not know the field {name!r}"
        checking.add("unknown-field", node.id, message, hint, path=f"/config/{name}", severity="warning")
    if "join" in node.config and not is_trigger(node.type):
        try:
            parse_join(node.config["join"])
        except ValueError as error:
            checking.add("bad-join", node.id, str(error), path="/config/join")
    _check_when(checking, node)


def _check_when(checking: Checking, node: NodeSpec) -> None:
    if node.when is not None and node.when.conditions is not None:
        for pointer, message in conditions.check(node.when.conditions):
            checking.add("bad-condition", node.id, f"when: {message}", path=f"/when/conditions{pointer}")


def check_references(checking: Checking, *, acyclic: bool) -> None:
    """Every path in a template or expression must begin at something that is there when the node starts."""
    for number, node in enumerate(checking.spec.nodes):
        for pointer, found in _paths(node):
            path = f"/nodes/{number}{pointer}"
            if isinstance(found, Exception):
                checking.add("bad-template", node.id, str(found), path=path)
            else:
                _check_reference(checking, node, found, path, acyclic=acyclic)


def _paths(node: NodeSpec) -> Iterator[tuple[str, Reference | TemplateError]]:
    if is_data(node.type):
        yield from templates.references(_without_conditions(node.config), "/config")
        if not is_trigger(node.type):  # conditions of triggers are about the fields of a record
            yield from _conditions(node.config, "/config")
            for index, case in enumerate(_cases(node.config)):
                if isinstance(case, Mapping):
                    yield from _conditions(case, f"/config/cases/{index}")
    if node.when is not None and node.when.conditions is not None:
        yield from conditions.references(node.when.conditions, "/when/conditions")


def _without_conditions(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what is read as conditions: braces in there are no templates."""
    plain = {key: value for key, value in config.items() if key not in _CONDITIONS}
    if "cases" in plain:
        plain["cases"] = [
            {key: value for key, value in case.items() if key not in _CONDITIONS} if isinstance(case, Mapping) else case
            for case in _cases(config)
        ]
    return plain


def _cases(config: Mapping[str, Any]) -> list[Any]:
    cases = config.get("cases")
    return cases if isinstance(cases, list) else []


def _conditions(config: Mapping[str, Any], pointer: str) -> Iterator[tuple[str, Reference]]:
    for name in _CONDITIONS:
        if config.get(name) is not None:
            yield from conditions.references(config[name], f"{pointer}/{name}")


def _check_reference(checking: Checking, node: NodeSpec, found: Reference, path: str, *, acyclic: bool) -> None:
    def warn(code: str, message: str, hint: str = "") -> None:
        checking.add(code, node.id, f"{{{{{found.text}}}}} {message}", hint, path=path, severity="warning")

    root = str(found.path[0])
    loops = checking.loops_around(node.id)
    names = {loop.config.get("item_var") for loop in loops}
    if root == "loop" and not loops:
        warn("unknown-reference", "stands outside of every loop")
    elif root not in templates.ROOTS and root not in names and root not in checking.nodes:
        hint = checking.did_you_mean(root, [*templates.ROOTS, *checking.nodes])
        known = ", ".join(templates.ROOTS)
        warn("unknown-reference", f"begins with {root!r}; there are {known} and the names of nodes", hint)
    bare = root not in templates.ROOTS and root not in names and root in checking.nodes
    target = root if bare else found.node
    if target is None:
        return
    if target not in checking.nodes:
        warn("unknown-reference", f"reads {target!r}, which is no node", checking.did_you_mean(target, checking.nodes))
    elif target == node.id:
        warn("self-reference", "reads the node itself")
    elif (inside := checking.scopes.owner.get(target)) is not None and all(loop.id != inside for loop in loops):
        warn("not-upstream", f"reads {target!r}, which is in the body of a loop", f"read steps.{inside}.output.items")
    elif acyclic and not checking.is_upstream(target, node.id):
        warn("not-upstream", f"reads {target!r}, which does not come before it", f"add an edge from {target!r}")
    elif not bare and len(found.path) > 2 and found.path[2] not in ("output", "error"):
        warn("unknown-reference", f"reads {found.path[2]!r} of {target!r}", f"write steps.{target}.output")
