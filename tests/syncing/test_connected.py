"""Sources that name a connection: authorised as its scheme says, refreshed, and no token where people read."""

from __future__ import annotations

import base64
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import (
    ConnectionAuthError,
    ConnectionNotFoundError,
    DefinitionError,
    MissingScopeError,
    NotSerializableError,
    ServiceClientNotFoundError,
    SourceNotFoundError,
    StepFailed,
)
from dataflows_sdk.store.addresses import url_for

from ..conftest import MakeContext, everything_stored
from ..connections.provider import Provider, providing
from .conftest import Asked, Reply, Serve, numbers, serve, sync

ROWS = [{"id": n, "name": f"n{n}"} for n in range(30)]
PAGING = {"style": "next_url", "at": "next"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLOWS_ENCRYPTION_KEY", "an-encryption-key-of-tests-0123456789abcdef")


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as made:
        yield made


def page_of(asked: Asked, more: str = "") -> Reply:
    page = int(asked.query.get("page", "1"))
    following = f"{asked.path}?page={page + 1}{more}" if page < 3 else None
    return 200, {}, {"items": ROWS[(page - 1) * 10 : page * 10], "next": following}


def fails(ctx: df.Context, source: Any, kind: type[Exception], words: str, **options: Any) -> df.errors.StepFailed:
    run = sync(ctx, source, **options)
    with pytest.raises(StepFailed, match=words) as failed:
        run.result()
    assert failed.value.error is not None
    assert failed.value.error["type"].rpartition(":")[2] == kind.__name__
    return failed.value


# --- a token that ends --------------------------------------------------------------------------------------


def test_a_token_is_refreshed_when_it_ends_and_when_it_is_refused(
    ctx: df.Context, api: Serve, provider: Provider, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    planted = [provider.access, provider.refresh]
    statuses: list[int] = []

    def answer(asked: Asked) -> Reply:
        if asked.headers.get("authorization") != f"Bearer {provider.access}":
            reply: Reply = (401, {}, {"message": f"unknown token {asked.headers.get('authorization')}"})
        elif statuses.count(200) == 1 and 500 not in statuses:
            reply = (500, {"X-Echo": provider.access}, {"message": f"out of order for {provider.access}"})
        else:
            reply = page_of(asked)
            if statuses.count(200) == 1:
                planted.append(provider.access)
                provider.access = "revoked-by-hand-9Xk2PqLw"  # the token of the page before is good no more
        statuses.append(reply[0])
        return reply

    server = api(answer)
    ctx.service_client(
        "crm", auth="oauth2", scopes=["read"], client_id="app-1", client_secret="client-secret-8842",
        base_url=server.url, token_url=f"{provider.url}/token",
    )  # fmt: skip
    found = ctx.connections.create(
        "crm", account_id="acme", access_token=provider.access, refresh_token=provider.refresh,
        expires_at=ctx._engine.clock.now(),
    )  # fmt: skip
    source = df.JsonApi(f"{server.url}/things", records="items", paging=PAGING, connection="crm")
    assert source.describe()["connection"] == {"client": "crm"}
    run = sync(ctx, source)
    assert run.result().rows == 30
    assert numbers(ctx) == list(range(30))
    # before the first page, because it had ended; after the second, because it was refused
    assert statuses == [200, 500, 200, 401, 200]
    assert len(provider.refreshes) == 2
    planted += [provider.access, provider.refresh, "client-secret-8842"]

    shown = [repr(source), repr(run), repr(run.timeline()), str([event.data for event in run.events()]), caplog.text]
    shown += [repr(found.auth()), repr(ctx.warehouse.syncs()), str(ctx.sql("from events").fetchall())]
    shown.append(everything_stored(database_url))
    assert "out of order for ***" in shown[3], "an error that the API gave is told, without the token"
    assert "HTTP Request: GET" in caplog.text
    for token in planted:
        for text in shown:
            assert token not in text
            assert base64.b64encode(token.encode()).decode() not in text
    assert ctx.connections.token(found).reveal() == provider.access


def test_a_connection_that_gives_no_access_says_so_and_is_not_asked_again(
    ctx: df.Context, api: Serve, provider: Provider, database_url: str
) -> None:
    server = api(lambda asked: (401, {}, {"message": "no"}))
    ctx.service_client("crm", auth="oauth2", base_url=server.url, token_url=f"{provider.url}/token")
    found = ctx.connections.create("crm", user_id="ann", access_token="old-4410-PLANTED", refresh_token="unknown-7713")
    source = df.JsonApi(f"{server.url}/things", records="items", connection=found)
    assert source.describe()["connection"] == {"id": str(found.id)}
    fails(ctx, source, ConnectionAuthError, "connect anew")
    assert (len(server.asked), len(provider.refreshes)) == (1, 1)
    assert ctx.connections.get(found).status == "auth_error"
    error = fails(ctx, source, ConnectionAuthError, "auth_error: connect anew")
    assert str(found.id) in str(error)
    assert "ctx.connections.renew" in str(error)
    # by the name of its client the same one is found, for want of a better one
    named = df.JsonApi(f"{server.url}/things", records="items", connection="crm")
    fails(ctx, named, ConnectionAuthError, "auth_error")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update dataflows.connections set status = 'revoked'")
    fails(ctx, named, ConnectionAuthError, "is revoked")
    assert len(server.asked) == 1
    ctx.connections.renew(found, access_token="new-4411-PLANTED", refresh_token=provider.refresh)
    server.answer = page_of
    assert sync(ctx, named).result().rows == 10
    assert server.asked[-1].headers["authorization"] == "Bearer new-4411-PLANTED"
    ctx.connections.delete(found)
    fails(ctx, source, ConnectionNotFoundError, str(found.id), name="other")
    fails(ctx, named, ConnectionNotFoundError, r"no connection to 'crm'; ctx.connections.create\('crm'", name="other")
    gone = df.JsonApi(f"{server.url}/things", connection="crn")
    fails(ctx, gone, ServiceClientNotFoundError, "there is no service client 'crn'; there are 'crm'", name="other")
    text = everything_stored(database_url)
    assert not any(each in text for each in ("old-4410-PLANTED", "unknown-7713", "new-4411-PLANTED"))


# --- every scheme -------------------------------------------------------------------------------------------

KEY = "key-77c1-PLANTED/+="
SCHEMES: list[tuple[dict[str, Any], dict[str, Any], Callable[[Asked], bool]]] = [
    ({"auth": "api_key"}, {"api_key": KEY}, lambda asked: asked.headers.get("authorization") == f"Bearer {KEY}"),
    (
        {"auth": "api_key", "security_schema": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}},
        {"api_key": KEY},
        lambda asked: asked.headers.get("x-api-key") == KEY,
    ),
    (
        {"auth": "api_key", "security_schema": {"type": "apiKey", "in": "query", "name": "k"}},
        {"api_key": KEY},
        lambda asked: asked.query.get("k") == KEY,
    ),
    (
        {"auth": "api_key", "security_schema": {"type": "apiKey", "in": "cookie", "name": "sid"}},
        {"api_key": KEY},
        lambda asked: f"sid={KEY}" in asked.headers.get("cookie", ""),
    ),
    (
        {"auth": "basic"},
        {"username": "robot", "password": KEY},
        lambda asked: (
            asked.headers.get("authorization") == f"Basic {base64.b64encode(f'robot:{KEY}'.encode()).decode()}"
        ),
    ),
]


@pytest.mark.parametrize(("client", "given", "right"), SCHEMES, ids=["bearer", "header", "query", "cookie", "basic"])
def test_it_goes_where_the_scheme_says(
    client: dict[str, Any], given: dict[str, Any], right: Callable[[Asked], bool], ctx: df.Context, api: Serve,
    database_url: str, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    # an API that gives the key back in the address of the next page
    server = api(lambda asked: page_of(asked, f"&k={KEY}") if right(asked) else (401, {}, {}))
    ctx.service_client("maps", base_url=server.url, **client)
    ctx.connections.create("maps", account_id="acme", **given)
    ctx.connections.create("maps", account_id="other", **dict.fromkeys(given, "wrong-wrong-wrong"))
    several = df.JsonApi(f"{server.url}/things", records="items", paging=PAGING, connection="maps")
    fails(ctx, several, DefinitionError, "'maps' has several active connections; say which, by user_id or account_id")
    assert server.asked == []
    named = {"client": "maps", "account_id": "acme"}
    source = df.JsonApi(f"{server.url}/things", records="items", paging=PAGING, connection=named)
    if client.get("security_schema", {}).get("in") == "query":
        assert sync(ctx, source).result().rows == 30
    else:
        # who repeats a secret in an address that has to be kept is refused: nothing of the page is stored
        fails(ctx, source, NotSerializableError, "cannot be stored: a declared secret")
        assert [
            name for name in ("things",) if ctx.sql("from duckdb_tables() where table_name = ?", name).fetchall()
        ] == []
        server.answer = lambda asked: page_of(asked) if right(asked) else (401, {}, {})
        assert sync(ctx, source).result().rows == 30
    assert numbers(ctx) == list(range(30))
    text = everything_stored(database_url) + caplog.text
    assert not any(form in text for form in (KEY, json.dumps(KEY)[1:-1], "key-77c1-PLANTED"))
    again = df.JsonApi(**{name: value for name, value in source.describe().items() if name != "kind"})
    assert again.describe() == source.describe(), "another process makes it from the journal"


def test_rows_in_which_the_token_stands_are_refused(ctx: df.Context, api: Serve, database_url: str) -> None:
    server = api(lambda asked: (200, {}, {"items": [{"id": 1, "seen": asked.headers["authorization"]}]}))
    ctx.service_client("crm", auth="api_key", base_url=server.url)
    ctx.connections.create("crm", user_id="ann", api_key=KEY)
    source = df.JsonApi(f"{server.url}/things", records="items", connection="crm")
    fails(ctx, source, NotSerializableError, "table 'things': column 'seen' of row 0 cannot be stored")
    assert len(server.asked) == 1
    assert KEY not in everything_stored(database_url)


# --- where it does not go -----------------------------------------------------------------------------------


def test_no_other_server_gets_it(ctx: df.Context, api: Serve) -> None:
    elsewhere, closing = serve(page_of)
    try:
        server = api(lambda asked: (302, {"Location": f"{elsewhere.url}{asked.path}"}, {}))
        ctx.service_client("open", auth="api_key")
        ctx.connections.create("open", user_id="ann", api_key=KEY)
        ctx.service_client("bound", auth="api_key", base_url=server.url, scopes=["read"])
        ctx.connections.create("bound", user_id="ann", api_key=KEY)
        for name in ("open", "bound"):
            assert sync(ctx, df.JsonApi(f"{server.url}/things", records="items", connection=name)).result().rows == 10
        assert [each.headers.get("authorization") for each in server.asked] == [f"Bearer {KEY}"] * 2
        assert [each.headers.get("authorization") for each in elsewhere.asked] == [None] * 2
        away = df.JsonApi(f"{elsewhere.url}/things", records="items", connection="bound")
        fails(ctx, away, ConnectionAuthError, f"is for {server.url}, and the request goes to {elsewhere.url}")
        short = {"client": "bound", "scopes": ["read", "write"]}
        fails(ctx, df.JsonApi(f"{server.url}/things", connection=short), MissingScopeError, "lacks the scopes write")
        assert (len(server.asked), len(elsewhere.asked)) == (2, 2)
        allowed = {"client": "bound", "hosts": ["127.0.0.1"]}
        away = df.JsonApi(f"{elsewhere.url}/things", records="items", connection=allowed)
        assert sync(ctx, away).result().rows == 10
        assert elsewhere.asked[-1].headers["authorization"] == f"Bearer {KEY}"
    finally:
        closing.shutdown()
        closing.server_close()


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        ("", "client of a connection is a line of text"),
        (" \n", "line of text"),
        (7, "int names no connection"),
        ({}, "by its id, or by its client"),
        ({"client": "a", "id": "019ab000-0000-7000-8000-000000000000"}, "by its id, or by its client"),
        ({"id": "nonsense"}, "is a UUID"),
        ({"id": "019ab000-0000-7000-8000-000000000000", "user_id": "ann"}, "leave user_id and account_id out"),
        ({"client": 7}, "line of text"),
        ({"client": "a", "token": "b"}, "no 'token'"),
        ({"client": "a", "scopes": "read"}, "a list of texts"),
        ({"client": "a", "hosts": [7]}, "line of text"),
    ],
)
def test_a_connection_that_makes_no_sense_is_refused(connection: Any, words: str) -> None:
    for make in (
        lambda: df.JsonApi("https://x.test/", connection=connection),
        lambda: df.SqlSource("postgresql://x.test/crm", table="t", connection=connection),
    ):
        with pytest.raises(DefinitionError, match=words):
            make()


