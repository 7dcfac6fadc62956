"""How a refusal travels from deep within a value to the codec, collecting its path on the way."""

from __future__ import annotations

__all__ = ["Refused", "segment"]

_SHOWN_PATH = 160


class Refused(Exception):
    """A value, somewhere within the one to write, that would not come back. Only the codec sees it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        #: segments of the path, innermost first
        self.segments: list[str] = []

    @property
    def path(self) -> str:
        """Where, for example ``$.orders[3].file``."""
        return "$" + "".join(reversed(self.segments))

    @property
    def short_path(self) -> str:
        """The path with its middle left out, where it would fill the screen."""
        path = self.path
        return path if len(path) <= _SHOWN_PATH else f"{path[: _SHOWN_PATH // 2]} … {path[-_SHOWN_PATH // 2 :]}"


def segment(key: object) -> str:
    """One step of a path: ``.orders``, ``[3]``, ``["a b"]``."""
    if isinstance(key, str):
        text = str.__str__(key)[:80]
        return f".{text}" if text.isidentifier() else f"[{text!r}]"
    return f"[{key!r:.80}]" if isinstance(key, int) else f"[a {type(key).__name__}]"
