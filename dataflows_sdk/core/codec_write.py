"""From a Python value to a tree of plain JSON values, with tags for what JSON has no word for.

A tag is an object whose first key begins with ``$``; no other object has such a key (a dict that does is
tagged itself). Classes keep their fields at the top of their object, so that SQL reads ``result->>'total'``.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import pydantic_core

from dataflows_sdk.core import codec_classes, codec_scalars, frames
from dataflows_sdk.core.codec_refused import Refused, segment
from dataflows_sdk.core.codec_types import TypeRegistry, type_name
from dataflows_sdk.core.payload import Payload
from dataflows_sdk.core.redact import Secret
from dataflows_sdk.core.shown import Listing

__all__ = ["MAX_DEPTH", "Blob", "Writer", "advice", "dump"]

#: levels of nesting in the JSON; more is refused, long before Python's recursion limit
MAX_DEPTH = 200
#: an int beyond this many bits is tagged: Python refuses to parse decimal texts of more than 4300 digits
#: (640 at the lowest setting)
_MAX_INT_BITS = 2_000


class Blob(NamedTuple):
    """A large value outside of the JSON, found by its content.

    `media` is a media type; `meta` is what a reader may want to know without loading it (JSON).
    """

    sha256: str
    data: bytes
    media: str
    meta: dict[str, Any]


def dump(tree: Any) -> str:
    """The JSON text of a tree, as short as it goes."""
    return pydantic_core.to_json(tree).decode()


class Writer:
    """Writes one value. `tagged` says afterwards whether anything but plain JSON was met; `blobs` what
    lies beside.
    """

    def __init__(self, types: TypeRegistry, leaf_limit: int) -> None:
        self.types = types
        self.leaf_limit = leaf_limit
        self.blobs: dict[str, Blob] = {}
        self.tagged = False
        self._inside: set[int] = set()
        self._names: dict[type, str] = {}

    def tree(self, value: Any, depth: int = 0) -> Any:
        """The tree of a value that lies under `depth` levels of JSON.

        Raises:
            Refused: the value, or something in it.
        """
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return self.text(value)
        if kind is int:
            if value.bit_length() <= _MAX_INT_BITS:
                return value
            self.tagged = True
            return {"$int": hex(value)}
        if kind is float:
            if value - value == 0:
                return value
            self.tagged = True
            return {"$float": repr(value)}
        scalar = codec_scalars.ENCODERS.get(kind)
        if scalar is not None:
            self.tagged = True
            return self.scalar(value, scalar)
        return self._nested(value, kind, depth)

    def scalar(self, value: Any, encoder: Callable[[Any, Any], Any]) -> Any:
        """The tag of a value that holds no other values."""
        return encoder(value, self)

    def text(self, value: str) -> Any:
        """A str, tagged where PostgreSQL or UTF-8 has no place for it: NUL and lone surrogates."""
        if value.isascii():
            if "\0" not in value:
                return value
        elif "\0" not in value:
            try:
                value.encode()
            except UnicodeEncodeError:
                pass
            else:
                return value
        self.tagged = True
        return {"$str": codec_scalars.to_base64(value.encode("utf-8", "surrogatepass"))}

    def leaf(self, data: bytes, media: str, meta: dict[str, Any]) -> dict[str, Any]:
        """Put bytes beside the JSON; gives what the tag says about them."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.blobs[sha256] = Blob(sha256, data, media, meta)
        return {"sha256": sha256, "size": len(data)}

    def _nested(self, value: Any, kind: type, depth: int) -> Any:
        if depth >= MAX_DEPTH or id(value) in self._inside:
            if id(value) in self._inside:
                raise Refused("contains itself; JSON cannot say that. Refer to the outer value by an id instead")
            raise Refused(f"is nested more than {MAX_DEPTH} levels deep. Flatten it, or keep the parts by id")
        self._inside.add(id(value))
        try:
            if kind is dict or kind is Payload:
                return self._dict(value, depth)
            if kind is list or kind is Listing:
                return self.items(value, depth + 1)
            self.tagged = True
            if kind is tuple:
                return {"$tuple": self.items(value, depth + 2)}
            if kind is set or kind is frozenset:
                return {f"${kind.__name__}": self._sorted(value, depth + 2)}
            return self._other(value, kind, depth)
        finally:
            self._inside.discard(id(value))

    def items(self, values: Any, depth: int) -> list[Any]:
        """The trees of several values in a row, which lie under `depth` levels."""
        result: list[Any] = []
        try:
            # not a comprehension: the length of the result is the index of what was refused
            for value in values:
                result.append(self.tree(value, depth))  # noqa: PERF401
        except Refused as refused:
            refused.segments.append(f"[{len(result)}]")
            raise
        return result

    def fields(self, values: dict[str, Any], depth: int) -> dict[str, Any]:
        """The trees of named values, under names that are identifiers, which lie under `depth` levels."""
        result: dict[str, Any] = {}
        for name, value in values.items():
            try:
                result[name] = self.tree(value, depth)
            except Refused as refused:
                refused.segments.append(segment(name))
                raise
        return result

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        for key in value:
            if type(key) is not str or key[:1] == "$" or self.text(key) is not key:
                self.tagged = True
                return {"$dict": [self._pair(k, v, depth + 3) for k, v in value.items()]}
        return self.fields(value, depth + 1)

    def _pair(self, key: Any, value: Any, depth: int) -> list[Any]:
        try:
            return [self.tree(key, depth), self.tree(value, depth)]
        except Refused as refused:
            refused.segments.append(segment(key))
            raise

    def _sorted(self, values: set[Any] | frozenset[Any], depth: int) -> list[Any]:
        """By their JSON, so that equal sets have equal texts in every process."""
        trees = []
        for value in values:
            try:
                trees.append(self.tree(value, depth))
            except Refused as refused:
                refused.segments.append("{…}")
                raise
        return sorted(trees, key=dump)

    def _other(self, value: Any, kind: type, depth: int) -> Any:
        if kind.__module__.partition(".")[0] in frames.PACKAGES:
            return frames.write(value, self)
        if isinstance(value, Secret) or kind.__name__ in ("SecretStr", "SecretBytes"):
            raise Refused(
                f"is a {kind.__name__}: results are stored and shown, so a secret must not be in one. "
                "Return what "
                "identifies it (a name, an id) and read the secret again where it is needed"
            )
        found = codec_classes.write(value, self, depth)
        if found is not None:
            return found
        raise Refused(advice(value))

    def class_name(self, cls: type) -> str:
        """The name of a class that a reader will find again.

        Raises:
            Refused: it would not.
        """
        name = self._names.get(cls)
        if name is None:
            name = self._names[cls] = self._checked_name(cls)
        return name

    def _checked_name(self, cls: type) -> str:
        name = type_name(cls)
        if "<locals>" in name:
            raise Refused(
                f"is of the class {name}, which is defined within a function: no other process could "
                "find it. "
                "Define it at the top level of its module or notebook cell"
            )
        found = self.types.find(name)
        if found is None:
            raise Refused(
                f"is of the type {name}, which the code of no workflow or step can see. Import the "
                "class in the module "
                "of the workflow or step, name it in an annotation, or register it: "
                f"types.register({cls.__name__})"
            )
        if found is not cls:
            raise Refused(
                f"is of an older class {name}: the class was defined anew since the object was made. "
                "Make the object again"
            )
        return name


