"""Durable dataflows with a memory for agents.

    import dataflows_sdk as df

    ctx = df.connect()                                  # an embedded PostgreSQL in ./.dataflows

    @df.workflow("hello")
    async def hello(event, step):
        name = await step.run("look-up", fetch_name, event.payload["id"])
        await step.sleep("a while", "1h")
        return f"hello {name}"

    run = ctx.start(hello, {"id": 7})
    run.result()

A map of the package, from the bottom up; imports only ever point downwards:

    errors        the one tree of exceptions
    core          values and pure functions: ids, durations, codec, retry policy, clock, redaction
    flow          the DAG as data: model, fluent builder, templates, conditions, validation, planning, rendering
    store         PostgreSQL: embedded server, migrations, named SQL, the pipelined connection
    triggers      what starts runs, as pure functions: schedules, signatures, limits, schemas
    nodes         the node types: their configs, what they do, the registry that others extend
    executors     where functions of heavy steps run: processes, Dask, Ray
    engine        journal events, fold, decide, step verbs, runs in memory, the group-commit writer
    warehouse     DuckDB over what PostgreSQL holds
    worker        claims, heartbeats, retention
    telemetry     what OpenTelemetry is told (with logs)
    syncing       rows of other systems into the warehouse, as durable runs
    flows, firing flows that are saved with their versions, and their triggers at work (with approvals, lookout)
    publishing    workflows of a notebook for workers, as signed text
    runs, context what users hold in their hands (with arguments, past, signals)
    cli, notebook, testing  the command line; views and magics; the kit for tests

Importing the package loads none of the drivers; names are fetched when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# The subpackage is imported first, so that its name on this package can be taken over by the function below.
import dataflows_sdk.flow  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflows_sdk import errors as errors
    from dataflows_sdk.archive import open_archive as open_archive
    from dataflows_sdk.context import Context as Context
    from dataflows_sdk.context import connect as connect
    from dataflows_sdk.core.codec_types import register_type as register_type
    from dataflows_sdk.core.current import StepInfo as StepInfo
    from dataflows_sdk.core.current import current_step_info as current_step
    from dataflows_sdk.core.redact import REDACTOR as REDACTOR
    from dataflows_sdk.core.redact import Redactor as Redactor
    from dataflows_sdk.core.redact import Secret as Secret
    from dataflows_sdk.core.retention import Retention as Retention
    from dataflows_sdk.core.retry import NO_RETRY as NO_RETRY
    from dataflows_sdk.core.retry import Retry as Retry
    from dataflows_sdk.engine.definitions import Event as Event
    from dataflows_sdk.engine.definitions import Workflow as Workflow
    from dataflows_sdk.engine.definitions import define_workflow as define_workflow
    from dataflows_sdk.engine.definitions import workflow as workflow
    from dataflows_sdk.engine.replay import Replay as Replay
    from dataflows_sdk.engine.step import Step as Step
    from dataflows_sdk.engine.step import SyncStep as SyncStep
    from dataflows_sdk.engine.timeline import StepView as StepView
    from dataflows_sdk.engine.timeline import Timeline as Timeline
    from dataflows_sdk.errors import Cancelled as Cancelled
    from dataflows_sdk.errors import DataflowsError as DataflowsError
    from dataflows_sdk.errors import NonRetryableError as NonRetryableError
    from dataflows_sdk.errors import RetryAfter as RetryAfter
    from dataflows_sdk.flow.builder import Flow as Flow
    from dataflows_sdk.flow.inputs import ref as ref
    from dataflows_sdk.flow.inputs import value as value
    from dataflows_sdk.flow.model import FlowSpec as FlowSpec
    from dataflows_sdk.flow.sources import Service as Service
    from dataflows_sdk.flow.sources import TriggerSpec as TriggerSpec
    from dataflows_sdk.flow.sources import on_event as on_event
    from dataflows_sdk.flow.sources import on_manual as on_manual
    from dataflows_sdk.flow.sources import on_record as on_record
    from dataflows_sdk.flow.sources import on_schedule as on_schedule
    from dataflows_sdk.flow.sources import on_service as on_service
    from dataflows_sdk.flow.sources import on_webhook as on_webhook
    from dataflows_sdk.jobs.callback import Callback as Callback
    from dataflows_sdk.logs import ContextFilter as ContextFilter
    from dataflows_sdk.logs import JsonFormatter as JsonFormatter
    from dataflows_sdk.logs import configure_logging as configure_logging
    from dataflows_sdk.logs import logger as logger
    from dataflows_sdk.nodes.functions import function as function
    from dataflows_sdk.nodes.registry import Call as Call
    from dataflows_sdk.nodes.registry import node as node
    from dataflows_sdk.nodes.schema import document_schema as document_schema
    from dataflows_sdk.nodes.services import Services as Services
    from dataflows_sdk.nodes.standard import NODE_TYPES as NODE_TYPES
    from dataflows_sdk.options import Batch as Batch
    from dataflows_sdk.options import Debounce as Debounce
    from dataflows_sdk.options import StartOptions as StartOptions
    from dataflows_sdk.publishing.module import export_module as export_module
    from dataflows_sdk.runs import Run as Run
    from dataflows_sdk.runs import Runs as Runs
    from dataflows_sdk.syncing.report import SyncReport as SyncReport
    from dataflows_sdk.syncing.report import SyncState as SyncState
    from dataflows_sdk.telemetry import Telemetry as Telemetry
    from dataflows_sdk.warehouse.sources.files import FileSource as FileSource
    from dataflows_sdk.warehouse.sources.json_api import JsonApi as JsonApi
    from dataflows_sdk.warehouse.sources.page import Page as Page
    from dataflows_sdk.warehouse.sources.registry import source as source
    from dataflows_sdk.warehouse.sources.sql import SqlSource as SqlSource

_WHERE = {
    "Batch": "options",
    "Debounce": "options",
    "StartOptions": "options",
    "Call": "nodes.registry",
    "Callback": "jobs.callback",
    "Cancelled": "errors",
    "Context": "context",
    "ContextFilter": "logs",
    "DataflowsError": "errors",
    "Event": "engine.definitions",
    "FileSource": "warehouse.sources.files",
    "Flow": "flow.builder",
    "FlowSpec": "flow.model",
    "JsonApi": "warehouse.sources.json_api",
    "JsonFormatter": "logs",
    "NODE_TYPES": "nodes.standard",
    "NO_RETRY": "core.retry",
    "NonRetryableError": "errors",
    "Page": "warehouse.sources.page",
    "REDACTOR": "core.redact",
    "Redactor": "core.redact",
    "Replay": "engine.replay",
    "Retention": "core.retention",
    "Retry": "core.retry",
    "RetryAfter": "errors",
    "Run": "runs",
    "Runs": "runs",
    "Secret": "core.redact",
    "Service": "flow.sources",
    "Services": "nodes.services",
    "SqlSource": "warehouse.sources.sql",
    "Step": "engine.step",
    "StepInfo": "core.current",
    "StepView": "engine.timeline",
    "SyncReport": "syncing.report",
    "SyncState": "syncing.report",
    "SyncStep": "engine.step",
    "Telemetry": "telemetry",
    "Timeline": "engine.timeline",
    "TriggerSpec": "flow.sources",
    "Workflow": "engine.definitions",
    "configure_logging": "logs",
    "connect": "context",
    "current_step": "core.current:current_step_info",
    "define_workflow": "engine.definitions",
    "document_schema": "nodes.schema",
    "errors": "errors:",
    "export_module": "publishing.module",
    "function": "nodes.functions",
    "logger": "logs",
    "node": "nodes.registry",
    "on_event": "flow.sources",
    "on_manual": "flow.sources",
    "on_record": "flow.sources",
    "on_schedule": "flow.sources",
    "on_service": "flow.sources",
    "on_webhook": "flow.sources",
    "open_archive": "archive",
    "ref": "flow.inputs",
    "register_type": "core.codec_types:register_type",
    "source": "warehouse.sources.registry",
    "value": "flow.inputs",
    "workflow": "engine.definitions",
}

__all__ = [
    "NODE_TYPES",
    "NO_RETRY",
    "REDACTOR",
    "Batch",
    "Call",
    "Callback",
    "Cancelled",
    "Context",
    "ContextFilter",
    "DataflowsError",
    "Debounce",
    "Event",
    "FileSource",
    "Flow",
    "FlowSpec",
    "JsonApi",
    "JsonFormatter",
    "NonRetryableError",
    "Page",
    "Redactor",
    "Replay",
    "Retention",
    "Retry",
    "RetryAfter",
    "Run",
    "Runs",
    "Secret",
    "Service",
    "Services",
    "SqlSource",
    "StartOptions",
    "Step",
    "StepInfo",
    "StepView",
    "SyncReport",
    "SyncState",
    "SyncStep",
    "Telemetry",
    "Timeline",
    "TriggerSpec",
    "Workflow",
    "configure_logging",
    "connect",
    "current_step",
    "define_workflow",
    "document_schema",
    "errors",
    "export_module",
    "flow",
    "function",
    "logger",
    "node",
    "on_event",
    "on_manual",
    "on_record",
    "on_schedule",
    "on_service",
    "on_webhook",
    "open_archive",
    "ref",
    "register_type",
    "source",
    "value",
    "workflow",
]


def flow(name: str, *, description: str = "", meta: Mapping[str, Any] | None = None) -> Flow:
    """An empty flow of that name, to be built with its methods; see `Flow`.

    Raises:
        DefinitionError: the name is no text.
    """
    from dataflows_sdk.flow.builder import flow as make

    return make(name, description=description, meta=meta)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("dataflows-sdk")
    if name == "load_ipython_extension":  # %load_ext dataflows_sdk
        return import_module("dataflows_sdk.notebook.magics").load_ipython_extension
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'dataflows_sdk' has no attribute {name!r}")
    module, separator, attribute = where.partition(":")
    found = import_module(f"dataflows_sdk.{module}")
    result = found if separator and not attribute else getattr(found, attribute or name)
    globals()[name] = result
    return result


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
