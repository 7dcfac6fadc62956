"""Branches: map, parallel and gather.

A group is opened by one verb and lives on the engine's loop, whatever the colour of the workflow. Its branches have
their identities before any of them runs. A branch whose function takes a parameter ``step`` is a scope with steps of
its own; otherwise it is a single step.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataflows_sdk.engine.faces import AsyncFace, Settle, is_async, is_control_flow
from dataflows_sdk.engine.live import Branch, Frame, LiveRun, current_branch, quote
from dataflows_sdk.engine.units import Event, Unit
from dataflows_sdk.engine.verbs import ReplayStopped, Verbs
from dataflows_sdk.errors import Cancelled, DefinitionError, NonDeterminismError, StepCollisionError

if TYPE_CHECKING:
    from dataflows_sdk.core.codec import Blob
    from dataflows_sdk.core.retry import Retry

_MISSING: Any = object()
#: lanes that begin in one turn of the loop
_TOGETHER = 128


class Item:
    """One branch, before it runs."""

    __slots__ = ("args", "fn", "full", "key", "result", "scoped", "work")

    def __init__(
        self,
        key: str,
        full: str,
        fn: Callable[..., Any] | None,
        args: tuple[Any, ...],
        scoped: bool,
        work: Any = None,
    ) -> None:
        self.key = key
        self.full = full
        self.fn = fn
        self.args = args
        #: whether it has steps of its own
        self.scoped = scoped
        #: an awaitable or callable that the caller made (gather)
        self.work = work
        self.result: Any = _MISSING


class Options:
    """What holds for every branch of a group."""

    __slots__ = ("concurrency", "executor", "need", "on_error", "retry", "timeout", "uncertain", "undo", "value")

    def __init__(
        self,
        concurrency: int | None = None,
        retry: Retry | None = None,
        timeout: Any = None,
        undo: Callable[..., Any] | None = None,
        uncertain: str = "retry",
        on_error: str = "raise",
        need: int | None = None,
        value: Callable[[list[Any]], Any] | None = None,
        executor: str | None = None,
    ) -> None:
        if concurrency is not None and (not isinstance(concurrency, int) or concurrency < 1):
            raise DefinitionError(f"concurrency is a whole number from 1 on, not {concurrency!r}")
        if on_error not in ("raise", "return"):
            raise DefinitionError(f"on_error is 'raise' or 'return', not {on_error!r}")
        self.concurrency = concurrency
        self.retry = retry
        self.timeout = timeout
        self.undo = undo
        self.uncertain = uncertain
        self.on_error = on_error
        #: how many branches must succeed; None: all
        self.need = need
        #: what is recorded as the value of the whole group, of the results in the order of the items
        self.value = value
        #: where the functions run, see `dataflows_sdk.executors`; None: here
        self.executor = executor


def keyed_items(
    frame: Frame, keys: Sequence[str], fns: Sequence[Callable[..., Any]], args: Sequence[tuple[Any, ...]]
) -> list[Item]:
    """Branches with their keys; StepCollisionError when two have the same."""
    seen: set[str] = set()
    items: list[Item] = []
    last: Callable[..., Any] | None = None
    scoped = False
    for key, fn, arg in zip(keys, fns, args, strict=True):
        if fn is not last:  # a map asks the same question for each of its items
            last, scoped = fn, takes_step(fn)
        if key in seen:
            raise StepCollisionError(f"step {frame.name!r}: two branches have the key {key!r}; keys must differ")
        seen.add(key)
        items.append(Item(key, f"{frame.key}[{quote(key)}]", fn, arg, scoped))
    return items


def is_given(frame: Frame) -> bool:
    """Whether somebody gave the group's result, in a fork: then its branches have nothing to say."""
    return frame.record is not None and frame.record.data.get("set") is True


async def run_group(live: LiveRun, verbs: Verbs, frame: Frame, items: list[Item], options: Options) -> list[Any]:
    """Run the branches of a group; results in the order of the items.

    With ``on_error="raise"`` the first failure, in the order of the items, is raised once the branches that run have
    ended; no new one is begun after a failure. Which branches won a race, and that a group failed, are recorded.
    """
    if options.executor is not None and (scoped := next((item for item in items if item.scoped), None)):
        raise DefinitionError(
            f"{frame.op} {frame.name!r}: branch {scoped.key!r} has steps of its own, which stay in this process; "
            f"give executor={options.executor!r} to the steps in it"
        )
    group = _Group(live, verbs, frame, items, options)
    return await verbs.wait_group(group.start)  # type: ignore[no-any-return]


