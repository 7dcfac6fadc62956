"""Service clients and connections as tables: what is stored, what is refused, and that no secret is readable."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import (
    ConnectionAuthError,
    ConnectionNotFoundError,
    DecryptionError,
    DefinitionError,
    EncryptionKeyError,
    MissingScopeError,
    ServiceClientNotFoundError,
)

from .conftest import OTHER_KEY, connected, github
from .provider import Provider

Rows = psycopg.Connection[Any]
TOKEN = "tok-9f8e7d6c5b4a-PLANTED"


def columns(sql: Rows, table: str) -> list[str]:
    return [row[0] for row in sql.execute(
        "select column_name from information_schema.columns where table_schema = 'dataflows' and table_name = %s "
        "order by ordinal_position", (table,),
    )]  # fmt: skip


def test_the_tables_have_the_columns_that_are_promised(looker: df.Context, sql: Rows) -> None:
    assert " ".join(columns(sql, "service_clients")) == (
        "id name provider auth_type client_id client_secret security_schema scopes base_url created_at updated_at"
    )
    assert " ".join(columns(sql, "connections")) == (
        "id service_client_id user_id account_id access_token refresh_token token_type expires_at scopes status "
        "user_info user_info_fetched_at last_used_at created_at updated_at"
    )


def test_a_client_is_a_row(looker: df.Context, sql: Rows) -> None:
    made = looker.service_client("github", auth="oauth2", scopes=["repo"])
    assert sql.execute("select auth_type, scopes, provider from dataflows.service_clients").fetchall() == [
        ("oauth2", ["repo"], "github")
    ]
    assert looker.service_clients.list() == [made] == [looker.service_clients.get("github")]


def test_the_same_again_changes_nothing_and_more_changes_only_that(looker: df.Context, provider: Provider) -> None:
    one = github(looker, provider)
    assert github(looker, provider) == one
    other = looker.service_client("github", scopes=["repo", "admin", "repo"])
    assert other.scopes == ("repo", "admin")
    assert other.updated_at > one.updated_at
    assert (other.id, other.base_url, other.has_secret, other.created_at) == (
        one.id, one.base_url, True, one.created_at,
    )  # fmt: skip
    assert other.security_schema == one.security_schema
    again = looker.service_client("github", client_secret="a new secret of the client")
    assert again.updated_at > other.updated_at
    assert looker.service_client("github", client_secret="a new secret of the client") == again


def test_a_client_secret_whose_key_is_lost_is_replaced(
    make_ctx: Any, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    github(make_ctx(work=False), provider)
    monkeypatch.setenv("DATAFLOWS_ENCRYPTION_KEY", OTHER_KEY)
    other = make_ctx(work=False)
    other.service_client("github", client_secret="given-again-7731")
    assert list(other.vault.status().secrets.values()) == [1]
    assert other.vault.status().missing == ()


@pytest.mark.parametrize(
    "given",
    [
        {"auth": None}, {"auth": "magic"}, {"auth": "oauth2", "scopes": "repo"}, {"auth": "oauth2", "scopes": ["a b"]},
        {"auth": "oauth2", "scopes": [7]}, {"auth": "oauth2", "base_url": "ftp://x"},
        {"auth": "oauth2", "base_url": "https://ann:pw@x.org"}, {"auth": "oauth2", "token_url": "nonsense"},
        {"auth": "api_key", "token_url": "https://x.org/t"}, {"auth": "oauth2", "client_secret": ""},
        {"auth": "oauth2", "client_secret": "a\nb"}, {"auth": "oauth2", "client_secret": 7},
        {"auth": "oauth2", "provider": "\0"}, {"auth": "api_key", "security_schema": {"type": "oauth2"}},
        {"auth": "api_key", "security_schema": {"type": "apiKey", "in": "body", "name": "k"}},
        {"auth": "api_key", "security_schema": {"type": "apiKey", "in": "query"}},
        {"auth": "oauth2", "security_schema": {"type": "oauth2", "x": float("nan")}},
        {"auth": "oauth2", "security_schema": {"type": "oauth2", "x": "\0"}},
        {"auth": "oauth2", "security_schema": 7}, {"auth": "oauth2", "token_auth": "telepathy"},
        {"auth": "oauth2", "client_id": "x" * 3000},
    ],
)  # fmt: skip
def test_bad_clients_are_refused_and_nothing_is_stored(looker: df.Context, given: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        looker.service_client("x", **given)
    assert looker.service_clients.list() == []


@pytest.mark.parametrize("name", ["", " ", 7, None, "a\0b", "a\nb", "x" * 201, "\ud800"])
def test_bad_names_are_refused(looker: df.Context, name: Any) -> None:
    with pytest.raises(DefinitionError):
        looker.service_client(name, auth="basic")
    with pytest.raises(DefinitionError):
        looker.service_clients.get(name)


def test_a_client_with_connections_is_not_lost_by_accident(looker: df.Context, provider: Provider) -> None:
    found = connected(looker, provider)
    with pytest.raises(DefinitionError, match="1 connections"):
        looker.service_clients.delete("github")
    with pytest.raises(DefinitionError, match="do not become"):
        looker.service_client("github", auth="basic")
    looker.service_clients.delete("github", connections=True)
    for gone in (lambda: looker.service_clients.get("github"), lambda: looker.service_clients.delete("github")):
        with pytest.raises(ServiceClientNotFoundError, match="none yet"):
            gone()
    with pytest.raises(ConnectionNotFoundError):
        looker.connections.get(found)


def test_the_database_holds_no_secret_in_the_clear(looker: df.Context, provider: Provider, sql: Rows) -> None:
    github(looker, provider)
    looker.connections.create("github", account_id="acme", access_token=TOKEN, refresh_token=df.Secret(TOKEN + "r"))
    everything = (
        b"".join(
            row[0] for row in sql.execute("select convert_to(c::text, 'UTF8') from dataflows.connections c").fetchall()
        )
        + sql.execute("select convert_to(s::text, 'UTF8') from dataflows.service_clients s").fetchone()[0]
    )  # type: ignore[index]
    for secret in (TOKEN, "client-secret-8842"):
        assert secret.encode() not in everything
        assert secret.encode().hex().encode() not in everything
        assert base64.b64encode(secret.encode()) not in everything
    assert looker.connections.list()[0].token().reveal() == TOKEN


def test_a_connection_belongs_to_somebody(looker: df.Context, provider: Provider, sql: Rows) -> None:
    client = github(looker, provider)
    with pytest.raises(DefinitionError, match="user_id"):
        looker.connections.create("github", access_token=TOKEN)
    with pytest.raises(psycopg.errors.CheckViolation, match="connections_owner"):
        sql.execute(
            "insert into dataflows.connections (id, service_client_id, token_type, status, created_at, updated_at) "
            "values (gen_random_uuid(), %s, 'Bearer', 'active', now(), now())", (client.id,),
        )  # fmt: skip
    with pytest.raises(psycopg.errors.CheckViolation):
        sql.execute("update dataflows.service_clients set auth_type = 'magic'")


@pytest.mark.parametrize(
    ("auth", "given"),
    [
        ("oauth2", {}), ("oauth2", {"api_key": "k"}), ("oauth2", {"access_token": ""}),
        ("oauth2", {"access_token": b"x"}), ("oauth2", {"access_token": " x"}), ("oauth2", {"access_token": "a\r\nb"}),
        ("oauth2", {"access_token": "x" * 70_000}), ("oauth2", {"access_token": "\ud800"}),
        ("oauth2", {"access_token": "x", "expires_at": "tomorrow-ish"}),
        ("oauth2", {"access_token": "x", "scopes": "a"}),
        ("oauth2", {"access_token": "x", "user_info": [1]}),
        ("oauth2", {"access_token": "x", "user_info": {"a": object()}}),
        ("api_key", {}), ("api_key", {"access_token": "x"}), ("api_key", {"api_key": "k", "expires_at": "2030-01-01"}),
        ("basic", {"username": "ann"}), ("basic", {"password": "x"}), ("basic", {"username": "a:b", "password": "x"}),
    ],
)  # fmt: skip
def test_bad_secrets_are_refused_without_being_shown(looker: df.Context, auth: Any, given: dict[str, Any]) -> None:
    looker.service_client("x", auth=auth)
    with pytest.raises((DefinitionError, ValueError)) as refused:
        looker.connections.create("x", user_id="u", **given)
    for value in given.values():
        assert not isinstance(value, str) or len(value) < 5 or "ish" in value or value not in str(refused.value)
    assert looker.connections.list() == []


def test_connections_are_found(looker: df.Context, provider: Provider) -> None:
    github(looker, provider)
    looker.service_client("other", auth="api_key")
    one = looker.connections.create("github", user_id="ann", access_token=TOKEN)
    two = looker.connections.create("github", user_id="ann", account_id="acme", access_token=TOKEN, scopes=["read"])
    three = looker.connections.create("other", account_id="acme", api_key="key-1234-5678")
    desk = looker.connections
    assert desk.list() == [three, two, one]
    assert desk.list("github") == [two, one]
    assert desk.list(user_id="ann", account_id="acme") == [two]
    assert desk.list(account_id="acme", limit=1) == [three]
    assert desk.list(before=three, status="active") == [two, one]
    assert (one.scopes, two.scopes) == (("repo", "user"), ("read",))
    assert desk.get(str(two.id)).account_id == "acme"
    assert desk.delete(two)
    assert not desk.delete(two.id)
    for bad in ({"status": "good"}, {"limit": 0}, {"limit": True}):
        with pytest.raises(DefinitionError):
            desk.list(**bad)
    with pytest.raises(ServiceClientNotFoundError, match="'github', 'other'"):
        desk.list("nobody")


# --- into requests ----------------------------------------------------------------------------------------


def sent(auth: httpx.Auth, url: str = "https://api.test/x?a=1") -> httpx.Request:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        client.get(url, auth=auth, headers={"Cookie": "a=b; sid=old"})
    return seen[0]


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        (None, ("https://api.test/x?a=1", "Bearer key-1234-5678", None, "a=b; sid=old")),
        ({"type": "apiKey", "in": "header", "name": "X-Api-Key"},
         ("https://api.test/x?a=1", None, "key-1234-5678", "a=b; sid=old")),
        ({"type": "apiKey", "in": "query", "name": "key"},
         ("https://api.test/x?a=1&key=key-1234-5678", None, None, "a=b; sid=old")),
        ({"type": "apiKey", "in": "cookie", "name": "sid"},
         ("https://api.test/x?a=1", None, None, "a=b; sid=key-1234-5678")),
    ],
)  # fmt: skip
def test_an_api_key_goes_where_the_scheme_says(looker: df.Context, scheme: Any, expected: tuple[Any, ...]) -> None:
    looker.service_client("svc", auth="api_key", security_schema=scheme, base_url="https://api.test/v1")
    found = looker.connections.create("svc", user_id="u", api_key="key-1234-5678")
    request = sent(found.auth())
    assert (
        str(request.url), request.headers.get("authorization"), request.headers.get("x-api-key"),
        request.headers.get("cookie"),
    ) == expected  # fmt: skip
    assert looker.connections.get(found).last_used_at is not None


def test_a_password_goes_into_authorization(looker: df.Context) -> None:
    looker.service_client("svc", auth="basic")
    found = looker.connections.create("svc", user_id="u", username="ann", password="p:ss wörd")
    given = sent(found.auth()).headers["authorization"].removeprefix("Basic ")
    assert base64.b64decode(given).decode() == "ann:p:ss wörd"
    assert found.token() == df.Secret("ann:p:ss wörd")


def test_a_secret_goes_to_its_own_server_only(looker: df.Context) -> None:
    looker.service_client("svc", auth="api_key", base_url="https://api.test/v1")
    found = looker.connections.create("svc", user_id="u", api_key="key-1234-5678")
    for url in ("https://evil.test/", "http://api.test/", "https://api.test:8443/", "https://api.test.evil.test/"):
        with pytest.raises(ConnectionAuthError, match="was not sent") as refused:
            sent(found.auth(), url)
        assert "key-1234" not in str(refused.value)
    assert sent(found.auth(hosts=["uploads.test"]), "https://uploads.test/").headers["authorization"]
    with pytest.raises(DefinitionError):
        found.auth(hosts="uploads.test")


def test_missing_scopes_are_told_before_anything_is_sent(looker: df.Context, provider: Provider) -> None:
    found = connected(looker, provider, scopes=["read"], expires_at=None)
    with pytest.raises(MissingScopeError) as refused:
        httpx.get(f"{provider.url}/items", auth=found.auth(scopes=["read", "write", "admin"]))
    assert refused.value.missing == ["write", "admin"]
    with pytest.raises(MissingScopeError):
        looker.connections.require(found, ["write"])
    assert provider.calls == [] == provider.refreshes
    looker.connections.require(found, ["read"])
    assert httpx.get(f"{provider.url}/items", auth=found.auth(scopes=["read"])).status_code == 200


# --- keys -------------------------------------------------------------------------------------------------


def test_without_a_key_only_secrets_are_refused(make_ctx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAFLOWS_ENCRYPTION_KEY")
    ctx = make_ctx()

    @df.workflow("no-secrets")
    def plain(event: Any, step: Any) -> int:
        return 3

    assert ctx.run(plain).result() == 3
    ctx.service_client("svc", auth="api_key")
    with pytest.raises(EncryptionKeyError, match="DATAFLOWS_ENCRYPTION_KEY") as refused:
        ctx.connections.create("svc", user_id="u", api_key="key-1234-5678")
    assert "key-1234" not in str(refused.value)
    assert ctx.connections.list() == []
    assert ctx.vault.status().origin == "nowhere"


def test_what_was_changed_or_moved_does_not_open(looker: df.Context, sql: Rows) -> None:
    looker.service_client("svc", auth="oauth2")
    one, two = (
        looker.connections.create("svc", user_id="u", access_token=f"{TOKEN}-{n}", refresh_token=f"{TOKEN}-r{n}")
        for n in (1, 2)
    )

    def refused(found: Any) -> str:
        with pytest.raises(DecryptionError) as error:
            looker.connections.token(found)
        assert (error.value.table, error.value.row, error.value.column) == (
            "dataflows.connections", str(found.id), "access_token",
        )  # fmt: skip
        assert str(found.id) in str(error.value)
        assert "PLANTED" not in str(error.value)
        return str(error.value)

    sql.execute("update dataflows.connections set access_token = set_byte(access_token, 30, "
                "get_byte(access_token, 30) # 1) where id = %s", (one.id,))  # fmt: skip
    assert "was changed" in refused(one)
    sql.execute("update dataflows.connections c set access_token = o.access_token from dataflows.connections o "
                "where c.id = %s and o.id = %s", (one.id, two.id))  # fmt: skip
    assert "copied from another row" in refused(one)
    sql.execute("update dataflows.connections set access_token = refresh_token where id = %s", (two.id,))
    assert "or column" in refused(two)
    sql.execute("update dataflows.connections set access_token = 'in the clear, by hand' where id = %s", (two.id,))
    assert "no envelope" in refused(two)
    renewed = looker.connections.renew(two, access_token=f"{TOKEN}-new")
    assert renewed.token().reveal() == f"{TOKEN}-new"


def test_a_wrong_key_is_told(make_ctx: Any, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    found = connected(make_ctx(work=False), provider)
    monkeypatch.setenv("DATAFLOWS_ENCRYPTION_KEY", OTHER_KEY)
    other = make_ctx(work=False)
    with pytest.raises(DecryptionError, match="list that key in DATAFLOWS_ENCRYPTION_KEY"):
        other.connections.token(found.id)
    assert other.connections.get(found.id).user_id == "ann"
    assert json.dumps(str(other.vault.status())).count("another-encryption") == 0
