"""Steps on a Ray cluster, by the package `ray`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from dataflows_sdk.errors import DefinitionError, ExecutorError, WorkerLostError
from dataflows_sdk.executors.extras import require
from dataflows_sdk.executors.job import Job

#: how long we wait to be told that a task is cancelled
_CANCEL_SECONDS = 5.0


class RayExecutor:
    """Runs each job as a task of a Ray cluster, whose nodes need this package and the modules of the functions.

    A cancel or a timeout kills the worker process of the task. Ray's own retries are off: those of the step count.
    A process has one connection to Ray: one that `ray.init` made before is used as it is, and not closed.

    Args:
        address: as for `ray.init`: ``"auto"`` finds a cluster on this machine or by ``RAY_ADDRESS``,
            ``"ray://host:10001"`` is one elsewhere, ``"local"`` starts one.

    Raises:
        MissingExtraError: `ray` is not installed.
        DefinitionError: that is no address.
    """

    def __init__(self, address: str = "auto") -> None:
        if not isinstance(address, str):
            raise DefinitionError(f"a Ray cluster is an address such as 'auto' or 'ray://host:10001', not {address!r}")
        require("ray", "ray")
        self._address = address
        self._connecting = asyncio.Lock()
        self._call: Any = None
        self._ours = False

    async def run(self, job: Job) -> bytes:
        """Run the job in a worker process of the cluster.

        Raises:
            ExecutorError: the cluster cannot be reached, or refuses the job.
            WorkerLostError: the worker process or its node died.
        """
        async with self._connecting:
            if self._call is None:
                self._call = await asyncio.to_thread(self._connect)
        import ray  # loaded by now

        call = self._call.options(name=job.step.name)
        ref = await asyncio.to_thread(call.remote, job)
        try:
            answer: bytes = await asyncio.wrap_future(ref.future())
            return answer
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CANCEL_SECONDS):
                    await asyncio.to_thread(ray.cancel, ref, force=True)
            raise
        except ray.exceptions.RayTaskError as error:
            raise ExecutorError(f"step {job.step.name!r}: Ray could not run it: {error}") from error
        except ray.exceptions.RayError as error:
            reason = f"{type(error).__name__}: {error}"
            raise WorkerLostError(f"step {job.step.name!r}: Ray lost it: {reason}") from error

    def _connect(self) -> Any:
        import ray

        if not ray.is_initialized():
            try:
                ray.init(self._address)
            except (OSError, ValueError, RuntimeError) as error:
                raise ExecutorError(f"no Ray cluster answers at {self._address!r}: {error}") from error
            self._ours = True
        return ray.remote(max_retries=0)(_call)

    async def close(self) -> None:
        """Leave the cluster, if this was what entered it."""
        self._call = None
        if self._ours:
            self._ours = False
            import ray

            await asyncio.to_thread(ray.shutdown)


def _call(job: Job) -> bytes:
    return job()
