"""Keys that sign what is published: from ``connect(key=)``, the environment, or a file beside the embedded database.

The first key signs, all of them verify, so that a key is replaced by putting the new one first, publishing again, and
taking the old one away. A key is never stored in the database and never shown; what is shown is its id.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from dataflows_sdk.errors import SigningKeyError
from dataflows_sdk.keyfiles import key_id, make_key_file, new_key, parse_keys, read_key_file

__all__ = ["VARIABLE", "Keyring", "new_key"]

VARIABLE = "DATAFLOWS_KEY"
_PURPOSE = b"dataflows published 1"
HOW = (
    "`dataflows key new` prints a new one (or python -c 'import secrets; print(secrets.token_urlsafe(32))'); "
    f'give it to this process and to the workers as {VARIABLE}, or as connect(key="…")'
)


class _Key:
    __slots__ = ("_signing", "id")

    def __init__(self, text: str) -> None:
        secret = text.encode()
        self.id = key_id(text, b"dataflows key id").hex()[:12]
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
        words = parse_keys(given, where, SigningKeyError, HOW)
        self.secrets = words
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
        make_key_file(file, SigningKeyError, HOW)
    text = read_key_file(
        file, SigningKeyError,
        f"it proves nothing; delete it and publish again, or, if you trust it: chmod 600 {file}",
    )  # fmt: skip
    return Keyring(text, str(file))
