"""Which addresses flows may call: the guard against server-side request forgery.

What is not public is denied by default, however it is spelled and whatever name leads to it. Names are resolved once,
every answer is checked, and the connection goes to a checked address (`dataflows_sdk.nodes.egress_client`), so that a
name cannot be public for the check and private for the call.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.nodes.egress_ranges import (
    Address,
    Network,
    embedded_ipv4,
    is_nat64,
    numeric_host,
    private_name,
    why_not_public,
)
from dataflows_sdk.nodes.egress_url import Code, Refusal, Target, checked_name, parse_url, shown_url

if TYPE_CHECKING:
    import httpx

__all__ = ["EgressPolicy", "Resolver", "system_resolver"]

#: ``await resolver(host, port)`` gives the addresses of a name, as text
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a list: a name, ``*.name``, ``*``, an address or a network, for every port or for one."""

    text: str
    name: str | None
    network: Network | None
    port: int | None

    def names(self, host: str, port: int) -> bool:
        """Whether that name is meant; a star stands for one label or more."""
        if self.name is None or self.port not in (None, port):
            return False
        return self.name in ("*", host) or (self.name.startswith("*.") and host.endswith(self.name[1:]))

    def holds(self, address: Address, port: int) -> bool:
        """Whether that address is meant."""
        if self.port not in (None, port):
            return False
        return self.name == "*" or (self.network is not None and address in self.network)


