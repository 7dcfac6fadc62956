from __future__ import annotations

import base64
import collections
import copy
import json
import logging
import pickle
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import pydantic
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dataflows_sdk.core.codec import Codec
from dataflows_sdk.core.codec_types import TypeRegistry
from dataflows_sdk.core.recorded import error_to_data
from dataflows_sdk.core.redact import MASK, REDACTOR, RedactingFilter, Redactor, Secret, is_secret_name

TOKEN = "hunter2/tok+en=="


@dataclass(frozen=True)
class Login:
    user: str
    password: str
    note: str = ""


@dataclass(slots=True)
class Slotted:
    text: str
    api_key: str = ""


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    client_secret: str = ""
    inner: Login | None = None
    _token: str = pydantic.PrivateAttr(default="")


class Pair(NamedTuple):
    host: str
    auth: str


class Colour(StrEnum):
    RED = "red"


@pytest.fixture
def redactor() -> Redactor:
    return Redactor(TOKEN)


# --- Secret -----------------------------------------------------------------------------------------------------


def test_a_secret_hides_and_reveals() -> None:
    secret = Secret("a very private value 1")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>30}", f"{[secret]}", f"{secret!r}"]
    assert "private" not in "".join(shown)
    assert repr(secret) == "Secret('***')"
    assert secret.reveal() == "a very private value 1"
    assert bool(secret)
    assert not Secret("")


def test_secrets_compare_by_value_and_do_not_change() -> None:
    one, same, other = Secret("value one"), Secret("value one"), Secret("välue two")
    assert one == same
    assert one != other
    assert one != "value one"
    assert len({one, same, other}) == 2
    assert not hasattr(one, "__dict__")
    for name in ("_value", "other"):
        with pytest.raises(AttributeError, match="does not change"):
            setattr(one, name, "x")
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one


def test_a_secret_declares_its_value() -> None:
    Secret("declared by being made")
    assert REDACTOR.redact_text("it was declared by being made.") == f"it was {MASK}."


@pytest.mark.parametrize("bad", [None, 7, b"bytes", ["x"]])
def test_a_secret_is_a_text(bad: Any) -> None:
    with pytest.raises(TypeError, match=type(bad).__name__):
        Secret(bad)
    with pytest.raises(TypeError, match=type(bad).__name__):
        Redactor().add(bad)
    with pytest.raises(TypeError, match=type(bad).__name__):
        Redactor().redact_text(bad)


# --- names ------------------------------------------------------------------------------------------------------


SECRET_NAMES = """
    password Password PASSWORD passwd pwd db_password dbPassword password2 passwordConfirm PGPASSWORD
    userpassword passphrase secret client_secret clientSecret secret_key secrets SECRET_ACCESS_KEY token
    access_token accessToken refresh-token id_token csrf_token X-Auth-Token github_token bot.token
    refresh_tokens api_key apiKey API-KEY apikey x-api-key X-API-Key x-functions-key private_key
    privateKey signing_key encryption_key authorization Authorization Proxy-Authorization cookie Cookie
    Set-Cookie cookies credentials aws_credentials auth connection_string connectionString jwt
"""
HARMLESS_NAMES = """
    max_tokens total_tokens prompt_tokens completionTokens tokens token_count tokenCount tokenizer
    next_page_token nextPageToken page_token continuation_token eos_token token_type token_usage
    password_policy password_length secret_name cookie_policy key keys primary_key foreign_key step_key
    keyboard monkey author authority authors authenticated passenger compass bypass passed name id url
    user secretary cookie_jar expires_in pin_count tok
"""


@pytest.mark.parametrize(
    "name",
    SECRET_NAMES.split(),
)
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)
    assert is_secret_name(name.encode())


@pytest.mark.parametrize(
    "name",
    [
        *HARMLESS_NAMES.split(),
        "",
        "x",
        "a" * 500,
        None,
        7,
        ("password",),
    ],
)
def test_names_that_only_sound_alike(name: Any) -> None:
    assert not is_secret_name(name)


