"""What is stored of a secret. An envelope of version 1 is

    1 byte     the version, 1
    8 bytes    the id of the key, the beginning of a hash of it
    12 bytes   the nonce, random for each envelope
    n bytes    the text in UTF-8, encrypted by AES-256-GCM
    16 bytes   its tag

What is authenticated besides the text is everything before the nonce and the place: table, row and column. An envelope
that was moved to another place, or in which one bit was changed, does not open.

Nonces are random, so that one key is good for 2**32 envelopes; after that the chance that two have the same nonce is
no longer out of this world.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["Place", "Sealing", "key_id_of"]

_VERSION = b"\x01"
_ID = 8
_NONCE = 12
_TAG = 16
_HEAD = len(_VERSION) + _ID
_SHORTEST = _HEAD + _NONCE + _TAG


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret is stored."""

    table: str
    row: str
    column: str

    def __str__(self) -> str:
        return f"{self.column} of {self.table} {self.row}"

    def associated(self, head: bytes) -> bytes:
        """What an envelope here is bound to: no two places and heads give the same bytes."""
        parts = [head, *(part.encode() for part in (self.table, self.row, self.column))]
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class Sealing:
    """AES-256-GCM by one key."""

    __slots__ = ("_cipher", "id")

    def __init__(self, key: bytes, key_id: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)
        #: 8 bytes
        self.id = key_id[:_ID]

    def seal(self, text: str, place: Place) -> bytes:
        """An envelope with *text*."""
        head, nonce = _VERSION + self.id, os.urandom(_NONCE)
        return head + nonce + self._cipher.encrypt(nonce, text.encode(), place.associated(head))

    def open(self, envelope: bytes, place: Place) -> str | None:
        """The text; None if the envelope is not one of this key, for this place, as it was made."""
        from cryptography.exceptions import InvalidTag

        if len(envelope) < _SHORTEST or envelope[:_HEAD] != _VERSION + self.id:
            return None
        head, nonce, sealed = envelope[:_HEAD], envelope[_HEAD : _HEAD + _NONCE], envelope[_HEAD + _NONCE :]
        try:
            return self._cipher.decrypt(nonce, sealed, place.associated(head)).decode()
        except InvalidTag:
            return None

    def __repr__(self) -> str:
        return f"<key {self.id.hex()}>"


def key_id_of(envelope: bytes) -> bytes | None:
    """The id of the key that an envelope says it was made with; None if it is no envelope of version 1."""
    if len(envelope) < _SHORTEST or not envelope.startswith(_VERSION):
        return None
    return envelope[len(_VERSION) : _HEAD]
