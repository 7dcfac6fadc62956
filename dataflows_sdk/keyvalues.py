"""Small values by key, for functions and for whoever wants to leave something: ``ctx.kv``."""

from __future__ import annotations

import asyncio
import json
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dataflows_sdk.core.codec import Codec
from dataflows_sdk.core.durations import Duration, parse_duration
from dataflows_sdk.core.shown import Sheet, ShownAsTable, counted
from dataflows_sdk.errors import DefinitionError, NotSerializableError

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

_LARGEST = 1024 * 1024
_LONGEST_KEY = 500


class KeyValues(ShownAsTable):
    """The values of a database. The last one who sets a key wins; there is no history.

    What a step sets is not undone with it, and what it gets is not recorded but as its result.
    """

    def __init__(self, context: Context) -> None:
        # functions hold on to it; the context must not live by that
        self._context = weakref.ref(context)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; *default* if there is none, or it expired."""
        rows = self._read("get", _key(key), self._now())
        return self._whole()._decode(json.loads(rows[0][0]), strict=True) if rows else default

    def set(self, key: str, value: Any, ttl: Duration | None = None) -> None:
        """Set a key.

        Args:
            value: anything that a step could return, up to 1 MiB and without tables.
            ttl: how long it stays; None for ever.

        Raises:
            DefinitionError: the key or the *ttl* makes no sense.
            NotSerializableError: the value cannot be kept, or a declared secret stands in it or in the key.
        """
        name, life = _key(key), None if ttl is None else _life(ttl)
        encoded = Codec(self._whole()._types, inline_limit=_LARGEST).encode(value, f"value of {name!r}")
        if encoded.blobs:
            raise NotSerializableError(f"value of {name!r}: up to {_LARGEST // 1024} KiB and no tables are kept by key")
        self._whole()._engine.values.keep_out(encoded, "value of a key of ctx.kv", name)
        now = self._now()
        self._read("set", name, encoded.text, None if life is None else now + life, now)

    def delete(self, key: str) -> bool:
        """Remove a key; whether it was there."""
        return bool(self._read("delete", _key(key), self._now()))

    def keys(self, prefix: str = "", limit: int = 1_000) -> list[str]:
        """The keys that begin with a text, in order."""
        return [row[0] for row in self._read("keys", prefix, self._now(), limit)]

    async def aget(self, key: str) -> Any:
        """`get` on a loop; it reads in a thread."""
        return await asyncio.to_thread(self.get, key)

    async def aset(self, key: str, value: Any, ttl: Duration | None = None) -> None:
        """`set` on a loop; it writes in a thread."""
        await asyncio.to_thread(self.set, key, value, ttl)

    async def adelete(self, key: str) -> bool:
        """`delete` on a loop; it writes in a thread."""
        return await asyncio.to_thread(self.delete, key)

    def _whole(self) -> Context:
        context = self._context()
        if context is None:
            raise DefinitionError("the context of these values is gone; connect() makes a new one")
        return context

    def _now(self) -> Any:
        return self._whole()._engine.clock.now()

    def _read(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._whole()._read("kv", statement, parameters)

    def _sheet(self) -> Sheet:
        keys = self.keys()  # without the values: they may be large, and nobody's business
        return Sheet(counted(len(keys), "key"), [(key,) for key in keys], ("key",), total=len(keys))


def _key(key: object) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY or "\0" in key:
        raise DefinitionError(f"a key is a text of 1 to {_LONGEST_KEY} characters, not {key!r:.100}")
    return key


def _life(ttl: Duration) -> timedelta:
    try:
        life = parse_duration(ttl)
    except DefinitionError as error:
        raise DefinitionError(f"ttl={ttl!r}: {error}") from None
    if life <= timedelta(0):
        raise DefinitionError(f"ttl={ttl!r}: a duration above 0 is needed")
    return life
