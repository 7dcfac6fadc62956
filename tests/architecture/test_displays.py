"""Every public object shows itself in a notebook, or there is a reason why it need not."""

from __future__ import annotations

import importlib
import inspect
import re
from types import ModuleType
from typing import Any

import pytest

from .source_tree import ROOT

REFERENCE = ROOT / "docs" / "reference"
DIRECTIVE = re.compile(
    r"^\.\. (?P<kind>autoclass|automodule):: (?P<name>\S+)\n(?P<options>(?:   :.*\n)*)", re.MULTILINE
)
MEMBERS = re.compile(r":members:(?P<names>.*)")

PARTS = "a part of a document, which the flow shows as a whole"
VERBS = "only methods: there is nothing to see"
INSIDE = "lives within a step, a process or a logger, not in a cell"
TYPE = "a type for annotations"
#: class → why a notebook shows its repr
EXCUSED: dict[str, str] = {
    "dataflows_sdk.flow.model.CodeSpec": PARTS,
    "dataflows_sdk.flow.model.EdgeSpec": PARTS,
    "dataflows_sdk.flow.model.FlowSpec": PARTS,
    "dataflows_sdk.flow.model.Gate": PARTS,
    "dataflows_sdk.flow.model.NodeSpec": PARTS,
    "dataflows_sdk.flow.model.RetrySpec": PARTS,
    "dataflows_sdk.flow.model.WhenSpec": PARTS,
    "dataflows_memory.agents.agent.Agent": VERBS,
    "dataflows_memory.agents.agent.Agents": VERBS,
    "dataflows_memory.asking.asker.Asker": VERBS,
    "dataflows_memory.asking.desk.Asking": VERBS,
    "dataflows_memory.embedding.cache.LRUCache": VERBS,
    "dataflows_memory.embedding.choice.Choice": "a pair of the embedder and the reason; its repr is one line",
    "dataflows_memory.embedding.embedder.Usage": "two counters; its repr is one line",
    "dataflows_memory.embedding.local.LocalEmbedder": VERBS,
    "dataflows_memory.embedding.openai_embedder.OpenAIEmbedder": VERBS,
    "dataflows_memory.gate.reader.Reader": VERBS,
    "dataflows_memory.models.chat.ChatModel": VERBS,
    "dataflows_memory.models.scripted.ScriptedModel": VERBS,
    "dataflows_memory.tools.parameters.Parameters": INSIDE,
    "dataflows_sdk.bulk.desk.Bulk": VERBS,
    "dataflows_sdk.bulk.desk.BulkOptions": TYPE,
    "dataflows_sdk.connections.auth.ConnectionAuth": "given to httpx; its repr says whose it is, without the secret",
    "dataflows_sdk.core.current.StepInfo": INSIDE,
    "dataflows_sdk.core.redact.RedactingFilter": INSIDE,
    "dataflows_sdk.core.redact.Redactor": "holds nothing but secrets",
    "dataflows_sdk.core.redact.Secret": "its repr is three stars",
    "dataflows_sdk.engine.definitions.Event": "what a workflow is called with; a run shows it",
    "dataflows_sdk.engine.step.Step": INSIDE,
    "dataflows_sdk.engine.step.SyncStep": INSIDE,
    "dataflows_sdk.errors.BadRow": "a part of an error; its repr is one line",
    "dataflows_sdk.executors.dask.DaskExecutor": VERBS,
    "dataflows_sdk.executors.job.Job": INSIDE,
    "dataflows_sdk.executors.process.ProcessExecutor": VERBS,
    "dataflows_sdk.executors.ray.RayExecutor": VERBS,
    "dataflows_sdk.flow.expressions.Expression": INSIDE,
    "dataflows_sdk.flow.sources.Service": "a name; what it makes is a TriggerSpec",
    "dataflows_sdk.logs.ContextFilter": INSIDE,
    "dataflows_sdk.logs.JsonFormatter": INSIDE,
    "dataflows_sdk.logs.RunLogger": INSIDE,
    "dataflows_sdk.messages.subscription.Listening": "an iterator; what it gives shows itself",
    "dataflows_sdk.nodes.egress.EgressPolicy": "its repr is the list of what is allowed",
    "dataflows_sdk.nodes.services.Services": "holds what is secret",
    "dataflows_sdk.options.StartOptions": TYPE,
    "dataflows_sdk.syncing.desk.Syncs": "a part of Warehouse",
    "dataflows_sdk.testing.clock.VirtualClock": "for tests",
    "dataflows_sdk.testing.databases.TestDatabases": "for tests",
    "dataflows_sdk.testing.faults.Passes": "for tests",
    "dataflows_sdk.triggers.schedule.Firing": "a moment; its repr is one line",
    "dataflows_sdk.warehouse.bi.Dsn": "a text, whose repr hides the password",
    "dataflows_sdk.warehouse.reporting.Reporting": "a part of Warehouse",
    "dataflows_sdk.warehouse.view.ViewColumn": "a name and a type; its repr is one line",
    "dataflows_sdk.worker.retention.Keeper": INSIDE,
    "dataflows_sdk.workers.Worker": VERBS,
}


