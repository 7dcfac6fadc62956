from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_sdk.core.retry import (
    DEFAULT_STEP_RETRY,
    NO_RETRY,
    PROGRAMMING_ERRORS,
    Retry,
    is_retryable,
    next_delay,
)
from dataflows_sdk.errors import (
    Cancelled,
    DefinitionError,
    InvalidDurationError,
    MissingExtraError,
    NonDeterminismError,
    NonRetryableError,
    NotSerializableError,
    OwnershipLost,
    RetryAfter,
    StepCollisionError,
    StepTimeoutError,
    Suspended,
)

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
PLAIN = Retry(10, jitter=False)
BOOM = OSError("boom")


class Response:
    def __init__(self, status_code: Any, headers: Any = None) -> None:
        self.status_code = status_code
        self.headers = headers if headers is not None else {}


class HTTPError(Exception):
    def __init__(self, status: Any, headers: Any = None) -> None:
        super().__init__(f"status {status}")
        self.response = Response(status, headers)


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (Retry(3, jitter=False), [1, 2, 4, None]),
        (Retry(7, jitter=False), [1, 2, 4, 8, 16, 30, 30, None]),
        (Retry(4, "linear", "2s", "5s", jitter=False), [2, 4, 5, 5, None]),
        (Retry(2, "fixed", "500ms", jitter=False), [0.5, 0.5, None]),
        (Retry(2, "exponential", 0, jitter=False), [0, 0, None]),
        (Retry(0), [None]),
        (NO_RETRY, [None]),
    ],
)
def test_delays_by_the_formula(policy: Retry, delays: list[float | None]) -> None:
    assert [next_delay(policy, n, BOOM, 0.7) for n in range(1, len(delays) + 1)] == delays
    assert policy.max_attempts == len(delays)


def test_the_default_is_three_retries() -> None:
    assert [next_delay(DEFAULT_STEP_RETRY, n, BOOM, 0) for n in (1, 2, 3, 4)] == [1, 2, 4, None]
    assert Retry() == DEFAULT_STEP_RETRY
    assert Retry(3).max_attempts == 4


def test_very_late_attempts_do_not_overflow() -> None:
    assert next_delay(Retry(10**6, jitter=False), 10**6, BOOM, 0) == 30
    assert next_delay(Retry(10**6, initial_delay=0, jitter=False), 10**6, BOOM, 0) == 0


@pytest.mark.parametrize(
    ("jitter", "random01", "expected"),
    [
        (True, 0, 4.0),
        (True, 0.5, 3.0),
        (True, 1, 2.0),
        (1.0, 0.25, 3.0),
        (1, 1, 0.0),
        (0.1, 1, 3.6),
        (0.0, 1, 4.0),
        (False, 1, 4.0),
    ],
)
def test_jitter_takes_away(jitter: Any, random01: float, expected: float) -> None:
    assert next_delay(Retry(3, jitter=jitter), 3, BOOM, random01) == pytest.approx(expected)


@given(
    st.sampled_from(["exponential", "linear", "fixed"]),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 1),
    st.integers(1, 200),
    st.floats(0, 1),
)
def test_a_delay_keeps_its_limits(
    backoff: Any, initial: float, more: float, jitter: float, attempt: int, random01: float
) -> None:
    policy = Retry(200, backoff, initial, initial + more, jitter)
    delay = next_delay(policy, attempt, BOOM, random01)
    whole = next_delay(policy, attempt, BOOM, 0)
    assert delay is not None
    assert whole is not None
    assert 0 <= delay <= whole <= policy.max_delay.total_seconds()  # type: ignore[union-attr]
    assert delay >= whole * (1 - jitter) * (1 - 1e-9)


@pytest.mark.parametrize("error", [kind.__new__(kind) for kind in PROGRAMMING_ERRORS], ids=repr)
def test_programming_errors_are_not_retried_unless_named(error: Exception) -> None:
    kind = type(error)
    assert next_delay(PLAIN, 1, error, 0) is None
    assert next_delay(Retry(1, retry_on=(OSError, Exception)), 1, error, 0) is None
    assert next_delay(Retry(1, jitter=False, retry_on=(OSError, kind)), 1, error, 0) == 1
    assert next_delay(Retry(1, retry_on=kind, no_retry_on=kind), 1, error, 0) is None


