"""Tables of the warehouse as decision 0018 lays them out, made and written by hand."""

from __future__ import annotations

import json
from typing import Any

import psycopg

_OWN = """_source text, _external_id text, _synced_at timestamptz not null default now(), _execution_id uuid,
          _version integer not null default 1, _write bigint"""


class Ground:
    """A hand at the warehouse of a database."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def run(self, sql: str, *parameters: Any) -> list[Any]:
        cursor = self.connection.execute(sql, parameters or None)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description is not None else []

    def table(self, name: str, columns: str) -> None:
        """A table, its past and its history."""
        self.run(
            f'create table warehouse."{name}" (id bigint generated always as identity primary key, {columns}, {_OWN})'
        )
        ended = "_valid_to timestamptz, _ended_by bigint, _deleted boolean"
        self.run(f'create table warehouse_past."{name}" (like warehouse."{name}", {ended})')
        self.history(name)
        self.run(
            "insert into dataflows.warehouse_table (name, shape, version, created_at, changed_at) "
            "values (%s, %s, 1, now(), now())",
            name,
            json.dumps({}),
        )

    def history(self, name: str) -> None:
        columns = self._columns(name)
        self.run(f"""create view warehouse."{name}_history" as
                     select t.*, t._synced_at as valid_from, null::timestamptz as valid_to from warehouse."{name}" t
                     union all
                     select p.*, p._synced_at, null from (select {columns} from warehouse_past."{name}") p""")

    def _columns(self, name: str) -> str:
        found = self.run(
            "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute "
            "where attrelid = format('warehouse.%%I', %s::text)::regclass and attnum > 0 and not attisdropped",
            name,
        )
        return str(found[0][0])

    def insert(self, table: str, *rows: dict[str, Any]) -> None:
        """Rows, and the write that they are of, in one transaction."""
        with self.connection.transaction():
            write = self.run(
                "insert into dataflows.write (name, at, inserted) values (%s, now(), %s) returning id", table, len(rows)
            )[0][0]
            for row in rows:
                names = ", ".join(f'"{each}"' for each in (*row, "_write"))
                marks = ", ".join(["%s"] * (len(row) + 1))
                self.run(f'insert into warehouse."{table}" ({names}) values ({marks})', *row.values(), write)
