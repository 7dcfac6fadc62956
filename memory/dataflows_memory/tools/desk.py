"""``ctx.tools(…)``: what of a context a model may use, chosen by a person and bound for good."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataflows_memory.gate.describing import readable
from dataflows_memory.gate.reader import Reader
from dataflows_memory.gate.relations import Relation
from dataflows_memory.tools.parameters import Parameters, descriptions
from dataflows_memory.tools.recalling import RecallTools
from dataflows_memory.tools.results import LIMIT
from dataflows_memory.tools.rows import RowTools
from dataflows_memory.tools.running import ASK, Offer, RunTools, offer_of
from dataflows_memory.tools.schema import tool_name
from dataflows_memory.tools.tool import Tool, ToolBox
from dataflows_memory.tools.writing import Write, writes_of
from dataflows_sdk.core.durations import Duration, format_duration, parse_duration
from dataflows_sdk.core.redact_patterns import is_secret_name
from dataflows_sdk.errors import ToolError

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

#: seconds beyond its own wait after which a call is given up; with the usual wait less than the minute of MCP clients
_SLACK = 30.0


class ContextTools(ToolBox):
    """Tools over a context.

    Attributes:
        tables: what sql may read.
    """

    def __init__(self, tools: Iterable[Tool], rows: RowTools | None) -> None:
        super().__init__(tools)
        self._rows = rows
        self.tables: tuple[Relation, ...] = rows.reader.relations if rows is not None else ()

    def describe(self) -> str:
        """The tables as describe_tables tells them; empty where there are none."""
        return self._rows.describe_tables() if self._rows is not None else ""

    def close(self) -> None:
        """Close the connections of sql. The end of the context does it, too."""
        if self._rows is not None:
            self._rows.reader.close()


class Tools:
    """Makes sets of tools: ``ctx.tools``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._readers: weakref.WeakSet[Reader] = weakref.WeakSet()
        context._closing.append(_closing(self._readers))

    def __call__(
        self,
        flows: Iterable[Any] | Mapping[str, Any] = (),
        tables: Iterable[str] | None = None,
        *,
        memory: str | Sequence[str] | None = "",
        collection: str = "default",
        write: bool = False,
        write_tables: Iterable[str] = (),
        runs: Iterable[str] | bool | None = None,
        people: bool = True,
        hide: Mapping[str, Iterable[str]] | None = None,
        dangerous: Iterable[str] = (),
        more: Iterable[Tool | Callable[..., Any]] = (),
        wait: Duration = "20s",
        limit: int = LIMIT,
    ) -> ContextTools:
        """Tools for a model: recall, SQL, where rows come from, runs, and the flows that it may start.

        Nothing of this can be widened by what a model says: tables, flows, collection and scope are no arguments of the
        tools. Without *flows*, *write* and *write_tables* it can
        only look. Each call ends in bounded time, and secrets in what it
        gives are masked.

        Args:
            flows: workflows, flows, or names of them; with a mapping the names of the tools are its keys. Starting one
                waits for *wait* and then gives the run's id, for the tool ``wait``.
            tables: tables and views that may be read; None for all that there are now, ``[]`` for none.
            memory: whose memory: a scope, or several; None for none.
            collection: of that memory.
            write: offer ``remember`` and ``send_event``, too.
            write_tables: tables of which ``insert_…``, ``update_…`` and ``delete_…`` are offered, a row a call; none by
                default.
            runs: whose runs may be seen: names of workflows, True for all, False for none. By default those of *flows*,
                and of all workflows where no flows are given.
            people: offer ``approvals`` and ``ask_person``.
            hide: columns that may not be read, by table; by default those whose name sounds like a secret.
            dangerous: names of tools to each call of which a person has to agree; `send_event` and ``delete_…`` always
                are.
            more: tools of your own, or functions.
            wait: how long a call waits for a run at the most, up to 10 minutes.
            limit: characters of an answer.

        Raises:
            ToolError: two tools have one name, or something does not fit.
            WorkflowNotFoundError: there is no flow of a name.
            DefinitionError: there is no table of a name.
        """
        seconds = parse_duration(wait).total_seconds()
        if not 0.01 <= seconds <= 600:
            raise ToolError(f"wait={wait!r} lies between 10 milliseconds and 10 minutes")
        offers = self._offers(flows)
        visible = _visible(runs, [each.name for each in offers.values()], people)
        running = RunTools(self._context, seconds, visible)
        rows = self._rows(tables, hide, running, seconds)
        made = _Maker(set(_names("dangerous", dangerous)), seconds + _SLACK, limit, self._context)
        tools = [made.flow(name, offer, running, seconds) for name, offer in offers.items()]
        if memory is not None:
            recalling = RecallTools(self._context, collection, _scopes(memory))
            tools.append(made.reading(recalling.recall))
            tools += [made.doing(recalling.remember)] if write else []
        if rows is not None:
            tools += [made.reading(each) for each in (rows.describe_tables, rows.sql, rows.why, rows.history)]
        for table in dict.fromkeys(_names("write_tables", write_tables)):
            tools += [made.writing(each) for each in writes_of(self._context, table, hide)]
        if visible is None or visible:
            tools += [made.reading(running.runs), made.reading(running.run), made.reading(running.wait)]
            tools += [made.reading(running.approvals)] if people else []
            tools += [made.doing(running.send_event, dangerous=True)] if write else []
        tools += [made.doing(running.ask_person, keyed=True)] if people else []
        tools += [each if isinstance(each, Tool) else made.own(each) for each in more]
        made.check({each.name for each in tools})
        return ContextTools(tools, rows)

    def __repr__(self) -> str:
        return "<tools for models: ctx.tools(flows=[…], tables=[…], memory=scope)>"

    def _offers(self, flows: Iterable[Any] | Mapping[str, Any]) -> dict[str, Offer]:
        if isinstance(flows, str):
            raise ToolError(f"flows={flows!r}: give a list, [{flows!r}]")
        if isinstance(flows, Mapping):
            return {tool_name(name): offer_of(self._context, each) for name, each in flows.items()}
        found: dict[str, Offer] = {}
        for each in flows:
            offer = offer_of(self._context, each)
            name = tool_name(offer.name)
            if name in found:
                raise ToolError(
                    f"two tools would be called {name!r}: of {found[name].name!r} and {offer.name!r}; "
                    "give names: flows={'name': flow, …}"
                )
            found[name] = offer
        return found

    def _rows(
        self,
        tables: Iterable[str] | None,
        hide: Mapping[str, Iterable[str]] | None,
        running: RunTools,
        seconds: float,
    ) -> RowTools | None:
        wanted = None if tables is None else _names("tables", tables)
        database = self._context._database
        relations = readable(database, wanted, hide=hide) if wanted is None or wanted else []
        if hide is None:
            relations = [each for relation in relations if (each := _without_secrets(relation)) is not None]
        if not relations:
            return None
        made = RowTools(self._context, relations, running.may_see, min(seconds, 15.0))
        self._readers.add(made.reader)
        # a set of tools that nobody has any more leaves no connection
        weakref.finalize(made.reader, made.reader._keeper.close)
        return made


