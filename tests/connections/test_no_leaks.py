"""X-11: a token that a connection holds stands nowhere where people read, whatever is done with it."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.core.redact import RedactingFilter
from dataflows_sdk.errors import RunFailed

from .provider import Provider

#: what headers can hold, as tokens are: long enough not to stand in a journal by chance
TOKENS = st.text(st.sampled_from("abcdefghijkmnpqrstuvwxyzABCDEFGH23456789-._~+/=\"\\'<>&%"), min_size=14, max_size=60)


def everything(sql: psycopg.Connection[Any]) -> str:
    """Every table and view of the library, as text."""
    names = sql.execute(
        "select table_name from information_schema.tables where table_schema = 'dataflows' order by 1"
    ).fetchall()
    parts = []
    for (name,) in names:
        parts += [row[0] for row in sql.execute(f"select t::text from dataflows.{name} t").fetchall()]
    parts += [bytes(row[0]).decode("utf-8", "replace") for row in sql.execute("select data from dataflows.blob")]
    return "\n".join(parts)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(token=TOKENS)
def test_a_planted_token_stands_nowhere(
    token: str, ctx: df.Context, sql: psycopg.Connection[Any], tmp_path: Path, provider: Provider
) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    logger = logging.getLogger("leaks")
    logger.addHandler(handler)
    logging.getLogger("httpx").setLevel(logging.INFO)
    logging.getLogger("httpx").addHandler(handler)
    scheme = {"type": "apiKey", "in": "query", "name": "q"}
    ctx.service_client("leaks", auth="api_key", security_schema=scheme, base_url=provider.url)
    found = ctx.connections.create("leaks", user_id="u", api_key=token)
    shown: list[str] = [repr(found), str(found), repr(ctx.connections.list()), repr(found.auth()), repr(found.token())]

    def argument(given: Any) -> int:
        logger.warning("called with %s and %r", given, {"x": [given]})
        return 1

    def raises(given: str) -> None:
        try:
            raise KeyError(given)
        except KeyError as error:
            raise df.NonRetryableError(f"refused {given} at {provider.url}?q={given}") from error

    def calls() -> int:
        answer = httpx.get(f"{provider.url}/items", auth=found.auth())
        answer.raise_for_status()
        return answer.status_code

    @df.workflow("leaky")
    async def leaky(event: Any, step: Any) -> Any:
        how = event.payload["how"]
        secret = found.token()
        if how == "argument":
            await step.run("plain", argument, secret.reveal())
            await step.run("nested", argument, {"deep": [secret.reveal()], "also": f"x={secret.reveal()};"})
            return await step.run("itself", argument, secret)
        if how == "error":
            await step.run("raise", raises, secret.reveal())
        if how == "body":
            raise ValueError(f"in the workflow: {secret.reveal()}")
        if how == "call":
            return await step.run("call", calls, retry=df.NO_RETRY)
        if how == "result":
            return await step.run("result", lambda: {"echo": ["x", f"token {secret.reveal()}!"]})
        if how == "secret":
            return await step.run("secret", lambda: secret)
        if how == "large":
            return await step.run("large", lambda: "x" * 100_000 + secret.reveal())
        return secret.reveal()

    for how in ("argument", "error", "body", "call", "result", "secret", "large", "return"):
        run = ctx.run(leaky, {"how": how})
        try:
            run.result()
            assert how == "argument"
        except RunFailed as error:
            shown += [str(error), repr(error), json.dumps(error.error)]
        shown += [repr(run), repr(run.timeline()), str([event.data for event in run.events()])]
        shown += [repr(step.input) for step in run.timeline()]
    with pytest.raises(Exception, match="payload"):
        ctx.start(leaky, {"how": token})
    shown += [str(ctx.sql("from steps").fetchall()), str(ctx.sql("from events").fetchall()), stream.getvalue()]
    logger.removeHandler(handler)
    logging.getLogger("httpx").removeHandler(handler)
    shown.append(everything(sql))
    assert "HTTP Request: GET" in stream.getvalue(), "httpx logged the address"
    assert len(provider.calls) >= 1
    for form in {token, json.dumps(token)[1:-1], repr(token)[1:-1]}:
        for text in shown:
            assert form not in text
    ctx.service_clients.delete("leaks", connections=True)


def test_a_short_secret_or_none_gets_in_nobodys_way(ctx: df.Context) -> None:
    ctx.service_client("pin", auth="api_key")
    found = ctx.connections.create("pin", user_id="u", api_key="12345678")
    assert found.token().reveal() == "12345678"

    @df.workflow("numbers")
    async def numbers(event: Any, step: Any) -> Any:
        return await step.run("numbers", lambda: [12345678, "order 123456789"])

    assert ctx.run(numbers).result() == [12345678, "order 123456789"]


def test_a_password_is_masked_also_without_its_name(make_ctx: Any, ctx: df.Context) -> None:
    ctx.service_client("svc", auth="basic")
    found = ctx.connections.create("svc", user_id="u", username="ann", password="correct horse battery")
    assert ctx._redactor.redact_text("said correct horse battery!") == "said ***!"
    df.REDACTOR.discard("correct horse battery")
    assert found.token().reveal() == "ann:correct horse battery"
    assert df.REDACTOR.redact_text("said correct horse battery!") == "said ***!"

    @df.workflow("echo")
    async def echo(event: Any, step: Any) -> Any:
        request = httpx.Request("GET", "https://x.test")
        next(found.auth().sync_auth_flow(request))
        return await step.run("headers", lambda: dict(request.headers))

    with pytest.raises(RunFailed, match="cannot be stored"):
        ctx.run(echo).result()
