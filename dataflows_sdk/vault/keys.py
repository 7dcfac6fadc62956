"""The keys that encrypt secrets: where they come from.

In this order: the environment variable ``DATAFLOWS_ENCRYPTION_KEY`` with one key or several; the same variable with
``keyring`` or ``keyring:NAME``, which names an entry of the keyring of the operating system; a file beside the embedded
database, which is made when the first secret is stored. A key is never stored in the database and never shown.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from dataflows_sdk.errors import EncryptionKeyError, MissingExtraError
from dataflows_sdk.keyfiles import key_id, make_key_file, new_key, parse_keys, read_key_file, write_key_file
from dataflows_sdk.vault.envelope import Sealing

__all__ = ["FILE", "VARIABLE", "KeySource", "Keys", "find_source"]

VARIABLE = "DATAFLOWS_ENCRYPTION_KEY"
#: beside the embedded database
FILE = "encryption-key"
#: of entries in the keyring of the operating system
SERVICE = "dataflows-sdk"
_ENTRY = "encryption-key"
_PURPOSE = b"dataflows encryption 1"
HOW = (
    "`dataflows key new` prints a new one (or python -c 'import secrets; print(secrets.token_urlsafe(32))'); give it "
    f"to every process as {VARIABLE}, or write {VARIABLE}=keyring for one that the operating system keeps"
)

Origin = Literal["environment", "keyring", "file", "nowhere"]


class Keys:
    """Keys, the first of which encrypts, and all of which decrypt.

    Args:
        given: the keys as text, separated by commas or white space, or several texts.
        where: what to call their origin in messages.

    Raises:
        EncryptionKeyError: there is none in it, or one is too short or no text; the message does not show it.
    """

    def __init__(self, given: str | Iterable[str], where: str) -> None:
        #: the texts
        self.secrets = parse_keys(given, where, EncryptionKeyError, HOW)
        self._sealings = tuple(Sealing(_derived(text), key_id(text, _PURPOSE)) for text in self.secrets)

    @property
    def first(self) -> Sealing:
        """The one that encrypts."""
        return self._sealings[0]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys, in hex."""
        return tuple(each.id.hex() for each in self._sealings)

    def by_id(self, wanted: bytes) -> Sealing | None:
        """The key of an id."""
        return next((each for each in self._sealings if each.id == wanted), None)

    def __repr__(self) -> str:
        return f"<encryption keys {', '.join(self.ids)}>"


def _derived(text: str) -> bytes:
    # a key of its own for this purpose: the same text may sign things elsewhere
    return hmac.digest(text.encode(), _PURPOSE, "sha256")


class KeySource:
    """Where the keys of a context come from.

    Attributes:
        origin: ``"environment"``, ``"keyring"``, ``"file"``, or ``"nowhere"``.
        where: the same for messages: the variable, the entry, the path.
    """

    def __init__(self, origin: Origin, where: str, *, text: str = "", file: Path | None = None) -> None:
        self.origin = origin
        self.where = where
        self._text = text
        self._file = file

    def read(self) -> Keys | None:
        """The keys as they are now; None where there are none yet.

        Raises:
            EncryptionKeyError: they are no good, or others can read them.
            MissingExtraError: the keyring is asked for, and its package is not installed.
        """
        if self.origin == "environment":
            return Keys(self._text, VARIABLE)
        if self.origin == "keyring":
            found = _keyring_get(self._text)
            return Keys(found, self.where) if found else None
        if self._file is None or not self._file.exists():
            return None
        return Keys(
            read_key_file(
                self._file, EncryptionKeyError,
                "it keeps no secret; if nobody has read it: "
                f"chmod 600 {self._file}; if somebody may have: do so, then ctx.vault.rotate(), and renew the secrets",
            ),
            str(self._file),
        )  # fmt: skip

    def make(self) -> Keys:
        """The keys, with a new one if there is none.

        Raises:
            EncryptionKeyError: there is no place for one here.
        """
        if (found := self.read()) is not None:
            return found
        if self.origin == "keyring":
            _keyring_set(self._text, new_key())
        elif self._file is not None:
            make_key_file(self._file, EncryptionKeyError, HOW)
        else:
            raise EncryptionKeyError(f"this context has no key to encrypt secrets with, so that none is stored: {HOW}")
        found = self.read()
        if found is None:
            raise EncryptionKeyError(f"the key that was just put into {self.where} is not there: {HOW}")
        return found

    def replace(self, keys: Sequence[str]) -> Keys:
        """Keep these keys from now on, the first of which encrypts.

        Raises:
            EncryptionKeyError: they come from the environment, which no process can change for the others.
        """
        made = Keys(keys, "rotate()")
        if self.origin == "keyring":
            _keyring_set(self._text, ",".join(keys))
        elif self._file is not None:
            write_key_file(self._file, keys, EncryptionKeyError, HOW)
        else:
            raise EncryptionKeyError(
                f"{self.where} holds the keys, and a new one that only this process knows would be lost with it. Give "
                f"every process {VARIABLE}=OLD,NEW, then every process {VARIABLE}=NEW,OLD, and call ctx.vault.rotate() "
                "without a key; nothing was changed"
            )
        return made

    def __repr__(self) -> str:
        return f"<{self.origin}: {self.where}>"


def find_source(directory: Path | None) -> KeySource:
    """Where the keys come from, as the environment says now.

    Args:
        directory: of the embedded database, where there is one.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if given == "keyring" or given.startswith("keyring:"):
        entry = given.partition(":")[2] or _ENTRY
        return KeySource("keyring", f"{entry!r} of {SERVICE} in the keyring of the operating system", text=entry)
    if given:
        return KeySource("environment", VARIABLE, text=given)
    if directory is not None:
        file = directory / FILE
        return KeySource("file", str(file), file=file)
    return KeySource("nowhere", "no key")


def _keyring() -> Any:
    try:
        import keyring
    except ImportError:
        raise MissingExtraError(
            f'{VARIABLE} names the keyring of the operating system: pip install "dataflows-sdk[keyring]"'
        ) from None
    return keyring


def _keyring_get(entry: str) -> str | None:
    keyring = _keyring()
    try:
        found = keyring.get_password(SERVICE, entry)
    except keyring.errors.KeyringError as error:
        raise EncryptionKeyError(_unusable(error)) from error
    return found if isinstance(found, str) and found else None


def _keyring_set(entry: str, text: str) -> None:
    keyring = _keyring()
    try:
        keyring.set_password(SERVICE, entry, text)
    except keyring.errors.KeyringError as error:
        raise EncryptionKeyError(_unusable(error)) from None  # a backend's message may hold what it was given


def _unusable(error: Exception) -> str:
    return (
        f"the keyring of the operating system does not serve ({type(error).__name__}); unlock it, or give the key as "
        f"{VARIABLE}: {HOW}"
    )