class _Maker:
    """Makes tools that wait no longer than they may."""

    def __init__(self, dangerous: set[str], wait: float, limit: int, context: Context) -> None:
        self._dangerous = dangerous
        self._common: dict[str, Any] = {"wait": wait, "limit": limit, "redactor": context._redactor}

    def reading(self, function: Callable[..., Any]) -> Tool:
        return self._of(function, False, reads=True)

    def doing(self, function: Callable[..., Any], *, dangerous: bool = False, keyed: bool = False) -> Tool:
        return self._of(function, dangerous, keyed=keyed)

    def writing(self, write: Write) -> Tool:
        name = tool_name(write.name)
        return Tool(
            name, write.description, write.parameters, write.function,
            dangerous=write.dangerous or bool({name, write.name} & self._dangerous), origin=write.name, **self._common,
        )  # fmt: skip

    def own(self, function: Callable[..., Any]) -> Tool:
        if not callable(function):
            raise ToolError(f"more: {function!r:.100} is neither a tool nor a function")
        return self._of(function, False)

    def flow(self, name: str, offer: Offer, running: RunTools, seconds: float) -> Tool:
        what = offer.description or f"Run {offer.name!r}."
        told = (
            f"{what} Gives its result; if it takes longer than {format_duration(seconds)}, the id of the run, for wait."
        )
        return Tool(
            name, told, offer.parameters.with_key(), running.starting(offer),
            dangerous=bool({name, offer.name} & self._dangerous), origin=offer.name, keyed=True, **self._common,
        )  # fmt: skip

    def check(self, names: set[str]) -> None:
        if unknown := {each for each in self._dangerous if each not in names and tool_name(each) not in names}:
            raise ToolError(f"dangerous: there is no tool {min(unknown)!r}; there are: {', '.join(sorted(names))}")

    def _of(self, function: Callable[..., Any], dangerous: bool, *, reads: bool = False, keyed: bool = False) -> Tool:
        name = getattr(function, "__name__", type(function).__name__)
        return Tool(
            tool_name(name), descriptions(inspect.getdoc(function) or "")[0], Parameters.of_function(function, name),
            function, dangerous=dangerous or name in self._dangerous, origin=name, reads=reads, keyed=keyed,
            **self._common,
        )  # fmt: skip


def _visible(runs: Iterable[str] | bool | None, offered: list[str], people: bool) -> frozenset[str] | None:
    if runs is True or (runs is None and not offered):
        return None
    names = offered if runs is None else [] if runs is False else _names("runs", runs)
    return frozenset(names) | ({ASK} if people else set())


def _names(what: str, given: Any) -> list[str]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ToolError(f"{what}={given!r:.100}: give a list of names")
    found = list(given)
    if odd := [each for each in found if not isinstance(each, str)]:
        raise ToolError(f"{what}: a name is a text, not {odd[0]!r:.100}")
    return found


def _scopes(memory: Any) -> tuple[str, ...]:
    scopes = (memory,) if isinstance(memory, str) else tuple(_names("memory", memory))
    if not scopes:
        raise ToolError("memory=[] names no scope; None offers no memory")
    return scopes


def _without_secrets(relation: Relation) -> Relation | None:
    kept = {name: kind for name, kind in relation.columns.items() if not is_secret_name(name)}
    if len(kept) == len(relation.columns):
        return relation
    from dataclasses import replace

    return replace(relation, columns=kept, partial=True) if kept else None


def _closing(readers: weakref.WeakSet[Reader]) -> Callable[[], None]:
    def close() -> None:
        for each in list(readers):
            each.close()

    return close
