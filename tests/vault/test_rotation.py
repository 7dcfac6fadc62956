"""Where keys come from, and how one takes the place of another."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DecryptionError, EncryptionKeyError, MissingExtraError
from dataflows_sdk.keyfiles import new_key
from dataflows_sdk.vault import keys as vault_keys

from ..conftest import MakeContext

VARIABLE = "DATAFLOWS_ENCRYPTION_KEY"
KEY = "an-encryption-key-of-tests-0123456789abcdef"
OTHER = "another-encryption-key-9876543210zyxwvutsrq"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def fill(ctx: df.Context, count: int) -> list[Any]:
    ctx.service_client("svc", auth="oauth2", client_secret="the-client-secret-1")
    return [
        ctx.connections.create(
            "svc", user_id=f"u{n}", access_token=f"token-{n}-abcdef", refresh_token=f"refresh-{n}-abc"
        )
        for n in range(count)
    ]


def all_there(ctx: df.Context, made: list[Any]) -> bool:
    return [ctx.connections.token(each.id).reveal() for each in made] == [f"token-{n}-abcdef" for n in range(len(made))]


def test_rotation_with_keys_from_the_environment(make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    ctx = make_ctx(work=False)
    made = fill(ctx, 450)
    old = ctx.vault.status().keys[0]
    assert ctx.vault.status().secrets == {old: 901}
    with pytest.raises(EncryptionKeyError, match="OLD,NEW"):
        ctx.vault.rotate(OTHER)
    monkeypatch.setenv(VARIABLE, f"{KEY},{OTHER}")
    with pytest.raises(EncryptionKeyError, match="not first"):
        ctx.vault.rotate(OTHER)
    assert ctx.vault.rotate().rows == 0
    monkeypatch.setenv(VARIABLE, f"{OTHER},{KEY}")
    seen: list[int] = []
    report = ctx.vault.rotate(df.Secret(OTHER), progress=seen.append)
    assert (report.rows, report.failed, report.unused) == (451, (), (old,))
    assert seen == [1, 201, 401, 451]
    assert ctx.vault.status().secrets == {report.key: 901}
    assert ctx.vault.rotate().rows == 0
    assert all_there(ctx, made)
    monkeypatch.setenv(VARIABLE, OTHER)
    assert all_there(make_ctx(work=False), made)


def test_an_interrupted_rotation_goes_on(
    make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    ctx = make_ctx(work=False)
    made = fill(ctx, 450)
    monkeypatch.setenv(VARIABLE, f"{OTHER},{KEY}")

    def stop(rows: int) -> None:
        if rows > 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ctx.vault.rotate(progress=stop)
    assert 0 < ctx.vault.status().stale < 901
    assert all_there(ctx, made), "both keys open"
    assert ctx.vault.rotate().rows == 250
    with psycopg.connect(database_url) as connection:
        notes = connection.execute("select detail from dataflows.audit where action = 'vault.rotate'").fetchall()
    assert [note[0]["rows"] for note in notes] == [250]


def test_what_cannot_be_read_stays_and_is_told(
    make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    ctx = make_ctx(work=False)
    made = fill(ctx, 3)
    with psycopg.connect(database_url) as connection:
        connection.execute("update dataflows.connections set refresh_token = access_token where user_id = 'u1'")
    monkeypatch.setenv(VARIABLE, f"{OTHER},{KEY}")
    report = ctx.vault.rotate()
    assert report.failed == (f"refresh_token of dataflows.connections {made[1].id}",)
    assert report.unused == ()
    assert ctx.vault.status().stale == 1
    assert all_there(ctx, made)


def test_a_key_beside_the_embedded_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "db"
    file = place / "encryption-key"
    with df.connect(directory=place, work=False) as ctx:
        assert ctx.vault.status().keys == ()
        assert not file.exists(), "made when the first secret is stored"
        made = fill(ctx, 2)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text().strip() not in ctx._redactor.redact_text(file.read_text())
    with df.connect(directory=place, work=False) as ctx, df.connect(directory=place, work=False) as other:
        assert all_there(ctx, made)
        assert all_there(other, made)
        first = ctx.vault.status().keys[0]
        report = ctx.vault.rotate()
        assert (report.rows, report.unused) == (3, (first,))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(file.read_text().split()) == 2
        assert all_there(other, made), "another process learns of the new key"
        mine = new_key()
        assert ctx.vault.rotate(mine).rows == 3
        assert ctx.vault.rotate(mine).rows == 0
        assert file.read_text().split()[0] == mine

        file.chmod(0o644)
    with df.connect(directory=place, work=False) as ctx:
        with pytest.raises(EncryptionKeyError, match="chmod 600"):
            ctx.connections.token(made[0])
        assert ctx.doctor().of("encryption")[0].severity == "problem"
        file.chmod(0o600)
        assert all_there(ctx, made)
        assert ctx.doctor().of("encryption")[0].severity == "ok"
        monkeypatch.setenv(VARIABLE, OTHER)
        finding = ctx.doctor().of("encryption")[0]
        assert finding.severity == "problem"
        assert finding.numbers["unreadable"] == 5
        monkeypatch.delenv(VARIABLE)
        file.rename(place / "away")
    with df.connect(directory=place, work=False) as ctx:
        with pytest.raises(DecryptionError, match="this process has no key"):
            ctx.connections.token(made[0])
        with pytest.raises(EncryptionKeyError, match="put it back"):
            fill(ctx, 1)
        assert not file.exists(), "no second key hides that the first one is lost"
        ctx.service_clients.delete("svc", connections=True)
        assert all_there(ctx, fill(ctx, 1))


@pytest.mark.skipif(os.name == "nt", reason="modes of files")
def test_a_directory_without_write_permission_is_told(tmp_path: Path) -> None:
    source = vault_keys.KeySource("file", "x", file=tmp_path / "nowhere" / "encryption-key")
    with pytest.raises(EncryptionKeyError, match="no key can be made"):
        source.make()


# --- the keyring of the operating system -------------------------------------------------------------------


class Memory:
    """A keyring that forgets."""

    class errors:
        class KeyringError(Exception):
            pass

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, name: str) -> str | None:
        if self.locked:
            raise self.errors.KeyringError("locked")
        return self.entries.get((service, name))

    def set_password(self, service: str, name: str, text: str) -> None:
        if self.locked:
            raise self.errors.KeyringError(f"locked, and did not take {text}")
        self.entries[service, name] = text


def test_the_keyring_keeps_a_key(make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    monkeypatch.setitem(sys.modules, "keyring", memory)  # type: ignore[arg-type]
    monkeypatch.setenv(VARIABLE, "keyring:shop")
    ctx = make_ctx(work=False)
    made = fill(ctx, 2)
    assert list(memory.entries) == [("dataflows-sdk", "shop")]
    assert ctx.vault.rotate().rows == 3
    assert all_there(make_ctx(work=False), made)
    memory.locked = True
    for call in (lambda: fill(make_ctx(work=False), 1), lambda: ctx.vault.rotate(OTHER)):
        with pytest.raises(EncryptionKeyError, match="unlock it") as refused:
            call()
        assert OTHER not in str(refused.value)
    memory.locked = False
    memory.entries.clear()
    with pytest.raises(EncryptionKeyError, match="put it back"):
        fill(make_ctx(work=False), 3)


def test_a_real_keyring_package_without_a_backend(monkeypatch: pytest.MonkeyPatch, need: Any) -> None:
    try:
        import keyring
        from keyring.backends.fail import Keyring
    except ImportError:
        need("keyring is not installed")
    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    try:
        monkeypatch.setenv(VARIABLE, "keyring")
        with pytest.raises(EncryptionKeyError, match="NoKeyringError"):
            vault_keys.find_source(None).read()
    finally:
        keyring.set_keyring(before)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setenv(VARIABLE, "keyring")
    with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[keyring\]"):
        vault_keys.find_source(None).read()