# --- texts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing here", "nothing here"),
        ("password=abc", "password=***"),
        ("PGPASSWORD=abc psql", "PGPASSWORD=*** psql"),
        ("password: hunter", "password: ***"),
        ("{'password': 'it\\'s', 'n': 1}", "{'password': '***', 'n': 1}"),
        ('{"api_key": "a\\"b", "n": 1}', '{"api_key": "***", "n": 1}'),
        ('{\\"password\\": \\"abc\\", \\"n\\": 1}', '{\\"password\\": \\"***\\", \\"n\\": 1}'),
        ("Client(api_key='abc', n=3)", "Client(api_key='***', n=3)"),
        ("{'token': b'abc'}", "{'token': b'***'}"),
        ('cut off "token": "abc', 'cut off "token": "***"'),
        ("Authorization: Bearer abc.def-ghi", "Authorization: ***"),
        ("sent Bearer abc.def-ghi to it", "sent Bearer *** to it"),
        ("sent Basic dXNlcjpwYXNz", "sent Basic ***"),
        ("a basic understanding", "a basic understanding"),
        ("Cookie: a=b; c=d\nHost: x", "Cookie: ***\nHost: x"),
        ("-H 'X-Api-Key: abc' http://h/", "-H 'X-Api-Key: ***' http://h/"),
        ("postgresql://me:pw@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:p@w@host/db", "postgresql://me:***@host/db"),
        ("redis://:pw@host", "redis://:***@host"),
        ("https://0123456789abcdef0123@github.example", "https://***@github.example"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
        ("ssh://git@host/x", "ssh://git@host/x"),
        ("https://h/?a=1&token=zz&b=2", "https://h/?a=1&token=***&b=2"),
        ("https://h/?next_page_token=zz", "https://h/?next_page_token=zz"),
        ("max_tokens=512, n=3", "max_tokens=512, n=3"),
        ("password: None", "password: None"),
        ("key sk-abcdefghijklmnop1234 used", "key *** used"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ", "***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sig-x_1", "***"),
        (
            "a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b",
            "a [rsa private key ***] b",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "[private key ***]"),
    ],
)
def test_shapes(text: str, expected: str) -> None:
    redactor = Redactor()
    assert redactor.redact_text(text) == expected
    assert redactor.redact_text(expected) == expected, "masking twice changes nothing"