def test_subclasses_of_programming_errors() -> None:
    assert not is_retryable(PLAIN, ModuleNotFoundError("x"))
    assert not is_retryable(PLAIN, MissingExtraError("x"))
    assert is_retryable(Retry(retry_on=ModuleNotFoundError), ModuleNotFoundError("x"))
    assert is_retryable(Retry(retry_on=ImportError), ModuleNotFoundError("x"))
    assert not is_retryable(Retry(retry_on=ModuleNotFoundError), ImportError("x"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(), True),
        (ValueError(), True),
        (StepTimeoutError(), True),
        (TimeoutError(), True),
        (KeyError("x"), True),
        (NonRetryableError(), False),
        (NotSerializableError(), False),
        (StepCollisionError(), False),
        (NonDeterminismError(), False),
        (KeyboardInterrupt(), False),
        (SystemExit(), False),
        (asyncio.CancelledError(), False),
        (Suspended(), False),
        (OwnershipLost(), False),
        (Cancelled(), False),
    ],
    ids=repr,
)
def test_what_is_retryable_by_default(error: BaseException, expected: bool) -> None:
    assert is_retryable(PLAIN, error) is expected
    assert is_retryable(Retry(retry_on=(BaseException,)), error) is expected


def test_retry_on_and_no_retry_on() -> None:
    policy = Retry(3, retry_on=OSError, no_retry_on=FileNotFoundError)
    assert is_retryable(policy, ConnectionError())
    assert not is_retryable(policy, FileNotFoundError())
    assert not is_retryable(policy, ValueError())
    assert is_retryable(policy, RetryAfter(1))
    assert not is_retryable(Retry(no_retry_on=RetryAfter), RetryAfter(1))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (2.5, 2.5),
        (0, 0),
        (3600, 3600),
        ("2h", 7200),
        (timedelta(minutes=1), 60),
        (NOW + timedelta(seconds=90), 90),
        (NOW - timedelta(seconds=90), 0),
        (-0.3, 0),
        ("soon", 1),
        (float("nan"), 1),
        (datetime(2030, 1, 1), 1),  # without a zone: not a moment
    ],
)
def test_retry_after_is_taken_as_asked(asked: Any, expected: float) -> None:
    assert next_delay(Retry(3, jitter=0.0), 1, RetryAfter(asked), 1, NOW) == expected


def test_retry_after_uses_up_a_retry_and_needs_now_for_a_date() -> None:
    assert next_delay(Retry(2), 2, RetryAfter(5), 0.5) == 5
    assert next_delay(Retry(2), 3, RetryAfter(5), 0.5) is None
    with pytest.raises(ValueError, match="needs now="):
        next_delay(PLAIN, 1, RetryAfter(NOW), 0)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_http_statuses_that_pass(status: int) -> None:
    assert next_delay(PLAIN, 1, HTTPError(status), 0) == 1
    assert next_delay(PLAIN, 1, HTTPError(status, {"Retry-After": "120"}), 0) == 120
    assert next_delay(Retry(retry_on=OSError), 1, HTTPError(status), 0) is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 451])
def test_http_statuses_that_stay(status: int) -> None:
    assert next_delay(PLAIN, 1, HTTPError(status, {"Retry-After": "1"}), 0) is None
    assert next_delay(Retry(retry_on=HTTPError), 1, HTTPError(status), 0) is None


@pytest.mark.parametrize("status", [200, 302, 501, 505, None, "404", True])
def test_other_statuses_follow_the_common_rule(status: Any) -> None:
    assert next_delay(PLAIN, 1, HTTPError(status, {"Retry-After": "9"}), 0) == 1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": " 7 "}, 7),
        ({"retry-after": "7"}, 7),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": format_datetime(NOW + timedelta(seconds=40), usegmt=True)}, 40),
        ({"Retry-After": "Sun, 01 Nov 2026 12:00:40 -0000"}, 40),
        ({"Retry-After": format_datetime(NOW - timedelta(days=1), usegmt=True)}, 0),
        ({"Retry-After": "-5"}, 1),
        ({"Retry-After": "nan"}, 1),
        ({"Retry-After": "inf"}, 1),
        ({"Retry-After": "after lunch"}, 1),
        ({"Retry-After": ""}, 1),
        ({"Retry-After": "Mon, 99 Foo 2026 99:99:99 GMT"}, 1),
        ({}, 1),
        ("no mapping", 1),
    ],
)
def test_the_retry_after_header(headers: Any, expected: float) -> None:
    assert next_delay(PLAIN, 1, HTTPError(503, headers), 0, NOW) == expected


def test_a_header_with_a_date_is_ignored_without_now() -> None:
    assert next_delay(PLAIN, 1, HTTPError(503, {"Retry-After": "Sun, 01 Nov 2026 12:00:40 GMT"}), 0) == 1


def test_a_header_of_a_thousand_years_stays_finite() -> None:
    delay = next_delay(PLAIN, 1, HTTPError(503, {"Retry-After": "1e300"}), 0)
    assert delay is not None
    assert timedelta(seconds=delay) > timedelta(days=365)


