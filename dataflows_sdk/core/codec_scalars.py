"""Tags of values that hold no other values: dates, numbers, bytes, paths, addresses."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pydantic_core

from dataflows_sdk.core.codec_refused import Refused

if TYPE_CHECKING:
    from dataflows_sdk.core.codec_write import Writer

__all__ = ["DECODERS", "ENCODERS", "BlobSource", "from_base64", "to_base64"]


class BlobSource(Protocol):
    """Where decoders get the content of blobs."""

    def blob(self, payload: dict[str, Any]) -> bytes:
        """The content of the blob that the payload of a tag names."""
        ...


def to_base64(data: bytes) -> str:
    """The bytes as base64 text."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str) -> bytes:
    """The bytes of a base64 text.

    Raises:
        ValueError: it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError(f"not base64: {error}") from None


# --- dates and times
# ------------------------------------------------------------------------------------------
#
# "2026-11-01T09:00:00+01:00[Europe/Berlin]", the form of RFC 9557. "[fold=1]" marks the second of two
# equal wall times.


def _zone(zone: tzinfo | None) -> str:
    if zone is None or type(zone) is timezone:
        return ""
    if type(zone) is ZoneInfo and zone.key:
        return f"[{zone.key}]"
    raise Refused(
        f"has a time zone of the type {type(zone).__module__}.{type(zone).__qualname__}, which would "
        "not come back "
        'equal. Convert it: value.astimezone(zoneinfo.ZoneInfo("Europe/Berlin")) or '
        "value.astimezone(datetime.UTC)"
    )


def _write_moment(tag: str) -> Callable[[Any, Writer], Any]:
    def write(value: datetime | time, _: Writer) -> Any:
        return {tag: value.isoformat() + _zone(value.tzinfo) + ("[fold=1]" if value.fold else "")}

    return write


_MOMENT = re.compile(r"(?P<iso>[^\[]+)(?:\[(?P<zone>[A-Za-z][^\]=]*)\])?(?P<fold>\[fold=1\])?")


def _parts(text: str) -> tuple[str, ZoneInfo | None, int]:
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError(f"not a moment: {text!r:.100}")
    return match["iso"], ZoneInfo(match["zone"]) if match["zone"] else None, 1 if match["fold"] else 0


def _read_datetime(text: str, _: BlobSource) -> datetime:
    iso, zone, fold = _parts(text)
    moment = datetime.fromisoformat(iso)
    if zone is None:
        return moment.replace(fold=fold)
    there = moment.replace(tzinfo=zone, fold=fold)
    # the rules of a zone may have changed since it was written: then the moment counts, not the hands of
    # the clock
    return there if there.utcoffset() == moment.utcoffset() else moment.astimezone(zone)


def _read_time(text: str, _: BlobSource) -> time:
    iso, zone, fold = _parts(text)
    moment = time.fromisoformat(iso)
    return moment.replace(tzinfo=zone or moment.tzinfo, fold=fold)


def _write_timedelta(value: timedelta, _: Writer) -> Any:
    # seconds and microseconds as whole numbers: exact for the whole range
    microseconds = value // timedelta(microseconds=1)
    sign, microseconds = ("-", -microseconds) if microseconds < 0 else ("", microseconds)
    seconds, rest = divmod(microseconds, 1_000_000)
    return {"$timedelta": f"{sign}{seconds}" + (f".{rest:06}" if rest else "")}


def _read_timedelta(text: str, _: BlobSource) -> timedelta:
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    seconds, _dot, rest = digits.partition(".")
    return sign * timedelta(seconds=int(seconds), microseconds=int(rest or 0))


# --- numbers and bytes
# ----------------------------------------------------------------------------------------


def _read_float(text: str, _: BlobSource) -> float:
    if text not in ("nan", "inf", "-inf"):
        raise ValueError(f"not a float: {text!r:.100}")
    return float(text)


def _read_complex(parts: list[str], _: BlobSource) -> complex:
    real, imag = parts
    return complex(float(real), float(imag))


def _write_bytes(tag: str) -> Callable[[Any, Writer], Any]:
    def write(value: bytes | bytearray, writer: Writer) -> Any:
        data = bytes(value)
        if len(data) > writer.leaf_limit:
            return {tag: writer.leaf(data, "application/octet-stream", {})}
        return {tag: to_base64(data)}

    return write


def read_bytes(payload: Any, source: BlobSource) -> bytes:
    """Bytes that are in the tag, or beside it."""
    return source.blob(payload) if isinstance(payload, dict) else from_base64(payload)


# --- paths, addresses, URLs
# -----------------------------------------------------------------------------------


def _write_path(value: PurePath, writer: Writer) -> Any:
    # a Path belongs to the machine and comes back as this machine's kind; a pure one keeps its own
    kind = "Path" if isinstance(value, Path) else type(value).__name__
    return {"$path": [kind, writer.text(str(value))]}


_PATHS: dict[str, Callable[[str], PurePath]] = {
    "Path": Path,
    "PurePosixPath": PurePosixPath,
    "PureWindowsPath": PureWindowsPath,
}


def _read_path(payload: list[Any], source: BlobSource) -> PurePath:
    kind, text = payload
    return _PATHS[kind](DECODERS["$str"](text["$str"], source) if isinstance(text, dict) else text)


_ADDRESSES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        ipaddress.IPv4Address,
        ipaddress.IPv6Address,
        ipaddress.IPv4Network,
        ipaddress.IPv6Network,
        ipaddress.IPv4Interface,
        ipaddress.IPv6Interface,
    )
}


def _write_named(tag: str) -> Callable[[Any, Writer], Any]:
    def write(value: Any, writer: Writer) -> Any:
        return {tag: [type(value).__name__, writer.text(str(value))]}

    return write


def _read_address(payload: list[str], _: BlobSource) -> Any:
    kind, text = payload
    return _ADDRESSES[kind](text)


_URL_NAMES = """
    AnyUrl AnyHttpUrl HttpUrl FileUrl AnyWebsocketUrl WebsocketUrl FtpUrl PostgresDsn CockroachDsn AmqpDsn
    RedisDsn MongoDsn KafkaDsn NatsDsn MySQLDsn MariaDBDsn ClickHouseDsn SnowflakeDsn
