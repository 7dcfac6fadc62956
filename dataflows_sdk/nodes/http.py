"""The node ``action_http``: one request, its answer, and which answers are errors."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol
from urllib.parse import quote
from uuid import UUID

import pydantic_core
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from dataflows_sdk.core.redact import is_secret_name
from dataflows_sdk.errors import (
    EgressDeniedError,
    HttpStatusError,
    NonRetryableError,
    TemplateError,
    UnexpectedStatusError,
)
from dataflows_sdk.flow.texts import as_text
from dataflows_sdk.nodes.egress_body import (
    ACCEPT_ENCODING,
    Truncated,
    decode_body,
    decode_text,
    read_body,
    read_excerpt,
)
from dataflows_sdk.nodes.egress_url import shown_url
from dataflows_sdk.nodes.registry import Call, Config

if TYPE_CHECKING:
    import httpx

__all__ = ["ActionHttp", "call_http", "is_final"]

_MAX_REDIRECTS = 5
_EXCERPT = 2_000
_SHOWN = 300
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: these belong to the connection; setting them by hand is how requests are smuggled
_FRAMING = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"}
)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: answers of a resolver that it would give again
_NO_SUCH_NAME = ("EAI_NONAME", "EAI_NODATA")


def _method(text: str) -> str:
    if not _TOKEN.fullmatch(text) or text.upper() in ("CONNECT", "TRACE"):
        raise ValueError(f"{text[:40]!r} is no method such as GET or POST")
    return text.upper()


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no name of a header")
    if name.lower() in _FRAMING:
        raise ValueError(f"the header {name!r} follows from the URL and the body; leave it out")
    return name


def _scalar(value: object) -> object:
    """One value of a header or a query, as text; what a template found may have any type."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal | UUID | datetime | date | time):
        try:
            return as_text(value)
        except TemplateError as error:
            raise ValueError(str(error)) from None
    raise ValueError(f"one text or number belongs here, not {type(value).__name__}")


def _scalars(value: object) -> object:
    return [_scalar(item) for item in value] if isinstance(value, list | tuple) else _scalar(value)


def _header_text(value: str | None) -> str | None:
    if value is not None and _CONTROL.search(value):
        raise ValueError("a header cannot hold a line break or another control character")
    return value


def _secret_line(value: SecretStr) -> SecretStr:
    if _CONTROL.search(value.get_secret_value()):
        raise ValueError("it cannot hold a line break or another control character")
    return value


def _expected(value: int | str) -> int | str:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{3}", value):
        value = int(value)
    if isinstance(value, str):
        if not re.fullmatch(r"[1-5]xx", value.lower()):
            raise ValueError(f"{value[:40]!r} is no status such as 200 or '2xx'")
        return value.lower()
    if isinstance(value, bool) or not 100 <= value <= 599:
        raise ValueError(f"{value!r} is no status between 100 and 599")
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str | None, BeforeValidator(_scalar), AfterValidator(_header_text)]
QueryValue = Annotated[str | list[str | None] | None, BeforeValidator(_scalars)]
Expected = Annotated[int | str, AfterValidator(_expected)]
SecretLine = Annotated[SecretStr, AfterValidator(_secret_line)]


