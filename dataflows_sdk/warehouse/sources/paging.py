"""How a JSON API hands out its pages: pure functions from an answer to what is asked for next.

What is asked for next is ``{"url": …}`` or ``{"params": {…}}`` beside the parameters that every request has.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urljoin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dataflows_sdk.errors import DefinitionError, SyncError

__all__ = ["Answer", "Paging", "link_of", "look", "read_paging"]

_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[^\s;,=\"]+\s*(?:=\s*(?:\"[^\"]*\"|[^\s;,\"]*))?)*)")
_REL = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]+))", re.IGNORECASE)
_MISSING = object()


class Answer(BaseModel):
    """What paging looks at."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    url: str
    headers: dict[str, str]
    body: Any
    count: int


class _Style(BaseModel, ABC):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def first(self) -> dict[str, Any]:
        """What the first request asks for."""
        return {"params": {}}

    @abstractmethod
    def following(self, asked: Mapping[str, Any], answer: Answer) -> dict[str, Any] | None:
        """What the next request asks for; None at the end."""

    def rows_in_all(self, answer: Answer) -> int | None:
        """How many rows there are, if the answer says so."""
        path = getattr(self, "total", None)
        found = look(answer.body, path) if path else None
        return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


class OnePage(_Style):
    """``"none"``: one answer has everything."""

    style: Literal["none"] = "none"

    def following(self, asked: Mapping[str, Any], answer: Answer) -> dict[str, Any] | None:  # noqa: ARG002
        return None


class LinkHeader(_Style):
    """``"link"``: the header ``Link`` with ``rel="next"`` (RFC 8288), as GitHub has it."""

    style: Literal["link"] = "link"

    def following(self, asked: Mapping[str, Any], answer: Answer) -> dict[str, Any] | None:  # noqa: ARG002
        found = link_of(answer.headers.get("link", ""))
        return None if found is None else {"url": urljoin(answer.url, found)}


class NextUrl(_Style):
    """``{"style": "next_url", "at": "links.next"}``: a URL in the body."""

    style: Literal["next_url"] = "next_url"
    at: str
    total: str | None = None

    def following(self, asked: Mapping[str, Any], answer: Answer) -> dict[str, Any] | None:  # noqa: ARG002
        found = look(answer.body, self.at)
        if found is None or found is _MISSING or found == "":
            return None
        if not isinstance(found, str):
            raise SyncError(f"the next URL at {self.at!r} of the answer is {found!r:.100}, which is no text")
        return {"url": urljoin(answer.url, found)}


class BodyCursor(_Style):
    """``{"style": "cursor", "at": "meta.next", "param": "cursor"}``: a token in the body goes into the next query.

    ``more`` is the path of a flag such as ``has_more``; ``data.-1.id`` is a field of the last record.
    """

    style: Literal["cursor"] = "cursor"
    at: str
    param: str = "cursor"
    more: str | None = None
    total: str | None = None

    def following(self, asked: Mapping[str, Any], answer: Answer) -> dict[str, Any] | None:  # noqa: ARG002
        if self.more is not None and look(answer.body, self.more) in (False, None, _MISSING):
            return None
        found = look(answer.body, self.at)
        if found is None or found is _MISSING or found in ("", False):
            return None
        if not isinstance(found, str | int):
            raise SyncError(f"the cursor at {self.at!r} of the answer is {found!r:.100}, which is no text or number")
        return {"params": {self.param: found}}


class OffsetLimit(_Style):
    """``{"style": "offset", "size": 100}``: ``offset`` and ``limit``, until a page is short or ``total`` is reached."""

    style: Literal["offset"] = "offset"
    size: Annotated[int, Field(ge=1)] = 100
    param: str = "offset"
    size_param: str | None = "limit"
    total: str | None = None

    def _ask(self, offset: int) -> dict[str, Any]:
        return {"params": {self.param: offset} | ({self.size_param: self.size} if self.size_param else {})}

    def first(self) -> dict[str, Any]:
        return self._ask(0)

    def following(self, asked: Mapping[str, Any], answer: Answer) -> dict[str, Any] | None:
        offset = int(asked["params"][self.param]) + answer.count
        total = self.rows_in_all(answer)
        if answer.count == 0 or (answer.count < self.size if total is None else offset >= total):
            return None
        return self._ask(offset)


class PageNumber(_Style):
    """``{"style": "page", "size": 100}``: pages by number, until one is empty or short, or ``pages`` or ``total`` is
    reached.

    Without ``size_param`` the size is what the other side makes it, and only an empty page is the end.
    """

    style: Literal["page"] = "page"
    size: Annotated[int, Field(ge=1)] = 100
    param: str = "page"
    size_param: str | None = "per_page"
    begin: int = 1
    pages: str | None = None
    total: str | None = None

    def _ask(self, number: int) -> dict[str, Any]:
        return {"params": {self.param: number} | ({self.size_param: self.size} if self.size_param else {})}

    def first(self) -> dict[str, Any]:
        return self._ask(self.begin)

    def following(self, asked: Mapping[str, Any], answer: Answer) -> dict[str, Any] | None:
        number = int(asked["params"][self.param])
        done = number - self.begin + 1
        if answer.count == 0:
            return None
        pages = look(answer.body, self.pages) if self.pages else None
        if isinstance(pages, int) and not isinstance(pages, bool):
            return None if done >= pages else self._ask(number + 1)
        total = self.rows_in_all(answer)
        if self.size_param and (answer.count < self.size if total is None else done * self.size >= total):
            return None
        return self._ask(number + 1)


Paging = Annotated[OnePage | LinkHeader | NextUrl | BodyCursor | OffsetLimit | PageNumber, Field(discriminator="style")]
_PAGING: TypeAdapter[Any] = TypeAdapter(Paging)


def read_paging(given: object) -> Any:
    """A paging style from its name or its description.

    Raises:
        DefinitionError: there is no such style, or it lacks something.
    """
    words = "'link', 'next_url', 'cursor', 'offset', 'page' or 'none'"
    document = {"style": given} if isinstance(given, str) else given
    if not isinstance(document, Mapping):
        raise DefinitionError(f"paging is {words}, or a mapping such as {{'style': 'link'}}, not {given!r:.100}")
    try:
        return _PAGING.validate_python(dict(document))
    except ValidationError as error:
        lines = "; ".join(
            f"{'.'.join(str(part) for part in each['loc'][1:]) or 'style'}: {each['msg']}" for each in error.errors()
        )
        raise DefinitionError(f"paging {given!r:.200} cannot be read ({lines}); its style is {words}") from None


def look(body: Any, path: str | None) -> Any:
    """What stands at a path such as ``data.items`` or ``data.-1.id``; a mark of its own where it leads nowhere."""
    found = body
    for part in path.split(".") if path else ():
        if isinstance(found, Mapping):
            found = found.get(part, _MISSING)
        elif isinstance(found, list) and re.fullmatch(r"-?[0-9]{1,9}", part):
            number = int(part)
            found = found[number] if -len(found) <= number < len(found) else _MISSING
        else:
            return _MISSING
    return found


def is_missing(value: Any) -> bool:
    """Whether `look` found nothing."""
    return value is _MISSING


def link_of(header: str, rel: str = "next") -> str | None:
    """The URL of a ``Link`` header that has that relation."""
    for target, parameters in _LINK.findall(header):
        found = _REL.search(parameters)
        if found and rel in (found[1] or found[2]).lower().split():
            return str(target)
    return None
