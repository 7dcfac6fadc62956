"""Views: what people see of values that need not come back. Writing one never fails, and no secret gets
in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dataflows_sdk.core import frames
from dataflows_sdk.core.codec_read import Reader
from dataflows_sdk.core.codec_types import TypeRegistry, type_name
from dataflows_sdk.core.codec_write import Writer
from dataflows_sdk.core.redact import MaskedRepr, Redactor, Secret

__all__ = ["LenientReader", "Opaque", "ViewWriter"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{4,16}")
#: bytes beyond this are described, not shown
_SHOWN_BYTES = 1_024


@dataclass(frozen=True)
class Opaque:
    """A recorded value that this process cannot rebuild.

    Attributes:
        type: the class (``shop.models:Order``), the tag (``$frame``), or ``repr`` for an object of which
            there is only a description.
        data: what was recorded of it: the fields, the payload, or the text.
    """

    type: str
    data: Any

    def __repr__(self) -> str:
        return f"<{self.type} {self.data!r}>"


class ViewWriter(Writer):
    """Writes a value that was masked already; whatever cannot be written becomes its repr."""

    def __init__(self, types: TypeRegistry, redactor: Redactor) -> None:
        # nothing goes beside the JSON as a leaf: a masked text cannot be found in the bytes of a blob
        super().__init__(types, leaf_limit=1 << 62)
        self.redactor = redactor

    def tree(self, value: Any, depth: int = 0) -> Any:
        if type(value) is MaskedRepr:
            return self._described(str(value))
        if type(value) in (bytes, bytearray) and len(value) > _SHOWN_BYTES:
            return self._described(f"<{type(value).__name__} of {len(value)} bytes>")
        if type(value) is Secret:
            return self._described(repr(value))
        package = type(value).__module__.partition(".")[0]
        # asking a relation of DuckDB for its shape or its repr would run its query
        if package in frames.PACKAGES and ("duckdb" in package or getattr(value, "shape", None)):
            return self._described(_shape(value))
        try:
            return super().tree(value, depth)
        except Exception:  # noqa: BLE001 - a view shows what it can
            return self._described(self.redactor.redact_repr(value))

    def scalar(self, value: Any, encoder: Callable[[Any, Any], Any]) -> Any:
        tag = super().scalar(value, encoder)
        # what a tag says of a path or URL is a text again; bytes and texts in base64 were masked before
        return tag if not self._has_secret(tag) else self._described(self.redactor.redact_repr(value))

    def class_name(self, cls: type) -> str:
        return type_name(cls)

    def _described(self, text: str) -> dict[str, Any]:
        text = _ADDRESS.sub("", self.redactor.redact_text(text))
        return {"$repr": text.encode("utf-8", "replace").decode().replace("\0", "")}

    def _has_secret(self, node: Any) -> bool:
        if isinstance(node, str):
            return self.redactor.redact_text(node) != node
        items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        return any(self._has_secret(item) for item in items)


def _shape(value: Any) -> str:
    """A table or array in one line: names and types, no cells, which nobody could search for secrets."""
    kind = type_name(type(value)).replace(":", ".")
    if "duckdb" in kind:
        return f"<{kind}>"
    shape = "×".join(str(size) for size in value.shape)
    names = getattr(value, "column_names", None) or getattr(value, "columns", None)
    listed = ": " + ", ".join(str(name)[:60] for name in list(names)[:30]) if names is not None else ""
    return f"<{kind} {shape}{listed}>"[:2_000]


class LenientReader(Reader):
    """Reads what it can; the rest becomes `Opaque`."""

    def tagged(self, tag: str, node: dict[str, Any]) -> Any:
        if tag == "$repr":
            return Opaque("repr", node[tag])
        try:
            return super().tagged(tag, node)
        except Exception:  # noqa: BLE001 - to look at the past must work without the code of the past
            payload = node[tag]
            if len(node) > 1 and isinstance(payload, str):
                return Opaque(payload, self.fields(tag, node))
            # the payload's own parts may still be readable, though not as what they were in
            return Opaque(tag, self.value(payload) if isinstance(payload, (list, dict)) else payload)
