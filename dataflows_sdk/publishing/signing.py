"""What exactly is signed: every column of a publication, as one text that can be read in one way only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from dataflows_sdk.publishing.keys import Keyring

__all__ = ["Publication"]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Publication:
    """A row of ``dataflows.published``, believed or not."""

    name: str
    kind: str
    version: str
    home: str
    source: str
    requires: tuple[str, ...]
    python: str
    revoked: bool
    created_at: datetime
    created_by: str
    key_id: str = ""
    signature: str = ""

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Publication:
        """From the columns in their order."""
        made = cls(*row)
        return replace(made, requires=tuple(made.requires))

    def row(self) -> list[Any]:
        """The columns in their order."""
        return [list(self.requires) if each.name == "requires" else getattr(self, each.name) for each in fields(self)]

    def message(self) -> bytes:
        """Everything but the signature, as canonical JSON: sorted keys, ASCII, no white space."""
        content = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "signature"}
        content["created_at"] = self.created_at.astimezone(UTC).isoformat(timespec="microseconds")
        content["requires"] = list(self.requires)
        content["format"] = _FORMAT
        return json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode("ascii")

    def signed(self, keys: Keyring) -> Publication:
        """The same, signed with the first key."""
        named = replace(self, key_id=keys.ids[0])
        return replace(named, signature=keys.sign(named.message()))

    def doubt(self, keys: Keyring) -> str | None:
        """None if it is what the holder of a key signed, else why it is not to be believed."""
        return keys.verify(self.key_id, self.message(), self.signature)