@pytest.mark.parametrize(
    "wrap",
    [
        str,
        repr,
        json.dumps,
        urllib.parse.quote,
        urllib.parse.quote_plus,
        lambda text: urllib.parse.quote(text, safe=""),
        lambda text: (
            urllib.parse.quote(text, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d")
        ),
        lambda text: repr(text.encode()),
        lambda text: text.encode().hex(),
        lambda text: json.dumps(json.dumps({"x": text})),
        *(
            lambda text, n=n, f=f: f(b"u" * n + text.encode() + b":rest").decode()
            for n in range(4)
            for f in (base64.b64encode, base64.urlsafe_b64encode)
        ),
    ],
)
def test_literals_in_their_usual_forms(redactor: Redactor, wrap: Any) -> None:
    text = wrap(TOKEN)
    shown = redactor.redact_text(f"<<{text}>>")
    assert MASK in shown
    assert TOKEN not in shown
    assert text.strip("'\"b") not in shown


def test_a_secret_within_a_secret_is_masked_whole() -> None:
    redactor = Redactor("abcd", "abcdefgh", "efgh1")
    assert redactor.redact_text("x abcdefgh y abcd z") == "x *** y *** z"


def test_short_and_empty_secrets() -> None:
    redactor = Redactor("ab", "", "***")
    assert redactor.redact_text("absolutely ab ***") == "absolutely ab ***"
    assert redactor.redact_text("ab") == MASK
    assert redactor.redact_value({"x": "ab", "y": "abc"}) == {"x": MASK, "y": "abc"}


def test_secrets_can_be_forgotten() -> None:
    redactor = Redactor("old token")
    assert redactor.has_literal("the old token")
    redactor.discard("old token")
    redactor.discard("never there")
    assert redactor.redact_text("the old token") == "the old token"
    assert not redactor.has_literal("the old token")


def test_passing_secrets_are_bounded_and_lasting_ones_are_not() -> None:
    redactor = Redactor("lasting secret")
    redactor.add("lasting secret", passing=True)
    for n in range(1_000):
        redactor.add(f"passing secret {n:05}", passing=True)
    redactor.add("passing secret 00000", passing=True)  # seen again: young again
    redactor.add("passing secret 00001")  # and this one is to stay
    for n in range(2_000, 2_999):
        redactor.add(f"passing secret {n:05}", passing=True)
    known = [n for n in range(4_000) if redactor.has_literal(f"passing secret {n:05}")]
    assert known == [0, 1, *range(2_000, 2_999)]
    assert redactor.has_literal("lasting secret")


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "a=" * 100_000,
        "password" * 30_000,
        "eyJ" * 70_000,
        "-----BEGIN PRIVATE KEY-----" * 5_000,
        "://a:" * 50_000,
        "token:" * 40_000,
        "'token':\"" * 20_000,
        "bearer " * 40_000,
        '\\"' * 100_000,
        "https://" + "a" * 200_000,
        'token="' + "\\" * 100_000,
        "a.b-" * 50_000,
        "token = " + " " * 100_000,
        "https://a" * 25_000,
    ],
    ids=lambda text: text[:10],
)
def test_hostile_texts_take_no_more_than_linear_time(redactor: Redactor, text: str) -> None:
    start = time.process_time()
    redactor.redact_text(text)
    assert time.process_time() - start < 3, "a quadratic expression takes minutes here"


# --- values -----------------------------------------------------------------------------------------------------


def test_values_by_name_and_literal(redactor: Redactor) -> None:
    value = {
        "password": "x",
        "PIN": 1234,
        "password_set": True,
        "note": f"it is {TOKEN}",
        TOKEN: 1,
        "headers": [("Authorization", "zzz"), ("Accept", "json"), (b"cookie", b"zzz")],
        "credentials": {"user": "me", "n": [1, {"deep": b"x"}], "none": None, "on": True},
        "login": Login("me", "pw", f"<{TOKEN}>"),
        "slotted": Slotted("fine", "zzz"),
        "pair": Pair("h", "zzz"),
        "set": {TOKEN, "b"},
        "bytes": TOKEN.encode(),
        "array": bytearray(TOKEN.encode()),
        "max_tokens": 5,
    }
    shown = redactor.redact_value(value)
    assert shown == {
        "password": MASK,
        "PIN": MASK,
        "password_set": True,
        "note": "it is ***",
        MASK: 1,
        "headers": [("Authorization", MASK), ("Accept", "json"), (b"cookie", b"***")],
        "credentials": {"user": MASK, "n": [MASK, {"deep": b"***"}], "none": None, "on": True},
        "login": Login("me", MASK, "<***>"),
        "slotted": Slotted("fine", MASK),
        "pair": Pair("h", MASK),
        "set": {MASK, "b"},
        "bytes": b"***",
        "array": bytearray(b"***"),
        "max_tokens": 5,
    }
    assert list(shown) == [MASK if key == TOKEN else key for key in value]
    assert value["password"] == "x", "the original is left alone"
    assert type(shown["login"]) is Login
    assert type(shown["pair"]) is Pair


def test_models(redactor: Redactor) -> None:
    model = Model(name=f"n {TOKEN}", client_secret="s", inner=Login("me", "pw"), api_key="e", plain=1)
    model._token = "private"
    shown = redactor.redact_value(model)
    assert type(shown) is Model
    assert (shown.name, shown.client_secret, shown.inner) == ("n ***", MASK, Login("me", MASK))
    assert shown.model_extra == {"api_key": MASK, "plain": 1}
    assert shown._token == MASK
    assert (model.client_secret, model._token) == ("s", "private")
    assert shown.model_fields_set == model.model_fields_set


