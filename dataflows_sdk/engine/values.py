"""Values on their way between the user's code and the journal: encoded, decoded, shown, redacted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.codec import Codec, Encoded, blob_refs
from dataflows_sdk.core.codec_read import Reader
from dataflows_sdk.core.kept_out import check_kept_out
from dataflows_sdk.core.payload import Payload
from dataflows_sdk.core.recorded import data_to_error, error_to_data

if TYPE_CHECKING:
    from dataflows_sdk.core.kept_out import Finder
    from dataflows_sdk.core.redact import Redactor
    from dataflows_sdk.engine.faces import Face

_MAX_SCOPES = 10_000
#: what is shown of an argument; results are kept whole
_SHOWN_TEXT = 16_384
_SHOWN_ITEMS = 1_000
_SHOWN_DEPTH = 8
_LONGEST_SECRET = 4_096


class Values:
    """The codec with what the engine needs around it."""

    __slots__ = ("_scopes", "codec", "finder", "redactor")

    def __init__(self, codec: Codec, redactor: Redactor) -> None:
        self.codec = codec
        self.redactor = redactor
        self._scopes: set[Any] = set()
        #: finds secrets in what is about to be stored
        self.finder: Finder | None = None

    def see(self, fn: Callable[..., Any]) -> None:
        """Classes that the code of *fn* can see may be named by payloads."""
        code = getattr(fn, "__code__", None)
        if code in self._scopes:
            return
        self.codec.types.add_scope(fn)
        if code is not None and len(self._scopes) < _MAX_SCOPES:
            self._scopes.add(code)

    def encode(self, value: Any, where: str) -> Encoded:
        """JSON text and blobs; NotSerializableError names the place in the value."""
        encoded = self.codec.encode(value, where)
        self.keep_out(encoded, where)
        return encoded

    def keep_out(self, encoded: Encoded, where: str, *names: str | None) -> None:
        """Raises NotSerializableError for a value, or for names beside it, in which a declared secret stands."""
        check_kept_out(self.finder, encoded, where, *names)

    def view(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Encoded:
        """Arguments of a call as they are shown: never fails, secrets masked."""
        if kwargs:
            return self.codec.encode_view(self._short({"args": list(args), "kwargs": kwargs}, 0), self.redactor)
        only = args[0] if len(args) == 1 else list(args)
        kind = type(only)
        if kind is int:
            return Encoded(str(only))
        return self.codec.encode_view(self._short(only, 0), self.redactor)

    def _short(self, value: Any, depth: int) -> Any:
        """The same value without its bulk: nobody looks at the 50 MB of an argument, and masking them takes long."""
        kind = type(value)
        if kind is str:
            if len(value) <= _SHOWN_TEXT:
                return value
            # masked before it is cut: half a token is not recognised any more
            begin = self.redactor.redact_text(value[: _SHOWN_TEXT + _LONGEST_SECRET])[:_SHOWN_TEXT]
            return f"{begin}… ({len(value)} characters)"
        if kind is bytes and len(value) > _SHOWN_TEXT:
            return f"… ({len(value)} bytes)"
        if depth > _SHOWN_DEPTH:
            return value
        if kind is dict or kind is Payload:
            return {key: self._short(item, depth + 1) for key, item in list(value.items())[:_SHOWN_ITEMS]}
        if kind is list or kind is tuple:
            shown = [self._short(item, depth + 1) for item in value[:_SHOWN_ITEMS]]
            if len(value) > _SHOWN_ITEMS:
                shown.append(f"… ({len(value)} items)")
            return shown if kind is list else tuple(shown)
        return value

    def tree(self, value: Any) -> Any:
        """A value as the JSON tree that the journal would hold."""
        return json.loads(self.codec.encode(value, "value").text)

    async def decode(self, face: Face, tree: Any, *, tagged: bool = True) -> Any:
        """The value of a JSON tree; the content of blobs is fetched when it has any.

        Args:
            tagged: False where it is known that there is no tag in it.
        """
        kind = type(tree)
        if not tagged or (kind is not dict and kind is not list):
            return tree
        text = json.dumps(tree)
        if '"$' not in text:
            return tree
        refs = blob_refs(text)
        blobs: Mapping[str, bytes] = {}
        if refs:
            blobs = await face.wait(lambda settle: face.engine.ask_blobs(refs, settle))
        return Reader(self.codec.types, blobs).value(tree)

    def error_data(self, error: BaseException) -> dict[str, Any]:
        """An exception as data, without secrets."""
        return error_to_data(error, self.redactor.redact_text)

    def error(self, data: Mapping[str, Any]) -> Exception:
        """An exception that says what the recorded one said."""
        return data_to_error(dict(data))
