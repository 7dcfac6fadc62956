"""Logic: nodes that decide, repeat and wait. The engine executes them; here is what they mean.

The functions are pure: they get a config with its templates filled in and say what comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, model_validator

from dataflows_sdk.core.durations import parse_duration
from dataflows_sdk.errors import DataflowsError, NodeConfigError
from dataflows_sdk.flow import conditions as language
from dataflows_sdk.flow.comparing import same
from dataflows_sdk.flow.kinds import NodeKind
from dataflows_sdk.flow.model import parse_join
from dataflows_sdk.flow.schedule import FALSE, TRUE, case_name
from dataflows_sdk.nodes.registry import Config, NodeType, Text, register

MOST_ITEMS = 10_000


class ConditionConfig(Config):
    """If and else: the edges behind `true` are followed when it holds, else those behind `false`."""

    conditions: Any = Field(default=None, description="conditions as data: all of a list must hold; and, or, not")
    expression: str | None = Field(default=None, description="or an expression, such as trigger.amount > 100")

    @model_validator(mode="after")
    def _one(self) -> ConditionConfig:
        if (self.conditions is None) == (self.expression is None):
            raise ValueError("give conditions or an expression")
        return self

    @property
    def condition(self) -> Any:
        return self.expression if self.expression is not None else self.conditions


class Case(Config):
    """One way of a switch."""

    value: Any = Field(default=None, description="taken when the switch's value equals it")
    conditions: Any = Field(default=None, description="or when these hold")
    expression: str | None = Field(default=None, description="or when this holds")
    handle: str | None = Field(default=None, description="the edge's sourceHandle; the value as text by default")

    @model_validator(mode="after")
    def _named(self) -> Case:
        if self.condition is not None and self.handle is None:
            raise ValueError("a case with a condition needs a handle")
        return self

    @property
    def condition(self) -> Any:
        return self.expression if self.expression is not None else self.conditions

    @property
    def name(self) -> str:
        return self.handle if self.handle is not None else case_name(self.value)


class SwitchConfig(Config):
    """One of several ways: the first case that fits, else the default, else none."""

    value: Any = Field(default=None, description="what the cases are compared with")
    cases: list[Case] = Field(description="in order; the first that fits is taken")
    default: str | None = Field(default=None, description="the handle that is taken when no case fits")


class LoopConfig(Config):
    """Run the part of the flow behind the handle `body` for every item, then go on behind `done`."""

    items: Any = Field(description="a list, usually a template")
    mode: Literal["sequential", "parallel"] = "sequential"
    concurrency: int | None = Field(default=None, ge=1, description="how many iterations at a time, in parallel mode")
    item_var: str | None = Field(
        default=None, pattern=r"^[A-Za-z_]\w*$", description="a name for the item besides loop.item"
    )
    max_iterations: int = Field(default=MOST_ITEMS, ge=0, le=1_000_000)
    on_item_error: Literal["stop", "continue"] | None = Field(
        default=None, description="what a failed iteration does to the others; by default as its failed node says"
    )


class DelayConfig(Config):
    """Wait: for a time, until an instant, or until a field of a record changes."""

    duration: str | int | float | None = Field(default=None, description='"5m", or seconds')
    until: str | datetime | int | float | None = Field(
        default=None, description="an instant, ISO 8601 or epoch seconds"
    )
    until_field: dict[str, Any] | None = Field(
        default=None, description="{object, id, field, op?, value?}: a change, or with op or value until that holds"
    )
    timeout: str | int | float | None = Field(default=None, description="how long to wait for the field")

    @model_validator(mode="after")
    def _one(self) -> DelayConfig:
        if sum(each is not None for each in (self.duration, self.until, self.until_field)) != 1:
            raise ValueError("give one of duration, until and until_field")
        return self


class ParallelConfig(Config):
    """Follow all edges at once. Where its branches meet, `join` says how many must arrive."""

    join: str | int | dict[str, Any] = Field(default="all", description='"all", "any", 2, "2-of-3" or {"n": 2}')
    cancel_remaining: bool = Field(default=False, description="cancel what still runs when the join holds")


class ApprovalConfig(Config):
    """Ask people; go on behind `approved` or `rejected`."""

    approvers: list[str] = Field(default_factory=list, description="who may answer; empty: anybody")
    message: Text = Field(default="", description="what is asked")
    timeout_seconds: int | float | None = Field(default=None, gt=0)
    timeout: str | int | float | None = Field(default=None, description='the same as a duration: "7d"')
    on_timeout: Literal["reject", "approve", "error"] = "reject"
    required: int = Field(default=1, ge=1, description="how many must approve; one rejection rejects")

    @model_validator(mode="after")
    def _enough(self) -> ApprovalConfig:
        if self.approvers and self.required > len(set(self.approvers)):
            raise ValueError(f"{self.required} approvals are required of {len(set(self.approvers))} approvers")
        return self


# --- what they mean ---------------------------------------------------------------------------------------


def decide_switch(config: SwitchConfig, facts: language.Facts) -> str | None:
    """The handle that a switch takes, None if it takes none."""
    for case in config.cases:
        fits = language.holds(case.condition, facts) if case.condition is not None else same(config.value, case.value)
        if fits:
            return case.name
    return config.default


def loop_items(config: LoopConfig, node: str) -> list[Any]:
    """The items of a loop.

    Raises:
        NodeConfigError: it is no list, or has more items than the loop may have.
    """
    items = config.items
    if isinstance(items, tuple | set | frozenset | range):
        items = list(items)
    if not isinstance(items, list):
        shown = "nothing" if items is None else type(items).__name__
        raise NodeConfigError(
            f"loop {node!r} goes over {shown}; items must be a list, such as {{{{steps.load.output}}}}"
        )
    if len(items) > config.max_iterations:
        raise NodeConfigError(
            f"loop {node!r} has {len(items)} items and may have {config.max_iterations}; raise max_iterations, or "
            "split the work with a sub-workflow"
        )
    return items


def delay_seconds(config: DelayConfig) -> float | None:
    """The length of a delay, None if it is not given as one.

    Raises:
        InvalidDurationError: it is none.
    """
    return None if config.duration is None else parse_duration(config.duration).total_seconds()


def delay_until(config: DelayConfig, node: str) -> datetime | None:
    """The instant until which a delay waits, None if it is not given as one; without a zone it is UTC.

    Raises:
        NodeConfigError: it cannot be read.
    """
    given = config.until
    if given is None:
        return None
    try:
        if isinstance(given, int | float):
            return datetime.fromtimestamp(given, UTC)
        found = given if isinstance(given, datetime) else datetime.fromisoformat(given)
    except (ValueError, OverflowError, OSError) as error:
        raise NodeConfigError(
            f"delay {node!r} waits until {given!r}, which is no instant; write 2026-12-24T18:00:00+01:00: {error}"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def until_field(config: DelayConfig, node: str) -> Mapping[str, Any]:
    """The field that a delay waits for.

    Raises:
        NodeConfigError: object, field or id is missing, which a template that led nowhere may be the reason of.
    """
    asked = config.until_field or {}
    empty = [name for name in ("object", "id", "field") if asked.get(name) in (None, "")]
    if empty:
        raise NodeConfigError(
            f"delay {node!r}: until_field has no {empty[0]!r}; it is {{object, id, field, op?, value?}}"
        )
    return asked


def approval_seconds(config: ApprovalConfig) -> float | None:
    """How long an approval may take, None for ever."""
    if config.timeout is not None:
        return parse_duration(config.timeout).total_seconds()
    return None if config.timeout_seconds is None else float(config.timeout_seconds)


# --- checks and registration ------------------------------------------------------------------------------


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value


def _check_condition(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = list(language.check(config.get("conditions"), "/conditions"))
    if isinstance(config.get("expression"), str):
        found += language.check(config["expression"], "/expression")
    return found


def _check_switch(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    seen: set[str] = set()
    cases = config.get("cases")
    for index, case in enumerate(cases if isinstance(cases, list) else ()):
        if not isinstance(case, Mapping):
            continue
        found += [(f"/cases/{index}{pointer}", message) for pointer, message in _check_condition(case)]
        name = case.get("handle") or (None if _is_template(case.get("value")) else case_name(case.get("value")))
        if name in seen:
            found.append((f"/cases/{index}", f"two cases take the handle {name!r}"))
        if name is not None:
            seen.add(name)
    return found


def _check_delay(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in ("duration", "timeout"):
        value = config.get(name)
        if value is not None and not _is_template(value):
            try:
                parse_duration(value)
            except DataflowsError as error:
                found.append((f"/{name}", str(error)))
    if isinstance(until := config.get("until"), str) and not _is_template(until):
        try:
            delay_until(DelayConfig(until=until), "")
        except DataflowsError:
            found.append(("/until", f"{until!r} is no instant; write 2026-12-24T18:00:00+01:00"))
    field = config.get("until_field")
    if isinstance(field, Mapping):
        needed = [name for name in ("object", "id", "field") if name not in field]
        found += [("/until_field", f"until_field needs {name!r}") for name in needed]
        wanted = {name: field[name] for name in ("op", "value") if name in field}
        if wanted and not _is_template(field.get("op")):
            found += language.check({"field": "field", "op": "eq", **wanted}, "/until_field")
    return found


def _check_join(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    try:
        parse_join(config.get("join", "all"))
    except ValueError as error:
        return [("/join", str(error))]
    return []


def _check_timeout(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    value = config.get("timeout")
    try:
        if value is not None and not _is_template(value):
            parse_duration(value)
    except DataflowsError as error:
        return [("/timeout", str(error))]
    return []


def _check_loop(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    items = config.get("items")
    if items is None or _is_template(items) or isinstance(items, list):
        return []
    return [("/items", f"a loop goes over a list, not {items!r}")]


def _switch_handles(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    cases = config.get("cases")
    names: list[str] = []
    for case in cases if isinstance(cases, list) else ():
        if not isinstance(case, Mapping):
            return None
        if case.get("handle") is None and _is_template(case.get("value")):
            return None
        names.append(case.get("handle") or case_name(case.get("value")))
    default = config.get("default")
    return (*names, default) if isinstance(default, str) else tuple(names)


register(
    NodeType(
        NodeKind(
            "logic_condition",
            "condition",
            branching=True,
            config=ConditionConfig,
            handles=lambda _: (*TRUE, *FALSE),
            check=_check_condition,
            standard=True,
        ),
        "If and else: follows the edges behind `true` or those behind `false`.",
        "logic",
        example={"expression": "{{trigger.amount}} > 100 and trigger.vip == true"},
        output="`{result: bool}`; edges without a handle are followed when it is true",
    )
)
register(
    NodeType(
        NodeKind(
            "logic_switch",
            "switch",
            branching=True,
            config=SwitchConfig,
            handles=_switch_handles,
            check=_check_switch,
            standard=True,
        ),
        "One of several ways, by a value.",
        "logic",
        example={
            "value": "{{trigger.country}}",
            "cases": [{"value": "DE", "handle": "home"}, {"value": "FR", "handle": "abroad"}],
            "default": "elsewhere",
        },
        output="`{value, case}`; `case` is the handle that was taken, or null",
    )
)
register(
    NodeType(
        NodeKind(
            "logic_loop",
            "loop",
            loop=True,
            config=LoopConfig,
            handles=lambda _: ("body", "done"),
            check=_check_loop,
            standard=True,
        ),
        "Runs what is behind `body` for every item, then goes on behind `done`.",
        "logic",
        example={"items": "{{trigger.orders}}", "mode": "parallel", "concurrency": 8, "item_var": "order"},
        output="`{items: [… in order …], count, errors: [{index, node_id, error}]}`",
    )
)
register(
    NodeType(
        NodeKind("logic_delay", "delay", config=DelayConfig, check=_check_delay, standard=True),
        "Waits for a time, until an instant, or until a field changes. A waiting run is a row and nothing else.",
        "logic",
        example={"duration": "5m"},
        output='`{waited_until, reason}`; the reason is `"elapsed"`, `"changed"` or `"timeout"`',
    )
)
register(
    NodeType(
        NodeKind("logic_parallel", "parallel", config=ParallelConfig, check=_check_join, standard=True),
        "Follows all its edges at once; the node where they meet runs when `join` holds.",
        "logic",
        example={"join": "any"},
        output="`{branches: [ids of the nodes behind it]}`",
    )
)
register(
    NodeType(
        NodeKind(
            "logic_approval",
            "approval",
            branching=True,
            config=ApprovalConfig,
            handles=lambda _: ("approved", "rejected"),
            check=_check_timeout,
            standard=True,
        ),
        "Asks people and waits for their answer.",
        "logic",
        example={"approvers": ["ann", "bob"], "message": "Ship {{trigger.id}}?", "timeout": "7d"},
        output="`{decision, responder, comment, responded_at, reason}`, and `value` where the answer had one; "
        'the decision is `"approved"` or `"rejected"`',
    )
)
