"""Secrets: whether the keys are there that open them, and which connections give no access any more."""

from __future__ import annotations

from collections.abc import Iterator

from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.doctor.findings import Finding
from dataflows_sdk.doctor.looking import Patient
from dataflows_sdk.errors import EncryptionKeyError, MissingExtraError
from dataflows_sdk.vault.desk import Vault
from dataflows_sdk.vault.keys import VARIABLE


def encryption(patient: Patient) -> Iterator[Finding]:
    """Whether this process can read the secrets of the database."""
    try:
        status = Vault(patient.database, patient.directory, REDACTOR).status()
    except (EncryptionKeyError, MissingExtraError) as error:
        yield Finding("encryption", "problem", "encryption key", str(error), "docs: how-to/encryption")
        return
    count = sum(status.secrets.values())
    lost = sum(status.secrets[key] for key in status.missing)
    numbers = {"secrets": count, "unreadable": lost, "stale": status.stale}
    if lost:
        keys = ", ".join(key for key in status.missing if key != "unknown") or "none: they were changed by hand"
        have = f"this process has {', '.join(status.keys)}" if status.keys else "this process has no key"
        yield Finding(
            "encryption", "problem", "encryption key",
            f"{lost} of {count} secrets cannot be decrypted: their keys are {keys}, and {have}",
            f"list the key in {VARIABLE}, after a comma; what is lost for good is connected anew: "
            "ctx.connections.renew()",
            numbers,
        )  # fmt: skip
    elif count and status.stale:
        yield Finding(
            "encryption", "note", "encryption key",
            f"{status.stale} of {count} secrets are under an older key", "ctx.vault.rotate() puts them under the first",
            numbers,
        )  # fmt: skip
    elif count:
        yield Finding("encryption", "ok", "encryption key", f"{count} secrets under {status.keys[0]}", numbers=numbers)
    elif status.keys or status.origin in ("file", "keyring"):
        yield Finding("encryption", "ok", "encryption key", "no secrets are stored", numbers=numbers)
    else:
        yield Finding(
            "encryption", "ok", "encryption key", "none, and no secrets are stored",
            f"before the first connection is stored: {VARIABLE}; `dataflows key new` prints a key", numbers,
        )  # fmt: skip


def connections(patient: Patient) -> Iterator[Finding]:
    """Connections whose provider refuses them."""
    for client, count, since, example in patient.ask("connections_in_error"):
        yield Finding(
            "auth_error", "warning", client,
            f"{count} connections give no access any more, the first since {since:%Y-%m-%d %H:%M:%S} ({example})",
            f"ctx.connections.list({client!r}, status=\"auth_error\"); connect anew, then ctx.connections.renew(…)",
            {"connections": count},
        )  # fmt: skip


CHECKS = (encryption, connections)
