"""What the doctor says of keys and connections."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from ..conftest import MakeContext

VARIABLE = "DATAFLOWS_ENCRYPTION_KEY"
KEY = "an-encryption-key-of-tests-0123456789abcdef"
OTHER = "another-encryption-key-9876543210zyxwvutsrq"


def test_keys_and_connections(make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    ctx = make_ctx(work=False)

    def told(code: str = "encryption") -> tuple[str, str]:
        (finding,) = ctx.doctor().of(code)
        return finding.severity, finding.message

    assert told() == ("ok", "none, and no secrets are stored")
    monkeypatch.setenv(VARIABLE, "weak")
    assert told() == ("problem", told()[1])
    assert "too easy to guess" in told()[1]
    monkeypatch.setenv(VARIABLE, KEY)
    assert told()[0] == "ok"
    ctx.service_client("svc", auth="api_key")
    made = ctx.connections.create("svc", user_id="u", api_key="key-1234-5678")
    assert told()[1].startswith("1 secrets under")
    monkeypatch.setenv(VARIABLE, f"{OTHER},{KEY}")
    assert told()[0] == "note"
    monkeypatch.setenv(VARIABLE, OTHER)
    assert told()[0] == "problem"
    assert "1 of 1 secrets cannot be decrypted" in told()[1]
    monkeypatch.delenv(VARIABLE)
    assert "this process has no key" in told()[1]

    assert ctx.doctor().of("auth_error") == []
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update dataflows.connections set status = 'auth_error'")
    severity, message = told("auth_error")
    assert severity == "warning"
    assert str(made.id) in message

    done = subprocess.run(
        [sys.executable, "-m", "dataflows_sdk.cli.main", "doctor", "--json", "--url", database_url],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    codes = {finding["code"]: finding["severity"] for finding in json.loads(done.stdout)["findings"]}
    assert (codes["encryption"], codes["auth_error"]) == ("problem", "warning")