def test_real_httpx_errors() -> None:
    import httpx

    request = httpx.Request("GET", "https://example.org")
    for status, expected in ((429, 11.0), (404, None)):
        response = httpx.Response(status, headers={"retry-after": "11"}, request=request)
        with pytest.raises(httpx.HTTPStatusError) as caught:
            response.raise_for_status()
        assert next_delay(PLAIN, 1, caught.value, 0) == expected
    # its .request property raises where none is set; so may anything on a foreign class
    assert next_delay(PLAIN, 1, httpx.ConnectError("refused"), 0) == 1


def test_a_response_property_that_raises_is_no_status() -> None:
    class Odd(Exception):
        @property
        def response(self) -> object:
            raise RuntimeError("no response here")

    assert next_delay(PLAIN, 1, Odd(), 0) == 1


def test_groups_are_retried_if_every_member_is() -> None:
    assert next_delay(PLAIN, 1, ExceptionGroup("g", [OSError(), RetryAfter(7), RetryAfter(3)]), 0) == 7
    assert next_delay(PLAIN, 1, ExceptionGroup("g", [OSError()]), 0) == 1
    assert next_delay(PLAIN, 1, ExceptionGroup("g", [OSError(), NonRetryableError()]), 0) is None
    assert next_delay(PLAIN, 1, ExceptionGroup("g", [ExceptionGroup("h", [TypeError()])]), 0) is None
    assert next_delay(PLAIN, 1, BaseExceptionGroup("g", [KeyboardInterrupt()]), 0) is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": True}, "max_retries"),
        ({"max_retries": 2.0}, "max_retries"),
        ({"max_retries": "3"}, "max_retries"),
        ({"max_retries": None}, "max_retries"),
        ({"backoff": "quadratic"}, "exponential, linear, fixed"),
        ({"backoff": []}, "exponential, linear, fixed"),
        ({"initial_delay": "1m"}, "longer than max_delay"),
        ({"initial_delay": "soon"}, "soon"),
        ({"max_delay": -1}, "negative"),
        ({"jitter": 1.5}, "jitter"),
        ({"jitter": -0.1}, "jitter"),
        ({"jitter": float("nan")}, "jitter"),
        ({"jitter": "full"}, "jitter"),
        ({"retry_on": "OSError"}, "retry_on"),
        ({"retry_on": (OSError, int)}, "retry_on"),
        ({"no_retry_on": OSError()}, "no_retry_on"),
        ({"retry_on": None}, "retry_on"),
    ],
)
def test_bad_policies(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        Retry(**arguments)


@pytest.mark.parametrize("attempt", [0, -1, 1.0, True, None])
def test_bad_attempts(attempt: Any) -> None:
    with pytest.raises(ValueError, match="attempts count from 1"):
        next_delay(PLAIN, attempt, BOOM, 0)


@pytest.mark.parametrize("random01", [-0.1, 1.1, float("nan")])
def test_bad_randomness(random01: float) -> None:
    with pytest.raises(ValueError, match="random01"):
        next_delay(PLAIN, 1, BOOM, random01)


def test_json_there_and_back() -> None:
    policy = Retry(5, "linear", "250ms", "1m", 0.2, retry_on=(OSError, HTTPError), no_retry_on=TimeoutError)
    document = json.loads(json.dumps(policy.to_json()))
    assert document["initial_delay"] == 0.25
    assert document["max_delay"] == 60
    assert document["retry_on"] == ["OSError", f"{__name__}.HTTPError"]
    back = Retry.from_json(document)
    assert (back.max_retries, back.backoff, back.initial_delay, back.max_delay, back.jitter) == (
        5,
        "linear",
        timedelta(milliseconds=250),
        timedelta(minutes=1),
        0.2,
    )
    assert back.retry_on == (Exception,)  # names are for people; nothing is imported
    assert Retry.from_json({}) == Retry()


def test_the_form_of_flow_documents() -> None:
    document = {"max_retries": 3, "backoff": "exponential", "initial_delay_ms": 1000, "max_delay_ms": 30000}
    assert Retry.from_json(document) == Retry(3)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"retries": 3}, "no 'retries'"),
        ({"initial_delay": 1, "initial_delay_ms": 1}, "keep one"),
        ({"initial_delay_ms": "1s"}, "milliseconds"),
        ({"max_retries": "3"}, "max_retries"),
        ([], "object"),
        (None, "object"),
    ],
)
def test_bad_documents(document: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        Retry.from_json(document)


def test_a_policy_does_not_change_and_can_be_a_key() -> None:
    with pytest.raises(AttributeError):
        Retry().max_retries = 4  # type: ignore[misc]
    assert len({Retry(3), Retry(3), Retry(4)}) == 2
    assert issubclass(InvalidDurationError, DefinitionError)
