from __future__ import annotations

import collections
import io
import json
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pydantic
import pytest

from dataflows_sdk.core.codec import Codec, Opaque
from dataflows_sdk.core.codec_types import TypeRegistry
from dataflows_sdk.core.redact import Secret
from dataflows_sdk.errors import NotSerializableError, UnknownTypeError, ValueCodecError

from . import shapes

TYPES = TypeRegistry()
for known in shapes.CLASSES:
    TYPES.register(known)
CODEC = Codec(TYPES)
HERE = shapes.__name__


class SubStr(str):
    pass


class SubInt(int):
    pass


class SubFloat(float):
    pass


class Unregistered(pydantic.BaseModel):
    a: int = 1


@dataclass
class OnADict(dict):  # type: ignore[type-arg]
    a: int = 1


class Stateful(NamedTuple):
    a: int


class WithState(Stateful):
    pass


async def coroutine() -> None: ...


def local_instance() -> Any:
    @dataclass
    class Local:
        a: int = 1

    return Local()


def cycle() -> Any:
    loop: dict[str, Any] = {"a": []}
    loop["a"].append(loop)
    return loop


def with_extra(value: Any, **attributes: Any) -> Any:
    value.__dict__.update(attributes)
    return value


def unset_slot() -> Any:
    return object.__new__(shapes.Point)


def state_on_a_tuple() -> Any:
    value = WithState(1)
    value.extra = 1  # type: ignore[attr-defined]
    return value


TYPES.register(WithState)
TYPES.register(OnADict)


@pytest.mark.parametrize(
    ("make", "path", "says"),
    [
        (lambda: object(), "$", "type object"),
        (
            lambda: {"orders": [0, 0, 0, {"file": io.StringIO()}]},
            "$.orders[3].file",
            "_io:StringIO.*content or its path",
        ),
        (lambda: {"a b": (1, {2: [threading.Lock()]})}, "$['a b'][1][2][0]", "_thread:lock"),
        (lambda: {"s": {1, object}}, "$.s{…}", "not code"),
        (lambda: {object: 1}, "$[a type]", "not code"),
        (lambda: [len], "$[0]", "not code"),
        (lambda: lambda: 1, "$", "not code"),
        (lambda: json, "$", "not code"),
        (lambda: (n for n in ()), "$", "list"),
        (lambda: range(3), "$", "list"),
        (lambda: memoryview(b"x"), "$", "bytes"),
        (lambda: {}.keys(), "$", "plain data"),
        (lambda: re.compile("x"), "$", "re:Pattern"),
        (lambda: ValueError("x"), "$", r"Raise it, or return str\(error\)"),
        (lambda: SubStr("x"), "$", r"SubStr.*str\(value\)"),
        (lambda: {SubStr("x"): 1}, "$.x", r"SubStr.*str\(value\)"),
        (lambda: SubInt(1), "$", r"int\(value\)"),
        (lambda: SubFloat(1), "$", r"float\(value\)"),
        (lambda: collections.OrderedDict(a=1), "$", r"dict\(value\)"),
        (lambda: collections.defaultdict(int), "$", r"dict\(value\)"),
        (lambda: collections.Counter("a"), "$", r"dict\(value\)"),
        (lambda: collections.deque(), "$", "plain data"),
        (lambda: OnADict(), "$", r"dict\(value\)"),
        (lambda: Secret("do not tell it"), "$", "secret must not"),
        (lambda: {"k": [pydantic.SecretStr("do not tell it")]}, "$.k[0]", "secret must not"),
        (lambda: pydantic.SecretBytes(b"do not tell it"), "$", "secret must not"),
        (lambda: {"k": Secret("do not tell it")}, "$.k", "secret must not"),
        (cycle, "$.a[0]", "contains itself"),
        (local_instance, "$", "within a function.*top level"),
        (Unregistered, "$", r"no workflow or step can see.*types.register\(Unregistered\)"),
        (lambda: shapes.Item("a", object()), "$.price", "type object"),  # type: ignore[arg-type]
        (lambda: shapes.Order(id=1, anything=[object()]), "$.anything[0]", "type object"),
        (lambda: shapes.Open(x={"y": object()}), "$.x.y", "type object"),  # type: ignore[call-arg]
        (lambda: shapes.Pair(object()), "$.left", "type object"),
        (lambda: with_extra(shapes.Item("a", 1), more=1), "$", "more.*fields"),  # type: ignore[arg-type]
        (lambda: with_extra(shapes.Counted(1), more=1), "$", "more"),
        (lambda: with_extra(shapes.Order(id=1), more=1), "$", "more"),
        (state_on_a_tuple, "$", "extra"),
        (unset_slot, "$", "'x' has no value"),
        (lambda: shapes.datetime(2026, 1, 1, tzinfo=Odd()), "$", "Odd.*astimezone"),
        (lambda: ZoneInfo.from_file(io.BytesIO(a_zone_file())), "$", "ZoneInfo"),
    ],
)
def test_refused(make: Any, path: str, says: str) -> None:
    with pytest.raises(NotSerializableError, match=says) as caught:
        CODEC.encode(make(), "result of step 'fetch'")
    assert caught.value.path == path
    message = str(caught.value)
    assert message.startswith(f"the result of step 'fetch' cannot be stored: the value at {path} ")
    assert "do not tell" not in message
    assert len(message) < 600


