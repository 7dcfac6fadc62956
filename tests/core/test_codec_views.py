from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings

from dataflows_sdk.core.codec import Codec, Opaque, blob_refs
from dataflows_sdk.core.codec_same import check_same
from dataflows_sdk.core.codec_types import TypeRegistry
from dataflows_sdk.core.redact import Redactor, Secret

from . import shapes
from .test_codec_roundtrip import TYPES, assert_storable, values

TOKEN = "hunter2-in-disguise"
REDACTOR = Redactor(TOKEN)
CODEC = Codec(TYPES)


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError(TOKEN)


class Odd:
    def __repr__(self) -> str:
        return "Odd(\0\ud800)"


class Liar:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")


class Hostile(dict[str, int]):
    def __iter__(self) -> Any:
        raise RuntimeError("no keys")

    def items(self) -> Any:
        raise RuntimeError("no items")


@dataclass
class Config:
    host: str
    password: str


def view(value: Any, codec: Codec = CODEC) -> Any:
    encoded = codec.encode_view(value, REDACTOR)
    assert_storable(encoded.text)
    assert TOKEN not in encoded.text
    return json.loads(encoded.text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, None, 2.5, "x"]}, {"a": [1, None, 2.5, "x"]}),
        ({"password": "x", "n": 1}, {"password": "***", "n": 1}),
        ([f"it is {TOKEN}"], ["it is ***"]),
        (Secret("some other secret"), {"$repr": "Secret('***')"}),
        ({"k": pydantic.SecretStr("x")}, {"k": {"$repr": "SecretStr('**********')"}}),
        (threading, {"$repr": f"<module 'threading' from {threading.__file__!r}>"}),
        ([Mute()], [{"$repr": "<Mute whose repr raised RuntimeError>"}]),
        ([Odd()], [{"$repr": "Odd(?)"}]),
        (b"abc", {"$bytes": "YWJj"}),
        (TOKEN.encode(), {"$bytes": base64.b64encode(b"***").decode()}),
        (b"x" * 5_000, {"$repr": "<bytes of 5000 bytes>"}),
        (bytearray(5_000), {"$repr": "<bytearray of 5000 bytes>"}),
        (Path("a") / TOKEN, {"$repr": "PosixPath('a/***')"}),
        (shapes.Decimal("1.1"), {"$decimal": "1.1"}),
        (pydantic.HttpUrl(f"https://u:{TOKEN}@h/"), {"$repr": "HttpUrl('https://u:***@h/')"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_views(value: Any, expected: Any) -> None:
    if isinstance(value, Path):
        expected = {"$repr": f"{type(value).__name__}('a/***')"}
    assert view(value) == expected


@pytest.mark.parametrize(
    "make", [Liar, lambda: Hostile(a=1), lambda: object, lambda: [Liar(), Hostile()], lambda: {Liar(): 1}]
)
def test_hostile_objects_are_shown_somehow(make: Any) -> None:
    assert "$repr" in json.dumps(view(make()))


def test_addresses_are_left_out_and_reprs_are_bounded() -> None:
    assert view(object()) == {"$repr": "<object object>"}

    class Long:
        def __repr__(self) -> str:
            return "y" * 100_000

    assert len(view(Long())["$repr"]) == 501


def test_unknown_and_local_classes_are_shown_with_their_fields() -> None:
    @dataclass
    class Local:
        user: str
        password: str

    shown = view([Config("h", "pw"), Local("me", "pw")])
    assert shown[0] == {"$dataclass": f"{__name__}:Config", "host": "h", "password": "***"}
    assert shown[1]["user"] == "me"
    back = CODEC.decode_lenient(json.dumps(shown))
    assert back[0] == Opaque(f"{__name__}:Config", {"host": "h", "password": "***"})
    assert "<locals>" in back[1].type


def test_cycles_and_depth() -> None:
    loop: dict[str, Any] = {"n": 1}
    loop["self"] = loop
    assert view(loop) == {"n": 1, "self": {"$repr": "…"}}
    deep: Any = TOKEN
    for _ in range(3_000):
        deep = {"a": (deep,)}
    view(deep)


def test_a_large_view_is_a_blob_without_secrets() -> None:
    encoded = CODEC.encode_view({"rows": [f"{TOKEN} {n}" for n in range(20_000)]}, REDACTOR)
    (blob,) = encoded.blobs
    assert TOKEN.encode() not in blob.data
    assert TOKEN not in encoded.text
    assert CODEC.decode_lenient(encoded.text, {blob.sha256: blob.data})["rows"][7] == "*** 7"


def test_a_secret_in_the_name_of_a_class() -> None:
    named = type(TOKEN.replace("-", "_"), (), {})
    redactor = Redactor(named.__name__)
    assert named.__name__ not in CODEC.encode_view([named()], redactor).text
    cls = type(named.__name__, (pydantic.BaseModel,), {"__module__": "m"})
    assert named.__name__ not in CODEC.encode_view([cls()], redactor).text


@settings(deadline=None)
@given(values)
def test_a_view_of_any_value_can_be_read(value: Any) -> None:
    redactor = Redactor()
    encoded = CODEC.encode_view(value, redactor)
    assert_storable(encoded.text)
    back = CODEC.decode_lenient(encoded.text)
    if redactor.redact_value(value) is value and "$repr" not in encoded.text:
        check_same(value, back)


def test_the_past_without_the_classes_of_the_past() -> None:
    encoded = CODEC.encode(
        {"order": shapes.Item("a", shapes.Decimal(1), (shapes.Colour.RED,)), "n": 1, "s": {shapes.Pair(1)}}
    )
    back = Codec(TypeRegistry()).decode_lenient(encoded.text)
    name = shapes.__name__
    assert back["n"] == 1
    assert back["order"] == Opaque(
        f"{name}:Item",
        {
            "name": "a",
            "price": shapes.Decimal(1),
            "tags": (Opaque(f"{name}:Colour", {"name": "RED"}),),
            "child": None,
        },
    )
    assert repr(back["order"]).startswith(f"<{name}:Item {{'name': 'a'")
    assert isinstance(back["s"], Opaque), "what cannot be hashed is not put into a set"


def test_missing_blobs_and_unknown_tags_are_shown() -> None:
    encoded = CODEC.encode({"a": b"x" * 30_000})
    (sha256,) = blob_refs(encoded.text)
    shown = CODEC.decode_lenient(encoded.text)["a"]
    assert shown == Opaque("$bytes", {"sha256": sha256, "size": 30_000})
    whole = CODEC.decode_lenient(CODEC.encode("y" * 100_000).text)
    assert whole.type == "$blob"
    assert whole.data["preview"].startswith('"yyy')
    assert CODEC.decode_lenient('{"$future":{"$decimal":"1"}}') == Opaque("$future", shapes.Decimal(1))
    assert CODEC.decode_lenient('{"$repr":"<x>"}') == Opaque("repr", "<x>")