"""
#: what pydantic puts into fields such as HttpUrl
_URLS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        pydantic_core.Url,
        pydantic_core.MultiHostUrl,
        *(getattr(pydantic, name) for name in _URL_NAMES.split() if isinstance(getattr(pydantic, name, None), type)),
    )
}


def _read_url(payload: list[str], _: BlobSource) -> Any:
    kind, text = payload
    return _URLS[kind](text)


def _plain(tag: str) -> Callable[[Any, Writer], Any]:
    def write(value: Any, _: Writer) -> Any:
        return {tag: str(value)}

    return write


#: by exact type; a subclass is another type and is not found here
ENCODERS: dict[type, Callable[[Any, Writer], Any]] = {
    datetime: _write_moment("$datetime"),
    date: lambda value, _: {"$date": value.isoformat()},
    time: _write_moment("$time"),
    timedelta: _write_timedelta,
    Decimal: _plain("$decimal"),
    Fraction: _plain("$fraction"),
    UUID: _plain("$uuid"),
    complex: lambda value, _: {"$complex": [repr(value.real), repr(value.imag)]},
    bytes: _write_bytes("$bytes"),
    bytearray: _write_bytes("$bytearray"),
    PurePosixPath: _write_path,
    PureWindowsPath: _write_path,
    type(Path()): _write_path,
    ZoneInfo: lambda value, _: {"$zone": _zone(value)[1:-1]},
    **dict.fromkeys(_ADDRESSES.values(), _write_named("$ip")),
    **dict.fromkeys(_URLS.values(), _write_named("$url")),
}

#: by tag: the payload, and where blobs come from. What they raise for a broken payload the reader explains.
DECODERS: dict[str, Callable[[Any, BlobSource], Any]] = {
    "$str": lambda text, _: from_base64(text).decode("utf-8", "surrogatepass"),
    "$int": lambda text, _: int(text, 16),
    "$float": _read_float,
    "$datetime": _read_datetime,
    "$date": lambda text, _: date.fromisoformat(text),
    "$time": _read_time,
    "$timedelta": _read_timedelta,
    "$decimal": lambda text, _: Decimal(text),
    "$fraction": lambda text, _: Fraction(text),
    "$uuid": lambda text, _: UUID(text),
    "$complex": _read_complex,
    "$bytes": read_bytes,
    "$bytearray": lambda payload, source: bytearray(read_bytes(payload, source)),
    "$path": _read_path,
    "$zone": lambda text, _: ZoneInfo(text),
    "$ip": _read_address,
    "$url": _read_url,
}