def test_what_holds_no_secret_is_not_copied(redactor: Redactor) -> None:
    value = {
        "a": [1, (2, {"b"}), Login("me", "")],
        "c": Colour.RED,
        "m": Model(name="x"),
        "f": 1.5,
        "o": object(),
    }
    assert redactor.redact_value(value) is value


def test_subclasses_of_dict_keep_their_kind(redactor: Redactor) -> None:
    ordered = redactor.redact_value(collections.OrderedDict(password="x"))
    assert type(ordered) is collections.OrderedDict
    default = redactor.redact_value(collections.defaultdict(list, password="x"))
    assert default == {"password": MASK}
    assert default["new"] == []


def test_keys_that_are_masked_alike_do_not_swallow_each_other() -> None:
    redactor = Redactor("first-key", "second-key")
    assert redactor.redact_value({"first-key": 1, "second-key": 2}) == {"***": 1, "*** (2)": 2}


def test_secret_objects_stay_because_they_hide_themselves(redactor: Redactor) -> None:
    value = {"token": Secret("xyzw"), "p": pydantic.SecretStr("abcd")}
    assert redactor.redact_value(value) is value


def test_cycles_and_depths_end(redactor: Redactor) -> None:
    loop: list[Any] = [TOKEN]
    loop.append(loop)
    assert redactor.redact_value(loop) == [MASK, "…"]
    deep: Any = TOKEN
    for _ in range(5_000):
        deep = [deep]
    assert TOKEN not in repr(redactor.redact_value(deep))


def test_what_cannot_be_copied_becomes_a_masked_repr(redactor: Redactor) -> None:
    class Stubborn(list[str]):
        def __init__(self) -> None:
            super().__init__([TOKEN])

    shown = redactor.redact_value([Stubborn()])
    assert TOKEN not in repr(shown)
    assert shown == ["['***']"]


def test_reprs_are_masked_before_they_are_cut(redactor: Redactor) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError(TOKEN)

    for limit in range(1, 60):
        shown = redactor.redact_repr("x" * 20 + TOKEN * 3, limit)
        assert "hunter" not in shown
        assert len(shown) <= limit + 1
    assert "RuntimeError" in redactor.redact_repr(Odd())
    assert TOKEN not in redactor.redact_repr(Odd())


# --- logs -------------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(redactor: Redactor) -> Any:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            extra = {k: v for k, v in record.__dict__.items() if k in ("login", "api_key", "answer")}
            lines.append(self.format(record) + (f" {extra}" if extra else ""))

    logger = logging.Logger("redaction")  # noqa: LOG001 - of its own, without parents
    handler = Keep()
    handler.addFilter(RedactingFilter(redactor))
    logger.addHandler(handler)
    return logger, lines


def test_log_records(logged: Any) -> None:
    logger, lines = logged
    logger.warning("using %s with password=%s", TOKEN, "abc")
    logger.warning("%s", {"api_key": "abc"})
    logger.warning("broken %d", f"{TOKEN}")
    logger.warning("extra", extra={"login": Login("me", "pw"), "api_key": "abc", "answer": 42})
    try:
        try:
            raise ValueError(f"inner {TOKEN}")
        except ValueError as error:
            raise RuntimeError(f"outer {TOKEN}") from error
    except RuntimeError:
        logger.exception("failed", stack_info=True)
    text = "\n".join(lines)
    assert lines[0] == "using *** with password=***"
    assert lines[1] == "{'api_key': '***'}"
    assert "'answer': 42" in lines[3]
    assert "password='***'" in lines[3]
    assert "inner ***" in text
    assert "RuntimeError: outer ***" in text
    assert "hunter2" not in text.replace(f"{TOKEN!r}", "")
    assert "abc" not in text


def test_the_filter_uses_the_process_redactor_by_default() -> None:
    REDACTOR.add("a value of the process")
    record = logging.makeLogRecord({"msg": "it is a value of the process", "args": ()})
    assert RedactingFilter().filter(record)
    assert record.getMessage() == "it is ***"


