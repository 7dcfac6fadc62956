"""What is shown of a recorded value: a short text, made from the record without building the value. Secrets masked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

#: bytes of a preview
SHOWN = 256
#: characters that are looked at for secrets before it is cut: half a secret would not be recognised
_LOOKED_AT = 1_024


def preview(tree: Any, mask: Callable[[str], str], limit: int = SHOWN) -> str:
    """A recorded value as text of at most *limit* bytes; what the codec put around it is left away."""
    return cut(mask(_Walk().text(tree)), limit)


def cut(text: str, limit: int = SHOWN) -> str:
    """A text of at most *limit* bytes."""
    data = text.encode("utf-8", "replace")
    return text if len(data) <= limit else data[: limit - 3].decode("utf-8", "ignore") + "…"


class _Walk:
    """Writes JSON, and stops when it is enough."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._left = _LOOKED_AT

    def text(self, tree: Any) -> str:
        self._write(tree, 0)
        return "".join(self._parts)

    def _put(self, text: str) -> None:
        self._parts.append(text)
        self._left -= len(text)

    def _write(self, tree: Any, depth: int) -> None:
        if self._left <= 0:
            return
        if isinstance(tree, dict):
            first = next(iter(tree), "")
            if first.startswith("$"):
                self._tagged(first, tree, depth)
            else:
                self._items("{", "}", tree.items(), depth)
        elif isinstance(tree, list):
            self._items("[", "]", tree, depth)
        elif isinstance(tree, str):
            self._put(json.dumps(tree[: self._left + 1], ensure_ascii=False))
        else:
            self._put(json.dumps(tree))

    def _items(self, begin: str, end: str, items: Any, depth: int) -> None:
        self._put(begin)
        for number, item in enumerate(items):
            if number:
                self._put(", ")
            if self._left <= 0 or depth > 8:
                self._put("…")
                break
            if begin == "{":
                self._put(f"{json.dumps(item[0][:80], ensure_ascii=False)}: ")
                item = item[1]
            self._write(item, depth + 1)
        self._put(end)

    def _tagged(self, tag: str, tree: dict[str, Any], depth: int) -> None:
        payload = tree[tag]
        if tag in ("$repr", "$cut"):
            self._put(str(payload)[: self._left + 1])
        elif isinstance(payload, dict) and "sha256" in payload:
            self._put(f"<{payload['size']:,} bytes>" if isinstance(payload.get("size"), int) else "<a large value>")
        elif isinstance(payload, str) and len(tree) > 1:
            # an instance of a class: its name, then its fields
            self._put(payload.rpartition(":")[2][:80])
            self._items("(", ")", [value for name, value in tree.items() if name != tag], depth)
        elif isinstance(payload, str):
            self._put(payload[: self._left + 1])
        else:
            self._write(payload, depth + 1)
