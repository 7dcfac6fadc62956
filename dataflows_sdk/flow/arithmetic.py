"""What the signs and functions of expressions do to values: nothing here raises for a value of the wrong type, it
gives null.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from dataflows_sdk.errors import ConditionError
from dataflows_sdk.flow.comparing import MOST_BITS, before, is_list, matches, number, within
from dataflows_sdk.flow.texts import as_text

#: the longest text and list that an expression may make
_LONGEST = 5_000_000
#: contexts of our own: what a step did to Python's must not change what a condition says
_MONEY = Context(prec=34)
_ROUNDING = Context(prec=2_000, rounding=ROUND_HALF_UP)

_Number = int | float | Decimal


def truth(value: Any) -> bool:
    """Null, false, 0, NaN, and empty texts, lists and objects are false; everything else is true."""
    try:
        return bool(value) and not (isinstance(value, float) and math.isnan(value))
    except Exception:  # noqa: BLE001 - a table, for example, has no truth value: it is there
        return True


def _operand(value: Any) -> _Number | None:
    """A number to calculate with, also of a text that is one; None for anything else, and for NaN."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, str):
        exact = number(value)
        if exact is None:
            return None
        if exact != exact.to_integral_value(context=_ROUNDING):
            return float(exact)
        value = int(exact)
    if isinstance(value, int):
        if value.bit_length() > MOST_BITS:
            raise ConditionError("a whole number of more than 1,230 digits is too large to calculate with")
        return value
    return value if isinstance(value, Decimal) and not value.is_nan() else None


def _remainder(left: Decimal, right: Decimal) -> Decimal:
    rest = _MONEY.remainder(left, right)
    # the sign of the divisor, as for Python's other numbers
    return _MONEY.add(rest, right) if rest and (rest < 0) != (right < 0) else rest


_WORK: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Decimal, Decimal], Decimal]]] = {
    "+": (operator.add, _MONEY.add),
    "-": (operator.sub, _MONEY.subtract),
    "*": (operator.mul, _MONEY.multiply),
    "/": (operator.truediv, _MONEY.divide),
    "%": (operator.mod, _remainder),
}


def calculate(sign: str, left: Any, right: Any) -> _Number | None:
    """Arithmetic of numbers, and of texts that are numbers.

    A Decimal makes the result a Decimal, of 34 digits. With anything else than numbers the result is null, and so
    it is for a division by zero.

    Raises:
        ConditionError: a number is too large.
    """
    one, other = _operand(left), _operand(right)
    if one is None or other is None or (not other and sign in "/%"):
        return None
    work, exact = _WORK[sign]
    try:
        if isinstance(one, Decimal) or isinstance(other, Decimal):
            return exact(_decimal(one), _decimal(other))
        result: _Number = work(one, other)
    except ArithmeticError:
        raise ConditionError(f"the result of {sign} is too large") from None
    return result


def _decimal(value: _Number) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def add(left: Any, right: Any) -> Any:
    """The sum of two numbers, or two texts or two lists one after the other.

    Raises:
        ConditionError: the result is too large.
    """
    if isinstance(left, str) and isinstance(right, str):
        _limit(len(left) + len(right))
        return left + right
    if is_list(left) and is_list(right):
        _limit(len(left) + len(right))
        return [*left, *right]
    return calculate("+", left, right)


def _limit(length: int) -> None:
    if length > _LONGEST:
        raise ConditionError(f"a text or list becomes longer than {_LONGEST:,}")


# --- functions --------------------------------------------------------------------------------------------


def _size(value: Any) -> int | None:
    return len(value) if isinstance(value, str | Mapping) or is_list(value) else None


def _on_text(work: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: work(value) if isinstance(value, str) else None


def _on_texts(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return lambda a, b: isinstance(a, str) and isinstance(b, str) and test(a, b)


def _absolute(value: Any) -> _Number | None:
    found = _operand(value)
    return found.copy_abs() if isinstance(found, Decimal) else None if found is None else abs(found)


def _round(value: Any, digits: Any = 0) -> _Number | None:
    found, places = _operand(value), _operand(digits)
    if found is None or not isinstance(places, int) or abs(places) > 30:
        return None
    exact = _decimal(found)
    if not exact.is_finite():
        return None
    try:
        rounded = exact.quantize(Decimal(1).scaleb(-places), context=_ROUNDING)
    except ArithmeticError:
        raise ConditionError("a number is too large to be rounded") from None
    if places <= 0 or isinstance(found, int):
        return int(rounded)
    return rounded if isinstance(found, Decimal) else float(rounded)


def _numbers(given: tuple[Any, ...]) -> list[_Number] | None:
    """The numbers of a list or of several values, without the nulls; None if something else is among them."""
    values = given[0] if len(given) == 1 and is_list(given[0]) else given
    found = [_operand(value) for value in values if value is not None]
    return None if None in found else [value for value in found if value is not None]


def _sum(*given: Any) -> _Number | None:
    found = _numbers(given)
    if found is None or given == (None,):
        return None
    total: _Number | None = 0
    for value in found:
        total = calculate("+", total, value)
    return total


def _extreme(better: Callable[[Any, Any], bool]) -> Callable[..., _Number | None]:
    def extreme(*given: Any) -> _Number | None:
        best: _Number | None = None
        for value in _numbers(given) or ():
            if best is None or better(value, best):
                best = value
        return best

    return extreme


#: what an expression may call: the function, and how many values it takes; `exists` and `coalesce` are done by the
#: expression itself, since they ask for paths and not for values
FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "len": (_size, 1, 1),
    "size": (_size, 1, 1),
    "lower": (_on_text(str.lower), 1, 1),
    "upper": (_on_text(str.upper), 1, 1),
    "trim": (_on_text(str.strip), 1, 1),
    "text": (as_text, 1, 1),
    "number": (_operand, 1, 1),
    "abs": (_absolute, 1, 1),
    "round": (_round, 1, 2),
    "min": (_extreme(before), 1, 20),
    "max": (_extreme(lambda a, b: before(b, a)), 1, 20),
    "sum": (_sum, 1, 20),
    "contains": (lambda whole, item: within(item, whole), 2, 2),
    "starts_with": (_on_texts(str.startswith), 2, 2),
    "ends_with": (_on_texts(str.endswith), 2, 2),
    "matches": (_on_texts(matches), 2, 2),
    "exists": (bool, 1, 1),
    "coalesce": (bool, 1, 20),
}