class _Auth(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BearerAuth(_Auth):
    """``Authorization: Bearer <token>``."""

    type: Literal["bearer"]
    token: SecretLine


class BasicAuth(_Auth):
    """``Authorization: Basic …``."""

    type: Literal["basic"]
    username: Annotated[str, Field(pattern=r"^[^:\x00-\x1f\x7f]*$")]
    password: SecretLine = SecretStr("")


class HeaderAuth(_Auth):
    """A header of one's own, such as ``X-Api-Key``."""

    type: Literal["header"]
    name: HeaderName
    value: SecretLine


class ActionHttp(Config):
    """One HTTP request.

    Attributes:
        url: where; public addresses only, but for what the egress policy allows.
        method: GET, POST, …
        headers: by name; one that is null is left out.
        query: added to the query of the URL; a list gives a name several times, what is null is left out.
        body: an object, list, number or boolean is sent as JSON, a text as it is.
        form: sent as ``application/x-www-form-urlencoded`` instead of a body.
        auth: ``{"type": "bearer", "token"}``, ``{"type": "basic", "username", "password"}`` or
            ``{"type": "header", "name", "value"}``.
        expect_status: statuses that are a success: 200, "2xx" or a list of these; all below 400 by default.
        follow_redirects: up to 5, each checked as the URL was; secrets do not go along to another host.
        max_bytes: how large the answer may be, unpacked.
        verify: check the certificate of the server.
    """

    url: str
    method: Annotated[str, AfterValidator(_method)] = "GET"
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    query: dict[str, QueryValue] = Field(default_factory=dict)
    body: Any = None
    form: dict[str, QueryValue] | None = None
    auth: Annotated[BearerAuth | BasicAuth | HeaderAuth, Field(discriminator="type")] | None = None
    expect_status: Expected | list[Expected] | None = None
    follow_redirects: bool = True
    max_bytes: int = Field(default=5_000_000, ge=1)
    verify: bool = True

    @model_validator(mode="after")
    def _one_body(self) -> ActionHttp:
        if self.body is not None and self.form is not None:
            raise ValueError("body and form are two ways to send the same: keep one of them")
        return self

    def expects(self, status: int) -> bool:
        """Whether that status is a success."""
        if self.expect_status is None:
            return status < 400
        wanted = self.expect_status if isinstance(self.expect_status, list) else [self.expect_status]
        return any(status == each or f"{status // 100}xx" == each for each in wanted)


class Authority(Protocol):
    """What puts a secret into a request and, where it is refused, another one."""

    def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See httpx.Auth."""
        ...


async def call_http(config: ActionHttp, call: Call, authority: Authority | None = None) -> dict[str, Any]:
    """Send the request and read its answer.

    Args:
        config: the request.
        call: on whose behalf.
        authority: what puts a secret into it, for the host that is called and no other.

    Returns:
        ``{"status": 200, "headers": {"content-type": …}, "body": …}``; names of headers in lower case. The body is
        what JSON says, a str for other text, bytes for the rest, and None where there is none.

    Raises:
        EgressDeniedError: the URL, or one that it redirects to, may not be called.
        HttpStatusError: a status of 400 or more; retried for 408, 425, 429 and from 500, as ``Retry-After`` says.
        UnexpectedStatusError: a lower status that is not in `expect_status`.
        NonRetryableError: the answer is too large, or the request cannot be sent as it is.
        ConnectionError, TimeoutError: the network failed.
    """
    import httpx

    what = f"{config.method} {shown_url(config.url)}"
    egress = call.services.egress
    egress.check_url(config.url)
    client = egress.shared_client(verify=config.verify)
    request = _request(client, config, call)
    try:
        async with aclosing(await _send(client, request, config, what, authority)) as response:
            return await _answer(response, config, what)
    except EgressDeniedError as error:
        if not is_final(error.__cause__):
            raise ConnectionError(f"{what}: {error}") from error
        raise
    except httpx.TimeoutException as error:
        raise TimeoutError(f"{what}: no answer in time ({_words(error)})") from error
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        raise NonRetryableError(f"{what}: the request cannot be sent: {_words(error)}") from error
    except httpx.TransportError as error:
        raise ConnectionError(f"{what}: the connection failed: {_words(error)}") from error
    except Truncated:
        raise ConnectionError(f"{what}: the answer ends in the middle") from None


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def is_final(cause: BaseException | None) -> bool:
    """Whether a name that was not resolved will not be by asking again."""
    import socket

    codes = {getattr(socket, name) for name in _NO_SUCH_NAME if hasattr(socket, name)}
    return not isinstance(cause, OSError) or (isinstance(cause, socket.gaierror) and cause.errno in codes)


# --- the request ------------------------------------------------------------------------------------------


def _request(client: httpx.AsyncClient, config: ActionHttp, call: Call) -> httpx.Request:
    import httpx

    headers = {name: value for name, value in config.headers.items() if value is not None}
    given = {name.lower() for name in headers}

    def default(name: str, value: str) -> None:
        if name.lower() not in given:
            headers[name] = value

    default("Accept-Encoding", ACCEPT_ENCODING)
    if config.method not in _SAFE_METHODS:
        default("Idempotency-Key", quote(call.idempotency_key, safe="!#$&'()*+,/:;=?@[]"))
    content = _content(config, default)
    for name, secret in _auth_headers(config).items():
        headers = {key: value for key, value in headers.items() if key.lower() != name.lower()}
        headers[name] = secret
    url = httpx.URL(config.url)
    if config.query:
        url = url.copy_merge_params(_pairs(config.query))
    return client.build_request(
        config.method,
        url,
        headers=[(name.encode(), value.encode()) for name, value in headers.items()],
        content=content,
    )


def _content(config: ActionHttp, default: Any) -> bytes | None:
    if config.form is not None:
        from urllib.parse import urlencode

        default("Content-Type", "application/x-www-form-urlencoded")
        return urlencode(_pairs(config.form), doseq=True).encode()
    body = config.body
    if body is None:
        return None
    if isinstance(body, str):
        default("Content-Type", "text/plain; charset=utf-8")
        return body.encode("utf-8", "replace")
    if isinstance(body, bytes | bytearray | memoryview):
        default("Content-Type", "application/octet-stream")
        return bytes(body)
    try:
        content = pydantic_core.to_json(body, inf_nan_mode="null", bytes_mode="base64")
    except (pydantic_core.PydanticSerializationError, ValueError) as error:
        raise NonRetryableError(f"the body of {config.method} {shown_url(config.url)} is no JSON: {error}") from None
    default("Content-Type", "application/json")
    return content


def _pairs(values: Mapping[str, str | list[str | None] | None]) -> dict[str, str | list[str]]:
    return {
        name: [item for item in value if item is not None] if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None
    }


def _auth_headers(config: ActionHttp) -> dict[str, str]:
    match config.auth:
        case BearerAuth(token=token):
            return {"Authorization": f"Bearer {token.get_secret_value()}"}
        case BasicAuth(username=username, password=password):
            pair = f"{username}:{password.get_secret_value()}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        case HeaderAuth(name=name, value=value):
            return {name: value.get_secret_value()}
        case _:
            return {}


# --- sending and the answer -------------------------------------------------------------------------------


async def _send(
    client: httpx.AsyncClient, request: httpx.Request, config: ActionHttp, what: str, authority: Authority | None
) -> httpx.Response:
    for _ in range(_MAX_REDIRECTS + 1):
        response = await _send_known(client, request, authority)
        following = response.next_request
        if following is None or not config.follow_redirects:
            return response
        await response.aclose()
        if _origin(following) != _origin(request):
            _leave_secrets(following, config)
            authority = None
        request = following
    raise NonRetryableError(f"{what}: redirected more than {_MAX_REDIRECTS} times, at last to {shown_url(request.url)}")


async def _send_known(client: httpx.AsyncClient, request: httpx.Request, authority: Authority | None) -> httpx.Response:
    if authority is None:
        return await client.send(request, stream=True, follow_redirects=False)
    async with aclosing(authority.async_auth_flow(request)) as flow:
        response = await client.send(await anext(flow), stream=True, follow_redirects=False)
        try:
            again = await flow.asend(response)
        except StopAsyncIteration:
            return response
        except BaseException:
            await response.aclose()
            raise
        await response.aclose()
        return await client.send(again, stream=True, follow_redirects=False)


def _origin(request: httpx.Request) -> tuple[str, str, int | None]:
    return request.url.scheme, request.url.host, request.url.port


def _leave_secrets(request: httpx.Request, config: ActionHttp) -> None:
    """Take out of a request to another host what was meant for the first one alone."""
    own = {name.lower() for name in _auth_headers(config)}
    for name in list(request.headers):
        if name.lower() in own or name.lower() in ("authorization", "cookie") or is_secret_name(name):
            del request.headers[name]


async def _answer(response: httpx.Response, config: ActionHttp, what: str) -> dict[str, Any]:
    status = response.status_code
    headers = {name.lower(): value for name, value in response.headers.items()}
    kind = headers.get("content-type", "")
    if not config.expects(status):
        excerpt = decode_text(await read_excerpt(response, 4 * _EXCERPT), kind)[:_EXCERPT]
        message = f"{what} answered {status} {response.reason_phrase}".rstrip()
        if excerpt:
            message += f": {excerpt[:_SHOWN]}{'…' if len(excerpt) > _SHOWN else ''}"
        if status < 400:
            message += f" (expect_status is {config.expect_status!r})"
        kind_of_error = HttpStatusError if status >= 400 else UnexpectedStatusError
        raise kind_of_error(message, status, excerpt, headers)
    data = b"" if response.request.method == "HEAD" else await read_body(response, config.max_bytes, what)
    return {"status": status, "headers": headers, "body": decode_body(data, kind)}
