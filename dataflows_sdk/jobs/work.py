"""The workflow that looks after a job: it waits for the run's end, starts it again, and tells the URL.

The run itself belongs to its own workflow and queue; this one is its parent and waits without holding anything.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from dataflows_sdk.core.current import current_step_info
from dataflows_sdk.core.ids import new_uuid
from dataflows_sdk.core.retry import NO_RETRY, Retry, next_delay
from dataflows_sdk.engine.chance import chance
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import DefinitionError, RunNotFoundError
from dataflows_sdk.jobs.callback import Callback

#: the name of the workflow
JOB_NAME = "dataflows.job"
#: of the step that tells the URL
DELIVER = "deliver"
#: a result that is larger is left out of what is sent
_LARGEST_RESULT = 5_000_000
_LARGEST_ANSWER = 1_000_000


async def _job(event: Any, step: Any) -> dict[str, Any]:
    spec: dict[str, Any] = event.raw
    engine = step._verbs.engine
    policy = Retry.from_json(spec["retry"]) if spec["retry"] else NO_RETRY
    run, attempt = str(spec["run"]), 1
    while True:
        await step.wait_for_event(f"end {attempt}", event=f"child:{run}")
        verdict = await step.run(f"attempt {attempt}", _Judge(engine, run, policy, attempt))
        if verdict["pause"] is None:
            break
        await step.sleep(f"pause {attempt}", verdict["pause"])
        attempt += 1
        run = await step.transaction(f"start {attempt}", _Again(engine, run, attempt))
    delivered = None
    if spec["callback"] is not None:
        callback = Callback.from_json(spec["callback"])
        deliver = _Deliver(engine, callback, spec["job"], str(spec["workflow"]), run, attempt)
        delivered = await step.run(DELIVER, deliver, retry=callback.retry, timeout=callback.timeout)
    return {"run": run, "status": verdict["status"], "attempts": attempt, "delivered": delivered}


class _Judge:
    """How the run ended, and the seconds after which it is tried again; None: it is not."""

    def __init__(self, engine: Any, run: str, policy: Retry, attempt: int) -> None:
        self._engine, self._run, self._policy, self._attempt = engine, run, policy, attempt

    async def __call__(self) -> dict[str, Any]:
        status, data = await _outcome(self._engine, self._run)
        pause = None
        if status == "failed":
            error = self._engine.values.error(data.get("error") or {})
            pause = next_delay(self._policy, self._attempt, error, chance(), self._engine.clock.now())
        return {"run": self._run, "status": status, "pause": pause}


class _Again:
    """Starts the run once more, in the transaction that records it."""

    def __init__(self, engine: Any, run: str, attempt: int) -> None:
        self._engine, self._run, self._attempt = engine, run, attempt

    def __call__(self, connection: Any) -> str:
        new = new_uuid()
        run = self._engine.database.run
        run(connection, "jobs", "again", (UUID(self._run), new, self._engine.stamp(), f"end {self._attempt}"))
        run(connection, "journal", "notify", ("job ",))
        return str(new)


class _Deliver:
    """Posts the end of the job."""

    def __init__(self, engine: Any, callback: Callback, job: str, workflow: str, run: str, attempts: int) -> None:
        self._engine, self._callback, self._job = engine, callback, job
        self._workflow, self._run, self._attempts = workflow, run, attempts

    async def __call__(self) -> dict[str, Any]:
        from dataflows_sdk.nodes.http import ActionHttp, call_http
        from dataflows_sdk.nodes.registry import Call
        from dataflows_sdk.triggers.signing import signed_headers

        info = current_step_info()
        services = self._engine.services
        body = await self._body()
        headers = {"Content-Type": "application/json"}
        name = self._callback.secret_env
        if name is not None:
            if name not in services.env:
                raise DefinitionError(
                    f"the callback is signed with the environment variable {name!r}, which this worker does not let "
                    f"flows read: connect(services=df.Services(env=[{name!r}]))"
                )
            headers |= signed_headers(services.env[name], self._job, self._engine.clock.now(), body)
        config = ActionHttp(
            url=self._callback.url,
            method="POST",
            headers=headers,  # type: ignore[arg-type]
            body=body,
            expect_status="2xx",
            follow_redirects=False,
            max_bytes=_LARGEST_ANSWER,
        )
        call = Call(DELIVER, self._job, JOB_NAME, info.attempt, info.idempotency_key, {}, services)
        answer = await call_http(config, call)
        return {"status": answer["status"], "attempts": info.attempt}

    async def _body(self) -> bytes:
        from pydantic_core import to_json

        status, data = await _outcome(self._engine, self._run)
        sent: dict[str, Any] = {
            "job": self._job,
            "run": self._run,
            "workflow": self._workflow,
            "status": status,
            "attempts": self._attempts,
        }
        if status == "succeeded":
            result = to_json(
                await self._readable(data.get("value")),
                fallback=repr, inf_nan_mode="null", bytes_mode="base64", serialize_unknown=True,
            )  # fmt: skip
            if len(result) > _LARGEST_RESULT:
                sent |= {"result": None, "result_bytes": len(result)}
            else:
                return to_json(sent)[:-1] + b',"result":' + result + b"}"
        elif status == "cancelled":
            sent["error"] = {"type": "Cancelled", "message": data.get("reason") or ""}
        else:
            error = data.get("error") or {}
            sent["error"] = {name: error[name] for name in ("type", "message", "step") if name in error}
        return to_json(sent)

    async def _readable(self, tree: Any) -> Any:
        try:
            return await self._engine.values.decode(self._engine.face, tree)
        except Exception:  # noqa: BLE001 - a type that this process does not know is sent as it is stored
            return tree


async def _outcome(engine: Any, run: str) -> tuple[str, dict[str, Any]]:
    found = await engine.reader.outcome(UUID(run))
    if found is None:
        raise RunNotFoundError(f"run {run} of the job is not over, or was deleted")
    status, data = found
    return status, data


JOB = Workflow(JOB_NAME, _job, description="Looks after a background job: tries it again, tells its callback.")