class EgressPolicy:
    """Which addresses may be called; immutable, and one for all clients of a process.

    Without arguments every public address may be called by http and https, and no other.

    Entries of the lists are host names, ``*.example.com`` (below it, not itself), ``*``, addresses and networks
    (``10.1.0.0/16``), each with a port if one alone is meant (``db.internal:8080``, ``[fd00::1]:8080``).

    Args:
        allow: what may be called although it is private.
        deny: what may not be called, whatever else is said.
        ports: nothing but these; an entry of `allow` with a port stands above it.
        only: nothing but these. It narrows and allows nothing: a private address has to be in `allow` too. An entry
            that is a network also stands for the names all of whose addresses are in it.
        resolver: looks names up; the system's by default.

    Raises:
        DefinitionError: an entry is none of these.
    """

    __slots__ = ("__weakref__", "_clients", "allow", "deny", "only", "ports", "resolver")

    def __init__(
        self,
        allow: Iterable[str] = (),
        deny: Iterable[str] = (),
        ports: Iterable[int] | None = None,
        *,
        only: Iterable[str] | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.allow = _rules("allow", allow)
        self.deny = _rules("deny", deny)
        self.only = None if only is None else _rules("only", only)
        self.ports = None if ports is None else _ports(ports)
        self.resolver: Resolver = resolver if resolver is not None else system_resolver
        #: the shared clients of each event loop, by whether they verify certificates
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, httpx.AsyncClient]] = WeakKeyDictionary()

    def __repr__(self) -> str:
        parts = [
            f"{name}={[rule.text for rule in rules]!r}"
            for name, rules in (("allow", self.allow), ("deny", self.deny), ("only", self.only))
            if rules or (name == "only" and rules is not None)
        ]
        if self.ports is not None:
            parts.append(f"ports={sorted(self.ports)!r}")
        return f"EgressPolicy({', '.join(parts)})"

    # --- checking -----------------------------------------------------------------------------------------

    def check_url(self, url: str | httpx.URL) -> Target:
        """Check everything about a URL that needs no look-up.

        Raises:
            EgressDeniedError: it may not be called; `.code` says which rule it breaks.
        """
        try:
            return self.target(url)
        except Refusal as refusal:
            raise refusal.error(shown_url(url)) from refusal.origin

    async def check(self, url: str | httpx.URL) -> tuple[Target, list[Address]]:
        """Check a URL and look its host up: whom it addresses, and the addresses, all of them checked.

        For clients other than `client`: connect to one of these addresses and look nothing up again.

        Raises:
            EgressDeniedError: it may not be called, or its name leads nowhere.
        """
        try:
            target = self.target(url)
            return target, await self.addresses(target.host, target.port)
        except Refusal as refusal:
            raise refusal.error(shown_url(url)) from refusal.origin

    def target(self, url: str | httpx.URL) -> Target:
        """As `check_url`, raising `Refusal`."""
        target = parse_url(url)
        host, port, address = target.host, target.port, target.address
        if address is None:
            self._judge_name(host, port)
        else:
            self._judge_address(address, port, "denied_ip", allowed=self._allows(address, port))
            if self.only is not None and not any(rule.holds(address, port) for rule in self.only):
                raise Refusal("allowlist_miss", f"{_place(host, port)} is not among the addresses of only=")
        self._judge_port(target)
        return target

    async def addresses(self, host: str, port: int) -> list[Address]:
        """The addresses of a host whose URL was checked, each of them checked too.

        Raises:
            Refusal: one of them may not be called, or there is none.
        """
        literal = numeric_host(host)
        if literal is not None:
            return [literal]
        try:
            answers = await self.resolver(host, port)
            found = list(dict.fromkeys(ip_address(answer.partition("%")[0]) for answer in answers))
        except (OSError, ValueError) as error:
            raise Refusal("dns_resolution_failed", f"{host} cannot be resolved: {error}", error) from None
        if not found:
            raise Refusal("dns_resolution_failed", f"{host} has no address")
        by_name = any(rule.names(host, port) for rule in self.allow)
        for address in found:
            allowed = by_name or self._allows(address, port)
            # a host without IPv6 behind NAT64 is its IPv4 address; such a spelling in a URL is denied all the same
            inner = embedded_ipv4(address) if is_nat64(address) else None
            if inner is not None and why_not_public(inner) is None:
                allowed = True
            self._judge_address(address, port, "denied_dns", allowed=allowed, host=host)
        if self.only is not None and not any(rule.names(host, port) for rule in self.only):
            for address in found:
                if not any(rule.holds(address, port) for rule in self.only):
                    raise Refusal("allowlist_miss", f"{host} leads to {address}, which is not in only=")
        return found

    def _judge_name(self, host: str, port: int) -> None:
        if any(rule.names(host, port) for rule in self.deny):
            raise Refusal("denied_hostname", f"{_place(host, port)} is in deny=")
        if self.only is not None and not any(
            rule.names(host, port) or (rule.network is not None and rule.port in (None, port)) for rule in self.only
        ):
            raise Refusal("allowlist_miss", f"{_place(host, port)} is not among the hosts of only=")
        if private_name(host) and not any(rule.names(host, port) for rule in self.allow):
            raise Refusal(
                "denied_hostname",
                f"{host} is a name of private networks; EgressPolicy(allow=[{host!r}]) permits it",
            )

    def _judge_address(self, address: Address, port: int, code: Code, *, allowed: bool, host: str = "") -> None:
        """`host` is the name that led there."""
        where = f"{host} leads to {address}, which" if host else f"{address}"
        forms = [address, inner] if (inner := embedded_ipv4(address)) is not None else [address]
        if any(rule.holds(form, port) for rule in self.deny for form in forms):
            raise Refusal(code, f"{where} is in deny=")
        reason = None if allowed else why_not_public(address)
        if reason is not None:
            raise Refusal(code, f"{where} is {reason}; EgressPolicy(allow=[{host or str(address)!r}]) permits it")

    def _judge_port(self, target: Target) -> None:
        if self.ports is None or target.port in self.ports:
            return
        for rule in self.allow:
            named = (
                rule.names(target.host, target.port)
                if target.address is None
                else rule.holds(target.address, target.port)
            )
            if named and rule.port is not None:
                return
        raise Refusal("allowlist_miss", f"port {target.port} is not among ports={sorted(self.ports)}")

    def _allows(self, address: Address, port: int) -> bool:
        return any(rule.holds(address, port) for rule in self.allow)

    # --- calling ------------------------------------------------------------------------------------------

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A client that calls nothing but what this policy permits, redirects included.

        The proxies of the environment are not used. Redirects that may not be followed raise with the code
        ``redirect_denied``.

        Args:
            options: those of ``httpx.AsyncClient``, without `transport`, `mounts`, `proxy` and `trust_env`.

        Raises:
            DefinitionError: one of these options.
        """
        from dataflows_sdk.nodes.egress_client import make_client

        return make_client(self, options)

    def shared_client(self, *, verify: bool = True) -> httpx.AsyncClient:
        """The client that all nodes on this event loop share: connections are reused, cookies are not kept.

        It follows no redirects by itself. Close it with `aclose`.
        """
        from dataflows_sdk.nodes.egress_client import make_shared_client

        clients = self._clients.setdefault(asyncio.get_running_loop(), {})
        client = clients.get(verify)
        if client is None or client.is_closed:
            client = clients[verify] = make_shared_client(self, verify=verify)
        return client

    async def aclose(self) -> None:
        """Close the shared clients of this event loop; a later call opens new ones."""
        clients = self._clients.pop(asyncio.get_running_loop(), {})
        for client in clients.values():
            await client.aclose()


# --- entries of the lists ---------------------------------------------------------------------------------


def _rules(name: str, entries: Iterable[str]) -> tuple[Rule, ...]:
    if isinstance(entries, str | bytes):
        raise DefinitionError(f"{name} is a list such as [{entries!r}], not one text")
    return tuple(_rule(name, entry) for entry in entries)


def _rule(name: str, entry: object) -> Rule:
    problem = (
        f"{name}: {entry!r} is no host such as 'api.example.com', '*.example.com', '10.0.0.0/8' or '[fd00::1]:8080'"
    )
    if not isinstance(entry, str):
        raise DefinitionError(problem)
    text = entry.strip().lower()
    host, port = text, None
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::([0-9]{1,5}))?", text)
    if bracketed:
        host, port_text = bracketed[1], bracketed[2]
    else:
        host, port_text = text.rsplit(":", 1) if text.count(":") == 1 else (text, None)
    if port_text is not None:
        if not port_text.isascii() or not port_text.isdigit() or not 0 < int(port_text) < 65536:
            raise DefinitionError(problem + ("; write it without https://" if "//" in text else ""))
        port = int(port_text)
    try:
        if "/" in host:
            return Rule(entry, None, ip_network(host), port)
        host = host.removesuffix(".")
        address = numeric_host(host)
        if address is not None:
            return Rule(entry, None, ip_network(address), port)
        star, rest = ("*.", host[2:]) if host.startswith("*.") else ("", host)
        return Rule(entry, "*" if host == "*" else star + checked_name(_ascii(rest)), None, port)
    except ValueError as error:
        raise DefinitionError(f"{problem}: {error}") from None


def _ascii(host: str) -> str:
    if host.isascii():
        return host
    import idna

    return idna.encode(host).decode()


def _ports(ports: Iterable[int]) -> frozenset[int]:
    if isinstance(ports, str | bytes | int):
        raise DefinitionError(f"ports is a list such as [80, 443], not {ports!r}")
    checked = frozenset(ports)
    for port in checked:
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            raise DefinitionError(f"ports: {port!r} is no port")
    return checked


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def system_resolver(host: str, port: int) -> list[str]:
    """The addresses that the system knows for a name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]
