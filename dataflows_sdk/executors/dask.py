"""Steps on a Dask cluster, by the package `distributed`."""

from __future__ import annotations

import asyncio
from typing import Any

from dataflows_sdk.core.ids import new_id
from dataflows_sdk.errors import DefinitionError, ExecutorError, WorkerLostError
from dataflows_sdk.executors.extras import require
from dataflows_sdk.executors.job import Job


class DaskExecutor:
    """Runs each job as a task of a Dask cluster, whose workers need this package and the modules of the functions.

    Dask cannot stop a function that runs: a cancel or a timeout takes back a task that waits, and forgets one that
    runs. Where a worker dies, Dask itself begins its tasks again on another one, three times if its
    ``distributed.scheduler.allowed-failures`` says nothing else; after that the step's own retries count.

    Args:
        cluster: the address of the scheduler, ``"tcp://host:8786"``, or a ``distributed.Client`` that is not
            asynchronous; a client that was given is not closed.

    Raises:
        MissingExtraError: `distributed` is not installed.
        DefinitionError: neither an address nor such a client.
    """

    def __init__(self, cluster: Any) -> None:
        require("distributed", "dask")
        self._given = not isinstance(cluster, str)
        if self._given and not _is_blocking_client(cluster):
            raise DefinitionError(
                f"a Dask cluster is an address such as 'tcp://host:8786' or a Client that is not asynchronous, "
                f"not {cluster!r:.200}"
            )
        self._address = cluster if isinstance(cluster, str) else ""
        self._client: Any = cluster if self._given else None
        self._connecting = asyncio.Lock()

    async def run(self, job: Job) -> bytes:
        """Run the job on a worker of the cluster.

        Raises:
            ExecutorError: the scheduler cannot be reached, or no worker can load the job.
            WorkerLostError: Dask gave the task up, because its workers died or the scheduler did.
        """
        client = await self._connected()
        task = asyncio.run_coroutine_threadsafe(_submitted(client, job), client.loop.asyncio_loop)
        answer: bytes = await asyncio.wrap_future(task)
        return answer

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is None or (not self._given and self._client.status in ("closing", "closed")):
                self._client = None
                self._client = await asyncio.to_thread(self._connect)
            return self._client

    def _connect(self) -> Any:
        from distributed import Client

        try:
            return Client(self._address, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ExecutorError(f"no Dask scheduler answers at {self._address!r}: {error}") from error

    async def close(self) -> None:
        """Leave the cluster."""
        client, self._client = self._client, None
        if client is not None and not self._given:
            await asyncio.to_thread(client.close)


def _is_blocking_client(given: Any) -> bool:
    from distributed import Client

    return isinstance(given, Client) and not given.asynchronous


async def _submitted(client: Any, job: Job) -> bytes:
    """On the client's own loop."""
    from distributed import KilledWorker

    step = f"step {job.step.name!r}"
    try:
        # a key of its own: an attempt is never answered by what an earlier one returned
        future = client.submit(job, key=f"{job.step.name}-{new_id()}", pure=False)
    except Exception as error:
        raise ExecutorError(f"{step}: Dask did not take it: {type(error).__name__}: {error}") from error
    try:
        answer: bytes = await future
        return answer
    except asyncio.CancelledError as error:
        if not future.cancelled():
            await future.cancel()
            raise
        raise WorkerLostError(f"{step}: Dask gave it up: {str(error) or 'it was cancelled'}") from error
    except KilledWorker as error:
        raise WorkerLostError(f"{step}: Dask gave it up: {error}") from error
    except Exception as error:
        raise ExecutorError(f"{step}: Dask could not run it: {type(error).__name__}: {error}") from error
