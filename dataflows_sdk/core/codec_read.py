"""From a tree of JSON values back to Python values. Only tags and classes that are known here are rebuilt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import pydantic_core

from dataflows_sdk.core import codec_classes, frames
from dataflows_sdk.core.codec_scalars import DECODERS
from dataflows_sdk.core.codec_types import TypeRegistry
from dataflows_sdk.errors import BlobMissingError, ValueCodecError

__all__ = ["Reader", "parse"]

#: tags whose payload is decoded without the decoder's help
_LEAVES: dict[str, Callable[[Any, Any], Any]] = {**DECODERS, **frames.DECODERS}


def parse(text: str | bytes) -> Any:
    """The tree of a JSON text.

    Raises:
        ValueCodecError: it is not JSON.
    """
    try:
        return pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError as error:
        if "recursion limit" in str(error):
            # the fast parser stops at 200 levels; tags around the innermost value may add a few
            return _parse_deep(text)
        raise ValueCodecError(f"not a JSON text: {error}") from None


def _parse_deep(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueCodecError(f"not a JSON text that can be read: {error}") from None


class Reader:
    """Reads one value."""

    def __init__(self, types: TypeRegistry, blobs: Mapping[str, bytes]) -> None:
        self.types = types
        self.blobs = blobs
        self._classes: dict[str, type] = {}

    def value(self, node: Any) -> Any:
        """The value of a tree.

        Raises:
            UnknownTypeError: a class that the types do not know.
            BlobMissingError: a blob that is not there.
            ValueCodecError: a tag that is unknown or broken.
        """
        kind = type(node)
        if kind is list:
            return [self.value(item) for item in node]
        if kind is dict:
            for first in node:
                if first[:1] == "$":
                    return self.tagged(first, node)
                break
            return {key: self.value(item) for key, item in node.items()}
        return node

    def tagged(self, tag: str, node: dict[str, Any]) -> Any:
        """The value of a tag."""
        try:
            return self._tagged(tag, node)
        except (ValueCodecError, ImportError):
            raise
        except Exception as error:
            raise ValueCodecError(f"a broken {tag} in a recorded value: {type(error).__name__}: {error}") from error

    def _tagged(self, tag: str, node: dict[str, Any]) -> Any:
        payload = node[tag]
        leaf = _LEAVES.get(tag)
        if leaf is not None:
            return leaf(payload, self)
        if tag in codec_classes.TAGS:
            return self._instance(tag, payload, node)
        if tag == "$tuple":
            return tuple([self.value(item) for item in payload])
        if tag == "$set":
            return {self.value(item) for item in payload}
        if tag == "$frozenset":
            return frozenset([self.value(item) for item in payload])
        if tag == "$dict":
            return {self.value(key): self.value(item) for key, item in payload}
        if tag == "$blob":
            return self.value(parse(self.blob(payload)))
        if tag == "$repr":
            raise ValueCodecError(
                f"this is the view of an object that was not stored ({payload!s:.100}); read it with decode_lenient()"
            )
        raise ValueCodecError(f"a recorded value has the tag {tag!r:.100}, which this version does not know")

    def _instance(self, tag: str, name: str, node: dict[str, Any]) -> Any:
        cls = self._classes.get(name)
        if cls is None:
            cls = self._classes[name] = self.types.resolve(name)
        return codec_classes.read(tag, cls, self.fields(tag, node))

    def fields(self, tag: str, node: dict[str, Any]) -> dict[str, Any]:
        """What an object's tag holds besides the name of its class, decoded."""
        return {key: self.value(item) for key, item in node.items() if key != tag}

    def blob(self, payload: dict[str, Any]) -> bytes:
        """The content of a blob, checked against its hash.

        Raises:
            BlobMissingError: it is not there.
            ValueCodecError: it is not what it was.
        """
        sha256 = payload["sha256"]
        data = self.blobs.get(sha256)
        if data is None:
            raise BlobMissingError(
                f"the blob {sha256:.100} ({payload.get('size', '?')} bytes) is not in the store: it "
                "was deleted, or "
                "not loaded with the value"
            )
        data = bytes(data)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueCodecError(f"the blob {sha256:.100} is damaged: its content has another hash")
        return data