# --- the property -----------------------------------------------------------------------------------------------

tokens = st.text(st.characters(exclude_characters="*", exclude_categories=("Cs",)), min_size=8, max_size=30).filter(
    lambda text: len(set(text)) > 3
)


class Opaque:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Opaque({self.text!r})"

    def __str__(self) -> str:
        return f"an opaque with {self.text}"


Maker = Callable[[str], Any]

# strategies of functions that put a token into a value: strategies built anew for every token make hypothesis flaky
texts: st.SearchStrategy[Maker] = st.sampled_from(
    [
        lambda token: token,
        lambda token: f"a{token}z",
        lambda token: f"https://h/?x={urllib.parse.quote(token)}",
        lambda token: f"Bearer {token}",
        lambda token: base64.b64encode(b"u:" + token.encode()).decode(),
        lambda token: "plain",
    ]
)
wrappers: st.SearchStrategy[Maker] = st.sampled_from(
    [
        lambda text: text,
        lambda text: text.encode(),
        Opaque,
        Secret,
        pydantic.SecretStr,
        ValueError,
        lambda text: Login("u", "p", text),
        lambda text: Model(name=text, extra=text),
        lambda text: Pair(text, text),
        len,
    ]
)


def both(outer: Maker, inner: Maker) -> Maker:
    return lambda token: outer(inner(token))


def row(kind: Maker, makers: list[Maker]) -> Maker:
    return lambda token: kind([make(token) for make in makers])


def mapping(pairs: list[tuple[Maker, Maker]]) -> Maker:
    return lambda token: {key(token): value(token) for key, value in pairs}


planted: st.SearchStrategy[Maker] = st.recursive(
    st.builds(both, wrappers, texts),
    lambda inner: st.one_of(
        st.builds(row, st.sampled_from([list, tuple]), st.lists(inner, max_size=3)),
        st.builds(row, st.just(frozenset), st.lists(texts, max_size=2)),
        st.builds(mapping, st.lists(st.tuples(texts, inner), max_size=3)),
    ),
    max_leaves=8,
)


TYPES = TypeRegistry()
for known in (Login, Slotted, Model, Pair):
    TYPES.register(known)


@given(tokens, planted)
@example("'\"\\\n\t\x00\x7féß", lambda token: [token, {token: Opaque(token)}, token.encode()])
@example("%2F+/==&?#@:", lambda token: {"x": (Opaque(token), ValueError(token))})
def test_a_planted_token_never_appears(token: str, make: Any) -> None:
    value = make(token)
    redactor = Redactor(token)
    # the name of a class or a word of a message may hold a token that is a word of them; that is no leak
    assume(
        token
        not in f"{Opaque.__qualname__} {ValueError} {Login} {Model} {Pair} SecretStr('**********') plain https://h/"
    )
    outputs = [
        redactor.redact_text(f"x {token} y"),
        redactor.redact_text(repr(value)),
        redactor.redact_text(str(value)),
        redactor.redact_repr(value),
        redactor.redact_repr(redactor.redact_value(value), 100_000),
        Codec(TYPES).encode_view(value, redactor).text,
        repr(Codec(TYPES).decode_lenient(Codec(TYPES, 50).encode_view(value, redactor).text)),
    ]
    try:
        raise RuntimeError(f"with {token}", token) from ValueError(value)
    except RuntimeError as error:
        error.add_note(f"note {token}")
        outputs.append(json.dumps(error_to_data(error, redactor.redact_text), ensure_ascii=False))
    record = logging.makeLogRecord({"msg": "%s and %r", "args": (token, value), "levelname": "INFO", "name": "n"})
    RedactingFilter(redactor).filter(record)
    outputs.append(logging.Formatter("%(message)s").format(record))
    encoded = base64.b64encode(token.encode()).decode().rstrip("=")
    for text in outputs:
        assert token not in text
        assert repr(token)[1:-1] not in text
        assert json.dumps(token)[1:-1] not in text
        assert encoded not in text
