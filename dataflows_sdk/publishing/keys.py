"""Keys that sign what is published: from ``connect(key=)``, the environment, or a file beside the embedded database.

The first key signs, all of them verify, so that a key is replaced by putting the new one first, publishing again, and
taking the old one away. A key is never stored in the database and never shown; what is shown is its id.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from dataflows_sdk.errors import SigningKeyError

__all__ = ["VARIABLE", "Keyring", "new_key"]

VARIABLE = "DATAFLOWS_KEY"
#: 32 letters hold 128 bits or more in every alphabet from hex on
_SHORTEST = 32
_FEWEST = 8
_PURPOSE = b"dataflows published 1"
HOW = (
    "`dataflows key new` prints a new one (or python -c 'import secrets; print(secrets.token_urlsafe(32))'); "
    f'give it to this process and to the workers as {VARIABLE}, or as connect(key="…")'
)


def new_key() -> str:
    """A new random key of 256 bits."""
    return secrets.token_urlsafe(32)


class _Key:
    __slots__ = ("_signing", "id")

    def __init__(self, text: str) -> None:
        secret = text.encode()
        self.id = hashlib.sha256(b"dataflows key id\0" + secret).hexdigest()[:12]
        # a key of its own for this purpose: the same text may sign other things elsewhere
        self._signing = hmac.digest(secret, _PURPOSE, "sha256")

    def sign(self, message: bytes) -> str:
        return hmac.digest(self._signing, message, "sha256").hex()

    def __repr__(self) -> str:
        return f"<key {self.id}>"


class Keyring:
    """Keys, the first of which signs.

    Args:
        given: the keys as text, separated by commas or white space, or several texts.
        where: what to call their origin in messages.

    Raises:
        SigningKeyError: there is none in it, or one is too short or no text; the message does not show it.
    """

    def __init__(self, given: str | Iterable[str], where: str = "key=") -> None:
        texts = [given] if isinstance(given, str) else list(given)
        if not all(isinstance(each, str) for each in texts):
            raise SigningKeyError(f"{where}: a key is text. {HOW}")
        words = [word for text in texts for word in re.split(r"[,\s]+", text) if word]
        if not words:
            raise SigningKeyError(f"{where} holds no key: {HOW}")
        for number, word in enumerate(words, 1):
            if len(word) < _SHORTEST or len(set(word)) < _FEWEST:
                raise SigningKeyError(
                    f"{where}: key {number} of {len(words)} is too easy to guess; a key is {_SHORTEST} random "
                    f"characters or more: {HOW}"
                )
        self.secrets = tuple(words)
        self._keys = tuple(_Key(word) for word in words)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys; the first one's signs."""
        return tuple(key.id for key in self._keys)

    def sign(self, message: bytes) -> str:
        """HMAC-SHA256 by the first key, in hex."""
        return self._keys[0].sign(message)

    def verify(self, key_id: str, message: bytes, signature: str) -> str | None:
        """None if the signature is right, else why not."""
        if not signature or not key_id:
            return "it is not signed"
        key = next((each for each in self._keys if each.id == key_id), None)
        if key is None:
            return f"it is signed with key {key_id[:40]!r}, and this process accepts {' and '.join(self.ids)}"
        if not hmac.compare_digest(key.sign(message).encode(), signature.encode("utf-8", "replace")):
            return "its signature is wrong: it was changed after it was signed"
        return None

    def __repr__(self) -> str:
        return f"<keyring {', '.join(self.ids)}>"


def find_keyring(given: str | Iterable[str] | None, directory: Path | None, *, make: bool) -> Keyring:
    """The keys of a context.

    Args:
        given: what `connect` was given.
        directory: of the embedded database, where there is one.
        make: make a key there if there is none.

    Raises:
        SigningKeyError: there is no key, or one that cannot be used.
    """
    if given is not None:
        return Keyring(given)
    if os.environ.get(VARIABLE):
        return Keyring(os.environ[VARIABLE], VARIABLE)
    if directory is None:
        raise SigningKeyError(f"this context has no key to sign and verify with: {HOW}")
    file = directory / "key"
    if not file.exists():
        if not make:
            raise SigningKeyError(
                f"this context has no key to verify with: {VARIABLE} is not set, and nothing was published from this "
                f"directory yet, which would make {file}"
            )
        _make(file)
    return Keyring(_read(file), str(file))


def _make(file: Path) -> None:
    """A new key, 0600, whole or not at all; of two processes that make one at the same time one wins."""
    new = file.with_name(f"key.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
            out.write(new_key() + "\n")
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(new, file)
        except FileExistsError:
            return
    except OSError as error:
        raise SigningKeyError(f"no key can be made at {file} ({error}): {HOW}") from error
    finally:
        new.unlink(missing_ok=True)


def _read(file: Path) -> str:
    try:
        found = file.stat()
        if sys.platform != "win32" and (found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077):
            raise SigningKeyError(
                f"{file} can be read or changed by others than you (owner {found.st_uid}, mode "
                f"{stat.S_IMODE(found.st_mode):04o}), so that it proves nothing; delete it and publish again, or, if "
                f"you trust it: chmod 600 {file}"
            )
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SigningKeyError(f"the key in {file} cannot be read: {error}") from error
