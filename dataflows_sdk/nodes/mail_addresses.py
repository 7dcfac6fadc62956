"""E-mail addresses as people write them: read by the standard library, and believed only where nothing was odd."""

from __future__ import annotations

import re
from email.errors import NonASCIILocalPartDefect
from email.headerregistry import Address, AddressHeader, HeaderRegistry
from typing import Any

__all__ = ["one_line", "parse_addresses"]

_HEADERS = HeaderRegistry()
#: the parser's time grows with the square of what it reads; plain lists are taken apart before
_LONGEST_TEXT = 2_000
_NOT_PLAIN = re.compile(r"[\"()<>\[\]\\:;]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_USER = re.compile(r"[^\s@<>,;:\\\"()\[\]]{1,64}")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.IGNORECASE)


def one_line(text: str) -> str:
    """The text, if it can stand in a header.

    Raises:
        ValueError: it holds a line break or another control character.
    """
    if _CONTROL.search(text):
        raise ValueError("it cannot hold a line break or another control character")
    return text


def parse_addresses(value: str | list[str]) -> list[Address]:
    """The addresses of a text or a list of texts, each such as ``Ada <ada@example.com>``; domains in ASCII.

    Raises:
        ValueError: one of them is no address.
    """
    found: list[Address] = []
    for text in [value] if isinstance(value, str) else value:
        if not text.strip():
            continue
        if _CONTROL.search(text):
            raise ValueError(f"the address {text[:80]!r} holds a line break or another control character")
        parts = [text] if _NOT_PLAIN.search(text) else [part for part in text.split(",") if part.strip()] or [text]
        for part in parts:
            found.extend(_checked(address, part) for address in _read(part))
    return found


def _read(text: str) -> tuple[Address, ...]:
    problem = f"{text[:80]!r} is no address such as ada@example.com"
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"{problem}: it is longer than {_LONGEST_TEXT:,} characters; give many as a list")
    try:
        header: Any = _HEADERS("To", text)  # made by a registry: which kind it is, is known at run time only
    except (ValueError, IndexError, AttributeError, RecursionError):  # what the parser raises for broken texts
        raise ValueError(problem) from None
    defects: tuple[Any, ...] = header.defects
    assert isinstance(header, AddressHeader)
    if not header.addresses or any(not isinstance(defect, NonASCIILocalPartDefect) for defect in defects):
        raise ValueError(problem)
    return header.addresses


def _checked(address: Address, text: str) -> Address:
    problem = f"{text[:80]!r} is no address such as ada@example.com"
    domain = address.domain
    if not domain.isascii():
        import idna

        try:
            domain = idna.encode(domain).decode()
        except UnicodeError:
            raise ValueError(problem) from None
    name = address.username
    dots = name.startswith(".") or name.endswith(".") or ".." in name
    if not _USER.fullmatch(name) or dots or not _DOMAIN.fullmatch(domain) or len(domain) > 253:
        raise ValueError(problem)
    return Address(address.display_name, name, domain)
