"""Many runs at once: cancel, resume, try again, by filter."""

from __future__ import annotations

from dataflows_sdk.bulk.desk import Bulk, BulkOptions, Progress
from dataflows_sdk.bulk.report import BulkReport

__all__ = ["Bulk", "BulkOptions", "BulkReport", "Progress"]
