"""What is wrong with a database of dataflows, and what to do: ``ctx.doctor()`` and ``dataflows doctor``."""

from __future__ import annotations

from dataflows_sdk.doctor.diagnosis import diagnose
from dataflows_sdk.doctor.findings import Diagnosis, Finding, Severity

__all__ = ["Diagnosis", "Finding", "Severity", "diagnose"]
