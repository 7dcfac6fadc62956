"""The step handle that a workflow gets: `Step` awaits, `SyncStep` blocks.

Both are thin: a method hands its arguments to the verb of the same name. A workflow written with ``async def`` gets a
`Step`, one written with ``def`` a `SyncStep`; a test holds the two to the same methods and signatures.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, overload
from uuid import UUID

from dataflows_sdk.core.current import current_step
from dataflows_sdk.core.durations import Duration, Instant
from dataflows_sdk.core.retry import Retry
from dataflows_sdk.engine import group
from dataflows_sdk.engine.faces import drive
from dataflows_sdk.engine.verb_rows import wanted_of
from dataflows_sdk.engine.verbs import Verbs
from dataflows_sdk.errors import DefinitionError, NotInWorkflowError

T = TypeVar("T")
Join = str | int
#: any change will do
ANY: Any = type("Any", (), {"__repr__": lambda _: "ANY"})()


class _Handle:
    """What both handles share."""

    __slots__ = ("_verbs",)

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    @property
    def run_id(self) -> str:
        """The id of this run."""
        return str(self._verbs.live.id)

    @property
    def idempotency_key(self) -> str:
        """Inside a step's function: a key that is the same in every attempt of this step, for APIs that take one.

        Raises:
            NotInWorkflowError: no step's function is running here.
        """
        info = current_step.get()
        if info is None or not info.active:
            raise NotInWorkflowError("step.idempotency_key is read inside a step's function")
        return info.idempotency_key

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        """Say how far the run is. Not durable: a hint for those who watch, at most five a second."""
        self._verbs.progress(done, total, text)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of run {self._verbs.live.id}>"


class Step(_Handle):
    """The step verbs for ``async def`` workflows."""

    __slots__ = ()

    async def run(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        key: object = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        undo: Callable[..., Any] | None = None,
        uncertain: str = "retry",
        executor: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call ``fn(*args, **kwargs)`` and record what it returns; on replay the recorded value comes back.

        Args:
            name: the step's name; the n-th use of a name in one scope is its own step.
            fn: any callable, blocking (it runs in a thread) or async.
            key: tells uses of one name apart where they run in parallel.
            retry: how to try again; by default 3 retries with exponential backoff from 1 s.
            timeout: for each attempt, ``"30s"``.
            undo: called with the result, in reverse order, when the run fails or is cancelled later on.
            uncertain: what to do when a crash leaves open whether it ran: ``"retry"``, ``"fail"`` or ``"ask"``.
            executor: where *fn* runs: ``"process"``, ``"dask"``, ``"ray"`` or another name of ``connect(executors=…)``;
                in this process by default.

        Raises:
            StepCollisionError, NonDeterminismError, NotSerializableError, StepTimeoutError, ExecutorError, and whatever
            *fn* raised in its last attempt.
        """
        return await self._verbs.run(
            name,
            fn,
            args,
            kwargs,
            key=key,
            retry=retry,
            timeout=timeout,
            undo=undo,
            uncertain=uncertain,
            executor=executor,
        )

    async def sleep(self, name: str, duration: Duration, /) -> None:
        """Wait for a span: ``"24h"``, seconds or a timedelta. A long sleep costs one row and nothing else."""
        await self._verbs.sleep(name, duration)

    async def sleep_until(self, name: str, until: Instant, /) -> None:
        """Wait until an instant; one in the past is over at once."""
        await self._verbs.sleep(name, None, until)

    async def wait_for_event(
        self,
        name: str,
        /,
        *,
        event: str | None = None,
        timeout: Duration | None = None,
        match: Mapping[str, Any] | None = None,
        on_timeout: str = "return",
    ) -> Any:
        """Wait for an event of this run (also one that came earlier) and give its payload; None after *timeout*.

        Args:
            event: the event's name where it differs from the step's.
            match: fields that the payload must have, ``{"order.id": 7}``.
            on_timeout: ``"return"`` None, or ``"raise"`` EventTimeoutError.
        """
        return await self._verbs.wait_for_event(name, event=event, timeout=timeout, match=match, on_timeout=on_timeout)

    async def wait_for_change(
        self,
        name: str,
        table: str,
        key: Any,
        /,
        *,
        field: str,
        op: str | None = None,
        value: Any = ANY,
        timeout: Duration | None = None,
        on_timeout: str = "return",
    ) -> Any:
        """Wait until a field of a row of the warehouse changes, or is *value*; what happened, None after *timeout*.

        Args:
            table, key: which row; it need not be there yet.
            field: a column of the table.
            op: how the field is compared with *value*: an operator of conditions, ``"eq"`` by default. If it holds
                already, there is no wait.
            value: what it is compared with; without it and *op* any change counts.
            on_timeout: ``"return"`` None, or ``"raise"`` EventTimeoutError.

        Returns:
            ``{event, object, at, record, old_record}``; the event is ``"created"``, ``"updated"``, ``"deleted"``, or
            ``"held"`` where it was so already.

        Raises:
            TableNotFoundError, DefinitionError: there is no such table, key or field.
        """
        wanted = wanted_of(op, value, value is not ANY)
        return await self._verbs.wait_for_change(
            name, table, key, field, wanted, timeout=timeout, on_timeout=on_timeout
        )

    async def send_event(self, name: str, /, run: str | UUID, event: str, payload: Any = None) -> bool:
        """Send an event to another run, exactly once. False when that run is already over."""
        return await self._verbs.send_event(name, run, event, payload)

    async def emit(self, name: str, /, event: str, payload: Any = None) -> None:
        """Send an event to every run that waits for it, exactly once each."""
        await self._verbs.emit(name, event, payload)

    async def map(
        self,
        name: str,
        fn: Callable[..., Any],
        items: Iterable[Any],
        /,
        *,
        key: Callable[[Any], object] | None = None,
        concurrency: int | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        undo: Callable[..., Any] | None = None,
        uncertain: str = "retry",
        on_error: str = "raise",
        executor: str | None = None,
    ) -> list[Any]:
        """Call *fn* for each item, in parallel, each call a step; results in the order of the items.

        When *fn* has a parameter ``step``, each call is a branch with steps of its own.

        Args:
            key: gives an item's key (its place otherwise); keys must differ.
            concurrency: how many at once; all by default.
            on_error: ``"raise"`` the first failure, or ``"return"`` exceptions in place of results.
            executor: where *fn* runs, as in `run`; a branch with steps of its own gives it to those.
        """
        options = group.Options(concurrency, retry, timeout, undo, uncertain, on_error, executor=executor)
        return await _map(self._verbs, name, fn, items, key, options)

    async def parallel(
        self,
        name: str,
        branches: Mapping[str, Callable[..., Any]] | Sequence[Callable[..., Any]],
        /,
        *,
        join: Join = "all",
        concurrency: int | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        on_error: str = "raise",
        executor: str | None = None,
    ) -> Any:
        """Run functions side by side; a dict gives a dict of results, a list a list.

        Args:
            join: ``"all"``; ``"any"`` or a number: that many winners, the others are cancelled and left out of
                the result (a dict of the winners in the order in which they came in).
        """
        return await _parallel(self._verbs, name, branches, join, concurrency, retry, timeout, on_error, executor)

    async def gather(self, *work: Awaitable[Any] | Callable[[], Any], name: str = "gather") -> list[Any]:
        """Like ``asyncio.gather``, with a scope for each coroutine, so that their steps cannot be mixed up."""
        return await _gather(self._verbs, name, work)

    async def invoke(
        self,
        name: str,
        workflow: Any,
        payload: Any = None,
        /,
        *,
        key: object = None,
        detach: bool = False,
        undo: Callable[..., Any] | None = None,
    ) -> Any:
        """Run another workflow as a child and give its result; with ``detach=True`` only its run id, at once.

        Raises:
            RunFailed, RunCancelled, RunQuarantined: the child gave no result.
        """
        return await self._verbs.invoke(name, workflow, payload, key=key, detach=detach, undo=undo)

    async def transaction(
        self, name: str, fn: Callable[..., Any], /, *args: Any, retry: Retry | None = None, **kwargs: Any
    ) -> Any:
        """Call ``fn(connection, *args, **kwargs)`` in a transaction: its SQL and the step's record commit together.

        *fn* is a plain ``def``; the connection is psycopg's, on the database of the journal. Exactly once.
        """
        return await self._verbs.transaction(name, fn, args, kwargs, retry)

    async def now(self) -> datetime:
        """The time, by the database's clock; the same on every replay."""
        return await self._verbs.now()

    async def uuid(self) -> UUID:
        """A new UUIDv7; the same on every replay."""
        return await self._verbs.uuid()

    async def random(self) -> float:
        """A random number in [0, 1); the same on every replay."""
        return await self._verbs.random()

    async def patched(self, change: str, /) -> bool:
        """Guard a change of the code: True for runs that had not come this far, False for those that had."""
        return await self._verbs.patched(change)


