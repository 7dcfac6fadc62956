"""Expressions: ``{{steps.load.output.total}} > 100 and trigger.vip == true``.

Comparing, boolean logic, arithmetic, membership, ``a if c else b`` and a handful of functions; nothing else. The text
is cut into words here, paths and constants are taken out, and what is left, words such as ``and`` and signs, is read
by Python's own parser and walked: no name, attribute or call of Python can be reached, there are no loops, and the
work is bounded by the length of the text times the size of the values. A path that leads nowhere is null, and so is
arithmetic with it; comparing follows `dataflows_sdk.flow.comparing`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from dataflows_sdk.core.parsing import parse
from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import ConditionError
from dataflows_sdk.flow.arithmetic import FUNCTIONS, add, calculate, truth
from dataflows_sdk.flow.comparing import before, check_pattern, not_after, same, within
from dataflows_sdk.flow.expression_words import Words
from dataflows_sdk.flow.problems import short
from dataflows_sdk.flow.templates import (
    ABSENT,
    Missing,
    Reference,
    lookup,
    missing_at,
)

_LONGEST = 4_000
#: as deep as an expression may be nested; also the number of terms of a sum
_DEEPEST = 100


@dataclass(slots=True)
class Facts(ShownAsTable):
    """What conditions and expressions are about.

    Attributes:
        roots: what the first word of a path may be.
        base: where a path that is no template is looked up first, for example the record that changed.
        before: the same as `base` before the change, for `changed`; None if nothing is known of it.
        missing: gets the paths that led nowhere; they are null.
        strict: a path that leads nowhere is an error, unless the question is whether it is there.
    """

    roots: Mapping[str, Any]
    base: Mapping[str, Any] | None = None
    before: Mapping[str, Any] | None = None
    missing: list[Missing] = field(default_factory=list)
    strict: bool = False

    def find(self, reference: Reference) -> Any:
        """The value of a path, or `ABSENT`."""
        found = ABSENT if self.base is None else lookup(self.base, reference.path)
        return lookup(self.roots, reference.path) if found is ABSENT else found

    def value(self, reference: Reference) -> Any:
        """The value of a path; None, and a note, where there is none.

        Raises:
            ConditionError: there is none, and the facts are strict.
        """
        found = self.find(reference)
        if found is not ABSENT:
            return found
        inside = self.roots if self.base is None or reference.path[0] in self.roots else self.base
        gone = missing_at(inside, reference)
        if self.strict:
            raise ConditionError(f"{gone}. The flow is strict: ask with exists whether it is there")
        self.missing.append(gone)
        return None


_Node = Callable[[Facts], Any]


class Expression:
    """An expression, read once and evaluated often.

    Attributes:
        text: as it was written.
        references: the paths that it reads.
    """

    __slots__ = ("_run", "references", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        reader = _Reader(text)
        self._run = reader.root
        self.references = tuple(reader.words.references)

    def evaluate(
        self,
        roots: Mapping[str, Any],
        missing: list[Missing] | None = None,
        *,
        base: Mapping[str, Any] | None = None,
        strict: bool = False,
    ) -> Any:
        """The value.

        Args:
            roots: what the first word of a path may be.
            missing: gets the paths that led nowhere; they are null.
            base: where paths are looked up first, for example the record that changed.
            strict: a path that leads nowhere is an error, except for ``exists()`` and ``coalesce()``.

        Raises:
            ConditionError: it cannot be calculated: a number or text becomes too large, a pattern from the data is
                no pattern, or with `strict` a path led nowhere.
        """
        return self.ask(Facts(roots, base, None, [] if missing is None else missing, strict))

    def ask(self, facts: Facts) -> Any:
        """The value; `evaluate` for those who have facts."""
        try:
            return self._run(facts)
        except ConditionError as error:
            raise ConditionError(f"expression {short(self.text)}: {error}") from None
        except Exception as error:
            # whatever a value of an unknown type does when it is asked, the node gets one kind of error
            raise ConditionError(f"expression {short(self.text)}: {str(error) or type(error).__name__}") from error


@lru_cache(maxsize=2048)
def _cached(text: str) -> Expression:
    return Expression(text)


def parse_expression(text: str) -> Expression:
    """Read an expression.

    Raises:
        ConditionError: it is not one; the message names the place.
    """
    if len(text) > _LONGEST:
        raise ConditionError(f"an expression has at most {_LONGEST} characters, this one has {len(text)}")
    return _cached(text)


class _Reader:
    """Turns the text into functions of the values."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = words = Words(text)
        try:
            tree = parse(words.source, mode="eval")
        except SyntaxError as error:
            what = error.msg.partition(". ")[0].replace("invalid syntax", "this cannot stand here")
            raise words.wrong_at(max(0, (error.offset or 1) - 1), what) from None
        except (RecursionError, MemoryError):
            raise self._too_deep() from None
        self.root = self._read(tree.body, 0)

    def _too_deep(self) -> ConditionError:
        return ConditionError(f"expression {short(self.text)} is too long, or nested more than {_DEEPEST} levels deep")

    # --- the tree ----------------------------------------------------------------------------------------

    def _read(self, node: ast.expr, depth: int) -> _Node:
        if depth > _DEEPEST:
            raise self._too_deep()
        reader = _READERS.get(type(node))
        if reader is None:
            raise self.words.wrong_at(
                node.col_offset,
                "this is not allowed; there are comparisons, and, or, not, + - * / %, in, a if c else b, lists and "
                + ", ".join(FUNCTIONS),
            )
        return reader(self, node, depth + 1)

    def _name(self, node: ast.Name, _: int) -> _Node:
        leaf = self.words.leaves[int(node.id[1:])]
        if isinstance(leaf, Reference):
            return lambda facts: facts.value(leaf)
        value = leaf[0]
        return lambda _: value

    def _list(self, node: ast.List | ast.Tuple, depth: int) -> _Node:
        items = [self._read(item, depth) for item in node.elts]
        return lambda facts: [item(facts) for item in items]

    def _index(self, node: ast.Subscript, _: int) -> _Node:
        raise self.words.wrong_at(
            node.col_offset, 'brackets behind a path take a number or a text in quotes, [0] or ["name"]'
        )

    def _boolean(self, node: ast.BoolOp, depth: int) -> _Node:
        parts = [self._read(part, depth) for part in node.values]
        if isinstance(node.op, ast.And):
            return lambda facts: all(truth(part(facts)) for part in parts)
        return lambda facts: any(truth(part(facts)) for part in parts)

    def _unary(self, node: ast.UnaryOp, depth: int) -> _Node:
        inner = self._read(node.operand, depth)
        if isinstance(node.op, ast.USub):
            return lambda facts: calculate("-", 0, inner(facts))
        if isinstance(node.op, ast.UAdd):
            return lambda facts: calculate("+", 0, inner(facts))
        return lambda facts: not truth(inner(facts))

    def _binary(self, node: ast.BinOp, depth: int) -> _Node:
        sign = _ARITHMETIC[type(node.op)]
        left, right = self._read(node.left, depth), self._read(node.right, depth)
        if sign == "+":
            return lambda facts: add(left(facts), right(facts))
        return lambda facts: calculate(sign, left(facts), right(facts))

    def _compare(self, node: ast.Compare, depth: int) -> _Node:
        operands = [self._read(node.left, depth)]
        for op, part in zip(node.ops, node.comparators, strict=True):
            as_list = isinstance(op, ast.In | ast.NotIn) and isinstance(part, ast.Tuple)
            operands.append(
                self._list(part, depth) if as_list and isinstance(part, ast.Tuple) else self._read(part, depth)
            )
        tests = [_COMPARE[type(op)] for op in node.ops]
        if len(tests) == 1:
            (left, right), test = operands, tests[0]
            return lambda facts: test(left(facts), right(facts))

        def chain(facts: Facts) -> bool:
            found = [operand(facts) for operand in operands]
            return all(test(a, b) for test, a, b in zip(tests, found, found[1:], strict=False))

        return chain

    def _choice(self, node: ast.IfExp, depth: int) -> _Node:
        test, one, other = (self._read(part, depth) for part in (node.test, node.body, node.orelse))
        return lambda facts: one(facts) if truth(test(facts)) else other(facts)

    def _call(self, node: ast.Call, depth: int) -> _Node:
        place = node.col_offset
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            raise self.words.wrong_at(place, "only a function can be called: " + ", ".join(FUNCTIONS))
        function, least, most = FUNCTIONS[name]
        if not least <= len(node.args) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            raise self.words.wrong_at(place, f"{name}() does not take {len(node.args)} values, but {count}")
        if name in ("exists", "coalesce"):
            return self._quietly(name, node, depth)
        if name == "matches" and isinstance(pattern := self._constant(node.args[1]), str):
            try:
                check_pattern(pattern)
            except ConditionError as error:
                raise self.words.wrong_at(place, str(error)) from None
        arguments = [self._read(argument, depth) for argument in node.args]
        return lambda facts: function(*[argument(facts) for argument in arguments])

    def _quietly(self, name: str, node: ast.Call, depth: int) -> _Node:
        """Functions that ask for what may not be there: no note is made of it."""
        leaves = [self._leaf_of(argument) for argument in node.args]
        if name == "exists":
            leaf = leaves[0]
            if not isinstance(leaf, Reference):
                raise self.words.wrong_at(node.col_offset, "exists() takes a path, as in exists(trigger.email)")
            return lambda facts: facts.find(leaf) is not ABSENT
        choices = [
            _quiet(leaf) if isinstance(leaf, Reference) else self._read(argument, depth)
            for leaf, argument in zip(leaves, node.args, strict=True)
        ]

        def coalesce(facts: Facts) -> Any:
            for choice in choices:
                if (value := choice(facts)) is not None:
                    return value
            return None

        return coalesce

    def _leaf_of(self, node: ast.expr) -> Reference | tuple[Any] | None:
        return self.words.leaves[int(node.id[1:])] if isinstance(node, ast.Name) else None

    def _constant(self, node: ast.expr) -> Any:
        leaf = self._leaf_of(node)
        return leaf[0] if isinstance(leaf, tuple) else None


def _quiet(reference: Reference) -> _Node:
    def find(facts: Facts) -> Any:
        found = facts.find(reference)
        return None if found is ABSENT else found

    return find


_READERS: dict[type[ast.expr], Callable[[_Reader, Any, int], _Node]] = {
    ast.Name: _Reader._name,
    ast.List: _Reader._list,
    ast.Subscript: _Reader._index,
    ast.BoolOp: _Reader._boolean,
    ast.UnaryOp: _Reader._unary,
    ast.BinOp: _Reader._binary,
    ast.Compare: _Reader._compare,
    ast.IfExp: _Reader._choice,
    ast.Call: _Reader._call,
}
_ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Mod: "%"}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: same,
    ast.NotEq: lambda a, b: not same(a, b),
    ast.Lt: before,
    ast.LtE: not_after,
    ast.Gt: lambda a, b: before(b, a),
    ast.GtE: lambda a, b: not_after(b, a),
    ast.In: within,
    ast.NotIn: lambda a, b: not within(a, b),
}
