"""Signing what goes out, as https://www.standardwebhooks.com says; `signatures.verify` checks it on the other side."""

from __future__ import annotations

import base64
import binascii
import hmac
from datetime import datetime

from dataflows_sdk.errors import DefinitionError

__all__ = ["signed_headers"]


def signed_headers(secret: str, identity: str, now: datetime, body: bytes) -> dict[str, str]:
    """The headers that prove where a body comes from.

    Args:
        secret: base64, with or without ``whsec_`` before it.
        identity: of the message: the same whenever it is sent again.

    Raises:
        DefinitionError: the secret is not base64.
    """
    try:
        key = base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise DefinitionError("the secret that signs webhooks is whsec_ and base64")
    timestamp = str(int(now.timestamp()))
    digest = hmac.digest(key, f"{identity}.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": identity,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