class _Group:
    def __init__(self, live: LiveRun, verbs: Verbs, frame: Frame, items: list[Item], options: Options) -> None:
        self.live = live
        self.engine = verbs.engine
        self.verbs = Verbs(live, AsyncFace(self.engine))
        self.frame = frame
        self.items = items
        self.options = options
        record = frame.record
        self.recorded_failure = record is not None and record.state == "failed"
        winners = record.data.get("winners") if record is not None and record.state == "completed" else None
        self.recorded_winners: set[str] | None = None if winners is None else set(winners)
        self.next = 0
        #: keys of the branches of which something is recorded; made when it is needed
        self.begun: set[str] | None = None
        #: lanes that count as active
        self.lanes = 0
        self.succeeded: list[Item] = []
        self.failed: list[tuple[Item, BaseException]] = []
        self.control: BaseException | None = None
        self.running: dict[Item, tuple[asyncio.Task[None], Branch]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.all_begun = False
        #: settled when the last lane is over
        self.ended: asyncio.Future[None] | None = None
        #: what a lane raised that no branch may raise
        self.broken: BaseException | None = None

    def start(self, settle: Settle) -> None:
        task = self.engine.loop.create_task(self._run())
        self.live.tasks.add(task)

        def done(task: asyncio.Task[list[Any]]) -> None:
            self.live.tasks.discard(task)
            if task.cancelled():
                settle(None, self.live.stopping or Cancelled())
                return
            error = task.exception()
            settle(None if error else task.result(), error)

        task.add_done_callback(done)

    async def _run(self) -> list[Any]:
        live = self.live
        self._open()
        lanes = min(self.options.concurrency or len(self.items), len(self.items))
        # The branch that opened the group waits for it; each of the group's own lanes is active. The last lane
        # hands its place back: between its end and what the opener does next the run must not look idle.
        self.lanes = max(1, lanes)
        with live.lock:
            live.active += self.lanes - 1
        try:
            await self._lanes(lanes)
        finally:
            with live.lock:
                live.active += 1 - self.lanes
        if self.control is not None:
            raise self.control
        return await self._close()

    # --- opening -----------------------------------------------------------------------------------------

    def _open(self) -> None:
        live, frame = self.live, self.frame
        keys = [item.key for item in self.items]
        plain = keys == [str(i) for i in range(len(keys))]
        recorded = live.state.scopes.get(frame.key)
        if recorded is not None:
            before = recorded["keys"] if "keys" in recorded else [str(i) for i in range(recorded["count"])]
            if before != keys:
                raise NonDeterminismError(
                    f"{frame.op} {frame.name!r} was recorded with {len(before)} branches ({_few(before)}) and now has "
                    f"{len(keys)} ({_few(keys)}); what it goes over must be the same in every replay: make it the "
                    "result of a step",
                    recorded=f"{frame.key}: {_few(before)}",
                    asked=f"{frame.key}: {_few(keys)}",
                )
            return
        if live.dry:
            raise ReplayStopped(frame.key, frame.op)
        data: dict[str, Any] = {"op": frame.op, "name": frame.name, "count": len(keys)}
        if frame.n is not None:
            data["n"] = frame.n
        if not plain:
            data["keys"] = keys
        self.engine.writer.submit(Unit(live.head, [Event("scope.opened", frame.key, json.dumps(data))]))

    # --- running -----------------------------------------------------------------------------------------

    async def _lanes(self, count: int) -> None:
        """Run the branches in so many tasks."""
        if not count:
            return
        loop = self.engine.loop
        self.ended = loop.create_future()
        context = contextvars.copy_context()  # one for all callbacks, not a copy for each
        try:
            for number in range(count):
                if number and not number % _TOGETHER:
                    # What the first ones record is on its way to the disk while the next ones begin.
                    await asyncio.sleep(0)
                lane = loop.create_task(self._lane())
                self.tasks.add(lane)
                self.live.tasks.add(lane)
                lane.add_done_callback(self._lane_ended, context=context)
            self.all_begun = True
            if self.tasks:
                await self.ended
        except asyncio.CancelledError:
            for lane in self.tasks:
                lane.cancel()
            if self.tasks:
                await asyncio.wait(self.tasks)
            self.control = self.control or self.live.stopping or Cancelled()
        if self.broken is not None:
            raise self.broken

    def _lane_ended(self, lane: asyncio.Task[None]) -> None:
        live = self.live
        self.tasks.discard(lane)
        live.tasks.discard(lane)
        if not lane.cancelled() and (error := lane.exception()) is not None:
            self.broken = self.broken or error
        if self.lanes > 1:
            self.lanes -= 1
            with live.lock:
                live.active -= 1
            self.engine.consider(live)
        if self.all_begun and not self.tasks and self.ended is not None and not self.ended.done():
            self.ended.set_result(None)

    async def _lane(self) -> None:
        while self.next < len(self.items) and self.control is None:
            item = self.items[self.next]
            self.next += 1
            if not self._skipped(item):
                await self._one(item)

    def _skipped(self, item: Item) -> bool:
        """Is this branch not to be begun any more?

        One that had begun before the run was let go of begins again in every replay, whatever became of the others: it
        has steps to go on with, or to be undone.
        """
        if self._lost(item):
            return not self._had_begun(item)
        need = self.options.need
        if self.recorded_failure or (self.failed and need is None and self.options.on_error == "raise"):
            return not self._had_begun(item)
        return False

    def _lost(self, item: Item) -> bool:
        """Has this branch, which is about to begin, already lost the race?"""
        if self.recorded_winners is not None:
            return item.key not in self.recorded_winners
        need = self.options.need
        return need is not None and len(self.succeeded) >= need

    def _had_begun(self, item: Item) -> bool:
        if self.begun is None:
            prefix = self.frame.key + "["
            self.begun = {key[: key.index("]", len(prefix)) + 1] for key in self.live.records if key.startswith(prefix)}
        return item.full in self.begun

    async def _one(self, item: Item) -> None:
        # A branch that is a single step needs no scope, unless it may have to be cancelled alone.
        alone = not item.scoped and self.options.need is None
        branch = self.frame.branch if alone else Branch(self.live, item.full + "/")
        task = None if alone else asyncio.current_task()
        if task is not None:
            self.running[item] = (task, branch)
        if self._lost(item):
            # Only what is recorded of it is gone through, so that it is undone like everything else.
            branch.cancelled = True
            self.live.lost += (item.full,)
        try:
            item.result = await self._work(item, branch)
        except asyncio.CancelledError:
            if task is not None and self.live.stopping is None and branch.cancelled:
                task.uncancel()
                return
            self.control = self.control or self.live.stopping or Cancelled()
        except BaseException as error:
            if branch.cancelled and isinstance(error, Cancelled | Exception):
                return
            if is_control_flow(error) or isinstance(error, ReplayStopped):
                self.control = self.control or error
            elif isinstance(error, Exception):
                self.failed.append((item, error))
            else:
                raise
        else:
            if branch.cancelled:
                return
            self.succeeded.append(item)
            if self.options.need is not None and len(self.succeeded) == self.options.need:
                self._cancel_losers(item)
        finally:
            if task is not None:
                self.running.pop(item, None)

    def _cancel_losers(self, winner: Item) -> None:
        for item, (task, branch) in list(self.running.items()):
            if item is winner or item in self.succeeded:
                continue
            branch.cancelled = True
            self.live.lost += (item.full,)
            for pending in [p for p in self.live.pendings if self.live.is_lost(p.frame)]:
                self.engine.unblock(self.live, pending, None, Cancelled("another branch won the race"))
            task.cancel()

    def _work(self, item: Item, branch: Branch) -> Awaitable[Any]:
        options = self.options
        if item.work is not None:
            return self._given(item.work, branch)
        assert item.fn is not None
        if not item.scoped:
            frame = self.live.enter_item(branch, "run", self.frame.name, item.key, item.full)
            return self.verbs.run(
                frame.name,
                item.fn,
                item.args,
                None,
                retry=options.retry,
                timeout=options.timeout,
                undo=options.undo,
                uncertain=options.uncertain,
                executor=options.executor,
                item=frame,
            )
        return self.engine.calls.scoped(self.live, branch, item.fn, item.args, {})

    async def _given(self, work: Any, branch: Branch) -> Any:
        if inspect.isawaitable(work):
            token = current_branch.set(branch)
            try:
                return await work
            finally:
                current_branch.reset(token)
        if not callable(work):
            raise DefinitionError(f"step.gather takes coroutines or functions without arguments, not {work!r}")
        return await self.engine.calls.plain(branch, work)

    # --- closing -----------------------------------------------------------------------------------------

    async def _close(self) -> list[Any]:
        options, need = self.options, self.options.need
        if need is not None and len(self.succeeded) < need:
            error = self.failed[0][1] if self.failed else DefinitionError("no branch to wait for")
            await self._fail(error)
            raise error
        if self.failed and need is None and options.on_error == "raise":
            position = {item: index for index, item in enumerate(self.items)}
            error = min(self.failed, key=lambda pair: position[pair[0]])[1]
            if len(self.failed) > 1:
                error.add_note(f"{len(self.failed) - 1} more of the {len(self.items)} branches failed")
            await self._fail(error)
            raise error
        if need is not None:
            results = [(item.key, item.result) for item in self.succeeded]
        else:
            errors = {id(item): error for item, error in self.failed}
            results = [errors.get(id(item), item.result) for item in self.items]
        await self._succeed(results)
        return results

    async def _succeed(self, results: list[Any]) -> None:
        frame, live = self.frame, self.live
        if frame.record is not None and frame.record.done:
            live.replayed += 1
            return
        if live.lost and live.is_lost(frame):
            raise Cancelled("another branch won the race")
        if live.dry:
            raise ReplayStopped(frame.key, frame.op)
        data: dict[str, Any] = {"op": frame.op, "name": frame.name, "n": frame.n, "count": len(self.items)}
        if self.options.need is not None:
            data["winners"] = [item.key for item in self.succeeded]
        text = json.dumps(data)
        blobs: tuple[Blob, ...] = ()
        if self.options.value is not None:
            encoded = self.engine.values.encode(self.options.value(results), f"result of {frame.name!r}")
            text, blobs = f'{text[:-1]},"value":{encoded.text}}}', encoded.blobs
        unit = Unit(live.head, [Event("step.completed", frame.key, text)], blobs=blobs)
        if self.options.need is not None or self.options.value is not None:
            await self.verbs.face.commit(unit)  # who won must be known before anybody acts on it
        else:
            self.engine.writer.submit(unit)

    async def _fail(self, error: BaseException) -> None:
        frame, live = self.frame, self.live
        if frame.record is not None and frame.record.done:
            return
        if live.dry:
            raise ReplayStopped(frame.key, frame.op)
        data = {
            "op": frame.op,
            "name": frame.name,
            "n": frame.n,
            "count": len(self.items),
            "retry_at": None,
            "error": self.engine.values.error_data(error),
        }
        await self.verbs.face.commit(Unit(live.head, [Event("step.failed", frame.key, json.dumps(data))]))


def _few(keys: Sequence[str]) -> str:
    return ", ".join(keys[:5]) + (", …" if len(keys) > 5 else "")


def takes_step(fn: Callable[..., Any]) -> bool:
    """Whether *fn* has a parameter named ``step``: then it is a branch with steps of its own."""
    code = getattr(fn, "__code__", None)
    if code is not None and not hasattr(fn, "__wrapped__"):
        return "step" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    try:
        return "step" in inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return False


def branches(
    given: Mapping[str, Callable[..., Any]] | Sequence[Callable[..., Any]],
) -> tuple[list[str], list[Callable[..., Any]]]:
    """Keys and functions of ``step.parallel``."""
    if isinstance(given, Mapping):
        return [str(key) for key in given], list(given.values())
    return [str(i) for i in range(len(given))], list(given)


Work = Awaitable[Any] | Callable[[], Any]
__all__ = ["Item", "Options", "Work", "branches", "is_async", "is_given", "keyed_items", "run_group", "takes_step"]
