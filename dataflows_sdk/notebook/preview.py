"""What a flow or a workflow will do, before it does it: what ``%%flow`` shows."""

from __future__ import annotations

import ast
import base64
import html
import textwrap
from typing import Any

from dataflows_sdk.core.parsing import parse
from dataflows_sdk.core.shown import Sheet, to_html
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.engine.step import Step
from dataflows_sdk.flow.builder import Flow
from dataflows_sdk.flow.kinds import kind_of
from dataflows_sdk.flow.problems import Problem

#: beyond so many nodes a picture is no help
_DRAWN = 300
#: what a workflow does by its step object
_VERBS = frozenset(name for name in vars(Step) if name[:1] != "_")


class FlowPreview:
    """A flow's picture, its levels and everything that is wrong with it."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.problems: list[Problem] = flow.validate()

    def __repr__(self) -> str:
        lines = [self.flow.text()]
        if self.problems:
            lines += ["", f"{len(self.problems)} to look at:", *(f"  - {problem}" for problem in self.problems)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self._picture() + to_html(self._sheet())

    def _picture(self) -> str:
        if not 0 < len(self.flow.spec.nodes) <= _DRAWN:
            return ""
        data = base64.b64encode(self.flow.svg().encode()).decode()
        return f'<img alt="{html.escape(self.flow.name)}" src="data:image/svg+xml;base64,{data}">'

    def _sheet(self) -> Sheet:
        nodes = {node.id: node for node in self.flow.spec.nodes}
        notes: list[str] = []
        levels: tuple[tuple[str, ...], ...] = (tuple(nodes),)
        if not any(problem.code == "cycle" for problem in self.problems):
            plan = self.flow.plan()
            levels = plan.levels
            if plan.critical_path:
                notes.append(f"up to {plan.width} at a time · longest way: {' → '.join(plan.critical_path[:20])}")
        rows = []
        for number, level in enumerate(levels, 1):
            for each in level:
                kind = kind_of(nodes[each].type)
                what = kind.label if kind is not None else nodes[each].type
                after = ", ".join(edge.source for edge in self.flow.spec.edges if edge.target == each)
                rows.append((number, each, what, after))
        size = f"{self.flow.name} · {len(nodes)} nodes, {len(levels) if nodes else 0} levels"
        parts = [problems_sheet(self.problems)] if self.problems else []
        return Sheet(size, rows, ("level", "node", "what", "after"), total=len(rows), notes=notes, parts=parts)


def problems_sheet(problems: list[Problem]) -> Sheet:
    """Every problem of a flow."""
    rows = [(each.severity, each.node or "the flow", each.message, each.hint, each.code) for each in problems]
    errors = sum(each.severity == "error" for each in problems)
    title = f"{errors} errors, {len(problems) - errors} warnings: it is refused" if errors else f"{len(rows)} warnings"
    return Sheet(title, rows, ("", "node", "problem", "way out", "code"), total=len(rows))


class WorkflowPreview:
    """The steps that stand in a workflow's source. Loops and conditions decide how often each happens."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.steps = steps_in(workflow.source or "")

    def __repr__(self) -> str:
        lines = [f"workflow {self.workflow.name!r}, version {self.workflow.version[:12]}"]
        lines += [f"  line {line:>3}  {verb:<14} {name}{'  (repeated)' if loop else ''}"
                  for line, verb, name, loop in self.steps]  # fmt: skip
        return "\n".join(lines if self.steps else [*lines, "  no steps in its source"])

    def _repr_html_(self) -> str:
        rows = [(line, verb, name, "repeated" if loop else "") for line, verb, name, loop in self.steps]
        notes = [f"starts by {trigger}" for trigger in self.workflow.triggers]
        if not rows:
            notes.append("no steps stand in its source")
        title = f"workflow {self.workflow.name} · version {self.workflow.version[:12]}"
        return to_html(Sheet(title, rows, ("line", "verb", "step", "") if rows else (), total=len(rows), notes=notes))


def steps_in(source: str) -> list[tuple[int, str, str, bool]]:
    """Line, verb and name of the calls on the step object of a function's source, and whether they stand in a loop."""
    try:
        tree = parse(textwrap.dedent(source))
    except SyntaxError:
        return []
    function = next((n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))), None)
    if function is None:
        return []
    handles = {arg.arg for arg in function.args.args} | {arg.arg for arg in function.args.kwonlyargs}
    found: list[tuple[int, str, str, bool]] = []

    def look(node: ast.AST, loop: bool) -> None:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _VERBS:
            of = node.func.value
            if isinstance(of, ast.Name) and of.id in handles and of.id != "event":
                found.append((node.lineno, node.func.attr, _name(node), loop))
        inside = loop or isinstance(node, (ast.For, ast.AsyncFor, ast.While, ast.comprehension, ast.ListComp))
        for child in ast.iter_child_nodes(node):
            look(child, inside)

    look(function, loop=False)
    return sorted(found)


def _name(call: ast.Call) -> str:
    if not call.args:
        return ""
    first: Any = call.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ast.unparse(first)[:80]
