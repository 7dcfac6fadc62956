"""Where the functions of heavy steps run: processes of our own, Dask, Ray, or what somebody else makes of it.

`Executor` is what an executor has to be, `Job` what it is given. Everything about a step but the call of its function
stays with the engine: identity, record, retries, timeout, cancel.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflows_sdk.executors.dask import DaskExecutor as DaskExecutor
    from dataflows_sdk.executors.job import Executor as Executor
    from dataflows_sdk.executors.job import Job as Job
    from dataflows_sdk.executors.process import ProcessExecutor as ProcessExecutor
    from dataflows_sdk.executors.ray import RayExecutor as RayExecutor

_WHERE = {"DaskExecutor": "dask", "Executor": "job", "Job": "job", "ProcessExecutor": "process", "RayExecutor": "ray"}

__all__ = ["DaskExecutor", "Executor", "Job", "ProcessExecutor", "RayExecutor"]


def __getattr__(name: str) -> Any:
    # the processes of a pool come through here, and should be up soon
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
