"""Workflows: a name, a function, and the version of its code.

`@workflow` makes a `Workflow` and puts it into the catalog of this process, so that any context here finds the code
of a run by the name that the journal has. Running a notebook cell again replaces the workflow by its new version;
runs begun before keep their recorded steps and go on with the new code, under the identity check.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import textwrap
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_origin, get_type_hints, overload

from dataflows_sdk.core.ids import new_id
from dataflows_sdk.core.payload import Payload
from dataflows_sdk.core.shown import Sheet, ShownAsTable
from dataflows_sdk.engine import observer
from dataflows_sdk.engine.catalog import CATALOG, COLLECTING
from dataflows_sdk.engine.faces import is_async
from dataflows_sdk.engine.placement import DEFAULT_QUEUE, PLAIN, Placement, check_placement
from dataflows_sdk.errors import DefinitionError, InputError

if TYPE_CHECKING:
    from dataflows_sdk.flow.sources import TriggerSpec

P = TypeVar("P")
F = TypeVar("F", bound=Callable[..., Any])
_MAX_NAME = 200


class Event(Generic[P]):
    """What started a run.

    Attributes:
        payload: what was given to ``start``; a dict reads by key and by attribute, an annotation ``Event[Order]`` on
            the workflow's parameter makes it an ``Order``.
        name, service, id, received_at: where it came from. A run started by hand has the name ``"manual"``.
        trigger: the trigger node of a flow that fired; None if it was started by hand.
    """

    __slots__ = ("id", "name", "payload", "raw", "received_at", "service", "traceparent", "trigger")

    def __init__(
        self,
        payload: P,
        name: str = "manual",
        service: str = "",
        id: str | None = None,
        received_at: datetime | None = None,
        trigger: str | None = None,
    ) -> None:
        #: the payload as it was given and is stored
        self.raw: Any = dict(payload) if isinstance(payload, Payload) else payload
        self.payload: P = _readable(payload)
        self.name = name
        self.service = service
        self.id = id if id is not None else new_id()
        self.received_at = received_at if received_at is not None else datetime.now(UTC)
        self.trigger = trigger
        #: the span within which the run was started
        self.traceparent: str | None = None

    def __repr__(self) -> str:
        return f"Event(name={self.name!r}, id={self.id!r})"

    def with_payload(self, payload: Any) -> Event[Any]:
        """The same event with another payload."""
        return Event(payload, self.name, self.service, self.id, self.received_at, self.trigger)

    def meta_text(self) -> str:
        """Everything but the payload, as JSON."""
        head = f'{{"id":{json.dumps(self.id)},"received_at":"{self.received_at.isoformat()}"'
        if self.name != "manual":
            head += f',"name":{json.dumps(self.name)}'
        if self.service:
            head += f',"service":{json.dumps(self.service)}'
        if self.trigger is not None:
            head += f',"trigger":{json.dumps(self.trigger)}'
        return head + "}"


def _readable(payload: Any) -> Any:
    return Payload(payload) if type(payload) is dict else payload


class Workflow(ShownAsTable):
    """A durable function. Made by `workflow`; calling it calls the plain function."""

    kind = "code"
    #: whether any process can run it without its Python code
    portable = False
    #: the names that published code sees, which is where its classes are looked up
    scope: dict[str, Any] | None = None

    #: where its runs line up when their start says nothing else
    placement = PLAIN

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        *,
        trigger: Any = None,
        description: str = "",
        placement: Placement = PLAIN,
    ) -> None:
        check_workflow_name(name)
        self.placement = placement
        if not callable(fn):
            raise DefinitionError(f"workflow {name!r}: {fn!r} is not callable")
        self.name = name
        self.fn = fn
        #: what starts it by itself
        self.triggers = _triggers(name, trigger)
        self.description = description or (inspect.getdoc(fn) or "")
        self.is_async = is_async(fn)
        self.source = _source(fn)
        self.version = hash_text(f"{self.source or _code_text(fn)}{_captured(fn)}")
        self.spec: dict[str, Any] | None = None
        self._arguments = _arguments(name, fn)
        self._payload_type = _payload_type(fn)
        self.__doc__ = fn.__doc__
        self.__name__ = getattr(fn, "__name__", name)
        self.__wrapped__ = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<workflow {self.name!r} version {self.version}>"

    @property
    def payload_type(self) -> Any:
        """What its function says that the payload of its event is, ``Event[Order]``; None where it says nothing."""
        return self._payload_type

    @property
    def origin(self) -> tuple[str, str]:
        """Module and qualified name of the function: the same when a cell runs again."""
        return getattr(self.fn, "__module__", "") or "", getattr(self.fn, "__qualname__", repr(self.fn))

    @property
    def input_schema(self) -> Any:
        """The JSON Schema of inputs that are given by hand; None for any."""
        manual = [each for each in self.triggers if each.type == "trigger_manual"]
        return manual[0].config.get("input_schema") if manual else None

    def event(self, payload: Any) -> Event[Any]:
        """The event of a run started with *payload*, which may be an `Event` itself.

        Raises:
            DefinitionError: the payload does not fit the annotation of the workflow's parameter.
            InputError: it was given by hand, and does not fit the schema of the manual trigger; every place is listed.
        """
        event = payload if isinstance(payload, Event) else Event(payload)
        if observer.caller_traceparent is not None and event.traceparent is None:
            event.traceparent = observer.caller_traceparent()
        self._fit(event)
        schema = self.input_schema if event.trigger is None else None
        if schema is not None:
            from dataflows_sdk.triggers.inputs import check_input

            if problems := check_input(schema, event.raw):
                lines = "; ".join(f"{each.pointer or 'the input'}: {each.message}" for each in problems)
                what = "flow" if self.kind == "flow" else "workflow"
                raise InputError(f"the input of {what} {self.name!r} does not fit its schema: {lines}", problems)
        return event

    def _fit(self, event: Event[Any]) -> Any:
        if self._payload_type is None:
            return event.payload
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(self._payload_type).validate_python(event.raw)
        except ValidationError as error:
            raise DefinitionError(f"workflow {self.name!r}: the payload does not fit its type: {error}") from None

    def bind(self, event: Event[Any], step: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments for the function, by the names of its parameters."""
        if self._payload_type is not None:
            event = Event(self._fit(event), event.name, event.service, event.id, event.received_at, event.trigger)
        values = {"event": event, "step": step}
        positional = tuple(values[name] for name, keyword in self._arguments if not keyword)
        return positional, {name: values[name] for name, keyword in self._arguments if keyword}

    def info(self) -> dict[str, Any]:
        """What is stored beside the source of a version."""
        module, qualname = self.origin
        return {"module": module, "qualname": qualname, "python": platform.python_version()}

    def _sheet(self) -> Sheet:
        rows: list[tuple[str, Any]] = [("version", self.version), ("description", self.description)]
        rows += [("starts by", str(trigger)) for trigger in self.triggers]
        return Sheet(f"workflow {self.name}", [*rows, ("source", self.source)])


