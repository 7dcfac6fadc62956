from __future__ import annotations

import contextlib
import json
import math
import string
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows_sdk.core.codec import INLINE_LIMIT, Codec, Encoded, blob_refs
from dataflows_sdk.core.codec_refused import Refused
from dataflows_sdk.core.codec_same import check_same
from dataflows_sdk.core.codec_types import TypeRegistry
from dataflows_sdk.errors import BlobMissingError, NotSerializableError, ValueCodecError

from ..conftest import examples
from . import shapes

TYPES = TypeRegistry()
for known in shapes.CLASSES:
    TYPES.register(known)
CODEC = Codec(TYPES)


def contents(encoded: Encoded) -> dict[str, bytes]:
    return {blob.sha256: blob.data for blob in encoded.blobs}


def assert_storable(text: str) -> None:
    """What PostgreSQL's type json accepts, and can also take apart with ->>."""
    assert "\0" not in text
    text.encode("utf-8")  # no lone surrogates

    def refuse(word: str) -> None:
        raise AssertionError(word)

    def walk(node: Any) -> None:
        if isinstance(node, str):
            assert "\0" not in node
            node.encode("utf-8")
        elif isinstance(node, dict):
            assert len(node) == len(dict(node))
            for key, item in node.items():
                walk(key)
                walk(item)
        elif isinstance(node, list):
            for item in node:
                walk(item)

    walk(json.loads(text, parse_constant=refuse))


def round_trip(value: Any, codec: Codec = CODEC) -> Encoded:
    encoded = codec.encode(value)
    assert_storable(encoded.text)
    assert set(blob_refs(encoded.text)) == set(contents(encoded))
    back = codec.decode(encoded.text, contents(encoded))
    check_same(value, back)
    # bytes are accepted as well, and the past is read the same where nothing is missing
    check_same(value, codec.decode(encoded.text.encode(), contents(encoded)))
    check_same(value, codec.decode_lenient(encoded.text, contents(encoded)))
    again = codec.encode(back)
    assert again.text == encoded.text, "the same value has the same text"
    return encoded


@pytest.mark.parametrize("name", shapes.VALUES)
def test_values_come_back(name: str) -> None:
    round_trip(shapes.VALUES[name])


@pytest.mark.parametrize("name", shapes.VALUES)
def test_values_come_back_out_of_blobs(name: str) -> None:
    round_trip(shapes.VALUES[name], Codec(TYPES, inline_limit=1))


plain_keys = st.one_of(
    st.text(max_size=5), st.sampled_from(["$", "$tuple", "$blob", "a.b", "", "\0", "\ud800", "sha256"])
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers().map(lambda n: n << 2_100),
    st.floats(),
    st.text(st.characters(), max_size=8),
    st.text('$"\\\0u{}[]:NaN', max_size=8),
    st.binary(max_size=8),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.datetimes(timezones=st.timezones(), allow_imaginary=False),
    st.dates(),
    st.times(timezones=st.one_of(st.none(), st.timezones())),
    st.timedeltas(),
    st.complex_numbers(),
    st.ip_addresses(),
    st.sampled_from(list(shapes.Colour)),
    st.sampled_from(list(shapes.Level)),
    st.sampled_from([shapes.Rights(n) for n in range(4)]),
    st.builds(bytearray, st.binary(max_size=4)),
)


def can_be_hashed(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:  # a bytearray, and a signaling NaN
        return False
    return True


hashable = st.recursive(
    st.deferred(lambda: leaves).filter(can_be_hashed),
    lambda inner: st.one_of(
        st.tuples(inner, inner),
        st.frozensets(inner, max_size=3),
        st.builds(shapes.Point, inner, inner),
        st.builds(shapes.Pair, inner, inner),
    ),
    max_leaves=4,
)
values = st.recursive(
    st.one_of(leaves, hashable),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner),
        st.dictionaries(plain_keys, inner, max_size=4),
        st.dictionaries(hashable, inner, max_size=3),
        st.sets(hashable, max_size=3),
        st.builds(shapes.Point, inner, inner),
        st.builds(shapes.NoEq, inner),
        st.builds(shapes.Order, id=st.integers(), anything=inner),
        st.builds(
            lambda extra: shapes.Open(**extra),
            st.dictionaries(st.text("x$ ü", min_size=1).filter(lambda key: key != "_"), inner, max_size=2),
        ),
    ),
    max_leaves=12,
)


