"""Conditions as data: ``{"field": "amount", "op": "gt", "value": 100}``, in groups and with expressions.

A condition is a mapping with `field`, `op` and `value`; a list (all must hold); ``{"and": […]}``, ``{"or": […]}``,
``{"not": …}``; a string, which is an expression (`dataflows_sdk.flow.expressions`); true, false or null (none asked:
it holds). Comparing never raises: where two values cannot be compared, the comparison does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dataflows_sdk.errors import ConditionError, TemplateError
from dataflows_sdk.flow import templates
from dataflows_sdk.flow.arithmetic import truth
from dataflows_sdk.flow.comparing import before, check_pattern, is_list, like, matches, not_after, same, within
from dataflows_sdk.flow.expressions import Facts, parse_expression
from dataflows_sdk.flow.problems import short
from dataflows_sdk.flow.templates import ABSENT, Reference, lookup, parse_path, parse_template, render

__all__ = ["OPERATORS", "Facts", "check", "holds", "references"]

#: as deep as groups may be nested
_DEEPEST = 50
_NO_CONDITION = '{} is no condition: write {{"field": "amount", "op": "gt", "value": 100}}, a list of these, or text'
_GROUPS: dict[str, Callable[[Iterator[bool]], bool]] = {"and": all, "all": all, "or": any, "any": any}


def holds(condition: Any, facts: Facts) -> bool:
    """Whether a condition holds.

    Parts of a group are asked in order, until the answer is known.

    Raises:
        ConditionError: it cannot be read; or the facts are strict and a path leads nowhere.
    """
    return _holds(condition, facts, 0)


def _holds(condition: Any, facts: Facts, depth: int) -> bool:
    if condition is None or isinstance(condition, bool):
        return condition is not False
    if isinstance(condition, str):
        return truth(parse_expression(condition).ask(facts))
    if depth > _DEEPEST:
        raise _too_deep()
    if isinstance(condition, Mapping):
        group = _group(condition)
        if group is None:
            return _compare(condition, facts)
        name, parts = group
        if name in _GROUPS:
            return _GROUPS[name](_holds(part, facts, depth + 1) for part in parts)
        inner = _holds(parts, facts, depth + 1)
        return inner is not (name == "not")
    if isinstance(condition, list | tuple):
        return all(_holds(part, facts, depth + 1) for part in condition)
    raise ConditionError(_NO_CONDITION.format(short(condition)))


def _too_deep() -> ConditionError:
    return ConditionError(f"conditions are nested more than {_DEEPEST} levels deep")


def _group(condition: Mapping[str, Any]) -> tuple[str, Any] | None:
    """The word and the parts of a group, ``not`` or ``expression``; None if it is a comparison."""
    names = [name for name in (*_GROUPS, "not", "expression") if name in condition]
    if not names:
        return None
    name, parts = names[0], condition[names[0]]
    if len(names) > 1 or "field" in condition:
        others = ", ".join(repr(word) for word in (*names[1:], *(["field"] if "field" in condition else [])))
        raise ConditionError(f"a condition has one meaning: {name!r} cannot stand beside {others}; nest them")
    if name in _GROUPS and not isinstance(parts, list | tuple):
        raise ConditionError(f"{name!r} takes a list of conditions, not {short(parts)}")
    if name == "expression" and not isinstance(parts, str | bool):
        raise ConditionError(f"'expression' takes a text, not {short(parts)}")
    return name, parts


# --- comparisons ------------------------------------------------------------------------------------------


def _compare(condition: Mapping[str, Any], facts: Facts) -> bool:
    name, op, value = _read(condition)
    known = _OPS[op.removeprefix("not.")]
    try:
        if known is _CHANGED:
            found = _changed(name, facts, value)
        else:
            left = _left(name, facts, quiet=known.presence)
            wanted = render(value, facts.roots, facts.missing, strict=facts.strict)
            found = known.test(left if known.raw or left is not ABSENT else None, wanted)
    except TemplateError as error:
        raise ConditionError(f"condition on {short(name)}: {error}") from None
    return found is not op.startswith("not.")


def _read(condition: Mapping[str, Any]) -> tuple[str, str, Any]:
    name, op = condition.get("field"), condition.get("op", "eq")
    if not isinstance(name, str) or not name:
        raise ConditionError(_NO_CONDITION.format(short(dict(condition))))
    if not isinstance(op, str) or op.removeprefix("not.") not in _OPS:
        raise ConditionError(
            f"condition on {short(name)}: there is no op {short(op)}; there are {', '.join(OPERATORS)}"
        )
    if "op" not in condition and len(condition) > 2:
        # "operator" for "op" would silently be an eq
        others = ", ".join(short(key) for key in condition if key not in ("field", "value"))
        raise ConditionError(f"condition on {short(name)}: it has no 'op', but {others}; the operator stands in 'op'")
    if "value" not in condition and _OPS[op.removeprefix("not.")].needs_value:
        raise ConditionError(f"condition on {short(name)}: {op!r} needs a 'value'")
    return name, op, condition.get("value")


def _left(name: str, facts: Facts, *, quiet: bool) -> Any:
    """The left side: the value of a plain field, or what a field with a template in it renders to."""
    if "{{" not in name:
        reference = parse_path(name)
        return facts.find(reference) if quiet else facts.value(reference)
    whole = parse_template(name).whole
    if whole is not None and quiet:
        return lookup(facts.roots, whole.path)
    return render(name, facts.roots, facts.missing, strict=facts.strict)


def _changed(name: str, facts: Facts, value: Any) -> bool:
    if "{{" in name:
        raise ConditionError(f"condition on {short(name)}: 'changed' takes the plain name of a field")
    if facts.before is None:
        return False
    path = parse_path(name).path
    old, new = (
        None if found is ABSENT else found for found in (lookup(facts.before, path), lookup(facts.base or {}, path))
    )
    # a value that does not equal itself, NaN, is no change either
    unchanged = same(old, new) or (not same(old, old) and not same(new, new))
    return unchanged is (value is False)


@dataclass(frozen=True, slots=True)
class _Op:
    """An operator.

    Attributes:
        test: from the field and the value.
        presence: it asks whether something is there, so that nothing there is no surprise.
        raw: it gets `ABSENT` for a field that is not there, instead of None.
        needs_value: a comparison without a value would be a slip.
    """

    test: Callable[[Any, Any], bool]
    presence: bool = False
    raw: bool = False
    needs_value: bool = True


def _texts(test: Callable[[str, str], bool]) -> _Op:
    return _Op(lambda left, value: isinstance(left, str) and isinstance(value, str) and test(left, value))


def _presence(test: Callable[[Any], bool], *, raw: bool = False) -> _Op:
    """``"value": false`` asks for the opposite."""
    return _Op(lambda left, value: test(left) is (value is not False), presence=True, raw=raw, needs_value=False)


#: what `is` knows, as in SQL
_STATES: dict[Any, Callable[[Any], bool]] = {
    "null": lambda left: left is None,
    "not null": lambda left: left is not None,
    "true": lambda left: left is True,
    "false": lambda left: left is False,
}


def _state(value: Any) -> str:
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else value


def _is(left: Any, value: Any) -> bool:
    state = _state(value)
    return isinstance(state, str) and state.lower() in _STATES and _STATES[state.lower()](left)


_CHANGED = _Op(lambda *_: False, presence=True, needs_value=False)
_OPS: dict[str, _Op] = {
    "eq": _Op(same),
    "neq": _Op(lambda left, value: not same(left, value)),
    "gt": _Op(lambda left, value: before(value, left)),
    "gte": _Op(lambda left, value: not_after(value, left)),
    "lt": _Op(before),
    "lte": _Op(not_after),
    "in": _Op(lambda left, value: is_list(value) and within(left, value)),
    "nin": _Op(lambda left, value: is_list(value) and not within(left, value)),
    "contains": _Op(lambda left, value: within(value, left)),
    "starts_with": _texts(str.startswith),
    "ends_with": _texts(str.endswith),
    "like": _texts(like),
    "ilike": _texts(lambda text, pattern: like(text, pattern, fold=True)),
    "is": _Op(_is, presence=True),
    "is_null": _presence(lambda left: left is None),
    "not_null": _presence(lambda left: left is not None),
    "exists": _presence(lambda left: left is not ABSENT, raw=True),
    "changed": _CHANGED,
    "regex": _texts(matches),
}

#: the operators, in the order of the documentation; each also with ``not.`` before it
OPERATORS = tuple(_OPS)


# --- checking ---------------------------------------------------------------------------------------------


def check(condition: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Everything that is wrong with a condition: JSON pointers and messages."""
    yield from _check(condition, pointer, 0)


