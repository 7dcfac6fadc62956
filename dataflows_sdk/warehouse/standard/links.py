"""What no API knows: which project of Xero is which of ClickUp, and what an hour of somebody costs. Rows by hand."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel


class ProjectLink(BaseModel):
    """The table ``project_links``: a tracking option or reference of Xero, and the project of ClickUp that it means."""

    xero_project: str
    clickup_project_id: str


class LabourRate(BaseModel):
    """The table ``labour_rates``: what an hour of a user of ClickUp costs, in one currency."""

    user_id: str
    hourly_cost: Decimal
    currency: str
