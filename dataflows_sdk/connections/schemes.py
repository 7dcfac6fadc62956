"""Security schemes as OpenAPI describes them, as far as connections need them, and their place in requests."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from dataflows_sdk.core.redact import Secret
from dataflows_sdk.errors import DefinitionError

if TYPE_CHECKING:
    import httpx

AuthType = Literal["oauth2", "api_key", "basic"]
AUTH_TYPES: tuple[AuthType, ...] = ("oauth2", "api_key", "basic")
#: what OpenAPI has no word for, in the way in which it lets itself be extended
USER_INFO, TOKEN_AUTH = "x-user-info-url", "x-token-auth"
_LONGEST = 65_536
_LONGEST_NAME = 200
_COOKIE_ENDS = set(' ",;\\')


# --- what a scheme says -----------------------------------------------------------------------------------


def auth_type_of(schema: Mapping[str, Any]) -> AuthType | None:
    """Which of the three kinds of access a security scheme is; None where it is none of them."""
    kind, scheme = schema.get("type"), str(schema.get("scheme", "")).lower()
    if kind in ("oauth2", "openIdConnect"):
        return "oauth2"
    if kind == "apiKey" or (kind == "http" and scheme == "bearer"):
        return "api_key"
    if kind == "basic" or (kind == "http" and scheme == "basic"):
        return "basic"
    return None


def usual_schema(auth: AuthType) -> dict[str, Any]:
    """The scheme of a client of which nothing more is said."""
    if auth == "oauth2":
        return {"type": "oauth2", "flows": {}}
    return {"type": "http", "scheme": "basic" if auth == "basic" else "bearer"}


def token_url(schema: Mapping[str, Any], *, refresh: bool = True) -> str | None:
    """Where new tokens are asked for."""
    flows = schema.get("flows")
    if not isinstance(flows, Mapping):
        return None
    for flow in flows.values():
        if isinstance(flow, Mapping) and (found := (refresh and flow.get("refreshUrl")) or flow.get("tokenUrl")):
            return str(found)
    return None


def check_schema(name: str, auth: AuthType, schema: object) -> dict[str, Any]:
    """A security scheme for clients of kind *auth*, as plain JSON.

    Raises:
        DefinitionError: it is no JSON object, or describes another kind.
    """
    what = f"security_schema of {name!r}"
    if not isinstance(schema, Mapping):
        raise DefinitionError(f"{what} is a security scheme of OpenAPI as a dict, not {schema!r:.100}")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(schema), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{what} is no JSON: {error}") from None
    if "\\u0000" in json.dumps(plain):
        raise DefinitionError(f"{what} has a NUL character, which PostgreSQL does not store")
    found = auth_type_of(plain)
    if found != auth:
        raise DefinitionError(
            f"{what} has type {plain.get('type')!r}, scheme {plain.get('scheme')!r}, which is "
            f"{found or 'not supported'}, and the client's auth is {auth!r}"
        )
    if plain["type"] == "apiKey":
        place, key = plain.get("in"), plain.get("name")
        if place not in ("header", "query", "cookie") or not isinstance(key, str) or not key:
            raise DefinitionError(f"{what}: an apiKey has a name and is in header, query or cookie, not in {place!r}")
    for url in _urls(plain):
        check_url(f"{what}: an address", url)
    return plain


def _urls(schema: Mapping[str, Any]) -> Iterable[Any]:
    flows = schema.get("flows")
    for flow in flows.values() if isinstance(flows, Mapping) else ():
        if isinstance(flow, Mapping):
            yield from (flow[key] for key in ("authorizationUrl", "tokenUrl", "refreshUrl") if flow.get(key))
    yield from (schema[key] for key in ("openIdConnectUrl", USER_INFO) if schema.get(key))


# --- what people give -------------------------------------------------------------------------------------


def check_text(what: str, value: object, longest: int = _LONGEST_NAME) -> str:
    """A line of text that PostgreSQL stores; DefinitionError for anything else."""
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.strip() or not value.isprintable():
        shown = f"{value!r:.100}" if isinstance(value, str) else f"a {type(value).__name__}"
        raise DefinitionError(f"{what} is a line of text of 1 to {longest} characters, not {shown}")
    return value


def check_secret(what: str, value: object, *, empty: bool = False) -> str:
    """The text of a secret; a DefinitionError does not show it."""
    text = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(text, str):
        raise DefinitionError(f"{what} is a text or a df.Secret, not a {type(text).__name__}")
    if not text and not empty:
        raise DefinitionError(f"{what} is empty")
    if len(text) > _LONGEST:
        raise DefinitionError(f"{what} has {len(text):,} characters, more than {_LONGEST:,}: is it the right thing?")
    if text != text.strip() or any(character < " " or character == "\x7f" for character in text):
        raise DefinitionError(f"{what} begins or ends with white space, or has control characters: was it cut badly?")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DefinitionError(f"{what} is no text that UTF-8 can hold") from None
    return text


def check_url(what: str, value: object) -> str:
    """An address; DefinitionError for anything else."""
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        good = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
        good = good and parts is not None and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not isinstance(value, str) or not value.isprintable() or " " in value:
        raise DefinitionError(f"{what} is an address such as https://api.example.org/v1, not {value!r:.200}")
    if parts is not None and "@" in parts.netloc:
        raise DefinitionError(f"{what} has a user name or password in it; give them as username= and password=")
    return value


def check_scopes(what: str, value: object) -> list[str]:
    """Scopes in their order, each once; DefinitionError for anything else."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise DefinitionError(f'{what} is a list of scopes, ["repo", "user"], not {value!r:.100}')
    found = list(value)
    for scope in found:
        if not isinstance(scope, str) or not scope or any(c <= " " or not c.isprintable() for c in scope):
            raise DefinitionError(f"{what}: a scope is a word without spaces, not {scope!r:.100}")
    return list(dict.fromkeys(found))


