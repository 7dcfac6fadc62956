"""What templates, conditions and expressions cost: `python benchmarks/language.py`.

The same cases are put to CEL and simpleeval where they are installed (`pip install cel-expr-python simpleeval`). Each
number is the best of several rounds, since other programs only ever make it worse.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from dataflows_sdk.flow.comparing import like, matches
from dataflows_sdk.flow.conditions import Facts, holds
from dataflows_sdk.flow.expressions import Expression, parse_expression
from dataflows_sdk.flow.templates import Template, render

SMALL: dict[str, Any] = {
    "trigger": {"record": {"name": "Ada", "amount": 150, "vip": True}, "amount": 100},
    "steps": {"a": {"output": {"total": 150, "items": [{"id": n} for n in range(10)]}}},
}
ROWS = {"trigger": {"a": 1, "rows": [{"id": n, "name": "x"} for n in range(10_000)]}}
CONFIG = {
    "url": "https://example.org/orders/{{steps.a.output.items[0].id}}",
    "json": {
        "text": "New order: {{trigger.record.name}} ({{trigger.record.amount}})",
        "total": "{{steps.a.output.total}}",
    },
    "headers": {"accept": "application/json"},
}
EXPRESSION = "steps.a.output.total > 100 and trigger.record.vip == true"
AMOUNT = {"field": "trigger.record.amount", "op": "gt", "value": 100}


def each(work: Callable[[], object], rounds: int) -> float:
    """Seconds per call."""
    work()
    calls = 1
    while True:
        began = time.perf_counter()
        for _ in range(calls):
            work()
        spent = time.perf_counter() - began
        if spent > 0.05:
            break
        calls *= 4
    best = spent
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(calls):
            work()
        best = min(best, time.perf_counter() - began)
    return best / calls


def show(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:,.1f} ms"


def costs(rounds: int) -> None:
    facts = Facts(SMALL)
    group = {"and": [AMOUNT, {"or": [{"field": "trigger.record.name", "op": "like", "value": "A%"}, {"not": AMOUNT}]}]}
    long_text = " {{trigger.record.name}} and some text around it" * 1_000
    expression = parse_expression(EXPRESSION)
    text, letters = "a" * 1_000_000, "ab" * 500_000
    cases: dict[str, Callable[[], object]] = {
        "render a string that is one template": lambda: render("{{steps.a.output.total}}", SMALL),
        "render a text with one template": lambda: render("New order: {{trigger.record.name}}", SMALL),
        "render a config with four templates": lambda: render(CONFIG, SMALL),
        "render 1,000 templates in a text of 50 kB": lambda: render(long_text, SMALL),
        "read a template anew": lambda: Template("New order: {{trigger.record.name}}"),
        "a condition with field, op and value": lambda: holds(AMOUNT, facts),
        "a group of three conditions": lambda: holds(group, facts),
        "an expression, evaluated": lambda: expression.evaluate(SMALL),
        "an expression, read anew": lambda: Expression(EXPRESSION),
        "LIKE %b_c% in 1 MB": lambda: like(text, "%b_c%"),
        "LIKE %bc% in 1 MB": lambda: like(text, "%bc%"),
        "LIKE with 1,000 underscores in 1 MB": lambda: like(text, "%" + "_" * 1_000 + "x%"),
        "regex (ab)*c in 1 MB": lambda: matches(letters, "(ab)*c"),
    }
    print("| what | each | per second |\n| --- | ---: | ---: |")
    for name, work in cases.items():
        seconds = each(work, rounds)
        print(f"| {name} | {show(seconds)} | {1 / seconds:,.0f} |", flush=True)


# --- beside others ----------------------------------------------------------------------------------------

MOMENT = datetime(2026, 11, 22, tzinfo=UTC)
#: (what, ours and simpleeval's text, CEL's text, data)
CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("small", EXPRESSION, EXPRESSION.replace(" and ", " && "), SMALL),
    ("`and` as in the row", "trigger.a > 0 and trigger.a < 2", "trigger.a > 0 and trigger.a < 2", ROWS),
    ("10,000 rows in the data", "trigger.a > 0", "trigger.a > 0", ROWS),
    ("an int times 1.5", "trigger.amount * 1.5", "trigger.amount * 1.5", SMALL),
    ("`1 == 1.0`", "1 == 1.0", "1 == 1.0", SMALL),
    ("a datetime in the data", "trigger.a > 0", "trigger.a > 0", {"trigger": {"a": 1, "t": MOMENT}}),
    ("Decimal('1.5') in the data", "trigger.a > 0", "trigger.a > 0", {"trigger": {"a": 1, "t": Decimal("1.5")}}),
    ("a key named items", "trigger.items", "trigger.items", {"trigger": {"items": [1]}}),
]  # fmt: skip


class Peer:
    """An expression language: `read` gives a function of the data, and both raise what they raise."""

    name = "ours"

    def read(self, ours: str, cel: str) -> Callable[[dict[str, Any]], Any]:
        return Expression(ours).evaluate


class Cel(Peer):
    name = "CEL"

    def __init__(self) -> None:
        from cel_expr_python import cel

        self.environment = cel.NewEnv(variables={"trigger": cel.Type.DYN, "steps": cel.Type.DYN})

    def read(self, ours: str, cel: str) -> Callable[[dict[str, Any]], Any]:
        expression = self.environment.compile(cel)

        def evaluate(data: dict[str, Any]) -> Any:
            found = expression.eval(data=data)
            if "ERROR" in str(found.type()):
                raise ValueError(found.value())
            return found.value()

        return evaluate


class SimpleEval(Peer):
    name = "simpleeval"

    def __init__(self) -> None:
        import simpleeval

        self.evaluator = simpleeval.EvalWithCompoundTypes

    def read(self, ours: str, cel: str) -> Callable[[dict[str, Any]], Any]:
        evaluator = self.evaluator()
        tree = evaluator.parse(ours)

        def evaluate(data: dict[str, Any]) -> Any:
            evaluator.names = data | {"true": True}
            return evaluator.eval(ours, previously_parsed=tree)

        return evaluate


def peers() -> list[Peer]:
    found: list[Peer] = [Peer()]
    for kind in (Cel, SimpleEval):
        try:
            found.append(kind())
        except ImportError:
            print(f"{kind.name} is not installed")
    return found


def answer(peer: Peer, ours: str, cel: str, data: dict[str, Any], rounds: int) -> str:
    try:
        evaluate = peer.read(ours, cel)
        value = evaluate(data)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:70]}".replace("|", "\\|")
    return f"{str(value)[:40]}, {show(each(lambda: evaluate(data), rounds))}"


def beside_others(rounds: int) -> None:
    contestants = peers()
    print("\n| case | " + " | ".join(peer.name for peer in contestants) + " |")
    print("| --- |" + " --- |" * len(contestants))
    for what, ours, cel, data in CASES:
        answers = [answer(peer, ours, cel, data, rounds) for peer in contestants]
        print(f"| {what} | " + " | ".join(answers) + " |", flush=True)
    read = [show(each(lambda peer=peer: peer.read(*CASES[0][1:3]), rounds)) for peer in contestants]  # type: ignore[misc]
    print("| reading the small one | " + " | ".join(read) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds per case, of which the best counts")
    given = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}\n")
    costs(given.rounds)
    beside_others(given.rounds)


if __name__ == "__main__":
    main()