@settings(deadline=timedelta(seconds=5))
@given(values)
def test_any_value_comes_back(value: Any) -> None:
    round_trip(value)


@settings(deadline=timedelta(seconds=5), max_examples=50)
@given(values)
def test_any_value_comes_back_out_of_blobs(value: Any) -> None:
    round_trip(value, Codec(TYPES, inline_limit=4))


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(string.printable),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(string.ascii_letters), inner)),
)


@given(json_values)
def test_plain_json_is_stored_as_plain_json(value: Any) -> None:
    assert json.loads(CODEC.encode(value).text) == value
    assert CODEC.decode(json.dumps(value)) == value or '"$' in json.dumps(value)


@settings(max_examples=examples(100, 300))
@given(st.floats())
def test_every_float(value: float) -> None:
    back = CODEC.decode(CODEC.encode([value]).text)[0]
    assert back == value or (math.isnan(back) and math.isnan(value))
    assert math.copysign(1, back) == math.copysign(1, value) or math.isnan(value)


def test_the_text_is_readable() -> None:
    item = shapes.Item("ä", shapes.Decimal("1.10"))
    assert json.loads(CODEC.encode(item).text) == {
        "$dataclass": f"{shapes.__name__}:Item",
        "name": "ä",
        "price": {"$decimal": "1.10"},
        "tags": {"$tuple": []},
        "child": None,
    }
    assert CODEC.encode({"a": "ä"}).text == '{"a":"ä"}'
    assert CODEC.encode(shapes.VALUES["second of two"]).text == (
        '{"$datetime":"2026-10-25T02:30:00+01:00[Europe/Berlin][fold=1]"}'
    )


def test_equal_sets_have_equal_texts() -> None:
    numbers = [2**n for n in range(60)]
    assert CODEC.encode(set(numbers)).text == CODEC.encode({*numbers[30:], *numbers[:30]}).text


def test_validators_and_post_init_do_not_run_twice() -> None:
    order = shapes.Order(id=4)
    assert order.id == 8
    assert CODEC.decode(CODEC.encode(order).text).id == 8
    counted = shapes.Counted(4)
    back = CODEC.decode(CODEC.encode(counted).text)
    assert back.count == 5
    assert hasattr(back, "shadow")


# --- depth ------------------------------------------------------------------------------------------------------


def nested(levels: int, inner: Any = None) -> Any:
    value: Any = [] if inner is None else [inner]
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("inner", [None, 1, b"x", b"x" * 20_000, shapes.Decimal(1)], ids=lambda v: type(v).__name__)
def test_two_hundred_levels_are_fine(inner: Any) -> None:
    round_trip(nested(200, inner))
    with pytest.raises(NotSerializableError, match="200 levels"):
        CODEC.encode(nested(201, inner))


@pytest.mark.parametrize("levels", [5_000, 200_000])
def test_more_is_refused_and_not_a_recursion_error(levels: int) -> None:
    for value in (nested(levels), {"a": nested(levels)}, (nested(levels),)):
        with pytest.raises(NotSerializableError, match="nested") as caught:
            CODEC.encode(value)
        assert len(str(caught.value)) < 500
    tuples: Any = ()
    for _ in range(levels):
        tuples = (tuples,)
    with pytest.raises(NotSerializableError, match="nested"):
        CODEC.encode(tuples)


def test_little_stack_is_left() -> None:
    outcomes: list[str] = []

    def descend(levels: int) -> None:
        if levels:
            descend(levels - 1)
            return
        try:
            CODEC.encode(nested(150, (1,)))
            outcomes.append("written")
        except NotSerializableError as error:
            outcomes.append(str(error))

    for levels in range(100, 1000, 25):
        with contextlib.suppress(RecursionError):  # our own frames filled the stack
            descend(levels)
    assert outcomes[0] == "written"
    assert any("stack of this thread" in text for text in outcomes), "no level came to the point"


# --- blobs ------------------------------------------------------------------------------------------------------