def a_zone_file() -> bytes:
    from importlib import resources

    for root in (Path("/usr/share/zoneinfo"), Path("/usr/lib/zoneinfo")):
        if (root / "UTC").exists():
            return (root / "UTC").read_bytes()
    return resources.files("tzdata.zoneinfo").joinpath("UTC").read_bytes()


class Odd(shapes.timezone.__base__):  # type: ignore[name-defined, misc]
    def utcoffset(self, moment: Any) -> Any:
        return shapes.timedelta(0)

    def dst(self, moment: Any) -> Any:
        return None


def test_a_forgotten_await() -> None:
    made = coroutine()
    try:
        with pytest.raises(NotSerializableError, match="await forgotten"):
            CODEC.encode({"task": made})
    finally:
        made.close()


def test_a_class_defined_anew() -> None:
    types = TypeRegistry()
    old = type("Cell", (pydantic.BaseModel,), {"__module__": "__main__", "__qualname__": "Cell"})
    new = type("Cell", (pydantic.BaseModel,), {"__module__": "__main__", "__qualname__": "Cell"})
    types.register(old)
    value = old()
    Codec(types).encode(value)
    types.register(new)
    with pytest.raises(NotSerializableError, match="defined anew"):
        Codec(types).encode(value)


def test_what_post_init_makes_comes_back_and_what_came_later_does_not() -> None:
    @dataclass
    class Rounded:
        x: float

        def __post_init__(self) -> None:
            self.extra = {self.x}

    Rounded.__qualname__ = "Rounded"
    TYPES.register(Rounded)
    value = Rounded(1.5)
    assert CODEC.decode(CODEC.encode(value).text).extra == {1.5}
    value.later = 1  # type: ignore[attr-defined]
    with pytest.raises(NotSerializableError, match="later"):
        CODEC.encode(value)


def test_a_constructor_that_refuses_at_reading_is_caught_at_writing() -> None:
    @dataclass
    class Once:
        x: int

        def __post_init__(self) -> None:
            if self.x > 0:
                self.x = -self.x
            else:
                raise ValueError("must be positive")

    Once.__qualname__ = "Once"
    TYPES.register(Once)
    with pytest.raises(NotSerializableError, match=r"cannot be read again.*must be positive"):
        CODEC.encode([Once(1)])