def test_what_is_refused_besides(reach: Any) -> None:
    declared = df.Secret("declared-5512-PLANTED")
    with pytest.raises(DefinitionError, match="holds a secret") as refused:
        df.JsonApi("https://x.test/", connection={"client": "a", "user_id": declared.reveal()})
    assert declared.reveal() not in str(refused.value)
    with pytest.raises(DefinitionError, match="leave one of them out"):
        df.JsonApi("https://x.test/", auth={"type": "bearer", "token": "{{env.T}}"}, connection="a")
    with pytest.raises(DefinitionError, match="is a file, which asks for no password"):
        df.SqlSource("sqlite:///a.db", table="t", connection="a")
    with pytest.raises(DefinitionError, match="is a file, which asks for no password"):
        df.SqlSource("{{env.DB}}", table="t", connection="a").fetch(None, reach(DB="sqlite:///a.db"))
    with pytest.raises(SourceNotFoundError, match="there are none without a context"):
        df.JsonApi("https://x.test/", connection="a").fetch(None, reach())


# --- another database ---------------------------------------------------------------------------------------


def test_a_database_is_read_with_user_and_password_of_a_connection(
    ctx: df.Context, make_ctx: MakeContext, database_url: str, provider: Provider
) -> None:
    role, password = f"crm_{secrets.token_hex(4)}", f"pw-{secrets.token_urlsafe(12)}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "create table public.orders as select n as id, 'o' || n as name from generate_series(0, 29) n"
        )
        connection.execute(f"create role {role} login password '{password}'")
        try:
            connection.execute(f"grant select on public.orders to {role}")
            address = urlsplit(url_for(database_url, "nobody-here", "x"))
            where = f"{address.path}?{address.query}"
            ctx.service_client("crm-db", auth="basic")
            ctx.connections.create("crm-db", account_id="acme", username=role, password=password)
            source = df.SqlSource(f"postgresql://{where}", table="public.orders", page_size=10, connection="crm-db")
            assert sync(ctx, source).result().rows == 30
            # a token is the password of the user in the address
            ctx.service_client("cloud-db", auth="oauth2", token_url=f"{provider.url}/token")
            given = {"access_token": password, "refresh_token": provider.refresh}
            made = ctx.connections.create("cloud-db", account_id="acme", **given)
            source = df.SqlSource(f"postgresql://{role}@{where}", table="public.orders", connection=made)
            assert sync(ctx, source, name="cloud", into="cloud").result().rows == 30
            ctx.connections.renew(made, access_token="wrong-3391-PLANTED")
            run = sync(ctx, source, name="cloud", into="cloud", retry=df.NO_RETRY)
            with pytest.raises(StepFailed, match="password authentication failed") as failed:
                run.result()
            ctx.service_client("web", auth="basic", base_url="https://web.test")
            ctx.connections.create("web", account_id="acme", username=role, password=password)
            source = df.SqlSource(f"postgresql://{where}", table="public.orders", connection="web")
            fails(ctx, source, ConnectionAuthError, "is for https://web.test: the secret was not sent to a database")
            text = everything_stored(database_url) + str(failed.value) + str([event.data for event in run.events()])
            assert password not in text
            assert "wrong-3391-PLANTED" not in text
        finally:
            connection.execute(f"drop owned by {role}")
            connection.execute(f"drop role {role}")