_ADVICE: tuple[tuple[tuple[type, ...], str], ...] = (
    (
        (types.GeneratorType, range, memoryview, map, filter, zip),
        "Return a list of it (bytes, of a memoryview)",
    ),
    ((types.CoroutineType, types.AsyncGeneratorType), "Was an await forgotten?"),
    (
        (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type),
        "Return data, not code; its name, for example",
    ),
    ((BaseException,), "Raise it, or return str(error)"),
    ((Enum,), "Use an Enum class of a module"),
    ((dict,), "Return dict(value)"),
    ((str,), "Return str(value)"),
    ((float,), "Return float(value)"),
    ((int,), "Return int(value)"),
    ((list, tuple), "Return list(value)"),
    ((set, frozenset), "Return set(value)"),
    ((bytes, bytearray), "Return bytes(value)"),
)


def advice(value: object) -> str:
    """Why a value of no known type is refused, and what to return in its place."""
    kind = type(value)
    way_out = "Return plain data, a dataclass or a pydantic model that holds what is needed of it"
    if hasattr(kind, "read") or hasattr(kind, "fileno"):
        way_out = "Return its content or its path; open files, sockets and connections do not outlive the process"
    for kinds, text in _ADVICE:
        if isinstance(value, kinds):
            way_out = text
            break
    name = kind.__qualname__ if kind.__module__ == "builtins" else type_name(kind)
    return f"is of the type {name}, which has no JSON form and would not come back equal. {way_out}"