def _check(condition: Any, pointer: str, depth: int) -> Iterator[tuple[str, str]]:
    try:
        if condition is None or isinstance(condition, bool):
            return
        if isinstance(condition, str):
            parse_expression(condition)
        elif depth > _DEEPEST:
            raise _too_deep()
        elif isinstance(condition, Mapping):
            group = _group(condition)
            if group is None:
                yield from _check_comparison(condition, pointer)
            else:
                yield from _check(group[1], f"{pointer}/{group[0]}", depth + 1)
        elif isinstance(condition, list | tuple):
            for index, part in enumerate(condition):
                yield from _check(part, f"{pointer}/{index}", depth + 1)
        else:
            raise ConditionError(_NO_CONDITION.format(short(condition)))
    except (ConditionError, TemplateError) as error:
        yield pointer, str(error)


def _check_comparison(condition: Mapping[str, Any], pointer: str) -> Iterator[tuple[str, str]]:
    name, op, value = _read(condition)
    if "{{" not in name:
        parse_path(name)
    else:
        parse_template(name)
        if op.removeprefix("not.") == "changed":
            yield f"{pointer}/field", f"condition on {short(name)}: 'changed' takes the plain name of a field"
    for where, found in templates.references(value, f"{pointer}/value"):
        if isinstance(found, TemplateError):
            yield where, f"condition on {short(name)}: {found}"
    if not (isinstance(value, str) and "{{" in value):
        wrong = _wrong_value(op.removeprefix("not."), value)
        if wrong:
            yield f"{pointer}/value", f"condition on {short(name)}: {op!r} takes {wrong}, not {short(value)}"


