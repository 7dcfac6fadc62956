"""Classes that stand for those of a user's module, and values that hold them."""

from __future__ import annotations

import dataclasses
import enum
import functools
import ipaddress
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    CRIMSON = "red"  # noqa: PIE796 - an alias
    BLUE = ("tuple", 2)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Item:
    name: str
    price: Decimal
    tags: tuple[Any, ...] = ()
    child: Item | None = None


@dataclass(frozen=True, slots=True)
class Point:
    x: Any
    y: Any = None


@dataclass(eq=False)
class NoEq:
    value: Any


@dataclass
class Counted:
    """Changes its field when it is made, and makes an attribute that is no field."""

    count: int
    note: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.count += 1
        self.shadow = self.count


@dataclass
class WithInit:
    seed: dataclasses.InitVar[int]
    total: int = 0

    def __post_init__(self, seed: int) -> None:
        self.total += seed


@dataclass
class Cached:
    n: int

    @functools.cached_property
    def square(self) -> int:
        return self.n**2


@dataclass
class Box(Generic[T]):
    content: T


class Order(pydantic.BaseModel):
    id: int
    total: Decimal = Decimal(0)
    site: pydantic.HttpUrl | None = None
    anything: Any = None
    lines: list[Item] = []
    _seen: int = pydantic.PrivateAttr(default=0)

    @pydantic.field_validator("id")
    @classmethod
    def double(cls, value: int) -> int:
        """Not idempotent: reading a record must not run it again."""
        return value * 2


class Open(pydantic.BaseModel, extra="allow"):
    a: int = 1


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Frozen(pydantic.BaseModel, frozen=True):
    a: tuple[int, ...] = ()


class Pair(NamedTuple):
    left: Any
    right: Any = "r"


class Outer:
    class Inner(enum.Enum):
        ONE = 1

    @dataclass
    class Data:
        v: int


CLASSES = [
    Colour, Level, Word, Rights, Item, Point, NoEq, Counted, WithInit, Cached, Box,
    Order, Open, Page, Page[int], Frozen, Pair, Outer.Inner, Outer.Data,
]  # fmt: skip

BERLIN = ZoneInfo("Europe/Berlin")


def order() -> Order:
    made = Order(
        id=4,
        site="https://example.org/a?b=1",
        anything={"at": date(2026, 1, 1)},
        lines=[Item("a", Decimal(1))],
    )  # type: ignore[arg-type]
    made._seen = 7
    return made


def box() -> Box[int]:
    return Box[int](3)


def cached() -> Cached:
    made = Cached(3)
    assert made.square == 9
    return made


VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "one": 1,
    "big int": 2**64 + 1,
    "negative big int": -(10**30),
    "huge int": 10**5_000,
    "huge ints": {"a": [10**4_400, "x" * 5_000]},
    "float": 0.1,
    "whole float": 1.0,
    "minus zero": -0.0,
    "1e16": 1e16,
    "1e22": 1e22,
    "tiny": 5e-324,
    "largest": 1.7976931348623157e308,
    "nan": math.nan,
    "inf": [math.inf, -math.inf],
    "text": "zoë ☃ 🎉 \u2028 \x7f \x1f",
    "nul": "a\0b",
    "surrogate": "\ud800",
    "surrogate pair as two": "\ud83c\udf89",
    "escaped nul as text": "\\u0000",
    "words": ["NaN", "Infinity", '"$', "$5.00", "\\"],
    "nul key": {"a\0": 1},
    "surrogate key": {"\udfff": 1},
    "dollar key": {"$tuple": [1]},
    "dollar key later": {"a": 1, "$b": 2},
    "dollar alone": {"$": {"$": "$"}},
    "int keys": {1: "a", 2.5: "b", None: "c", False: "d"},
    "tuple keys": {(1, "a"): 1, frozenset({1}): 2},
    "key order": {"z": 1, "a": 2, "m": 3},
    "empty": [{}, [], "", (), set(), frozenset(), b""],
    "nested": {"a": [{"b": ({"c"}, [b"d"])}]},
    "bytes": b"\0\xff",
    "bytearray": bytearray(b"abc"),
    "mixed set": {1, "a", 2.5, None, (1,)},
    "set of nan": {math.nan},
    "datetime": datetime(2026, 11, 1, 9, 8, 7, 6),
    "datetime fold": datetime(2026, 10, 25, 2, 30, fold=1),
    "utc": datetime(2026, 11, 1, tzinfo=UTC),
    "offset": datetime(2026, 11, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "odd offset": datetime(2026, 11, 1, tzinfo=timezone(timedelta(seconds=3723, microseconds=4))),
    "zone": datetime(2026, 11, 1, 9, tzinfo=BERLIN),
    "zone utc": datetime(2026, 11, 1, 9, tzinfo=ZoneInfo("UTC")),
    "second of two": datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    "first of two": datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
    "hour that is not": datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN),
    "hour that is not, fold": datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN, fold=1),
    "fold without need": datetime(2026, 6, 1, tzinfo=BERLIN, fold=1),
    "first moment": datetime.min,
    "last moment": datetime.max.replace(tzinfo=UTC),
    "date": date(2026, 11, 1),
    "time": time(1, 2, 3, 4),
    "time utc": time(1, 2, tzinfo=UTC),
    "time zone": time(1, 2, tzinfo=BERLIN, fold=1),
    "timedelta": timedelta(days=-1, microseconds=1),
    "timedelta ends": [timedelta.min, timedelta.max, timedelta(0), timedelta(microseconds=-1)],
    "zone alone": BERLIN,
    "decimals": [Decimal(text) for text in ("1.10", "-0", "1E+100", "NaN", "sNaN", "-Infinity", "0.000")],
    "fraction": Fraction(-7, 3),
    "uuid": UUID(int=7),
    "complex": [complex(1, -0.0), complex(math.nan, math.inf)],
    "path": Path("some/where"),
    "odd path": Path("some/\udcff"),
    "pure paths": [PurePosixPath("/a/b"), PureWindowsPath("c:\\a")],
    "addresses": [
        ipaddress.ip_address("10.0.0.1"),
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_interface("fe80::1/64"),
    ],
    "enum": Colour.RED,
    "enum alias": Colour.CRIMSON,
    "enum of a tuple": Colour.BLUE,
    "int enum": [Level.LOW, 1],
    "str enum": {"k": Word.YES, Word.YES: "k"},
    "flag": Rights.READ,
    "flags": [Rights.READ | Rights.WRITE, Rights(0)],
    "dataclass": Item("a", Decimal("1.10"), (1, 2), Item("b", Decimal(0))),
    "slots": Point(1, {"p": Point(math.nan)}),
    "no eq": NoEq((1, 2)),
    "post init": Counted(4),
    "init var": WithInit(3, 4),
    "cached property": cached(),
    "generic dataclass": box(),
    "model": order(),
    "model with extra": Open(a=2, b=(1, 2), **{"$c": 3, "ü x": None}),
    "model with nothing set": Open(),
    "generic model": [Page[int](items=[1]), Page(items=["a"])],
    "frozen models in a set": {Frozen(a=(1,)), Frozen()},
    "named tuple": Pair(1),
    "named tuple as key": {Pair(1, 2): Pair((), [])},
    "nested classes": [Outer.Inner.ONE, Outer.Data(1)],
    "long text": "y" * 100_000,
    "long bytes": {"data": b"x" * 50_000, "again": b"x" * 50_000},
}
