"""What models use: tokens and money, and how much of them a run may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price(ShownAsTable):
    """What a million tokens cost, in whatever currency you count in.

    Attributes:
        input: of what the model reads.
        output: of what it writes.
        cached: of what it reads and had read before; by default as *input*.
    """

    input: Decimal | float | str
    output: Decimal | float | str
    cached: Decimal | float | str | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, amount(f"price of {name}", given))

    def of(self, used: Used) -> Decimal:
        """What these tokens cost."""
        cached = self.input if self.cached is None else self.cached
        parts = (
            (used.input - used.cached, self.input),
            (used.cached, cached),
            (used.output, self.output),
        )
        return sum((Decimal(count) * Decimal(price) / _MILLION for count, price in parts), Decimal(0))


@dataclass(frozen=True, slots=True)
class Used(ShownAsTable):
    """What one call used, or several.

    Attributes:
        input, output: tokens that the model read and wrote.
        cached: tokens among *input* that it had read before.
        money: what they cost; None where nobody said the price.
        calls: answers that were paid for.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    money: Decimal | None = None
    calls: int = 0

    @property
    def tokens(self) -> int:
        """Both together."""
        return self.input + self.output

    def __add__(self, other: Used) -> Used:
        moneys = [each.money for each in (self, other) if each.money is not None]
        return Used(
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            sum(moneys, Decimal(0)) if moneys else None,
            self.calls + other.calls,
        )

    def to_json(self) -> dict[str, Any]:
        """As a journal keeps it."""
        money = None if self.money is None else str(self.money)
        return {
            "input": self.input, "output": self.output, "cached": self.cached, "money": money, "calls": self.calls,
        }  # fmt: skip

    @staticmethod
    def of_json(given: Mapping[str, Any]) -> Used:
        """From `to_json`."""
        money = given["money"]
        return Used(
            given["input"], given["output"], given["cached"], None if money is None else Decimal(money), given["calls"]
        )


class Paid:
    """A part of what a model was paid for."""

    __slots__ = ()

    used: Used

    @property
    def tokens(self) -> int:
        """Read and written by the model."""
        return self.used.tokens

    @property
    def money(self) -> Decimal | None:
        """What it cost; None where nobody said the price of the model."""
        return self.used.money


@dataclass(frozen=True, slots=True)
class Budget(ShownAsTable):
    """How much a run may use before it waits for more.

    A call that has begun is finished: a run stops before the first call for which nothing is left.

    Attributes:
        tokens: read and written, together; None for any.
        money: as `Price` counts it; None for any.
    """

    tokens: int | None = None
    money: Decimal | float | str | None = None

    def __post_init__(self) -> None:
        tokens = self.tokens
        if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1):
            raise DefinitionError(f"a budget of tokens is a whole number above 0, not {tokens!r}")
        if self.money is not None:
            money = amount("budget", self.money)
            if not money:
                raise DefinitionError("a budget of no money at all allows no call: give more than 0, or None")
            object.__setattr__(self, "money", money)

    def left(self, used: Used) -> bool:
        """Whether another call may begin."""
        if self.tokens is not None and used.tokens >= self.tokens:
            return False
        return self.money is None or used.money is None or used.money < Decimal(self.money)

    def more(self, given: Mapping[str, Any]) -> Budget:
        """With what somebody allowed on top."""
        tokens, money = given.get("tokens"), given.get("money")
        return Budget(
            self.tokens if tokens is None or self.tokens is None else self.tokens + int(tokens),
            self.money if money is None or self.money is None else Decimal(self.money) + Decimal(str(money)),
        )

    def to_json(self) -> dict[str, Any]:
        """As a journal keeps it."""
        return {"tokens": self.tokens, "money": None if self.money is None else str(self.money)}


def check_budget(given: Budget | Mapping[str, Any] | None, priced: bool) -> Budget:
    """A budget, however it was given.

    Raises:
        DefinitionError: it makes no sense, or counts money where nobody knows a price.
    """
    if given is None:
        return Budget()
    try:
        budget = given if isinstance(given, Budget) else Budget(**given)
    except TypeError:
        raise DefinitionError(f"budget={given!r}: write Budget(tokens=…, money=…)") from None
    if budget.money is not None and not priced:
        raise DefinitionError(
            "a budget of money needs the price of the model: ChatModel(…, price=Price(input=…, output=…))"
        )
    return budget


def amount(what: str, given: Any) -> Decimal:
    """A sum of money.

    Raises:
        DefinitionError: it is none.
    """
    try:
        found = Decimal(str(given))
    except InvalidOperation:
        found = Decimal("NaN")
    if isinstance(given, bool) or not found.is_finite() or found < 0:
        raise DefinitionError(f"{what}: a sum of 0 or more, for example 0.15, not {given!r}")
    return found
