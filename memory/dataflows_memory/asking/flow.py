"""The workflow that answers: each recall, each query and each call of the model is a step, and is paid once."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from dataflows_memory.asking import prompts, tracing
from dataflows_memory.asking.checking import verdict
from dataflows_memory.asking.sources import Sources, source_of
from dataflows_memory.models.costs import Budget
from dataflows_memory.models.meter import Meter
from dataflows_memory.models.replies import Call, Reply
from dataflows_sdk.core.retry import Retry
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import (
    DefinitionError,
    ItemNotFoundError,
    QueryError,
    RecallError,
    ToolArgumentError,
    WarehouseError,
)

if TYPE_CHECKING:
    from dataflows_memory.desk import Memory
    from dataflows_memory.gate import Answer as Rows
    from dataflows_memory.gate import Reader
    from dataflows_memory.items import Hit
    from dataflows_memory.models.chat import ChatModel

_RETRY = Retry(no_retry_on=(RecallError, DefinitionError, QueryError))
#: answers that do not hold, after which there is none
_REPAIRS = 1
#: rows of which the step is looked up that wrote them
_TRACED = 20


def flow_name(model: ChatModel) -> str:
    """Of the workflow: a process that knows the model goes on with its runs."""
    return f"dataflows.ask {model.name}"


def workflow_of(work: Work) -> Workflow:
    """The workflow of a model."""

    async def ask(event: Any, step: Any) -> dict[str, Any]:
        return await _Conversation(work, event.raw, step).run()

    return Workflow(flow_name(work.model), ask, description="Answers a question from memory and tables.")


class Work:
    """What the steps do. It does not keep the memory alive, nor the context.

    Args:
        model: that is asked.
        memory: that is looked into.
    """

    def __init__(self, model: ChatModel, memory: Memory) -> None:
        self.model = model
        self._memory = weakref.ref(memory)
        self._database = memory._context._database
        self._lock = threading.Lock()
        self._readers: dict[str, Reader] = {}

    def close(self) -> None:
        """Close what was opened."""
        with self._lock:
            readers, self._readers = list(self._readers.values()), {}
        for each in readers:
            each.close()
        self.model.close()

    def memory(self) -> Memory:
        """The memory."""
        found = self._memory()
        if found is None:
            raise DefinitionError("the memory that was asked is gone: keep ctx.memory, or the Memory that you made")
        return found

    # --- steps -------------------------------------------------------------------------------------------

    def recall(self, spec: dict[str, Any], query: str, count: int) -> list[dict[str, Any]]:
        """What the memory has, above the floor."""
        as_of = spec["as_of"]
        memory = self.memory()
        branch = spec.get("branch")
        found = (memory if branch is None else memory.on(branch)).recall(
            query,
            count,
            collection=spec["collection"],
            scope=spec["scope"],
            where=spec["where"],
            as_of=None if as_of is None else datetime.fromisoformat(as_of),
        )
        return [source_of(hit) for hit in found if passes(hit, spec["floor"])]

    def tables(self, spec: dict[str, Any]) -> str:
        """The tables, as a text for the model."""
        from dataflows_memory.gate import describe

        as_of = spec["as_of"]
        moment = None if as_of is None else datetime.fromisoformat(as_of)
        return describe(self.reader(spec), self._database, as_of=moment)

    def query(self, spec: dict[str, Any], text: str) -> dict[str, Any]:
        """What a query gives, or why there is no answer."""
        as_of = spec["as_of"]
        moment = None if as_of is None else datetime.fromisoformat(as_of)
        reader = self.reader(spec)
        try:
            found = reader.query(text, as_of=moment)
        except QueryError as error:
            return {"kind": "error", "text": str(error)}
        source = _plain(found)
        further = tracing.traced(text, reader.relations)
        if further is not None and found.rows:
            try:
                again = reader.query(further.text, as_of=moment)
            except QueryError:
                return source  # its rows cannot be told apart like this; it is cited as a query
            # taken as a whole, so that rows and where they come from are of one moment
            width = further.width
            source |= {**_plain(again), "sql": found.sql}
            source["columns"] = source["columns"][:-width]
            source["behind"] = [tracing.behind(further, row) for row in again.rows]
            source["rows"] = [row[:-width] for row in again.rows]
            self._with_steps(source["behind"], moment)
        return source

    def reader(self, spec: dict[str, Any]) -> Reader:
        """Of the tables that may be read."""
        from dataflows_memory.gate import Reader, readable

        with self._lock:
            name = repr((spec["tables"], spec["hide"]))
            if name not in self._readers:
                relations = readable(self._database, spec["tables"], hide=spec["hide"])
                self._readers[name] = Reader(self._database, relations)
            return self._readers[name]

    def _with_steps(self, behind: list[list[dict[str, Any]]], moment: datetime | None) -> None:
        warehouse = self.memory()._context.warehouse
        single = [row[0] for row in behind if len(row) == 1 and row[0]["run"]]
        for each in single[:_TRACED]:
            try:
                key = each["key"][0] if len(each["key"]) == 1 else tuple(each["key"])
                versions = warehouse.history(each["table"], key)
            except (WarehouseError, DefinitionError, ItemNotFoundError):
                continue  # a table that is gone since
            for version in versions:
                over = version.valid_to is not None and (moment is None or version.valid_to <= moment)
                if version.run == each["run"] and not over:
                    each["step"] = version.step


def passes(hit: Hit, floor: float) -> bool:
    """Whether a hit has to do with the question at all: a word in common, or a meaning that is near enough."""
    near = [part.score for name, part in hit.parts.items() if name.startswith("meaning")]
    return any(name.startswith("words") and part.score > 0 for name, part in hit.parts.items()) or (
        bool(near) and max(near) >= floor
    )


class _Conversation:
    """One question."""

    def __init__(self, work: Work, spec: dict[str, Any], step: Any) -> None:
        self._work, self._spec, self._step = work, spec, step
        self._meter = Meter(Budget(**spec["budget"]), step)
        self._sources = Sources(step.run_id)
        self._queries: list[dict[str, Any]] = []
        self._refused = 0
        self._begun: datetime

    async def run(self) -> dict[str, Any]:
        spec, step, work = self._spec, self._step, self._work
        self._begun = await step.now()
        hits: list[dict[str, Any]] = []
        if spec["collection"] is not None:
            hits = await step.run("recall", partial(work.recall, spec, spec["question"], spec["k"]), retry=_RETRY)
        tables = await step.run("tables", partial(work.tables, spec), retry=_RETRY) if spec["tables"] else ""
        if not hits and not tables:
            return await self._nothing("nothing in the memory has to do with the question, and no table may be read")
        rules = prompts.rules(
            self._sources.mark,
            self._begun.isoformat(timespec="minutes"),
            spec["as_of"],
            memory=spec["collection"] is not None,
            tables=tables,
        )
        return await self._talk(rules, hits)

    async def _talk(self, rules: str, hits: list[dict[str, Any]]) -> dict[str, Any]:
        asked = prompts.question(self._spec["question"], self._sources.shown(hits))
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": rules},
            {"role": "user", "content": asked},
        ]
        repairs = 0
        for number in range(1, self._spec["rounds"] + 1):
            await self._meter.ready()
            call: Callable[[], Any] = partial(self._asked, list(messages), self._offered())
            reply = Reply.of_json(await self._step.run(f"model {number}", call, retry=_RETRY))
            self._meter.add(reply.used)
            messages.append(reply.message())
            if reply.calls:
                for place, each in enumerate(reply.calls, 1):
                    told = await self._called(f"{number}.{place}", each)
                    messages.append({"role": "tool", "tool_call_id": each.id, "content": told})
                continue
            found = verdict(reply.text, self._sources)
            if not found.found:
                return await self._nothing("the sources do not say")
            if not found.problems:
                return await self._done(reply.text, found.cited)
            if repairs == _REPAIRS:
                return await self._nothing("what the model said does not hold", reply.text, found.problems)
            repairs += 1
            messages.append({"role": "user", "content": prompts.repair(found.problems)})
        return await self._nothing(f"the model had not answered after {self._spec['rounds']} calls")

    def _asked(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
        return self._work.model.complete(messages, tools=tools).to_json()

    def _offered(self) -> list[dict[str, Any]]:
        offered = [prompts.RECALL.openai()] if self._spec["collection"] is not None else []
        if self._spec["tables"] and self._refused < self._spec["sql_attempts"]:
            offered.append(prompts.SQL.openai())
        return offered

    # --- what the model may do ---------------------------------------------------------------------------

    async def _called(self, place: str, call: Call) -> str:
        offered = {each["function"]["name"] for each in self._offered()}
        if call.name not in offered:
            return f"there is no tool {call.name!r:.60}; there are: {', '.join(sorted(offered)) or 'none any more'}"
        tool = prompts.RECALL if call.name == prompts.RECALL.name else prompts.SQL
        try:
            given = tool.parameters.arguments(call.arguments)
        except ToolArgumentError as error:
            return f"{call.name}: {error}"
        if tool is prompts.SQL:
            return await self._queried(place, given["query"])
        query, count = given["query"], min(max(given["count"], 1), 20)
        if not query.strip():
            return "recall: the query is empty"
        hits = await self._step.run(
            f"recall {place}", partial(self._work.recall, self._spec, query, count), retry=_RETRY
        )
        return self._sources.shown(hits) or "nothing was found"

    async def _queried(self, place: str, text: str) -> str:
        source = await self._step.run(f"sql {place}", partial(self._work.query, self._spec, text), retry=_RETRY)
        if source["kind"] == "error":
            self._refused += 1
            self._queries.append({"asked": text, "sql": None, "rows": 0, "error": source["text"], "number": None})
            left = self._spec["sql_attempts"] - self._refused
            return f"{source['text']}\n" + ("Write it differently." if left else "There is no further attempt.")
        shown = self._sources.shown([source])
        number = len(self._sources)
        rows = len(source["rows"])
        self._queries.append({"asked": text, "sql": source["sql"], "rows": rows, "error": None, "number": number})
        return shown

    # --- the end -----------------------------------------------------------------------------------------

    async def _done(self, text: str, cited: tuple[str, ...]) -> dict[str, Any]:
        from dataclasses import asdict

        citations = [asdict(self._sources.citation(number)) for number in cited]
        return await self._result(text, citations)

    async def _nothing(self, why: str, rejected: str | None = None, problems: tuple[str, ...] = ()) -> dict[str, Any]:
        return await self._result(f"Not found: {why}.", None, rejected, problems)

    async def _result(
        self,
        text: str,
        citations: list[dict[str, Any]] | None,
        rejected: str | None = None,
        problems: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        return {
            "question": self._spec["question"],
            "text": text,
            "found": citations is not None,
            "citations": citations or [],
            "queries": self._queries,
            "used": self._meter.used.to_json(),
            "seconds": (await self._step.now() - self._begun).total_seconds(),
            "model": self._work.model.name,
            "as_of": self._spec["as_of"],
            "rejected": rejected,
            "problems": list(problems),
        }


def _plain(found: Rows) -> dict[str, Any]:
    return {
        "kind": "rows",
        "sql": found.sql,
        "columns": list(found.columns),
        "rows": found.rows,
        "note": found.note,
        "behind": [],
    }


__all__ = ["Work", "flow_name", "passes", "workflow_of"]