class Elsewhere(Workflow):
    """A workflow whose code other processes have: here its runs can be started."""

    kind = "elsewhere"

    def __init__(self, name: str, version: str) -> None:
        check_workflow_name(name)
        self.name, self.version, self.is_async, self.triggers, self._payload_type = name, version, False, (), None


def _triggers(name: str, given: Any) -> tuple[TriggerSpec, ...]:
    if given is None:
        return ()
    from dataflows_sdk.flow.sources import trigger_specs  # loads the node types

    return trigger_specs(given, f"workflow {name!r}")


def check_workflow_name(name: object) -> None:
    """A workflow's name is a short printable string."""
    if not isinstance(name, str) or not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise DefinitionError(f"a workflow's name is a printable string of 1 to {_MAX_NAME} characters, not {name!r}")


def _arguments(name: str, fn: Callable[..., Any]) -> list[tuple[str, bool]]:
    """Which of event and step the function takes, in order: by name, else the first two by position."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return [("event", False), ("step", False)]
    found: list[tuple[str, bool]] = []
    positional = iter(("event", "step"))
    taken: set[str] = set()
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in ("event", "step"):
            found.append((parameter.name, parameter.kind is parameter.KEYWORD_ONLY))
            taken.add(parameter.name)
        elif parameter.default is not parameter.empty:
            continue
        else:
            free = next(
                (value for value in positional if value not in taken and value not in _names(parameters)),
                None,
            )
            if free is None or parameter.kind is parameter.KEYWORD_ONLY:
                raise DefinitionError(
                    f"workflow {name!r}: nothing is known for parameter {parameter.name!r}; a workflow takes "
                    "`event` and `step`, other parameters need a default"
                )
            found.append((free, False))
            taken.add(free)
    return found


def _names(parameters: list[inspect.Parameter]) -> set[str]:
    return {parameter.name for parameter in parameters}


def _payload_type(fn: Callable[..., Any]) -> Any:
    try:
        hints = get_type_hints(inspect.unwrap(fn))
    except Exception:  # noqa: BLE001 - an annotation that cannot be read is no annotation
        return None
    for hint in hints.values():
        if get_origin(hint) is Event:
            (payload,) = get_args(hint)
            return None if payload is Any or isinstance(payload, TypeVar) else payload
    return None


def _source(fn: Callable[..., Any]) -> str:
    try:
        return textwrap.dedent(inspect.getsource(inspect.unwrap(fn)))
    except (OSError, TypeError):
        return ""


def _captured(fn: Callable[..., Any]) -> str:
    """Plain values that the function captured or has as defaults: they are a part of what it does."""
    inner = inspect.unwrap(fn)
    cells = getattr(inner, "__closure__", None) or ()
    names = getattr(getattr(inner, "__code__", None), "co_freevars", ())
    found: list[str] = []
    for name, cell in zip(names, cells, strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # not yet filled
            continue
        if isinstance(value, str | int | float | bool | None):
            found.append(f"{name}={value!r}")
    defaults = getattr(inner, "__defaults__", None) or ()
    found += [repr(value) for value in defaults if isinstance(value, str | int | float | bool | None)]
    return "\n# captured: " + ", ".join(found) if found else ""


def _code_text(fn: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return repr(fn) if code is None else _describe(code)


def _describe(code: Any) -> str:
    constants = [_describe(c) if hasattr(c, "co_code") else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()}{constants}{code.co_names}"


def hash_text(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


@overload
def workflow(
    name: str,
    fn: F,
    *,
    trigger: Any = None,
    description: str = "",
    queue: str = DEFAULT_QUEUE,
    priority: int = 0,
) -> Workflow: ...
@overload
def workflow(
    name: str,
    fn: None = None,
    *,
    trigger: Any = None,
    description: str = "",
    queue: str = DEFAULT_QUEUE,
    priority: int = 0,
) -> Callable[[F], Workflow]: ...
def workflow(
    name: str,
    fn: Callable[..., Any] | None = None,
    *,
    trigger: Any = None,
    description: str = "",
    queue: str = DEFAULT_QUEUE,
    priority: int = 0,
) -> Workflow | Callable[[Any], Workflow]:
    """Declare a durable workflow; a decorator, or a call with the function.

    Args:
        name: unique and stable: runs find their code by it.
        fn: ``async def`` or ``def``, with the parameters ``event`` and ``step`` (either may be left out).
        trigger: what starts it, besides ``ctx.start``: ``df.on_schedule("0 9 * * *")``, `on_event`, `on_webhook`,
            `on_service`, or several in a list. Every context that works looks after it.
        queue, priority: where its runs line up when their start says nothing else.

    Raises:
        DefinitionError: a bad name, signature or trigger.
        DuplicateWorkflowError: the name belongs to another function.
    """
    placement = check_placement(queue, priority)

    def declare(function: Callable[..., Any]) -> Workflow:
        made = Workflow(name, function, trigger=trigger, description=description, placement=placement)
        collecting = COLLECTING.get()
        (CATALOG if collecting is None else collecting).add(made)
        return made

    if callable(name):
        raise DefinitionError("@workflow needs a name: @df.workflow('copy-orders')")
    return declare if fn is None else declare(fn)


define_workflow = workflow


def describe(workflow: Workflow) -> dict[str, str]:
    """The columns of a version, as text."""
    return {
        "kind": workflow.kind,
        "source": workflow.source.replace("\0", ""),
        "spec": "" if workflow.spec is None else json.dumps(workflow.spec),
        "info": json.dumps(workflow.info()),
    }


def is_mapping(value: object) -> bool:
    """Whether a payload reads like a JSON object."""
    return isinstance(value, Mapping)
