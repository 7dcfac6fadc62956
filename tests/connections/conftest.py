from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from .provider import Provider, providing

if TYPE_CHECKING:
    import dataflows_sdk as df

    from ..conftest import MakeContext

KEY = "an-encryption-key-of-tests-0123456789abcdef"
OTHER_KEY = "another-encryption-key-9876543210zyxwvutsrq"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLOWS_ENCRYPTION_KEY", KEY)


@pytest.fixture
def looker(make_ctx: MakeContext) -> df.Context:
    return make_ctx(work=False)


@pytest.fixture
def sql(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as made:
        yield made


def github(ctx: Any, provider: Provider, **more: Any) -> Any:
    return ctx.service_client(
        "github", auth="oauth2", scopes=["repo", "user"], client_id="app-1", client_secret="client-secret-8842",
        base_url=provider.url, token_url=f"{provider.url}/token", **more,
    )  # fmt: skip


def connected(ctx: Any, provider: Provider, **more: Any) -> Any:
    """A connection whose token has expired."""
    github(ctx, provider)
    given = {
        "access_token": provider.access, "refresh_token": provider.refresh, "expires_at": "2020-01-01T00:00:00Z",
        "user_id": "ann", **more,
    }  # fmt: skip
    return ctx.connections.create("github", **given)
