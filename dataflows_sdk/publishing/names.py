"""Which global names a definition needs, read from its text."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator
from dataclasses import dataclass

from dataflows_sdk.core.parsing import parse

__all__ = ["Names", "names_of"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Names:
    """The global names of one definition.

    Attributes:
        used: what it reads when it is defined or called.
        early: those of them that must be there when it is defined: decorators, defaults, bases, annotations.
        hinted: names in annotations, which may exist for type checkers only.
        dotted: chains such as ``concurrent.futures.wait``, of which a beginning may be a module.
        nonlocals: names that a ``nonlocal`` statement takes from outside of the text.
        decorators: how many stand above it, that of a workflow not counted.
    """

    used: frozenset[str]
    early: frozenset[str]
    hinted: frozenset[str]
    dotted: frozenset[str]
    nonlocals: frozenset[str]
    decorators: int


def names_of(text: str) -> Names:
    """The names of a definition, or of an expression that is given as an assignment.

    Raises:
        SyntaxError: it cannot be read.
    """
    tree = parse(text)
    dotted = frozenset(chain for node in ast.walk(tree) if (chain := _chain(node)) is not None)
    everything = _read_by(ast.unparse(_without_nonlocal(parse(text))))
    code = _read_by(ast.unparse(ast.fix_missing_locations(_WithoutHints().visit(_without_nonlocal(parse(text))))))
    early = frozenset(name for statement in tree.body for name in _early(statement)) & everything
    return Names(code, early, everything - code, dotted, frozenset(_free_nonlocals(tree)), _decorators(tree))


def _read_by(text: str) -> frozenset[str]:
    table = symtable.symtable(text, "<published>", "exec")
    return frozenset(_globals_of(table))


def _globals_of(table: symtable.SymbolTable) -> Iterator[str]:
    module = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (not symbol.is_assigned() if module else symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals_of(child)


class _WithoutHints(ast.NodeTransformer):
    """Takes away the annotations that a function has; those of a class's fields are part of what it does."""

    def _bare(self, node: _Function) -> ast.AST:
        node.returns = None
        for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            each.annotation = None
        for star in (node.args.vararg, node.args.kwarg):
            if star is not None:
                star.annotation = None
        node.body = [_without_annotation(each) for each in node.body]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._bare(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._bare(node)


def _without_annotation(node: ast.stmt) -> ast.stmt:
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
        return node
    value: ast.expr = ast.Constant(None) if node.value is None else node.value
    return ast.Assign([node.target], value, lineno=node.lineno)


def _without_nonlocal(tree: ast.Module) -> ast.Module:
    """What is nonlocal to the text's outermost function would be no Python at the top of a module."""
    for statement in tree.body:
        if isinstance(statement, _Function):
            statement.body = [each for each in statement.body if not isinstance(each, ast.Nonlocal)] or [ast.Pass()]
    return tree


def _free_nonlocals(tree: ast.Module) -> Iterator[str]:
    for statement in tree.body:
        if isinstance(statement, _Function):
            for each in statement.body:
                if isinstance(each, ast.Nonlocal):
                    yield from each.names


def _decorators(tree: ast.Module) -> int:
    first = tree.body[0] if tree.body else None
    if not isinstance(first, _Function):
        return 0
    calls = [ast.unparse(each).partition("(")[0] for each in first.decorator_list]
    return sum(call.rpartition(".")[2] not in ("workflow", "define_workflow") for call in calls)


def _early(node: ast.AST) -> Iterator[str]:
    """Names that are read while a definition is made; bodies of functions are not entered."""
    if isinstance(node, _Function):
        arguments = node.args
        parts: list[ast.AST | None] = [*node.decorator_list, *arguments.defaults, *arguments.kw_defaults, node.returns]
        every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
        parts += [each.annotation for each in every if each is not None]
        for part in parts:
            if part is not None:
                yield from _early(part)
        return
    if isinstance(node, ast.Lambda):
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                yield from _early(default)
        return
    if isinstance(node, ast.Name):
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from _early(child)


def _chain(node: ast.AST) -> str | None:
    if isinstance(node, ast.Attribute) and (before := _chain(node.value) or _name(node.value)) is not None:
        return f"{before}.{node.attr}"
    return None


def _name(node: ast.AST) -> str | None:
    return node.id if isinstance(node, ast.Name) else None
