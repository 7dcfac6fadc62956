"""What leaves the database, by `export` or by a BI role, has no secret in it, of connections or declared."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import NotSerializableError, RunFailed

from ..conftest import MakeContext

#: data, in the places where the secrets were: a search that does not find it finds nothing
CANARY = "canary-6f12-of-the-same-kind"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("DATAFLOWS_ENCRYPTION_KEY", "an-encryption-key-of-tests-0123456789abcdef")
    names = ("access", "refresh", "client", "basic", "declared", "variable")
    return {name: f"{name}-{secrets.token_hex(6)}-PLANTED/+" for name in names}


@pytest.fixture
def ctx(make_ctx: MakeContext, planted: dict[str, str]) -> df.Context:
    """Every kind of secret was used: as argument, in errors, in logs of progress, in a profile, in inputs of nodes."""
    ctx = make_ctx(services=df.Services(env={"SHOP_TOKEN": planted["variable"]}))
    ctx.service_client("crm", auth="oauth2", client_id="app", client_secret=planted["client"])
    ctx.connections.create(
        "crm", account_id="acme", access_token=planted["access"], refresh_token=planted["refresh"],
        user_info={"login": CANARY, "echo": planted["access"]},
    )  # fmt: skip
    ctx.service_client("billing", auth="basic")
    ctx.connections.create("billing", account_id="acme", username="robot", password=planted["basic"])
    declared = df.Secret(planted["declared"])
    tasks = ctx.warehouse.table("tasks", {"id": int, "note": str}, key="id")

    def called(*given: str) -> int:
        return len(given)

    def broken(given: str) -> None:
        raise df.NonRetryableError(f"{CANARY}: refused {given} and {declared.reveal()}")

    @df.workflow("leaves")
    async def leaves(event: Any, step: Any) -> Any:
        token = (await step.run("find", lambda: 1)) and ctx.connections.of("crm").token().reveal()
        await step.run("called", called, token, f"Bearer {token}", declared.reveal(), CANARY)
        step.progress(1, 2, f"{CANARY} {declared.reveal()}")
        await step.run("stored", lambda: tasks.upsert(id=1, note=CANARY).note)
        if event.payload["how"] == "result":
            return await step.run("kept", lambda: {"echo": token})
        return await step.run("broken", broken, token)

    for how in ("result", "error"):
        run = ctx.run(leaves, {"how": how, "canary": CANARY})
        with pytest.raises(RunFailed):
            run.result()
    flow = df.flow("told").on_manual().notify("n", "ops", title="{{env.SHOP_TOKEN}}", message=CANARY)
    ctx.run(flow, timeout="20s").result()
    for secret in planted.values():
        with pytest.raises(NotSerializableError):
            tasks.upsert(id=2, note=secret)
    return ctx


def forms(secret: str) -> Iterator[bytes]:
    raw = secret.encode()
    yield from (raw, raw.hex().encode(), base64.b64encode(raw), raw[: len(raw) - 2])


def values(connection: duckdb.DuckDBPyConnection, tables: list[str]) -> bytes:
    """Everything in some tables as text: what stands compressed in a file is not found in its bytes."""
    found = []
    for each in tables:
        rows = connection.execute(f"select t::text from {each} t").fetchall()
        found += [row[0] for row in rows]
        for name, kind, *_ in connection.execute(f"describe select * from {each}").fetchall():
            if kind == "BLOB":
                blobs = connection.execute(f'select "{name}" from {each} where "{name}" is not null').fetchall()
                found += [bytes(row[0]).decode("utf-8", "replace") for row in blobs]
    return "\n".join(found).encode()


@pytest.mark.parametrize("name", ["incident.duckdb", "incident/"])
def test_no_byte_of_a_secret_is_in_an_archive(
    name: str, ctx: df.Context, planted: dict[str, str], tmp_path: Path
) -> None:
    path = ctx.export(f"{tmp_path}/{name}")
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    raw = b"".join(each.read_bytes() for each in files)
    with duckdb.connect() as connection:
        if path.is_file():
            connection.execute(f"attach '{path}' as archive (read_only)")
            rows = connection.execute(
                "select schema_name, table_name from duckdb_tables() where database_name = 'archive'"
            ).fetchall()
            tables = [f'archive."{schema}"."{table}"' for schema, table in rows]
        else:
            tables = [f"read_parquet('{each}')" for each in files if each.suffix == ".parquet"]
        assert len(tables) >= 5
        text = values(connection, tables)
    assert text.count(CANARY.encode()) >= 6, "in inputs, errors, results, a table"
    for secret in planted.values():
        for form in forms(secret):
            assert form not in raw
            assert form not in text
    assert b"PLANTED" not in raw + text
    words = b" ".join(str(each).encode() for each in [*files, *tables])
    assert not any(word in words + text for word in (b"service_clients", b"access_token", b"client_secret"))


@pytest.mark.parametrize("journal", [False, True])
def test_a_bi_role_reads_no_secret(ctx: df.Context, planted: dict[str, str], journal: bool) -> None:
    access = ctx.warehouse.bi_access(f"bi_{secrets.token_hex(4)}", journal=journal)
    try:
        with psycopg.connect(access.dsn, autocommit=True) as connection:
            for table in ("connections", "service_clients", "kv"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"select * from dataflows.{table}")  # type: ignore[call-overload]
            assert connection.execute(
                "select count(*) from information_schema.columns where column_name in "
                "('access_token', 'refresh_token', 'client_secret')"
            ).fetchone() == (0,)
            rows = connection.execute(
                "select table_schema, table_name from information_schema.table_privileges "
                "where grantee = current_user and privilege_type = 'SELECT'"
            ).fetchall()
            text = ""
            for schema, table in rows:
                found = connection.execute(f'select t::text from "{schema}"."{table}" t').fetchall()  # type: ignore[call-overload]
                text += "\n".join(row[0] for row in found)
            assert {"tasks", "tasks_history"} <= {table for _, table in rows}
        assert CANARY in text
        assert not any(secret in text for secret in planted.values())
    finally:
        access.revoke()
