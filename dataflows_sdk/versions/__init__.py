"""The versions of a workflow that ran: the code of each, how its runs have fared, and two beside each other."""

from dataflows_sdk.versions.desk import Versions, WorkflowVersion, versions_of
from dataflows_sdk.versions.difference import CodeDiff

__all__ = ["CodeDiff", "Versions", "WorkflowVersion", "versions_of"]
