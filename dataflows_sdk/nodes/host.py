"""What a deployed function in JavaScript may ask of its host: ``atlas.kv``, ``atlas.fetch``, ``atlas.db``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import pydantic_core
from pydantic import ValidationError

from dataflows_sdk.errors import NodeUnavailableError, NonRetryableError
from dataflows_sdk.nodes.http import ActionHttp, call_http

if TYPE_CHECKING:
    from dataflows_sdk.core.durations import Duration
    from dataflows_sdk.nodes.registry import Call

_LARGEST_BODY = 4 * 1024 * 1024
_MOST_AT_ONCE = 100
_ANY_STATUS = ["1xx", "2xx", "3xx", "4xx", "5xx"]
_FETCH = {"method", "headers", "body"}


class KeyValues(Protocol):
    """Where small values are kept."""

    async def aget(self, key: str) -> Any: ...
    async def aset(self, key: str, value: Any, ttl: Duration | None = None) -> None: ...
    async def adelete(self, key: str) -> bool: ...


class Host:
    """Answers a function's calls, each by itself; one that fails is an error for the function and nobody else.

    Args:
        call: of the node that runs the function.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    async def __call__(self, calls: bytes) -> bytes:
        """A JSON list of calls in, one of results out."""
        asked = json.loads(calls)
        results: list[dict[str, Any]] = []
        for begin in range(0, len(asked), _MOST_AT_ONCE):
            results += await asyncio.gather(*map(self._answer, asked[begin : begin + _MOST_AT_ONCE]))
        return pydantic_core.to_json(results, inf_nan_mode="null", bytes_mode="base64")

    async def _answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {"id": asked["id"], "value": await self._do(asked["name"], asked["args"])}
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            message = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            return {"id": asked["id"], "error": {"name": "TypeError", "message": message}}
        except Exception as error:  # noqa: BLE001 - it belongs to the function, which may catch it
            return {"id": asked["id"], "error": {"name": type(error).__name__, "message": str(error)[:4_000]}}

    async def _do(self, name: str, args: list[Any]) -> Any:
        if name == "fetch":
            return await self._fetch(*args)
        if name.startswith("kv."):
            store = self._call.services.kv
            if store is None:
                raise NodeUnavailableError("atlas.kv needs a context with a database")
            return await _keep(store, name, args)
        raise NodeUnavailableError(
            "atlas.db.query is not offered: SQL would see more of the database than the warehouse; give the function "
            "the rows in its input, or write them with action_record"
        )

    async def _fetch(self, url: str, options: Any) -> dict[str, Any]:
        given = dict(options) if isinstance(options, Mapping) else {}
        if unknown := given.keys() - _FETCH:
            raise NonRetryableError(f"atlas.fetch knows {', '.join(sorted(_FETCH))}, not {', '.join(sorted(unknown))}")
        config = ActionHttp.model_validate(
            {
                "url": url,
                "expect_status": _ANY_STATUS,
                "max_bytes": _LARGEST_BODY,
                **{key: value for key, value in given.items() if value is not None},
            }
        )
        return await call_http(config, self._call)


async def _keep(store: KeyValues, name: str, args: list[Any]) -> Any:
    key, value, options = (*args, None, None, None)[:3]
    if name == "kv.get":
        return await store.aget(key)
    if name == "kv.delete":
        return await store.adelete(key)
    await store.aset(key, value, options.get("ttl") if isinstance(options, Mapping) else None)
    return None
