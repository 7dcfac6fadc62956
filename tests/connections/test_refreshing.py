"""New tokens for old ones: once, whoever asks, and what the provider gave is never lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import ConnectionAuthError, DecryptionError, DefinitionError, HttpStatusError, StepFailed
from dataflows_sdk.testing import VirtualClock

from ..conftest import MakeContext, wait_until
from .conftest import connected, github
from .provider import Provider, providing

Rows = psycopg.Connection[Any]


def test_an_old_token_is_refreshed_and_both_are_stored(looker: df.Context, provider: Provider) -> None:
    found = connected(looker, provider)
    assert found.token().reveal() == provider.access == "access-1-Hk55QaNs"
    assert found.token().reveal() == provider.access
    form, headers = provider.refreshes[0]
    assert form == {"grant_type": "refresh_token", "refresh_token": "refresh-0-Vb27XcRt"}
    assert headers["authorization"].startswith("Basic ")
    assert len(provider.refreshes) == 1
    now = looker.connections.get(found)
    assert now.expires_at is not None
    assert now.token_type == "bearer"
    looker.connections.renew(found, access_token=provider.access, refresh_token="refresh-1-Jd90WeYu",
                             expires_at="2020-01-01T00:00:00Z")  # fmt: skip
    assert found.token().reveal() == provider.access == "access-2-Hk55QaNs", "the rotated one was stored"


def test_a_secret_in_the_body_and_what_the_provider_grants(looker: df.Context, provider: Provider) -> None:
    found = connected(looker, provider)
    github(looker, provider, token_auth="body")
    provider.rotates, provider.more = False, {"scope": "repo read:user", "expires_in": "120"}
    found.token()
    form, headers = provider.refreshes[0]
    assert (form["client_id"], form["client_secret"]) == ("app-1", "client-secret-8842")
    assert "authorization" not in headers
    assert looker.connections.get(found).scopes == ("repo", "read:user")
    looker.connections.renew(
        found, access_token="x-old-x", refresh_token=provider.refresh, expires_at="2020-01-01T00:00:00Z"
    )
    found.token()
    assert provider.refreshes[1][0]["refresh_token"] == "refresh-0-Vb27XcRt", "kept where the provider does not rotate"


def test_the_last_minute_counts_as_over(make_ctx: MakeContext, provider: Provider) -> None:
    clock = VirtualClock()
    ctx = make_ctx(work=False, clock=clock)
    found = connected(ctx, provider, expires_at=clock.now().replace(year=clock.now().year + 1))
    found.token()
    assert provider.refreshes == []
    ctx.connections.renew(found, access_token=provider.access, refresh_token=provider.refresh,
                          expires_at=clock.now() + timedelta(seconds=61))  # fmt: skip
    found.token()
    assert provider.refreshes == []
    clock.advance("2s")
    found.token()
    assert len(provider.refreshes) == 1


def test_twenty_parallel_steps_refresh_once(ctx: df.Context, provider: Provider) -> None:
    found = connected(ctx, provider)
    provider.pause = 0.1

    async def fetch(number: int) -> int:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{provider.url}/items?{number}", auth=ctx.connections.auth(found))
        return answer.status_code

    @df.workflow("twenty")
    async def twenty(event: Any, step: Any) -> list[int]:
        return await step.map("fetch", fetch, range(20))

    assert ctx.run(twenty).result() == [200] * 20
    assert len(provider.refreshes) == 1
    assert len(provider.calls) == 20


def test_twenty_threads_refresh_once(looker: df.Context, provider: Provider) -> None:
    found = connected(looker, provider)
    provider.pause = 0.1

    def fetch(_: int) -> int:
        return httpx.get(f"{provider.url}/items", auth=looker.connections.auth(found)).status_code

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(fetch, range(20))) == [200] * 20
    assert len(provider.refreshes) == 1


CHILD = """
import sys, dataflows_sdk as df
url, connection = sys.argv[1:]
ctx = df.connect(url, work=False)
print("ready", flush=True)
sys.stdin.readline()
print(ctx.connections.token(connection).reveal(), flush=True)
ctx.close()
"""


def test_several_processes_refresh_once(looker: df.Context, provider: Provider, database_url: str) -> None:
    found = connected(looker, provider)
    provider.pause = 0.2
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, database_url, str(found.id)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd(), env=os.environ.copy(),
        )
        for _ in range(3)
    ]  # fmt: skip
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        mine = found.token().reveal()
        theirs = [child.communicate(timeout=60)[0].strip() for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert {mine, *theirs} == {provider.access}
    assert len(provider.refreshes) == 1


def test_a_refused_token_is_refreshed_and_the_request_repeated_once(looker: df.Context, provider: Provider) -> None:
    found = connected(looker, provider, expires_at=None)
    provider.access = "revoked by the provider"
    answer = httpx.post(f"{provider.url}/items", auth=found.auth(), content=iter([b"a bo", b"dy"]))
    assert answer.status_code == 200
    assert [headers["body"] for _, headers in provider.calls] == ["a body", "a body"]
    assert len(provider.refreshes) == 1

    provider.instead = [(200, {"access_token": "never-good-1133", "expires_in": 60})] * 5
    provider.access = "revoked again"
    provider.calls.clear()
    assert httpx.get(f"{provider.url}/items", auth=found.auth()).status_code == 401
    assert len(provider.calls) == 2
    assert len(provider.refreshes) == 2


def test_a_401_without_a_refresh_token_is_the_answer(looker: df.Context, provider: Provider) -> None:
    found = connected(looker, provider, expires_at=None, refresh_token=None)
    provider.access = "another"
    assert httpx.get(f"{provider.url}/items", auth=found.auth()).status_code == 401
    assert looker.connections.get(found).status == "active"


def test_an_ended_grant_ends_the_connection(ctx: df.Context, provider: Provider, sql: Rows) -> None:
    found = connected(ctx, provider)
    provider.refresh = "somebody else has used it"
    attempts: list[int] = []

    def fetch() -> int:
        attempts.append(1)
        return httpx.get(f"{provider.url}/items", auth=ctx.connections.auth(found)).status_code

    @df.workflow("ended")
    async def ended(event: Any, step: Any) -> int:
        return await step.run("fetch", fetch, retry=df.Retry(5))

    with pytest.raises(StepFailed, match="invalid_grant"):
        ctx.run(ended).result()
    assert len(attempts) == 1, "not retried"
    assert ctx.connections.list(status="auth_error") == [found]
    with pytest.raises(ConnectionAuthError, match="renew"):
        found.token()
    assert len(provider.refreshes) == 1
    ((action, detail),) = sql.execute("select action, detail from dataflows.audit").fetchall()
    assert (action, detail["connection"]) == ("connection.auth_error", str(found.id))
    assert "refresh-0" not in str(detail)

    ctx.connections.renew(found, access_token=provider.access, refresh_token=provider.refresh)
    assert httpx.get(f"{provider.url}/items", auth=found.auth()).status_code == 200


def test_an_ended_token_without_a_refresh_token_ends_the_connection(looker: df.Context, provider: Provider) -> None:
    found = connected(looker, provider, refresh_token=None)
    with pytest.raises(ConnectionAuthError, match="no refresh token"):
        found.token()
    assert looker.connections.get(found).status == "auth_error"
    assert provider.refreshes == []


@pytest.mark.parametrize(
    ("status", "answer", "error"),
    [
        (503, {"error": "busy"}, HttpStatusError), (429, {}, HttpStatusError), (500, b"<html>", HttpStatusError),
        (401, {"error": "invalid_client"}, ConnectionAuthError), (404, b"not here", ConnectionAuthError),
        (200, b"access_token=form&token_type=x", ConnectionAuthError), (200, {"token": "x"}, ConnectionAuthError),
        (200, {"access_token": 7}, ConnectionAuthError), (200, [1], ConnectionAuthError),
        (302, b"", ConnectionAuthError), (200, {"error": "bad_verification_code"}, ConnectionAuthError),
    ],
)  # fmt: skip
def test_other_refusals_leave_the_connection_as_it_is(
    looker: df.Context, provider: Provider, status: int, answer: Any, error: type[Exception]
) -> None:
    found = connected(looker, provider)
    provider.instead = [(status, answer)]
    with pytest.raises(error) as refused:
        found.token()
    assert "refresh-0" not in str(refused.value)
    assert looker.connections.get(found).status == "active"
    assert found.token().reveal() == provider.access


def test_a_provider_that_is_away_is_not_the_connections_end(looker: df.Context) -> None:
    with providing() as provider:
        found = connected(looker, provider)
    with pytest.raises(httpx.TransportError):
        found.token()
    assert looker.connections.get(found).status == "active"


def test_without_a_token_url_the_message_says_so(looker: df.Context) -> None:
    looker.service_client("svc", auth="oauth2")
    found = looker.connections.create("svc", user_id="u", refresh_token="refresh-only-4411")
    with pytest.raises(DefinitionError, match="token_url"):
        found.token()


def test_tokens_that_cannot_be_committed_are_stored_again(looker: df.Context, provider: Provider, sql: Rows) -> None:
    """The provider has rotated, and the session that waited for it is cut: the old pair is worth nothing."""
    found = connected(looker, provider)
    provider.pause = 1.0

    def cut() -> None:
        wait_until(lambda: provider.refreshes, "the provider is asked")
        sql.execute("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted "
                    "and database = (select oid from pg_database where datname = current_database())")  # fmt: skip

    cutter = threading.Thread(target=cut)
    cutter.start()
    assert found.token().reveal() == provider.access
    cutter.join()
    assert len(provider.refreshes) == 1
    assert looker.connections.get(found).expires_at is not None


def test_who_waits_may_be_cancelled_and_the_tokens_are_stored(looker: df.Context, provider: Provider) -> None:
    found = connected(looker, provider)
    provider.pause = 0.3

    async def impatient() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(looker.connections.atoken(found), 0.1)

    asyncio.run(impatient())
    wait_until(lambda: looker.connections.get(found).token_type == "bearer", "the refresh is stored")
    assert asyncio.run(looker.connections.atoken(found)).reveal() == provider.access
    assert len(provider.refreshes) == 1


def test_a_rotation_of_keys_during_a_refresh_loses_nothing(
    looker: df.Context, provider: Provider, monkeypatch: Any
) -> None:
    from .conftest import KEY, OTHER_KEY

    found = connected(looker, provider)
    provider.pause = 0.5
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(found.token)
        wait_until(lambda: provider.refreshes, "the provider is asked")
        monkeypatch.setenv("DATAFLOWS_ENCRYPTION_KEY", f"{OTHER_KEY},{KEY}")
        assert looker.vault.rotate().rows == 2
        assert waiting.result().reveal() == provider.access
    assert found.token().reveal() == provider.access
    assert looker.vault.status().stale == 0


def test_a_refresh_token_that_cannot_be_read_is_told(looker: df.Context, provider: Provider, sql: Rows) -> None:
    found = connected(looker, provider)
    sql.execute("update dataflows.connections set refresh_token = access_token")
    with pytest.raises(DecryptionError, match=r"refresh_token of dataflows\.connections"):
        found.token()
    assert provider.refreshes == []


# --- profiles ---------------------------------------------------------------------------------------------


def test_the_profile_is_asked_for_once_a_day(make_ctx: MakeContext, provider: Provider) -> None:
    clock = VirtualClock()
    ctx = make_ctx(work=False, clock=clock)
    github(ctx, provider, user_info_url=f"{provider.url}/user")
    found = ctx.connections.create("github", user_id="ann", access_token=provider.access)
    assert found.user_info == {"login": "ann", "plan": {"name": "pro"}, "echo": "***"}
    assert found.user_info == found.user_info
    assert [path for path, _ in provider.calls] == ["/user"]
    clock.advance("25h")
    assert found.user_info is not None
    assert len(provider.calls) == 2
    provider.profile_status = 500
    assert ctx.connections.user_info(found)["login"] == "ann"  # type: ignore[index]
    clock.advance("25h")
    assert found.user_info is not None, "the old one, while the provider is down"
    with pytest.raises(httpx.HTTPStatusError):
        ctx.connections.user_info(found, refresh=True)
    provider.profile_status = 200
    assert ctx.connections.user_info(found, refresh=True) is not None


def test_a_profile_that_does_not_come_does_not_stop_a_connection(looker: df.Context, provider: Provider) -> None:
    github(looker, provider, user_info_url=f"{provider.url}/user")
    provider.profile_status = 500
    found = looker.connections.create("github", user_id="ann", access_token=provider.access)
    with pytest.raises(httpx.HTTPStatusError):
        _ = found.user_info
    provider.profile_status = 200
    assert found.user_info is not None
    given = looker.connections.create("github", user_id="bob", access_token="x-1234", user_info={"login": "bob"})
    assert given.user_info == {"login": "bob"}
    looker.service_client("plain", auth="api_key")
    assert looker.connections.create("plain", user_id="u", api_key="key-1234").user_info is None
