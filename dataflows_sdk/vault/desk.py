"""``ctx.vault``: encrypts and decrypts what other parts store, and replaces keys."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dataflows_sdk.core.redact import REDACTOR, Secret
from dataflows_sdk.core.shown import Sheet, ShownAsTable, fields_of
from dataflows_sdk.errors import DecryptionError, EncryptionKeyError
from dataflows_sdk.keyfiles import new_key
from dataflows_sdk.vault.envelope import Place, key_id_of
from dataflows_sdk.vault.guard import Guard
from dataflows_sdk.vault.keys import VARIABLE, Keys, KeySource, find_source

if TYPE_CHECKING:
    from dataflows_sdk.core.redact import Redactor
    from dataflows_sdk.store.database import Database

#: what is encrypted: tables and their columns, in the order of the statements in ``vault.sql``
SEALED = {"service_clients": ("client_secret",), "connections": ("access_token", "refresh_token")}
_BATCH = 200
_FIRST_ID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class VaultStatus(ShownAsTable):
    """How the secrets of a database stand.

    Attributes:
        origin: where the keys come from: ``"environment"``, ``"keyring"``, ``"file"``, or ``"nowhere"``.
        keys: their ids; the first one encrypts.
        secrets: how many secrets there are, by the id of the key that encrypted them.
        missing: of these ids, those that this process has no key for; their secrets cannot be read here.
    """

    origin: str
    keys: tuple[str, ...]
    secrets: dict[str, int]
    missing: tuple[str, ...]

    @property
    def stale(self) -> int:
        """How many secrets are not under the first key; `Vault.rotate` puts them there."""
        return sum(count for key, count in self.secrets.items() if key not in self.keys[:1])


@dataclass(frozen=True, slots=True)
class Rotation(ShownAsTable):
    """What `Vault.rotate` did.

    Attributes:
        key: the id of the key under which the secrets are now.
        rows: how many rows were encrypted anew.
        failed: what could not be decrypted and is as it was: table, row and column of each.
        unused: ids of the other keys of this process, under which nothing is any more: they can be taken away, once no
            other process has one of them as its first.
    """

    key: str
    rows: int
    failed: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


@dataclass(slots=True)
class _Turn:
    """A rotation under way."""

    rows: int = 0
    failed: list[str] = field(default_factory=list)


class Vault(ShownAsTable):
    """The secrets of a database.

    Args:
        database: where they are.
        directory: of the embedded database, where there is one.
        redactor: is told every secret that passes here.
        guard: so is this, which keeps them out of what is stored.
    """

    def __init__(
        self, database: Database, directory: Path | None, redactor: Redactor, guard: Guard | None = None
    ) -> None:
        self._database = database
        self._directory = directory
        self._redactor = redactor
        self._lock = threading.RLock()
        self._source: KeySource | None = None
        self._keys: Keys | None = None
        self._guard = guard if guard is not None else Guard()

    # --- keys --------------------------------------------------------------------------------------------

    def _load(self, *, make: bool = False, again: bool = False) -> Keys | None:
        with self._lock:
            if self._keys is not None and not again:
                return self._keys
            source = find_source(self._directory)
            found = source.read()
            if found is None and make:
                self._refuse_a_second_key(source)
                found = source.make()
            for secret in found.secrets if found is not None else ():
                self.mask(secret)
            self._source, self._keys = source, found
            return found

    def _refuse_a_second_key(self, source: KeySource) -> None:
        """Where secrets are there and their key is not, a new key would hide that it was lost."""
        there = self._stored()
        if there and source.origin != "nowhere":
            ids = ", ".join(sorted(there))
            raise EncryptionKeyError(
                f"{source.where} is gone, and {sum(there.values())} secrets of this database were encrypted with the "
                f"key {ids}: put it back, or give it as {VARIABLE}. If it is lost for good, delete the connections and "
                "the client secrets that it opened, and connect anew"
            )

    def mask(self, secret: str) -> None:
        """From now on the secret is masked wherever people read, and kept out of what is stored."""
        for redactor in {self._redactor, REDACTOR}:
            redactor.add(secret, masked_only=True)  # the guard of this database knows it as well
        self._guard.add(secret)

    def _stored(self) -> dict[str, int]:
        return {key or "unknown": count for key, count in self._database.read("vault", "key_ids")}

    def status(self) -> VaultStatus:
        """Where the keys come from, and which secrets they open.

        Raises:
            EncryptionKeyError: there is a key, and it is no good.
        """
        keys = self._load(again=True)
        source, ids = self._source, keys.ids if keys is not None else ()
        assert source is not None
        stored = self._stored()
        return VaultStatus(source.origin, ids, stored, tuple(each for each in stored if each not in ids))

    # --- secrets -----------------------------------------------------------------------------------------

    def seal(self, text: str | Secret, table: str, row: UUID | str, column: str) -> bytes:
        """Encrypt a secret for a place: it opens there only.

        Raises:
            EncryptionKeyError: there is no key, or it is no good.
        """
        secret = text.reveal() if isinstance(text, Secret) else text
        keys = self._load(make=True)
        assert keys is not None
        self.mask(secret)
        return keys.first.seal(secret, Place(table, str(row), column))

    def open(self, envelope: bytes, table: str, row: UUID | str, column: str) -> Secret:
        """Decrypt a secret. From now on it is masked wherever people read.

        Raises:
            DecryptionError: no key opens it, it was changed, or it belongs elsewhere; the message names the place.
            EncryptionKeyError: there is a key, and it is no good.
        """
        place = Place(table, str(row), column)
        secret = Secret(self._open(bytes(envelope), place))
        self.mask(secret.reveal())
        return secret

    def forget(self, secret: Secret) -> None:
        """A secret that was replaced: it stays masked until a thousand others came after it."""
        for redactor in {self._redactor, REDACTOR}:
            redactor.discard(secret.reveal())
            redactor.add(secret.reveal(), passing=True, masked_only=True)

    def _open(self, envelope: bytes, place: Place) -> str:
        wanted = key_id_of(envelope)
        if wanted is None:
            raise _undecipherable(place, "what is stored is no envelope of this library: it was changed by hand")
        keys = self._load()
        sealing = keys.by_id(wanted) if keys is not None else None
        if sealing is None:
            keys = self._load(again=True)  # another process may have put a new key there
            sealing = keys.by_id(wanted) if keys is not None else None
        if sealing is None:
            have = f"this process has {', '.join(keys.ids)}" if keys is not None else "this process has no key"
            raise _undecipherable(
                place,
                f"it was encrypted with the key {wanted.hex()}, and {have}: list that key in {VARIABLE} too, after a "
                "comma",
            )
        text = sealing.open(envelope, place)
        if text is None:
            raise _undecipherable(place, "it was changed after it was stored, or copied from another row or column")
        return text

    # --- rotation ----------------------------------------------------------------------------------------

    def rotate(self, key: str | Secret | None = None, *, progress: Callable[[int], Any] | None = None) -> Rotation:
        """Encrypt every secret anew, with another key.

        It goes in batches of 200 rows, each in one transaction. Where it is interrupted, another call goes on: what is
        under the new key already is left alone. The old keys stay beside the new one and open what they encrypted.

        Args:
            key: the new key. By default, with keys from the environment, the first one that is there now; else the
                first one if some secrets are still under another, as after a call that was interrupted; else a new
                random one.
            progress: called with the number of rows after every batch.

        Raises:
            EncryptionKeyError: there is no key, it is no good, or it comes from the environment and is not there.
        """
        with self._lock:
            keys = self._choose(key.reveal() if isinstance(key, Secret) else key)
        turn = _Turn()
        for table in SEALED:
            self._rotate(table, keys, turn, progress)
        left = self._stored()
        report = Rotation(
            keys.ids[0], turn.rows, tuple(turn.failed), tuple(each for each in keys.ids[1:] if each not in left)
        )
        if report.rows or report.failed:
            detail = {"key": report.key, "rows": report.rows, "failed": len(report.failed)}
            self._database.read("retention", "note", ("vault.rotate", json.dumps(detail)))
        return report

    def _choose(self, key: str | None) -> Keys:
        keys = self._load(again=True) or self._load(make=True)
        source = self._source
        assert keys is not None
        assert source is not None
        if key is None and source.origin != "environment" and not self._behind(keys):
            key = new_key()
        if key is not None and keys.secrets[0] != key:
            if source.origin == "environment" and key in keys.secrets:
                raise EncryptionKeyError(
                    f"the new key stands in {VARIABLE}, but not first: the first one encrypts, there and in the other "
                    "processes; put it first, then rotate"
                )
            self.mask(key)
            keys = self._keys = source.replace([key, *(each for each in keys.secrets if each != key)])
        return keys

    def _behind(self, keys: Keys) -> bool:
        return any(each in keys.ids[1:] for each in self._stored())

    def _rotate(self, table: str, keys: Keys, turn: _Turn, progress: Callable[[int], Any] | None) -> None:
        done = b"\x01" + keys.first.id
        after = _FIRST_ID
        run = self._database.run
        while True:
            with self._database.connection() as connection, connection.transaction():
                batch = run(connection, "vault", f"{table}_batch", (after, done, _BATCH))
                for row, *envelopes in batch:
                    anew = [
                        self._anew(envelope, Place(f"dataflows.{table}", str(row), column), keys, turn)
                        for column, envelope in zip(SEALED[table], envelopes, strict=True)
                    ]
                    if anew != envelopes:
                        run(connection, "vault", f"{table}_put", (row, *anew))
                        turn.rows += 1
            if not batch:
                return
            after = batch[-1][0]
            if progress is not None:
                progress(turn.rows)

    def _anew(self, envelope: bytes | None, place: Place, keys: Keys, turn: _Turn) -> bytes | None:
        if envelope is None or key_id_of(envelope) == keys.first.id:
            return envelope
        try:
            text = self._open(envelope, place)
        except DecryptionError:
            turn.failed.append(str(place))
            return envelope
        return keys.first.seal(text, place)

    def __repr__(self) -> str:
        return f"<vault, {self._keys!r}>" if self._keys is not None else "<vault, keys not read yet>"

    def _sheet(self) -> Sheet:
        return Sheet("vault", fields_of(self.status()))


def _undecipherable(place: Place, why: str) -> DecryptionError:
    return DecryptionError(
        f"the {place} cannot be decrypted: {why}. Otherwise connect anew, or restore the row from a backup",
        place.table,
        place.row,
        place.column,
    )
