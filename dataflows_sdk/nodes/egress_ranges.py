"""Which addresses belong to the public internet, and which spellings hide one that does not.

The lists are our own: ``ipaddress.is_global`` differs between patch releases of Python, and counts several of the
ranges below as public.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["Address", "Network", "embedded_ipv4", "is_nat64", "numeric_host", "private_name", "why_not_public"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_IPV4 = {
    IPv4Network(text): what
    for text, what in {
        "127.0.0.0/8": "a loopback address",
        "10.0.0.0/8": "a private address",
        "172.16.0.0/12": "a private address",
        "192.168.0.0/16": "a private address",
        "169.254.0.0/16": "a link-local address, where clouds keep their metadata",
        "0.0.0.0/8": "an unspecified address",
        "100.64.0.0/10": "an address of carrier-grade NAT",
        "168.63.129.16/32": "the address of a cloud's host",  # public by its number, served within Azure only
        "192.0.0.0/24": "a reserved address",  # metadata of Oracle's cloud among them
        "192.0.2.0/24": "a reserved address",
        "192.31.196.0/24": "a reserved address",
        "192.52.193.0/24": "a reserved address",
        "192.88.99.0/24": "a reserved address",
        "192.175.48.0/24": "a reserved address",
        "198.18.0.0/15": "a reserved address",
        "198.51.100.0/24": "a reserved address",
        "203.0.113.0/24": "a reserved address",
        "224.0.0.0/4": "a multicast address",
        "240.0.0.0/4": "a reserved address",
    }.items()
}

_IPV6 = {
    IPv6Network(text): what
    for text, what in {
        "::1/128": "a loopback address",
        "::/128": "an unspecified address",
        "fc00::/7": "a private address",
        "fe80::/10": "a link-local address",
        "fec0::/10": "a private address",
        "ff00::/8": "a multicast address",
        "2001::/23": "a reserved address",
        "2001:db8::/32": "a reserved address",
        "2620:4f:8000::/48": "a reserved address",
        "3fff::/20": "a reserved address",
    }.items()
}

#: everything else in IPv6 is not handed out
_UNICAST = IPv6Network("2000::/3")

_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = IPv6Network("::/96")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")

#: names that mean a machine or network of one's own wherever they are asked
_NAMES = frozenset({
    "localhost", "localdomain", "internal", "local", "home.arpa", "lan", "intranet",
})  # fmt: skip
_EXACT = frozenset({"metadata", "instance-data", "ip6-localhost", "ip6-loopback", "kubernetes.default.svc"})

_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.ASCII)


def why_not_public(address: Address) -> str | None:
    """What is wrong with calling that address, in words; None for a public one."""
    if isinstance(address, IPv4Address):
        return next((what for network, what in _IPV4.items() if address in network), None)
    inner = embedded_ipv4(address)
    if inner is not None:
        what = why_not_public(inner)
        return f"the IPv4 address {inner} in the clothes of IPv6" + (f", and that is {what}" if what else "")
    found = next((what for network, what in _IPV6.items() if address in network), None)
    return found if found is not None or address in _UNICAST else "a reserved address"


def embedded_ipv4(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to: mapped, compatible, translated, NAT64, 6to4 or Teredo."""
    if isinstance(address, IPv4Address):
        return None
    if int(address) <= 1:  # "::" and "::1" are addresses of their own
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in (_NAT64, _NAT64_LOCAL, _COMPATIBLE, _TRANSLATED)):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def is_nat64(address: Address) -> bool:
    """Whether it is what DNS64 answers for a host that has IPv4 only; there is no other way to such a host there."""
    return isinstance(address, IPv6Address) and address in _NAT64


def private_name(host: str) -> bool:
    """Whether that name, lower case and without a dot at its end, is one that no public host has."""
    labels = host.split(".")
    return host in _EXACT or labels[-1] in _NAMES or ".".join(labels[-2:]) in _NAMES


def numeric_host(host: str) -> Address | None:
    """The address that a host of a URL spells, None if it is a name.

    IPv4 as browsers and ``inet_aton`` read it: parts may be decimal, octal (``0177``) or hexadecimal (``0x7f``), and
    the last one takes what is left (``127.1``, ``2130706433``).

    Raises:
        ValueError: it looks like an address and is none.
    """
    if ":" in host:
        if "%" in host:
            raise ValueError(f"{host!r} names a network interface")
        return ip_address(host)
    parts = host.lower().split(".")
    if not _NUMBER.fullmatch(parts[-1]):
        return None
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise ValueError(f"{host!r} ends like an IPv4 address and is none")
    *first, last = (_number(part) for part in parts)
    if any(value > 255 for value in first) or last >= 256 ** (4 - len(first)):
        raise ValueError(f"{host!r} is no IPv4 address: a part of it is too large")
    return IPv4Address(sum(value << (24 - 8 * place) for place, value in enumerate(first)) + last)


def _number(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8) if len(part) > 1 and part.startswith("0") else int(part)
