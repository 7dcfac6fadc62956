"""Where rows come from, page by page: functions, JSON APIs, other databases, files, resources of dlt.

A source gives a `Page` for a position, and each page names the position of the next one. Positions are JSON with types,
so that another process can go on; what a source is (without its secrets) is JSON too, where it can be.
"""

from __future__ import annotations

from dataflows_sdk.warehouse.sources.files import FileSource
from dataflows_sdk.warehouse.sources.json_api import JsonApi
from dataflows_sdk.warehouse.sources.page import Page
from dataflows_sdk.warehouse.sources.registry import source
from dataflows_sdk.warehouse.sources.sql import SqlSource

__all__ = ["FileSource", "JsonApi", "Page", "SqlSource", "source"]