def _wrong_value(op: str, value: Any) -> str:
    """What a value should be instead, for a value that is no template; empty if it is right."""
    if op in ("in", "nin"):
        return "" if is_list(value) else "a list"
    if op == "is":
        state = _state(value)
        return "" if isinstance(state, str) and state.lower() in _STATES else "null, not null, true or false"
    if op in ("starts_with", "ends_with", "like", "ilike", "regex"):
        if not isinstance(value, str):
            return "a text"
        if op == "regex":
            check_pattern(value)
        elif op in ("like", "ilike"):
            like("", value)
        return ""
    if _OPS[op].presence:
        return "" if value is None or isinstance(value, bool) else "true or false"
    return ""


def references(condition: Any, pointer: str = "") -> Iterator[tuple[str, Reference]]:
    """The paths that a condition reads, with JSON pointers; what cannot be read is left out, `check` has it.

    A plain field may as well be one of the record that the condition is about.
    """
    yield from _references(condition, pointer, 0)


def _references(condition: Any, pointer: str, depth: int) -> Iterator[tuple[str, Reference]]:
    if isinstance(condition, str):
        try:
            found = parse_expression(condition).references
        except ConditionError:
            return
        yield from ((pointer, reference) for reference in found)
    elif depth > _DEEPEST:
        return
    elif isinstance(condition, list | tuple):
        for index, part in enumerate(condition):
            yield from _references(part, f"{pointer}/{index}", depth + 1)
    elif isinstance(condition, Mapping):
        try:
            group = _group(condition)
            name = None if group is not None else _read(condition)[0]
            if name is not None and "{{" not in name:
                yield f"{pointer}/field", parse_path(name)
        except (ConditionError, TemplateError):
            return
        if group is not None:
            yield from _references(group[1], f"{pointer}/{group[0]}", depth + 1)
            return
        for key, part in (("field", name), ("value", condition.get("value"))):
            for where, reference in templates.references(part, f"{pointer}/{key}"):
                if isinstance(reference, Reference):
                    yield where, reference
