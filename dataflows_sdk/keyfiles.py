"""Keys as text: made, checked, and kept in a file of their owner's. What they are for is said by who uses them.

Both the keys that sign published code and those that encrypt secrets are lists: the first one is used, all of them
are accepted, so that a key is replaced by putting the new one first.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from dataflows_sdk.errors import DataflowsError

__all__ = ["key_id", "make_key_file", "new_key", "parse_keys", "read_key_file", "write_key_file"]

#: 32 letters hold 128 bits or more in every alphabet from hex on
_SHORTEST = 32
_FEWEST = 8


def new_key() -> str:
    """A new random key of 256 bits."""
    return secrets.token_urlsafe(32)


def key_id(key: str, purpose: bytes) -> bytes:
    """What a key is called, which tells nothing of it: a hash of 32 bytes."""
    return hashlib.sha256(purpose + b"\0" + key.encode()).digest()


def parse_keys(given: str | Iterable[str], where: str, error: type[DataflowsError], how: str) -> tuple[str, ...]:
    """The keys of one text or several, where they are separated by commas or white space.

    Args:
        where: what to call their origin in messages.
        error: what to raise.
        how: the end of each message: how to come by a key.

    Raises:
        DataflowsError: of the class *error*: there is none, or one is too short or no text. No key is shown.
    """
    texts = [given] if isinstance(given, str) else list(given)
    if not all(isinstance(each, str) for each in texts):
        raise error(f"{where}: a key is text. {how}")
    words = [word for text in texts for word in re.split(r"[,\s]+", text) if word]
    if not words:
        raise error(f"{where} holds no key: {how}")
    for number, word in enumerate(words, 1):
        if len(word) < _SHORTEST or len(set(word)) < _FEWEST or not word.isprintable():
            raise error(
                f"{where}: key {number} of {len(words)} is too easy to guess; a key is {_SHORTEST} random "
                f"characters or more: {how}"
            )
    return tuple(words)


def make_key_file(file: Path, error: type[DataflowsError], how: str) -> None:
    """A file with a new key; of two processes that make one at the same time one wins."""
    _write(file, [new_key()], error, how, replace=False)


def write_key_file(file: Path, keys: Iterable[str], error: type[DataflowsError], how: str) -> None:
    """Put *keys*, one in a line, in the place of what the file holds."""
    _write(file, keys, error, how, replace=True)


def _write(file: Path, keys: Iterable[str], error: type[DataflowsError], how: str, *, replace: bool) -> None:
    """0600, whole or not at all."""
    new = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.writelines(f"{key}\n" for key in keys)
            out.flush()
            os.fsync(out.fileno())
        if replace:
            new.replace(file)
            return
        try:
            os.link(new, file)
        except FileExistsError:
            return
    except OSError as cause:
        raise error(f"no key can be made at {file} ({cause}): {how}") from cause
    finally:
        new.unlink(missing_ok=True)


def read_key_file(file: Path, error: type[DataflowsError], consequence: str) -> str:
    """The text of a file that nobody else can read or change.

    Args:
        consequence: what follows for the message where others can, and what to do.

    Raises:
        DataflowsError: of the class *error*: they can, or it cannot be read.
    """
    try:
        found = file.stat()
        if sys.platform != "win32" and (found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077):
            raise error(
                f"{file} can be read or changed by others than you (owner {found.st_uid}, mode "
                f"{stat.S_IMODE(found.st_mode):04o}), so that {consequence}"
            )
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        raise error(f"the key in {file} cannot be read: {cause}") from cause
