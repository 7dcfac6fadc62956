"""Background jobs: a run whose end is told to a URL."""

from __future__ import annotations

from dataflows_sdk.jobs.callback import Callback
from dataflows_sdk.jobs.desk import CallbackState, Job, Jobs

__all__ = ["Callback", "CallbackState", "Job", "Jobs"]
