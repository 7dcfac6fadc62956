"""The builder's vocabulary for nodes that are data: triggers, actions, logic. What they make is what a document has.

Strings may hold templates (``{{trigger.id}}``, ``{{steps.load.output.total}}``). A node that does not say what it comes
`after` follows the node written before it; ``after="check:true"`` follows a handle.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.flow.declare import Declaration, NodeDecl
from dataflows_sdk.flow.verbs import After, Join, Verbs, make_node

Conditions = str | Mapping[str, Any] | Sequence[Any]


class DataVerbs(Verbs):
    """Methods that add nodes which are described by their config."""

    @abstractmethod
    def _blank(self) -> Self:
        """An empty flow, to build a part in."""

    def _data(self, name: str, type_: str, config: Mapping[str, Any], after: After, options: Mapping[str, Any]) -> Self:
        made = make_node(name, type_, options, after=after, config=_given(config))
        return self._declare(replace(made, chained=True))

    # --- triggers ----------------------------------------------------------------------------------------

    def on_record(
        self,
        object: str,
        event: str | Sequence[str] = "created",
        *,
        where: Conditions | None = None,
        id: str | None = None,
    ) -> Self:
        """Start when a record is created, updated or deleted.

        Args:
            where: conditions on its fields: ``[("amount", "gt", 100)]``, or as in a document.
        """
        events = event if isinstance(event, str) else list(event)
        return self.on("record", id=id, **_given({"object": object, "event": events, "conditions": _conditions(where)}))

    def on_schedule(
        self, cron: str | None = None, *, every: Any = None, tz: str | None = None, id: str | None = None, **config: Any
    ) -> Self:
        """Start at certain times: ``"0 9 * * 1-5"`` in a zone, or ``every="1h"``."""
        return self.on("schedule", id=id, **_given({"cron": cron, "every": every, "timezone": tz, **config}))

    def on_webhook(self, verify: str | None = None, *, id: str | None = None, **config: Any) -> Self:
        """Start when the flow's address is called; ``verify="github", secret="…"`` checks the signature."""
        path = config.pop("path", None)
        return self.on(
            "webhook",
            id=id,
            **_given({"path": path, "verification_type": verify, "verification_config": config or None}),
        )

    def on_manual(self, schema: Mapping[str, Any] | None = None, *, id: str | None = None) -> Self:
        """Start by hand, with an input that fits a JSON Schema."""
        return self.on("manual", id=id, **_given({"input_schema": schema}))

    def on_event(self, event: str, *, where: Conditions | None = None, id: str | None = None) -> Self:
        """Start when an event of that name, or of a pattern such as ``order.*``, is emitted, if its payload fits."""
        return self.on("event", id=id, **_given({"event": event, "conditions": _conditions(where)}))

    def on_service(self, service: str, event: str, *, where: Conditions | None = None, id: str | None = None) -> Self:
        """Start when a service tells that something happened, if its payload fits."""
        return self.on(
            "service", id=id, **_given({"service": service, "event": event, "conditions": _conditions(where)})
        )

    def on_integration(self, connection: str, event: str, *, id: str | None = None, **config: Any) -> Self:
        """Start when something happens at a connected service."""
        return self.on("integration", id=id, connection_id=connection, event=event, **config)

    # --- actions -----------------------------------------------------------------------------------------

    def http(
        self,
        name: str,
        url: str,
        *,
        method: str | None = None,
        json: Any = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        auth: Mapping[str, Any] | None = None,
        expect_status: Any = None,
        after: After = (),
        **options: Any,
    ) -> Self:
        """Call an address; the output is ``{status, headers, body}``. With a body the method is POST by default."""
        if json is not None and body is not None:
            raise DefinitionError(f"node {name!r}: give json= or body=, not both")
        sent = json if json is not None else body
        if method is None and sent is not None:
            method = "POST"
        config = {
            "url": url,
            "method": method,
            "headers": headers,
            "query": query,
            "body": sent,
            "auth": auth,
            "expect_status": expect_status,
        }
        return self._data(name, "action_http", config, after, options)

    def email(self, name: str, to: str | Sequence[str], *, after: After = (), **fields: Any) -> Self:
        """Send a mail: ``subject`` and ``body`` or ``html``, or a ``template`` with ``merge_fields``."""
        options, config = _split(fields)
        to = to if isinstance(to, str) else list(to)
        return self._data(name, "action_email", {"to": to, **config}, after, options)

    def notify(self, name: str, channel: str | None = None, *, after: After = (), **fields: Any) -> Self:
        """Tell whoever listens: ``title``, ``message``, ``data``, ``level``, ``user_id``."""
        options, config = _split(fields)
        return self._data(name, "action_notification", {"channel": channel, **config}, after, options)

    def record(self, name: str, object: str, operation: str, *, after: After = (), **fields: Any) -> Self:
        """Create, update, upsert or delete a record: ``data``, ``id``, ``where``."""
        options, config = _split(fields)
        return self._data(name, "action_record", {"object": object, "operation": operation, **config}, after, options)

    def integration(
        self,
        name: str,
        connection: str,
        action: str,
        params: Mapping[str, Any] | None = None,
        *,
        after: After = (),
        **options: Any,
    ) -> Self:
        """Run an action of a connected service."""
        config = {"connection_id": connection, "action_key": action, "params": params}
        return self._data(name, "action_integration", config, after, options)

    # --- code --------------------------------------------------------------------------------------------

    def snippet(
        self, name: str, code: str, *, language: str | None = None, input: Any = None, after: After = (), **fields: Any
    ) -> Self:
        """Run JavaScript in a sandbox, or Python in a process of its own."""
        options, config = _split(fields)
        return self._data(
            name, "code_snippet", {"code": code, "language": language, "input": input, **config}, after, options
        )

    def function(self, name: str, slug: str, *, input: Any = None, after: After = (), **options: Any) -> Self:
        """Call a function by its slug."""
        return self._data(name, "code_function", {"function_slug": slug, "input": input}, after, options)

    # --- logic -------------------------------------------------------------------------------------------

    def condition(
        self,
        name: str,
        fn: Callable[..., Any] | Conditions,
        *,
        inputs: Mapping[str, Any] | None = None,
        after: After = (),
        **options: Any,
    ) -> Self:
        """If and else.

        Args:
            fn: a function over upstream values, wired by its parameters (``lambda load: load > 9``); what depends on it
                says ``when="is_big"`` or ``when="not is_big"``. Or, as data, an expression (``"{{trigger.n}} > 9"``) or
                conditions; what comes behind it says ``after="is_big:true"`` or ``after="is_big:false"``.
        """
        if callable(fn):
            return super().condition(name, fn, inputs=inputs, after=after, **options)
        if inputs is not None:
            raise DefinitionError(f"condition {name!r}: inputs= wires the parameters of a function; write templates")
        if isinstance(fn, str):
            return self._data(name, "logic_condition", {"expression": fn}, after, options)
        return self._data(name, "logic_condition", {"conditions": _conditions(fn)}, after, options)

    def switch(
        self,
        name: str,
        value: Any,
        cases: Mapping[str, Any] | Sequence[Any],
        *,
        default: str | None = None,
        after: After = (),
        **options: Any,
    ) -> Self:
        """One of several ways: cases by handle (``{"home": "DE"}``), or values that are their own handles."""
        if isinstance(cases, Mapping):
            listed: list[Any] = [{"value": wanted, "handle": handle} for handle, wanted in cases.items()]
        else:
            listed = [each if isinstance(each, Mapping) else {"value": each} for each in cases]
        return self._data(name, "logic_switch", {"value": value, "cases": listed, "default": default}, after, options)

    def loop(
        self,
        name: str,
        items: Any,
        body: Callable[[Self], Self] | None = None,
        *,
        parallel: bool = False,
        concurrency: int | None = None,
        item: str | None = None,
        after: After = (),
        **fields: Any,
    ) -> Self:
        """Run a part of the flow for every item of a list.

        Args:
            items: a list, usually a template.
            body: builds that part: ``lambda part: part.http("call", "{{loop.item.url}}")``; its first node follows
                ``<name>:body``. Without it write ``after="<name>:body"`` yourself. What follows the loop is chained to
                ``<name>:done``.
            item: a name for the item besides ``loop.item``.
        """
        options, config = _split(fields)
        given = {
            "items": items,
            "mode": "parallel" if parallel or concurrency else None,
            "concurrency": concurrency,
            "item_var": item,
            **config,
        }
        made = self._data(name, "logic_loop", given, after, options)
        if body is None:
            return made
        return made._declare(*_inside(name, body(self._blank())._declared()))

    def delay(
        self,
        name: str,
        duration: Any = None,
        *,
        until: Any = None,
        until_field: Mapping[str, Any] | None = None,
        timeout: Any = None,
        after: After = (),
        **fields: Any,
    ) -> Self:
        """Wait: for a duration, until an instant, or until a field of a record changes, at most for *timeout*.

        Args:
            until_field: ``{"object": "orders", "id": 7, "field": "status", "op": "eq", "value": "paid"}``; without `op`
                and `value` any change counts.
        """
        options, config = _split(fields)
        if hasattr(until, "isoformat"):
            until = until.isoformat()
        config = {"duration": duration, "until": until, "until_field": until_field, "timeout": timeout, **config}
        return self._data(name, "logic_delay", config, after, options)

    def fan_out(
        self, name: str, *, meet: Join = "all", cancel_remaining: bool = False, after: After = (), **options: Any
    ) -> Self:
        """Follow all edges at once; the node where they meet runs when `meet` holds (``"any"``, ``"2-of-3"``)."""
        config = {"join": meet if meet != "all" else None, "cancel_remaining": cancel_remaining or None}
        return self._data(name, "logic_parallel", config, after, options)

    def approval(
        self,
        name: str,
        message: str = "",
        *,
        approvers: Sequence[str] = (),
        timeout: Any = None,
        on_timeout: str | None = None,
        required: int | None = None,
        after: After = (),
        **options: Any,
    ) -> Self:
        """Ask people and wait; behind it ``after="<name>:approved"`` and ``:rejected``."""
        config = {
            "message": message or None,
            "approvers": list(approvers) or None,
            "timeout": timeout,
            "on_timeout": on_timeout,
            "required": required,
        }
        return self._data(name, "logic_approval", config, after, options)

    # --- meta --------------------------------------------------------------------------------------------

    def subworkflow(
        self, name: str, workflow: str, input: Any = None, *, wait: bool = True, after: After = (), **options: Any
    ) -> Self:
        """Run another workflow, by name, as a child; what is a Python object goes into `subflow`."""
        config = {"workflow_id": workflow, "input": input, "mode": None if wait else "async"}
        return self._data(name, "meta_subworkflow", config, after, options)

    def handler(self, name: str, **options: Any) -> Self:
        """The target of ``on_error="goto:<name>"``."""
        return self._declare(make_node(name, "meta_error", options))


_OPTION_NAMES = ("retry", "timeout", "on_error", "when", "join", "undo", "description")


def _split(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of every node, and fields of this one's config."""
    options = {key: value for key, value in fields.items() if key in _OPTION_NAMES}
    return options, {key: value for key, value in fields.items() if key not in options}


def _given(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _json(value) for key, value in config.items() if value is not None}


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_json(item) for item in value]
    return value


def _conditions(given: Conditions | None) -> Any:
    """Triples become conditions: ``("amount", "gt", 100)``."""
    if given is None or isinstance(given, str | Mapping):
        return given
    return [
        {"field": each[0], "op": each[1], **({"value": each[2]} if len(each) > 2 else {})}
        if isinstance(each, tuple)
        else each
        for each in given
    ]


def _inside(loop: str, declarations: Sequence[Declaration]) -> list[Declaration]:
    """A part that was built by itself, as the body of its loop."""
    return [
        replace(each, part=loop) if isinstance(each, NodeDecl) and each.part is None else each for each in declarations
    ]
