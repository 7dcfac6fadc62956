"""Finds literals in source that look like secrets.

What masks logs would mask half of any program: ``token = os.environ["TOKEN"]`` is code that has none. So only literals
are looked at, and of those only what no person would call a word or a placeholder.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from dataflows_sdk.core.parsing import parse
from dataflows_sdk.core.redact import Redactor
from dataflows_sdk.core.redact_patterns import is_secret_name

__all__ = ["has_secret"]

_PLACEHOLDER = re.compile(r"[{}%$<>\s]|^:|://")
#: a declared secret that is shorter is masked in logs where it is the whole text, and hides nothing
_SHORTEST = 4
_NAME_OF_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


def has_secret(text: str, redactor: Redactor) -> bool:
    """Whether a literal of the source is a known secret, has the shape of one, or is given to a name of one."""
    tree = parse(text)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        literal = node.value if isinstance(node, ast.Constant) and id(node) not in prose else None
        if not isinstance(literal, str) or len(literal) < _SHORTEST:
            literal = ""  # shorter ones are words of any program
        if literal and (redactor.has_literal(literal) or _is_random(_masked(literal, redactor))):
            return True
        for name, given in _named(node):
            if (
                is_secret_name(name)
                and len(given) >= 8
                and _is_random(given)
                and not _NAME_OF_VARIABLE.fullmatch(given)
            ):
                return True
    return False


def _masked(literal: str, redactor: Redactor) -> str:
    """The part that would be masked in a log."""
    shown = redactor.redact_text(literal)
    if shown == literal:
        return ""
    begin = next((at for at, (a, b) in enumerate(zip(literal, shown, strict=False)) if a != b), len(shown))
    backwards = zip(reversed(literal[begin:]), reversed(shown[begin:]), strict=False)
    end = next((at for at, (a, b) in enumerate(backwards) if a != b), 0)
    return literal[begin : len(literal) - end]


def _is_random(text: str) -> bool:
    return len(text) >= 6 and any(each.isdigit() for each in text) and _PLACEHOLDER.search(text) is None


def _named(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Literals that stand for a name: assigned, as an argument, as a default, under a key."""
    pairs: list[tuple[object, ast.AST | None]] = []
    if isinstance(node, ast.Assign):
        pairs += [(_text(target), node.value) for target in node.targets]
    elif isinstance(node, ast.AnnAssign):
        pairs.append((_text(node.target), node.value))
    elif isinstance(node, ast.keyword):
        pairs.append((node.arg, node.value))
    elif isinstance(node, ast.Dict):
        pairs += [(key.value if isinstance(key, ast.Constant) else None, value)
                  for key, value in zip(node.keys, node.values, strict=True)]  # fmt: skip
    elif isinstance(node, ast.arguments):
        positional = [*node.posonlyargs, *node.args]
        pairs += [(each.arg, value) for each, value in zip(reversed(positional), reversed(node.defaults), strict=False)]
        pairs += [(each.arg, value) for each, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
    for name, value in pairs:
        if isinstance(name, str) and isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield name, value.value


def _text(target: ast.expr) -> str | None:
    if isinstance(target, ast.Name):
        return target.id
    return target.attr if isinstance(target, ast.Attribute) else None