class SyncStep(_Handle):
    """The step verbs for ``def`` workflows: the same as `Step`, blocking."""

    __slots__ = ()

    def run(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        key: object = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        undo: Callable[..., Any] | None = None,
        uncertain: str = "retry",
        executor: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """See `Step.run`; *fn* runs in this thread, on the engine's loop when it is async, or where *executor* says."""
        return drive(
            self._verbs.run(
                name,
                fn,
                args,
                kwargs,
                key=key,
                retry=retry,
                timeout=timeout,
                undo=undo,
                uncertain=uncertain,
                executor=executor,
            )
        )

    def sleep(self, name: str, duration: Duration, /) -> None:
        """See `Step.sleep`."""
        drive(self._verbs.sleep(name, duration))

    def sleep_until(self, name: str, until: Instant, /) -> None:
        """See `Step.sleep_until`."""
        drive(self._verbs.sleep(name, None, until))

    def wait_for_event(
        self,
        name: str,
        /,
        *,
        event: str | None = None,
        timeout: Duration | None = None,
        match: Mapping[str, Any] | None = None,
        on_timeout: str = "return",
    ) -> Any:
        """See `Step.wait_for_event`."""
        return drive(self._verbs.wait_for_event(name, event=event, timeout=timeout, match=match, on_timeout=on_timeout))

    def wait_for_change(
        self,
        name: str,
        table: str,
        key: Any,
        /,
        *,
        field: str,
        op: str | None = None,
        value: Any = ANY,
        timeout: Duration | None = None,
        on_timeout: str = "return",
    ) -> Any:
        """See `Step.wait_for_change`."""
        wanted = wanted_of(op, value, value is not ANY)
        return drive(
            self._verbs.wait_for_change(name, table, key, field, wanted, timeout=timeout, on_timeout=on_timeout)
        )

    def send_event(self, name: str, /, run: str | UUID, event: str, payload: Any = None) -> bool:
        """See `Step.send_event`."""
        return drive(self._verbs.send_event(name, run, event, payload))

    def emit(self, name: str, /, event: str, payload: Any = None) -> None:
        """See `Step.emit`."""
        drive(self._verbs.emit(name, event, payload))

    def map(
        self,
        name: str,
        fn: Callable[..., Any],
        items: Iterable[Any],
        /,
        *,
        key: Callable[[Any], object] | None = None,
        concurrency: int | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        undo: Callable[..., Any] | None = None,
        uncertain: str = "retry",
        on_error: str = "raise",
        executor: str | None = None,
    ) -> list[Any]:
        """See `Step.map`; blocking functions run in the engine's threads."""
        options = group.Options(concurrency, retry, timeout, undo, uncertain, on_error, executor=executor)
        return drive(_map(self._verbs, name, fn, items, key, options))

    def parallel(
        self,
        name: str,
        branches: Mapping[str, Callable[..., Any]] | Sequence[Callable[..., Any]],
        /,
        *,
        join: Join = "all",
        concurrency: int | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        on_error: str = "raise",
        executor: str | None = None,
    ) -> Any:
        """See `Step.parallel`."""
        return drive(_parallel(self._verbs, name, branches, join, concurrency, retry, timeout, on_error, executor))

    def gather(self, *work: Awaitable[Any] | Callable[[], Any], name: str = "gather") -> list[Any]:
        """See `Step.gather`; here usually functions without arguments."""
        return drive(_gather(self._verbs, name, work))

    def invoke(
        self,
        name: str,
        workflow: Any,
        payload: Any = None,
        /,
        *,
        key: object = None,
        detach: bool = False,
        undo: Callable[..., Any] | None = None,
    ) -> Any:
        """See `Step.invoke`."""
        return drive(self._verbs.invoke(name, workflow, payload, key=key, detach=detach, undo=undo))

    def transaction(
        self, name: str, fn: Callable[..., Any], /, *args: Any, retry: Retry | None = None, **kwargs: Any
    ) -> Any:
        """See `Step.transaction`."""
        return drive(self._verbs.transaction(name, fn, args, kwargs, retry))

    def now(self) -> datetime:
        """See `Step.now`."""
        return drive(self._verbs.now())

    def uuid(self) -> UUID:
        """See `Step.uuid`."""
        return drive(self._verbs.uuid())

    def random(self) -> float:
        """See `Step.random`."""
        return drive(self._verbs.random())

    def patched(self, change: str, /) -> bool:
        """See `Step.patched`."""
        return drive(self._verbs.patched(change))


async def _map(
    verbs: Verbs,
    name: str,
    fn: Callable[..., Any],
    items: Iterable[Any],
    key: Callable[[Any], object] | None,
    options: group.Options,
) -> list[Any]:
    if not callable(fn):
        raise DefinitionError(f"step.map {name!r}: {fn!r} is not callable; it is step.map(name, fn, items)")
    try:
        values = list(items)
    except TypeError:
        raise DefinitionError(
            f"step.map {name!r}: a {type(items).__name__} is nothing to go over; give a list or another iterable"
        ) from None
    keys = [str(i) for i in range(len(values))] if key is None else [str(key(value)) for value in values]
    if verbs.live.stopping is not None:
        await verbs.unwound()
    frame = verbs.enter("map", name)
    try:
        if group.is_given(frame) and frame.record is not None:
            given: list[Any] = await verbs.recorded(frame.record)
            return given
        branches = group.keyed_items(frame, keys, [fn] * len(values), [(value,) for value in values])
        return await group.run_group(verbs.live, verbs, frame, branches, options)
    finally:
        verbs.live.leave(frame)


async def _parallel(
    verbs: Verbs,
    name: str,
    given: Mapping[str, Callable[..., Any]] | Sequence[Callable[..., Any]],
    join: Join,
    concurrency: int | None,
    retry: Retry | None,
    timeout: Duration | None,
    on_error: str,
    executor: str | None,
) -> Any:
    keys, fns = group.branches(given)
    for branch, fn in zip(keys, fns, strict=True):
        if not callable(fn):
            raise DefinitionError(f"step.parallel {name!r}: branch {branch!r} is {fn!r}, which is not callable")
    need = _needed(name, join, len(fns))
    options = group.Options(concurrency, retry, timeout, None, "retry", on_error, need, executor=executor)
    if verbs.live.stopping is not None:
        await verbs.unwound()
    frame = verbs.enter("parallel", name)
    try:
        if group.is_given(frame) and frame.record is not None:
            return await verbs.recorded(frame.record)
        items = group.keyed_items(frame, keys, fns, [()] * len(fns))
        results = await group.run_group(verbs.live, verbs, frame, items, options)
    finally:
        verbs.live.leave(frame)
    if need is not None:
        return dict(results)
    return dict(zip(keys, results, strict=True)) if isinstance(given, Mapping) else results


def _needed(name: str, join: Join, count: int) -> int | None:
    if join == "all":
        return None
    need = 1 if join == "any" else join
    if isinstance(need, bool) or not isinstance(need, int) or not 1 <= need <= count:
        raise DefinitionError(
            f"step.parallel {name!r}: join is 'all', 'any' or a number from 1 to {count}, not {join!r}"
        )
    return need


async def _gather(verbs: Verbs, name: str, work: Sequence[Awaitable[Any] | Callable[[], Any]]) -> list[Any]:
    if verbs.live.stopping is not None:
        await verbs.unwound()
    frame = verbs.enter("gather", name)
    try:
        if group.is_given(frame) and frame.record is not None:
            given: list[Any] = await verbs.recorded(frame.record)
            return given
        items = [group.Item(str(i), f"{frame.key}[{i}]", None, (), True, piece) for i, piece in enumerate(work)]
        return await group.run_group(verbs.live, verbs, frame, items, group.Options())
    finally:
        verbs.live.leave(frame)
        for piece in work:
            close = getattr(piece, "close", None)
            if close is not None and hasattr(piece, "cr_await"):
                close()  # a coroutine that was never begun would warn


__all__ = ["Step", "SyncStep", "overload"]
