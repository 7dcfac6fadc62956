"""A workflow that writes rows in every way a step can; killed at the engine's fault points by a sweep."""

from __future__ import annotations

from typing import Any

import dataflows_sdk as df


def main(ctx: df.Context) -> Any:
    tasks = ctx.warehouse.table("tasks", {"id": int, "n": int, "run": str})
    things = ctx.warehouse.table("things", [{"id": 1, "parts": [{"k": 1}]}], key="id", children={"parts": "k"})

    @df.workflow("rows")
    async def rows(event: Any, step: Any) -> Any:
        def one() -> int:
            return int(tasks.upsert(id=1, n=tasks.count()).n)

        async def two() -> Any:
            await tasks.aupsert(id=2, n=1)
            await tasks.aupsert(id=2, n=2)
            return (await tasks.aget(2))._version

        def three(connection: Any) -> int:
            connection.execute("insert into effects_of_mine values (1)")
            return tasks.upsert_many([{"id": 1, "n": 10}, {"id": 3, "n": 3}]).changed

        first = await step.run("one", one)
        second = await step.run("two", two)
        third = await step.transaction("three", three)
        await step.sleep("nap", 0.1)
        parts = await step.gather(*(step.run(f"part {n}", tasks.upsert, {"id": 10 + n, "n": n}) for n in range(3)))
        await step.run("gone", tasks.delete, 3)

        def lists() -> Any:
            things.upsert_many([{"id": id, "parts": [{"k": k} for k in range(id)]} for id in range(4)])
            things.upsert(id=3, parts=[{"k": 2}, {"k": 9}])
            return things.delete(2).children["parts"].deleted

        await step.run("lists", lists)
        return [first, second, third, [row.n for row in parts]]

    with ctx._database.connection() as connection:
        connection.execute("create table if not exists effects_of_mine (n int)")
    run = ctx.start(rows, {}, idempotency_key="the one")
    result = run.result(timeout=40)
    with ctx._database.connection() as connection:
        effects = connection.execute("select count(*) from effects_of_mine").fetchone()
    history = [
        (key, version.operation, version.row and version.row.n, version.run == run.id, version.step)
        for key in (1, 2, 3, 10, 11, 12)
        for version in tasks.history(key)
    ]
    parts = [(each.things_id, each.k, each._version) for each in ctx.warehouse["things_parts"].find()]
    ended = [version.operation for key in ((2, 0), (3, 0)) for version in ctx.warehouse.history("things_parts", key)]
    return [result, effects[0], [[*each] for each in history], parts, ended]