# --- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("", ValueCodecError, "not a JSON text"),
        ("{", ValueCodecError, "not a JSON text"),
        ("NaN", ValueCodecError, "not a JSON text"),
        ("[" * 100_000, ValueCodecError, "not a JSON text"),
        ("1" * 5_000, ValueCodecError, "not a JSON text"),
        (b"\xff", ValueCodecError, "not a JSON text"),
        ('{"$future":1}', ValueCodecError, r"\$future.*does not know"),
        ('{"$repr":"<x>"}', ValueCodecError, "decode_lenient"),
        ('{"$decimal":"x"}', ValueCodecError, r"broken \$decimal"),
        ('{"$decimal":null}', ValueCodecError, r"broken \$decimal"),
        ('{"$float":"1e5"}', ValueCodecError, r"broken \$float"),
        ('{"$int":"xyz"}', ValueCodecError, r"broken \$int"),
        ('{"$str":"%%%"}', ValueCodecError, r"broken \$str"),
        ('{"$bytes":"a"}', ValueCodecError, r"broken \$bytes"),
        ('{"$datetime":"yesterday"}', ValueCodecError, r"broken \$datetime"),
        ('{"$datetime":"2026-01-01T00:00:00[Mars/Base]"}', ValueCodecError, r"broken \$datetime"),
        ('{"$datetime":"2026-01-01T00:00:00[../../etc/passwd]"}', ValueCodecError, r"broken \$datetime"),
        ('{"$zone":"../../etc/passwd"}', ValueCodecError, r"broken \$zone"),
        ('{"$path":["os.system","x"]}', ValueCodecError, r"broken \$path"),
        ('{"$url":["Popen","x"]}', ValueCodecError, r"broken \$url"),
        ('{"$tuple":1}', ValueCodecError, r"broken \$tuple"),
        ('{"$set":[[]]}', ValueCodecError, r"broken \$set"),
        ('{"$dict":[[1]]}', ValueCodecError, r"broken \$dict"),
        ('{"$blob":{}}', ValueCodecError, r"broken \$blob"),
        ('{"$frame":{"kind":"os"}}', ValueCodecError, r"broken \$frame"),
        ('{"$numpy":{"dtype":"O","value":1}}', ValueCodecError, r"broken \$numpy"),
        ('{"$pandas":{"type":"read_pickle"}}', ValueCodecError, r"broken \$pandas"),
        ('{"$dataclass":7}', ValueCodecError, r"broken \$dataclass"),
        ('{"$dataclass":"nocolon"}', UnknownTypeError, "nocolon"),
        ('{"$dataclass":":"}', UnknownTypeError, "':'"),
        (
            '{"$model":"shop.models:Order","id":1}',
            UnknownTypeError,
            r"shop.models:Order.*types.register\(Order\)",
        ),
        ('{"$dataclass":"os:system"}', UnknownTypeError, "os:system"),
        ('{"$dataclass":"builtins:dict"}', UnknownTypeError, "builtins:dict"),
        (f'{{"$dataclass":"{HERE}:Order"}}', ValueCodecError, "another kind of class"),
        (f'{{"$model":"{HERE}:Item"}}', ValueCodecError, "another kind of class"),
        (f'{{"$enum":"{HERE}:Item","name":"A"}}', ValueCodecError, "another kind of class"),
        (f'{{"$namedtuple":"{HERE}:Colour"}}', ValueCodecError, "another kind of class"),
        (f'{{"$enum":"{HERE}:Colour","name":"MAUVE"}}', ValueCodecError, "no member 'MAUVE'"),
        (f'{{"$enum":"{HERE}:Colour","value":"mauve"}}', ValueCodecError, "broken"),
        (f'{{"$dataclass":"{HERE}:Item","name":"a"}}', ValueCodecError, "'price'.*give it one"),
        (f'{{"$dataclass":"{HERE}:Point","x":1,"z":2}}', ValueCodecError, "does not have any more: z"),
        (f'{{"$model":"{HERE}:Order"}}', ValueCodecError, "'id'.*give it one"),
        (f'{{"$model":"{HERE}:Open","gone":1}}', ValueCodecError, "does not have any more: gone"),
        (f'{{"$model":"{HERE}:Order","id":1,"$private":{{"_gone":1}}}}', ValueCodecError, "any more: _gone"),
        (f'{{"$namedtuple":"{HERE}:Pair"}}', ValueCodecError, "'left'.*give it one"),
    ],
)
def test_bad_texts(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(ValueCodecError, match=says) as caught:
        CODEC.decode(text)
    assert type(caught.value) is error
    assert len(str(caught.value)) < 600
    if says == "not a JSON text":
        with pytest.raises(ValueCodecError, match=says):
            CODEC.decode_lenient(text)
    else:  # to look at the past works for everything that is JSON
        assert isinstance(CODEC.decode_lenient(text), Opaque)


def test_new_fields_get_their_defaults() -> None:
    assert CODEC.decode(f'{{"$dataclass":"{HERE}:Item","name":"a","price":1}}') == shapes.Item("a", 1)  # type: ignore[arg-type]
    assert CODEC.decode(f'{{"$namedtuple":"{HERE}:Pair","left":1}}') == shapes.Pair(1)
    order = CODEC.decode(f'{{"$model":"{HERE}:Order","id":1}}')
    assert (order.id, order.lines, order._seen) == (1, [], 0)
    assert CODEC.decode(f'{{"$model":"{HERE}:Order","id":1}}').lines is not order.lines


def test_a_payload_imports_nothing() -> None:
    code = (
        "import sys\n"
        "from dataflows_sdk.core.codec import Codec\n"
        "from dataflows_sdk.errors import UnknownTypeError\n"
        "codec = Codec()\n"
        "before = set(sys.modules)\n"
        "for tag in ('dataclass', 'model', 'enum', 'namedtuple'):\n"
        "    for name in ('antigravity:x', 'this:s', 'xmlrpc.client:Fault', 'colorsys:X'):\n"
        '        text = \'{"$%s":"%s"}\' % (tag, name)\n'
        "        try: codec.decode(text); raise SystemExit('it was decoded')\n"
        "        except UnknownTypeError: pass\n"
        "        codec.decode_lenient(text)\n"
        "new = set(sys.modules) - before\n"
        "assert not new & {'antigravity', 'this', 'xmlrpc', 'xmlrpc.client', 'colorsys'}, new\n"
        "assert not {'pandas', 'polars', 'pyarrow', 'numpy', 'duckdb'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
