"""Thrown out by the server while it connects: the caller hears of it in the library's words."""

from __future__ import annotations

from typing import Any

import pytest

from dataflows_sdk.errors import StoreUnavailableError
from dataflows_sdk.store import database
from dataflows_sdk.store.database import Database


def test_a_connection_that_is_cut_while_the_schema_is_looked_at_is_unavailable(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(connection: Any) -> None:
        connection.execute("select pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(database, "migrate", cut)
    made = Database(database_url)
    try:
        with pytest.raises(StoreUnavailableError, match="terminating connection"):
            made.prepare()
    finally:
        made.close()
