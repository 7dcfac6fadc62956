"""The builder's vocabulary: one method per kind of node.

This is the place where new node types get their method: each is a few lines around `make_node`, which takes the
type, its config and the options that every node has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.declare import Declaration, EdgeDecl, NodeDecl, Options

After = str | Sequence[str]
When = str | Callable[..., Any] | Mapping[str, Any] | Sequence[Any]
Join = str | int | Mapping[str, int]


class Verbs(ABC):
    """Methods that add nodes; `Flow` says how a declaration is added."""

    @abstractmethod
    def _declare(self, *declarations: Declaration) -> Self:
        """The same flow with more declarations."""

    @abstractmethod
    def _declared(self) -> Sequence[Declaration]:
        """The declarations so far."""

    @abstractmethod
    def _ids(self) -> set[str]:
        """The ids in use."""

    def step(
        self,
        name: str,
        fn: Callable[..., Any],
        *,
        inputs: Mapping[str, Any] | None = None,
        after: After = (),
        executor: str | None = None,
        **options: Any,
    ) -> Self:
        """Add a step that calls `fn`.

        A parameter named like a node is given that node's output (``new-order`` is spelled `new_order`),
        wherever in the flow the node was written. These names have a meaning of their own: `event`, the
        event that started the run; `step`, the step API, for durable work inside of this node; `run`;
        `error`, in a node that is a goto target. A parameter with a default that matches nothing keeps its
        default. A step without any wiring follows the trigger. The target of a goto is entered by the error
        alone, whatever its parameters read; with `after` or `when` it has a place in the ordinary flow too.

        Args:
            name: the node's id, unique in the flow.
            fn: any callable, blocking or async.
            inputs: explicit wiring by parameter: a node's name, ``df.ref("node.field")`` or ``df.value(3)``.
            after: nodes that come first although nothing of them is used.
            executor: where `fn` runs, such as ``"process"``; see `Step.run`.
            options: `retry` (a Retry or a number), `timeout` (a duration), `on_error` (``"stop"``,
                ``"continue"``, ``"goto:<node>"``), `when` (see below), `join` (``"all"``, ``"any"``, ``2``,
                ``"2-of-3"``), `undo` (called to compensate when the run fails later) and `description`.

        `when` takes the name of a condition (``"is_big"``, ``"not is_big"``), a case of a branch
        (``"route:big"``, ``"route:big|huge"``), a function over upstream values, wired by parameter names as
        well, a condition as a mapping, or a list of these, which must all hold. If it does not hold, the
        node is skipped.

        Raises:
            DefinitionError: the name is not text, `fn` cannot be called, or an option is unknown.
        """
        config = _placed(name, executor)
        return self._declare(
            make_node(name, "python", options, fn=_callable(name, fn), inputs=inputs, after=after, config=config)
        )

    code = step

    def map(
        self,
        name: str,
        fn: Callable[..., Any],
        *,
        over: Any,
        concurrency: int | None = None,
        key: Callable[[Any], Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        after: After = (),
        executor: str | None = None,
        **options: Any,
    ) -> Self:
        """Call `fn` for every item of a collection, several at a time; the output is the list of results, in
        order.

        Args:
            name: the node's id.
            fn: gets the item as its first parameter; the others are wired by name, `index` is the item's
                position.
            over: the collection: a node's name, ``df.ref("load.rows")`` or ``df.value([1, 2])``.
            concurrency: how many items at a time; None leaves it to the engine.
            key: names an item, so that it is recognised when the collection is reordered; the position by
                default.
            inputs: as in `step`.
            after: as in `step`.
            executor: as in `step`.
            options: as in `step`; `retry`, `timeout` and `undo` count per item.
        """
        config = _placed(name, executor) | ({} if concurrency is None else {"concurrency": concurrency})
        roles = {} if key is None else {"key": _callable(name, key, "key")}
        return self._declare(
            make_node(
                name,
                "map",
                options,
                fn=_callable(name, fn),
                inputs=inputs,
                after=after,
                config=config,
                sources={"over": over},
                roles=roles,
                item_first=True,
            )
        )

    def condition(
        self,
        name: str,
        fn: Any,
        *,
        inputs: Mapping[str, Any] | None = None,
        after: After = (),
        **options: Any,
    ) -> Self:
        """If and else: ``.condition("is_big", lambda load: load > 9)``, then ``when="is_big"`` or ``"not
        is_big"``.
        """
        config = {"kind": "condition", "handles": ["true", "false"]}
        return self._declare(
            make_node(name, "branch", options, fn=_callable(name, fn), inputs=inputs, after=after, config=config)
        )

    def branch(
        self,
        name: str,
        fn: Callable[..., Any],
        cases: Mapping[str, After] | Sequence[str] | None = None,
        *,
        default: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        after: After = (),
        **options: Any,
    ) -> Self:
        """Choose one of several ways: `fn` returns the name of the case.

        Args:
            name: the node's id.
            fn: its return value, as text, is the case; True and False are ``"true"`` and ``"false"``.
            cases: the nodes behind each case (``{"big": "ship", "small": ["pack", "post"]}``) or only the
                cases' names; without it they are those that some ``when="<name>:<case>"`` mentions.
            default: the case that is taken for any other value; without it no branch is taken.
            inputs: as in `step`.
            after: as in `step`.
            options: as in `step`.
        """
        config: dict[str, Any] = {"kind": "switch"}
        targets: dict[str, tuple[str, ...]] | None = None
        if isinstance(cases, Mapping):
            targets = {str(handle): _names(name, nodes, "cases") for handle, nodes in cases.items()}
            config["handles"] = list(targets)
        elif cases is not None:
            config["handles"] = list(_names(name, cases, "cases"))
        if default is not None:
            config["default"] = default
            if "handles" in config and default not in config["handles"]:
                config["handles"].append(default)
        return self._declare(
            make_node(
                name,
                "branch",
                options,
                fn=_callable(name, fn),
                inputs=inputs,
                after=after,
                config=config,
                cases=targets,
            )
        )

    def parallel(
        self,
        name: str,
        branches: Mapping[str, Callable[..., Any]],
        *,
        join: Join = "all",
        after: After = (),
        **options: Any,
    ) -> Self:
        """Several steps at once and a node where they meet.

        Every entry of `branches` becomes a step with `options`; `name` becomes the join, whose output is a
        dict of the outputs of those branches that completed before it. It runs once, when `join` holds.
        """
        steps: list[Declaration] = [
            make_node(branch, "python", options, fn=_callable(branch, fn), after=after)
            for branch, fn in branches.items()
        ]
        return self._declare(*steps, make_node(name, "join", {"join": join}, inputs=_same(branches)))

    def join(self, name: str, of: Sequence[str], *, join: Join = "all", **options: Any) -> Self:
        """A node where branches meet; its output is a dict of the outputs of those that completed."""
        nodes = _names(name, of, "of")
        return self._declare(make_node(name, "join", {**options, "join": join}, inputs=_same(nodes)))

    def subflow(
        self,
        name: str,
        flow: Any,
        *,
        inputs: Mapping[str, Any] | None = None,
        payload: Any = None,
        wait: bool = True,
        after: After = (),
        **options: Any,
    ) -> Self:
        """Run another flow or workflow as a child; the output is its result.

        Args:
            name: the node's id.
            flow: a Flow, a decorated workflow, or the name of either.
            inputs: the child's payload, by key: a node's name, ``df.ref(...)`` or ``df.value(...)``.
            payload: the child's whole payload instead. Without both the child is given this run's payload.
            wait: False starts the child and goes on; the output is then its run id.
            after: as in `step`.
            options: as in `step`.

        Raises:
            DefinitionError: `flow` is neither a name nor something that has one, or both payloads were given.
        """
        if inputs is not None and payload is not None:
            raise DefinitionError(f"sub-flow {name!r}: give inputs= (by key) or payload= (the whole), not both")
        child_name = flow if isinstance(flow, str) else getattr(flow, "name", None)
        if not isinstance(child_name, str):
            raise DefinitionError(f"sub-flow {name!r}: {flow!r} is neither a flow, a workflow nor the name of one")
        config: dict[str, Any] = {"flow": child_name} if wait else {"flow": child_name, "wait": False}
        return self._declare(
            make_node(
                name,
                "subflow",
                options,
                inputs=inputs,
                after=after,
                config=config,
                sources={} if payload is None else {"payload": payload},
                child=None if isinstance(flow, str) else flow,
            )
        )

    def node(
        self,
        name: str,
        type: str,
        config: Mapping[str, Any] | None = None,
        *,
        after: After = (),
        **options: Any,
    ) -> Self:
        """Add a node of any registered type with its config as the document has it."""
        if not isinstance(type, str):
            raise DefinitionError(f"node {name!r}: the type is a word such as 'python', not {type!r}")
        return self._declare(make_node(name, type, options, after=after, config=dict(config or {})))

    def on(self, trigger: Any, *, id: str | None = None, **config: Any) -> Self:
        """Say what starts this flow; several triggers are alternatives.

        Args:
            trigger: a type (``"manual"``, ``"trigger_schedule"``), a mapping with ``type`` and ``config``,
                or an object that has these two attributes.
            id: the trigger node's id: ``trigger``, ``trigger_2``, … by default.
            config: fields of the trigger's config.
        """
        kind: Any
        if isinstance(trigger, str):
            kind, fields = trigger, dict(config)
        elif isinstance(trigger, Mapping):
            kind, fields = trigger.get("type"), {**(trigger.get("config") or {}), **config}
        else:
            kind, fields = (
                getattr(trigger, "type", None),
                {**(getattr(trigger, "config", None) or {}), **config},
            )
        if not isinstance(kind, str):
            raise DefinitionError(f"{trigger!r} is not a trigger: it has no type, such as 'schedule'")
        ids = self._ids()
        free = (name for name in ("trigger", *(f"trigger_{n}" for n in range(2, len(ids) + 3))) if name not in ids)
        full = kind if kind.startswith("trigger_") else f"trigger_{kind}"
        return self._declare(make_node(id if id is not None else next(free), full, {}, config=fields))

    def edge(
        self,
        source: str,
        target: str,
        *,
        handle: str | None = None,
        label: str | None = None,
        id: str | None = None,
    ) -> Self:
        """Add an edge: `target` comes after `source`, behind one of its handles if `handle` is given."""
        for end in (source, target):
            if not isinstance(end, str):
                raise DefinitionError(f"an edge leads from one node's name to another's, not {end!r}")
        return self._declare(EdgeDecl(source, target, handle, label, id))


_OPTIONS = ("retry", "timeout", "on_error", "when", "join", "undo", "description")


def make_node(
    name: str, type_: str, options: Mapping[str, Any], *, after: After = (), inputs: Any = None, **fields: Any
) -> NodeDecl:
    if not isinstance(name, str):
        raise DefinitionError(f"the name of a node is text, not {name!r}")
    for option in options:
        if option not in _OPTIONS:
            raise DefinitionError(f"node {name!r}: unknown option {option!r}; there are {', '.join(_OPTIONS)}")
    given = Options(**options)
    if given.undo is not None:
        _callable(name, given.undo, "undo")
    if inputs is not None and not isinstance(inputs, Mapping):
        raise DefinitionError(f'node {name!r}: inputs= is a mapping such as {{"rows": "load"}}, not {inputs!r}')
    return NodeDecl(name, type_, given, inputs=dict(inputs or {}), after=_names(name, after, "after"), **fields)


def _callable(name: str, fn: Any, role: str = "the function") -> Callable[..., Any]:
    if not callable(fn):
        raise DefinitionError(f"node {name!r}: {role} must be callable, not {fn!r}")
    return fn  # type: ignore[no-any-return]


def _placed(name: str, executor: Any) -> dict[str, Any]:
    if executor is not None and not isinstance(executor, str):
        raise DefinitionError(f"node {name!r}: executor= is the name of one, such as 'process', not {executor!r}")
    return {} if executor is None else {"executor": executor}


def _names(name: str, given: Any, role: str) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    try:
        names = tuple(given)
    except TypeError:
        names = (given,)
    for found in names:
        if not isinstance(found, str):
            raise DefinitionError(f"node {name!r}: {role} takes the names of nodes, not {found!r}")
    return names


def _same(names: Any) -> dict[str, str]:
    return {name: name for name in names}