def found(name: str, module: str | None) -> Any:
    """The object of a directive, in the module of the page or by its whole name."""
    for full in (name, f"{module}.{name}"):
        before, _, last = full.rpartition(".")
        try:
            return getattr(importlib.import_module(before), last)
        except (ImportError, AttributeError, ValueError):
            continue
    raise AssertionError(f"docs/reference: there is no {name}")


def members(module: ModuleType, said: str) -> list[Any]:
    names = [name.strip() for name in said.split(",") if name.strip()]
    names = names or [name for name in vars(module) if name[:1] != "_"]
    return [each for name in names if getattr(each := getattr(module, name), "__module__", "") == module.__name__]


def public_classes() -> dict[str, type]:
    classes: dict[str, type] = {}
    for page in sorted(REFERENCE.glob("*.md")):
        module = None
        for directive in DIRECTIVE.finditer(page.read_text()):
            if directive["kind"] == "automodule":
                module = directive["name"]
                said = MEMBERS.search(directive["options"])
                some = members(importlib.import_module(module), said["names"]) if said else []
            else:
                some = [found(directive["name"], module)]
            for each in some:
                if inspect.isclass(each):
                    classes[f"{each.__module__}.{each.__qualname__}"] = each
    return classes


def without_display(classes: dict[str, type], excused: dict[str, str]) -> list[str]:
    """What is wrong: a class that shows nothing without a reason, a reason without such a class."""
    silent = {
        name
        for name, each in classes.items()
        if not issubclass(each, BaseException)
        and not getattr(each, "_is_protocol", False)
        and not any(hasattr(each, show) for show in ("_repr_html_", "_repr_mimebundle_", "_repr_svg_"))
    }
    return [f"{name} shows nothing in a notebook" for name in sorted(silent) if not excused.get(name, "").strip()] + [
        f"{name} is excused, and shows itself or is gone" for name in excused if name not in silent
    ]


def test_every_public_class_shows_itself_or_says_why_not() -> None:
    classes = public_classes()
    assert len(classes) > 150
    assert without_display(classes, EXCUSED) == []


def test_what_shows_itself_has_a_repr_of_its_own() -> None:
    """A terminal shows the repr, and an address in memory says nothing."""
    silent = {
        name
        for name, each in public_classes().items()
        if hasattr(each, "_repr_html_") and "__repr__" not in {key for one in each.__mro__[:-1] for key in vars(one)}
    }
    assert silent == set()


class Silent:
    """Without a display."""


class Shows:
    """With one."""

    def _repr_html_(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("classes", "excused", "wrong"),
    [
        ({"a.Silent": Silent, "a.Shows": Shows, "a.Error": ValueError}, {}, ["a.Silent shows nothing in a notebook"]),
        ({"a.Silent": Silent}, {"a.Silent": "a reason"}, []),
        ({"a.Silent": Silent}, {"a.Silent": " "}, ["a.Silent shows nothing in a notebook"]),
        ({"a.Shows": Shows}, {"a.Shows": "once"}, ["a.Shows is excused, and shows itself or is gone"]),
    ],
)
def test_the_check_finds(classes: dict[str, type], excused: dict[str, str], wrong: list[str]) -> None:
    assert without_display(classes, excused) == wrong
