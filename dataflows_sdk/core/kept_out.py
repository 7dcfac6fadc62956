"""Secrets in what is about to be stored: how they are refused, and in which words.

Who finds them is `dataflows_sdk.vault.gate`; who stores something asks here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dataflows_sdk.errors import NotSerializableError

if TYPE_CHECKING:
    from dataflows_sdk.core.codec import Encoded

__all__ = ["Finder", "Finds", "check_kept_out", "has_secret", "refusal"]

#: whether a declared secret stands in some bytes
Finds = Callable[[bytes], bool]
#: gives what finds them; None where no secret is known, so that nothing has to be looked through
Finder = Callable[[], Finds | None]


def has_secret(finds: Finds, encoded: Encoded) -> bool:
    """Whether a declared secret stands in a value, its blobs included."""
    return finds(encoded.text.encode()) or any(finds(blob.data) for blob in encoded.blobs)


def check_kept_out(finder: Finder | None, encoded: Encoded, where: str, *names: str | None) -> None:
    """Refuse a value in which a declared secret stands.

    Args:
        where: what it is, for the message.
        names: texts that are stored beside it.

    Raises:
        NotSerializableError: there is one in it.
    """
    finds = None if finder is None else finder()
    if finds is None:
        return
    if has_secret(finds, encoded):
        raise refusal(f"the {where}")
    if any(finds(name.encode("utf-8", "replace")) for name in names if name is not None):
        raise refusal("a name or key with which something would be stored")


def refusal(what: str) -> NotSerializableError:
    """The error for it. *what* is shown, so that the secret must not stand there."""
    return NotSerializableError(
        f"{what} cannot be stored: a declared secret stands in it (a token, password or key of ctx.connections, a "
        "df.Secret, or a secret variable of Services(env=…)); keep what is needed of it, without the secret, and read "
        "the secret where it is used"
    )
