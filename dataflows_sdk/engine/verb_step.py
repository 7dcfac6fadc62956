"""Verbs that call functions of the user: `run` and `transaction`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dataflows_sdk.core.codec import Blob, Encoded
from dataflows_sdk.core.current import StepInfo, current_step
from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.retry import DEFAULT_STEP_RETRY, Retry
from dataflows_sdk.engine.chance import chance
from dataflows_sdk.engine.decide import (
    MayHaveRun,
    Recorded,
    Retrying,
    Take,
    decide_retry,
    decide_step,
)
from dataflows_sdk.engine.faces import is_async, is_control_flow
from dataflows_sdk.engine.faults import fault
from dataflows_sdk.engine.live import Frame
from dataflows_sdk.engine.observer import Attempted, unobserved
from dataflows_sdk.engine.transactions import conclude
from dataflows_sdk.engine.units import Event, Unit
from dataflows_sdk.engine.verb_base import VerbBase
from dataflows_sdk.errors import (
    DefinitionError,
    NonRetryableError,
    OwnershipLost,
    UncertainStepError,
    WorkerLostError,
)

#: a function, its arguments, and how many seconds it may take
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], float | None]


class StepVerbs(VerbBase):
    """Steps."""

    __slots__ = ()

    # --- run ---------------------------------------------------------------------------------------------

    async def run(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        key: object = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        undo: Callable[..., Any] | None = None,
        uncertain: str = "retry",
        executor: str | None = None,
        op: str = "run",
        item: Frame | None = None,
    ) -> Any:
        """Call *fn* once and for all."""
        if not callable(fn):
            raise DefinitionError(
                f"step {name!r}: {fn!r} is not callable; pass the function and its arguments, "
                f"step.run({name!r}, fn, arg), not the result of calling it"
            )
        live = self.live
        self.engine.values.see(fn)
        seconds = None if timeout is None else parse_duration(timeout).total_seconds()
        policy = _policy(retry, name)
        if live.stopping is not None:
            await self.unwound()
        frame = item if item is not None else self.enter(op, name, key)
        try:
            attempt = 1
            if frame.record is not None:
                decision = decide_step(frame.record, op)
                if isinstance(decision, Recorded):
                    value = await self.recorded(decision.record)
                    if undo is not None:
                        self._remember(frame, decision.record.seq, undo, value, retry)
                    return value
                attempt = await self._again(frame, decision, uncertain)
            return await self._attempts(
                frame, fn, args, kwargs or {}, attempt, policy, seconds, undo, uncertain, executor
            )
        finally:
            live.leave(frame)

    async def _again(self, frame: Frame, decision: Any, uncertain: str) -> int:
        """A step that an earlier activation began: which attempt is next, and when?"""
        if isinstance(decision, Retrying):
            self.fresh(frame)
            await self._pause(frame, "retry", decision.not_before)
            return decision.attempt
        if isinstance(decision, MayHaveRun):
            self.fresh(frame)
            if uncertain == "fail":
                error = UncertainStepError(
                    f"step {frame.name!r} began before a crash and its end was not recorded; it may have had its "
                    "effect. Its policy is uncertain='fail'"
                )
                await self.face.commit(self._failed(frame, decision.attempt, 0.0, error, None))
                raise error
            if uncertain == "ask":
                await self._ask(frame, decision.attempt)
            return decision.attempt
        return 1

    async def _ask(self, frame: Frame, attempt: int) -> None:
        """Wait until somebody says whether the uncertain step is to be run again; raises if it is not."""
        message = f"resolve:{frame.key}"
        outcome = await self._await_message(frame, message, None, None, self.live.state.created.get("at"))
        if not isinstance(outcome, Take):
            raise OwnershipLost
        answer = outcome.message.payload
        if isinstance(answer, dict) and answer.get("action") == "fail":
            error = UncertainStepError(f"step {frame.name!r} may have run before a crash; it was decided to fail it")
            unit = self._failed(frame, attempt, 0.0, error, None)
            unit.consumed = (outcome.message.id,)
            await self.face.commit(unit)
            raise error
        note = Event("step.started", frame.key, self._head(frame, "run", attempt) + ',"resolved":"retry"}')
        await self.face.commit(Unit(self.live.head, [note], consumed=(outcome.message.id,)))

    async def _hold(self, frame: Frame) -> None:
        """The engine is closing, or may have lost its runs: the next attempt must not begin yet, or not here."""
        if self.live.closing:
            await self._park(frame)
        await self.face.wait(self.engine.ask_ours)
        if self.live.stopping is not None:
            await self.unwound()

    async def _attempts(
        self,
        frame: Frame,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        attempt: int,
        policy: Retry,
        seconds: float | None,
        undo: Callable[..., Any] | None,
        uncertain: str,
        executor: str | None,
    ) -> Any:
        live, face, engine = self.live, self.face, self.engine
        shown = engine.values.view(args, kwargs) if args or kwargs else None
        while True:
            self.fresh(frame)
            if live.closing or time.monotonic() > engine.lease_until:
                await self._hold(frame)
            info = StepInfo(live.head.id, frame.key, frame.name, attempt, engine.database)
            call = (fn, args, kwargs, seconds)
            if executor is not None:
                call = self._sent(executor, info, call)
            fault("step.begin")
            head = self._head(frame, frame.op, attempt)
            if uncertain == "retry":
                engine.began(live, frame, head, shown)
            else:
                event = Event("step.started", frame.key, self._started(frame, attempt, shown))
                await face.commit(Unit(live.head, [event], blobs=shown.blobs if shown else ()))
            begun = time.perf_counter()
            current_step.set(info)
            told = unobserved if engine.observer is None else engine.observer.attempt(live, frame, attempt)
            try:
                try:
                    value = await face.call(live, *call)
                finally:
                    info.active = False
                fault("step.ran")
                encoded = engine.values.encode(value, f"result of step {frame.name!r}")
            except BaseException as error:
                _abandon(info)
                if isinstance(error, KeyboardInterrupt | SystemExit):
                    # Let through it would end the engine's loop, and with it every other run here.
                    error = NonRetryableError(f"the step raised {type(error).__name__}({error})")
                elif is_control_flow(error) or not isinstance(error, Exception):
                    told(error, None)
                    raise
                if not (attempt := await self._missed(frame, attempt, error, begun, shown, policy, uncertain, told)):
                    raise error
                continue
            current_step.set(None)
            told(None, None)
            data, blobs = _completed(frame, head, time.perf_counter() - begun, encoded, shown, undo=undo is not None)
            del encoded  # thousands may wait here at once
            shown = None
            if info.joined is not None and info.joined.begun:
                try:
                    seq = await face.call(live, conclude(engine, live, frame, info.joined, data, blobs), (), {}, None)
                except Exception as error:
                    if not (
                        attempt := await self._missed(frame, attempt, error, begun, None, policy, uncertain, unobserved)
                    ):
                        raise
                    continue
                live.ran += 1
            else:
                event = Event("step.completed", frame.key, data)
                unit = Unit(live.head, [event], None, blobs)
                self._end(frame)
                live.ran += 1
                await face.commit(unit)
                seq = event.seq
            if undo is not None:
                self._remember(frame, seq, undo, value, None)
            if engine.always_replay:
                await self._park(frame)
            return value

    def _sent(self, executor: str, info: StepInfo, call: Call) -> Call:
        """Another call, that has *call* made by an executor."""
        fn, args, kwargs, seconds = call
        self.engine.executors.find(executor)
        return self.engine.executors.run, (executor, info, fn, args, kwargs, seconds), {}, None

    async def _missed(
        self,
        frame: Frame,
        attempt: int,
        error: Exception,
        begun: float,
        shown: Encoded | None,
        policy: Retry,
        uncertain: str,
        told: Attempted,
    ) -> int:
        """An attempt failed: write that down, and give the number of the next one once its time has come, or 0."""
        if uncertain != "retry" and isinstance(error, WorkerLostError):
            # As after a crash of this process: nobody knows whether it had its effect.
            told(error, None)
            return await self._again(frame, MayHaveRun(attempt), uncertain)
        took = time.perf_counter() - begun
        retry_at = decide_retry(policy, attempt, error, self.engine.clock.now(), chance())
        told(error, retry_at)
        given = "" if shown is None or _seen(frame) else f',"input":{shown.text}'
        unit = self._failed(frame, attempt, took, error, retry_at, given)
        if given and shown is not None:
            unit.blobs = shown.blobs
        self._end(frame)
        await self.face.commit(unit)
        if retry_at is None:
            error.__dict__["__dataflows_step__"] = (frame.key, attempt)
            return 0
        await self._pause(frame, "retry", retry_at)
        return attempt + 1

    # --- one commit with the user's SQL ------------------------------------------------------------------

    async def transaction(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        retry: Retry | None,
    ) -> Any:
        """Call ``fn(connection, …)``; its SQL and the step's record commit together."""
        if is_async(fn):
            raise DefinitionError(
                f"step {name!r}: a transaction's function is a plain `def` that gets a psycopg connection; "
                "it runs in a thread, so it may block"
            )
        live, engine = self.live, self.engine
        policy = _policy(retry, name)
        if live.stopping is not None:
            await self.unwound()
        frame = self.enter("transaction", name)
        try:
            decision = decide_step(frame.record, "transaction")
            if isinstance(decision, Recorded):
                return await self.recorded(decision.record)
            attempt = await self._again(frame, decision, "retry") if frame.record is not None else 1
            while True:
                self.fresh(frame)
                if live.closing:
                    await self._park(frame)
                fault("step.begin")
                head = self._head(frame, "transaction", attempt)
                engine.began(live, frame, head, None)
                begun = time.perf_counter()
                info = StepInfo(live.head.id, frame.key, frame.name, attempt, engine.database)
                current_step.set(info)
                told = unobserved if engine.observer is None else engine.observer.attempt(live, frame, attempt)
                try:
                    try:
                        work = engine.transact(live, frame, head, info, fn, args, kwargs)
                        value = await self.face.call(live, work, (), {}, None)
                    finally:
                        info.active = False
                        current_step.set(None)
                except Exception as error:
                    if is_control_flow(error):
                        raise
                    now = engine.clock.now()
                    retry_at = decide_retry(policy, attempt, error, now, chance())
                    told(error, retry_at)
                    unit = self._failed(frame, attempt, time.perf_counter() - begun, error, retry_at)
                    self._end(frame)
                    await self.face.commit(unit)
                    if retry_at is None:
                        error.__dict__["__dataflows_step__"] = (frame.key, attempt)
                        raise
                    await self._pause(frame, "retry", retry_at)
                    attempt += 1
                    continue
                except BaseException as error:
                    told(error, None)
                    raise
                told(None, None)
                live.ran += 1
                if engine.always_replay:
                    await self._park(frame)
                return value
        finally:
            live.leave(frame)


def _policy(retry: Retry | None, name: str) -> Retry:
    if retry is None:
        return DEFAULT_STEP_RETRY
    if not isinstance(retry, Retry):
        raise DefinitionError(f"step {name!r}: retry= is a policy such as df.Retry(3) or df.NO_RETRY, not {retry!r}")
    return retry


def _seen(frame: Frame) -> bool:
    """Whether the step's beginning is in the journal, with its arguments."""
    return frame.started is not None and frame.started.seq > 0


def _abandon(info: StepInfo) -> None:
    """The attempt failed: what its function wrote to the warehouse is undone."""
    current_step.set(None)
    if info.joined is not None:
        info.joined.abandon()


def _completed(
    frame: Frame, head: str, took: float, encoded: Encoded, shown: Encoded | None, *, undo: bool
) -> tuple[str, tuple[Blob, ...]]:
    """The data of the step's record, and the blobs that it needs."""
    data, blobs = f'{head},"took":{took:.6f}', encoded.blobs
    if _seen(frame):
        data += ',"long":true'
    elif shown is not None:
        data += ',"input":' + shown.text
        blobs = shown.blobs + blobs if shown.blobs else blobs
    if undo:
        data += ',"undo":true'
    return f'{data},"value":{encoded.text}}}', blobs