def test_the_limit_counts_bytes() -> None:
    assert CODEC.encode("x" * (INLINE_LIMIT - 2)).blobs == ()
    assert len(CODEC.encode("x" * (INLINE_LIMIT - 1)).blobs) == 1
    assert CODEC.encode("ä" * (INLINE_LIMIT // 2 - 1)).blobs == ()
    assert len(CODEC.encode("ä" * (INLINE_LIMIT // 2)).blobs) == 1


def test_a_large_text_is_a_blob_with_a_preview() -> None:
    encoded = CODEC.encode(["ä" * 100_000])
    (blob,) = encoded.blobs
    document = json.loads(encoded.text)["$blob"]
    assert document == {
        "sha256": blob.sha256,
        "size": 200_004,
        "media": "application/json",
        "preview": '["' + "ä" * 198,
    }
    assert json.loads(blob.data) == ["ä" * 100_000]
    assert CODEC.encode(["ä" * 100_000]) == encoded, "named by its content"


def test_the_blobs_within_a_blob_are_named_outside() -> None:
    value = {"a": b"x" * 20_000, "b": "y" * 100_000, "c": bytearray(b"z" * 20_000)}
    encoded = CODEC.encode(value)
    assert len(encoded.blobs) == 3
    assert set(blob_refs(encoded.text)) == {blob.sha256 for blob in encoded.blobs}
    round_trip(value)


def test_blob_refs_are_not_fooled() -> None:
    fake = {"sha256": "0" * 64}
    for value in (
        {"$blob": fake},
        {"x": '{"$blob":{"sha256":"0"}}'},
        fake,
        {"$extra": fake},
        [{"$bytes": fake}],
    ):
        assert blob_refs(CODEC.encode(value).text) == ()
        round_trip(value)
    assert blob_refs("1") == ()
    with pytest.raises(ValueCodecError, match="not a JSON text"):
        blob_refs('{"sha256"')


def test_missing_and_damaged_blobs() -> None:
    encoded = CODEC.encode({"data": b"x" * 20_000})
    (sha256,) = blob_refs(encoded.text)
    with pytest.raises(BlobMissingError, match=f"{sha256}.*20000 bytes"):
        CODEC.decode(encoded.text)
    with pytest.raises(ValueCodecError, match="damaged"):
        CODEC.decode(encoded.text, {sha256: b"y" * 20_000})
    # a driver may hand out a memoryview
    assert CODEC.decode(encoded.text, {sha256: memoryview(b"x" * 20_000)}) == {"data": b"x" * 20_000}  # type: ignore[dict-item]


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, None])
def test_bad_limits(limit: Any) -> None:
    with pytest.raises(ValueError, match="inline_limit"):
        Codec(TYPES, limit)


# --- the check itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "path"),
    [
        (1, True, "$"),
        (1, 1.0, "$"),
        (0.0, -0.0, "$"),
        (math.nan, 1.0, "$"),
        (complex(0, 0.0), complex(0, -0.0), "$"),
        (shapes.Decimal("1.10"), shapes.Decimal("1.1"), "$"),
        ([1, [2]], [1, [3]], "$[1][0]"),
        ([1], [1, 2], "$"),
        ((1,), [1], "$"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "$.a"),
        ({1: 2}, {True: 2}, "$[1]"),
        ({"a b": 1}, {"a b": 2}, "$['a b']"),
        ({1}, {True}, "${…}"),
        ({1, 2}, {1}, "${…}"),
        ({1}, {1, 2}, "$"),
        (shapes.Point(1, 2), shapes.Point(1, 3), "$.y"),
        (shapes.Pair(1, 2), shapes.Pair(1, 3), "$.right"),
        (shapes.Pair(1, 2), (1, 2), "$"),
        (shapes.Order(id=1, total=1), shapes.Order(id=1), "$.total"),  # type: ignore[arg-type]
        (shapes.Order(id=1, total=0), shapes.Order(id=1), "$"),  # type: ignore[arg-type]
        (shapes.Open(a=1, b=1), shapes.Open(a=1, b=2), "$.b"),  # type: ignore[call-arg]
        (shapes.Level.LOW, 1, "$"),
        (shapes.Colour.RED, shapes.Colour.BLUE, "$"),
        (shapes.VALUES["first of two"], shapes.VALUES["second of two"], "$"),
        (shapes.VALUES["utc"], shapes.VALUES["utc"].astimezone(shapes.BERLIN), "$"),
        (shapes.VALUES["utc"], shapes.VALUES["utc"].replace(tzinfo=shapes.ZoneInfo("UTC")), "$"),
        (b"a", bytearray(b"a"), "$"),
    ],
    ids=repr,
)
def test_the_check_finds_differences(first: Any, second: Any, path: str) -> None:
    with pytest.raises(Refused) as caught:
        check_same(first, second)
    assert caught.value.path == path
    check_same(first, first)
    check_same(second, second)