# --- into a request ---------------------------------------------------------------------------------------


def put_key(request: httpx.Request, where: str, name: str, value: str) -> None:
    """Put an API key into a request's header, query or cookies, in the place of one that is there."""
    if where == "header":
        request.headers[name] = _header(name, value)
    elif where == "query":
        request.url = request.url.copy_set_param(name, value)
    elif where == "cookie":
        if any(character in _COOKIE_ENDS or not "!" <= character <= "~" for character in value):
            raise DefinitionError(f"the value for the cookie {name!r} has characters that no cookie can have")
        others = [part.strip() for part in request.headers.get("cookie", "").split(";")]
        kept = [part for part in others if part and part.partition("=")[0] != name]
        request.headers["cookie"] = "; ".join([*kept, f"{name}={value}"])
    else:
        raise DefinitionError(f"an API key stands in header, query or cookie, not in {where!r}")


def put_bearer(request: httpx.Request, token: str) -> None:
    """Put a token into ``Authorization``."""
    request.headers["Authorization"] = _header("Authorization", f"Bearer {token}")


def put_basic(request: httpx.Request, username: str, password: str) -> None:
    """Put a user name and a password into ``Authorization``."""
    if ":" in username:
        raise DefinitionError("a user name with a colon cannot be told from its password in HTTP")
    coded = base64.b64encode(f"{username}:{password}".encode()).decode()
    request.headers["Authorization"] = f"Basic {coded}"


def put(request: httpx.Request, schema: Mapping[str, Any], secret: str) -> None:
    """Put the secret of a connection where the scheme of its client says."""
    kind = auth_type_of(schema)
    if kind == "basic":
        username, _, password = secret.partition(":")
        put_basic(request, username, password)
    elif schema.get("type") == "apiKey":
        put_key(request, schema["in"], schema["name"], secret)
    else:
        put_bearer(request, secret)


def _header(name: str, value: str) -> str:
    if not all(" " <= character <= "~" for character in value):
        raise DefinitionError(f"the value for the header {name!r} has characters that no header can have")
    return value
