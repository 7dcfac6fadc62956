"""Reading the URLs that flows want to call, as the client that calls them reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from dataflows_sdk.errors import EgressDeniedError
from dataflows_sdk.nodes.egress_ranges import Address, numeric_host, why_not_public

if TYPE_CHECKING:
    import httpx

__all__ = ["Code", "Refusal", "Target", "checked_name", "parse_url", "shown_url"]

Code = Literal[
    "invalid_url",
    "invalid_scheme",
    "denied_hostname",
    "denied_ip",
    "denied_dns",
    "allowlist_miss",
    "dns_resolution_failed",
    "redirect_denied",
]

_LONGEST_URL = 8192
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_PLACE = re.compile(r"(\[[^\]@]*\]|[^:@/?#\[\]]*)(:[0-9]*)?([/?#]|$)")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Refusal(Exception):
    """Why an address may not be called, before it is known for which URL; `error` makes it one for users."""

    def __init__(self, code: Code, reason: str, origin: Exception | None = None) -> None:
        super().__init__(reason)
        self.code: Code = code
        self.reason = reason
        #: what failed beneath; httpcore takes the cause of an exception away
        self.origin = origin

    def error(self, url: str, *, redirected: bool = False) -> EgressDeniedError:
        """The error for this URL (as `shown_url` gives it)."""
        if redirected:
            return EgressDeniedError(
                f"redirected to {url}, which may not be called: {self.reason}", "redirect_denied", url
            )
        return EgressDeniedError(f"{url} may not be called: {self.reason}", self.code, url)


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a URL addresses.

    Attributes:
        scheme: http or https.
        host: lower case, ASCII, without a dot at its end; an address in its usual spelling, IPv6 without brackets.
        port: the one in the URL or that of the scheme.
        address: what the host spells; None if it is a name.
    """

    scheme: str
    host: str
    port: int
    address: Address | None


def parse_url(url: str | httpx.URL) -> Target:
    """Whom a URL addresses, as the client that calls it reads it.

    Raises:
        Refusal: it is no http or https URL, or holds credentials.
    """
    import httpx

    if not isinstance(url, str | httpx.URL):
        raise Refusal("invalid_url", f"a URL is text, not {type(url).__name__}")
    if len(str(url)) > _LONGEST_URL:
        raise Refusal("invalid_url", f"it is longer than {_LONGEST_URL:,} characters")
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii").lower()
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        _refuse_octal(str(url))
        raise Refusal("invalid_url", f"it is no URL: {error}") from None
    scheme = parsed.scheme
    if not scheme:
        raise Refusal("invalid_url", "it does not begin with http:// or https://")
    if scheme not in _DEFAULT_PORTS:
        raise Refusal("invalid_scheme", f"only http and https may be called, not {scheme!r}")
    if not host:
        raise Refusal("invalid_url", "it names no host")
    if parsed.userinfo:
        raise Refusal("invalid_url", "it holds credentials; give them as auth")
    port = parsed.port if parsed.port is not None else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:
        raise Refusal("invalid_url", f"{port} is no port")
    try:
        return _target(scheme, host, port)
    except ValueError as error:
        raise Refusal("invalid_url", str(error)) from None


def _refuse_octal(url: str) -> None:
    """Call ``0177.0.0.1`` what it is: httpx takes no octal numbers, and would only say that it is no URL."""
    try:
        address = numeric_host(urlsplit(url).hostname or "")
    except ValueError:
        return
    reason = None if address is None else why_not_public(address)
    if reason is not None:
        raise Refusal("denied_ip", f"{address}, which is spelled oddly, is {reason}")


def _target(scheme: str, host: str, port: int) -> Target:
    host = host.removesuffix(".")
    address = numeric_host(host)
    if address is not None:
        return Target(scheme, str(address), port, address)
    return Target(scheme, checked_name(host), port, None)


def checked_name(host: str) -> str:
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError(f"{host[:80]!r} is no host name")
    return host


def shown_url(url: object) -> str:
    """A URL as messages may show it: without credentials, and without what comes after a question mark."""
    head, mark, rest = str(url).partition("://")
    if not mark:
        head, rest = "", head
    if "@" in rest and not _PLACE.match(rest):
        # in a broken URL a password may hold any sign: all of it goes, up to the last @
        rest = "***@" + rest.rpartition("@")[2]
    rest = re.sub(r"[?#].*", lambda found: "?…" if found[0].startswith("?") else "", rest, count=1, flags=re.DOTALL)
    text = "".join(char if char.isprintable() else "\ufffd" for char in head + mark + rest)
    return text if len(text) <= 300 else text[:300] + "…"
