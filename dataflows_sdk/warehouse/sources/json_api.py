"""A JSON API, described: where its records are, how it pages, what it wants to be asked with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError, NonRetryableError, SyncError
from dataflows_sdk.nodes.egress_url import shown_url
from dataflows_sdk.warehouse.sources.connected import Access, access_of, read_named
from dataflows_sdk.warehouse.sources.marks import largest_of
from dataflows_sdk.warehouse.sources.page import Bound, Page, Reach, check_rows
from dataflows_sdk.warehouse.sources.paging import Answer, is_missing, look, read_paging
from dataflows_sdk.warehouse.sources.secrets import check_named, fill
from dataflows_sdk.warehouse.sources.throttle import window_end

if TYPE_CHECKING:
    from dataflows_sdk.nodes.http import ActionHttp

__all__ = ["JsonApi"]

_AUTH = {
    "bearer": ("token",),
    "basic": ("username", "password"),
    "header": ("name", "value"),
    "query": ("name", "value"),
}
_SECRET_PARTS = frozenset({"token", "password", "value"})


@dataclass
class JsonApi(ShownAsTable):
    """Records of a JSON API over HTTP, for `Warehouse.sync`.

    Requests go through the egress policy of the context (``Services(egress=…)``): nothing private by default. Texts of
    *url*, *params*, *headers* and *auth* may hold ``{{env.NAME}}``, which is filled in where the request is made; a
    secret that stands there literally is refused, because the description is kept in the journal. A *connection* is
    named instead of a secret: its token goes where its client's security scheme says, is refreshed before it ends and
    after a 401, and stands in no description.

    Args:
        url: of the first page.
        records: where in the body the list of records is: ``"data.items"``; the body itself by default.
        paging: ``"link"`` (the header ``Link``), ``"none"``, or a mapping with a ``style``:
            ``{"style": "next_url", "at": "links.next"}``,
            ``{"style": "cursor", "at": "meta.next", "param": "cursor", "more": "has_more"}``,
            ``{"style": "offset", "size": 100, "param": "offset", "size_param": "limit", "total": "count"}``,
            ``{"style": "page", "size": 100, "param": "page", "size_param": "per_page", "pages": "meta.pages"}``.
        params, headers: of every request.
        auth: ``{"type": "bearer", "token": "{{env.TOKEN}}"}``, ``{"type": "basic", "username", "password"}``,
            ``{"type": "header", "name", "value"}`` or ``{"type": "query", "name", "value"}``.
        connection: instead of *auth*: the name of a service client that has one active connection, a connection of
            ``ctx.connections`` or its id, or ``{"client": "hubspot", "account_id": "acme", "scopes": ["crm.read"]}``,
            where ``user_id``, ``scopes`` and ``hosts`` may stand too.
        cursor_param: the parameter that asks for what changed since: an incremental sync fills it with the largest
        value
            of the field that ``sync(cursor=…)`` names.
        deleted: where in the body the keys of deleted records are, if it names them.
        rate_limit: ``"github"`` also reads ``X-RateLimit-Remaining`` and ``X-RateLimit-Reset``; ``Retry-After`` is
        always
            honoured.
        max_bytes: how large one answer may be.

    Raises:
        DefinitionError: something cannot be read, or holds a secret.
    """

    url: str
    records: str = ""
    paging: Any = "none"
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    auth: Mapping[str, str] | None = None
    cursor_param: str | None = None
    deleted: str | None = None
    rate_limit: str | None = None
    max_bytes: int = 50_000_000
    connection: Any = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url) if isinstance(self.url, str) else None
        if parts is None or (
            not self.url.startswith("{{") and (parts.scheme not in ("http", "https") or not parts.netloc)
        ):
            raise DefinitionError(
                f"JsonApi: url is an address such as https://api.example.com/items, not {self.url!r:.200}"
            )
        if parts.username or parts.password:
            raise DefinitionError("JsonApi: the url holds a user or password; write auth={'type': 'basic', …}")
        if self.rate_limit not in (None, "github"):
            raise DefinitionError(f"JsonApi: rate_limit is 'github' or None, not {self.rate_limit!r}")
        for name, value in parse_qsl(parts.query):
            check_named("JsonApi: the query parameter", name, value)
        for what, given in (("params", self.params), ("headers", self.headers)):
            if not isinstance(given, Mapping):
                raise DefinitionError(f"JsonApi: {what} is a mapping, not {given!r:.100}")
            for name, value in given.items():
                check_named(f"JsonApi: {what}", str(name), value)
        self._check_auth()
        self._style = read_paging(self.paging)
        self._bound = Bound("")

    def _check_auth(self) -> None:
        self.connection = read_named("JsonApi", self.connection)
        if self.auth is None:
            return
        if self.connection is not None:
            raise DefinitionError(
                "JsonApi: auth= and connection= are two ways to be known there; leave one of them out"
            )
        kind = self.auth.get("type") if isinstance(self.auth, Mapping) else None
        if kind not in _AUTH or set(self.auth) - {"type", *_AUTH[kind]} or set(_AUTH[kind]) - set(self.auth):
            shown = "; ".join(f"{each}: {', '.join(parts)}" for each, parts in _AUTH.items())
            raise DefinitionError(f"JsonApi: auth has a type and its parts ({shown})")
        for name in _SECRET_PARTS & set(self.auth):
            check_named(f"JsonApi: auth of type {kind!r}:", "password", self.auth[name])

    # --- as a source -----------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "json_api",
            "url": self.url,
            "records": self.records,
            "paging": self._style.model_dump(),
            "params": dict(self.params),
            "headers": dict(self.headers),
            "auth": None if self.auth is None else dict(self.auth),
            "cursor_param": self.cursor_param,
            "deleted": self.deleted,
            "rate_limit": self.rate_limit,
            "max_bytes": self.max_bytes,
            "connection": self.connection,
        }

    def name(self) -> str | None:
        parts = urlsplit(self.url)
        return f"{parts.netloc}{parts.path}".rstrip("/")[:200] if "{{" not in self.url else None

    def bind(self, bound: Bound) -> None:
        if self.cursor_param is not None and bound.field is None:
            raise DefinitionError(
                f"JsonApi(cursor_param={self.cursor_param!r}) is filled with the largest value of a field: say "
                "which one, "
                "sync(…, cursor='updated_at')"
            )
        self._bound = bound

    def fetch(self, position: Any, reach: Reach) -> Page:
        position = dict(position or {})
        asked = position.get("ask") or self._style.first()
        since, largest = position.get("since"), position.get("largest")
        access = None if self.connection is None else access_of(self.connection, reach)
        answer = reach.call(self._get(asked, since, reach, access))
        what = f"GET {shown_url(answer.url)}"
        rows = self._records(answer.body, what)
        answer.count = len(rows)
        deleted = look(answer.body, self.deleted) if self.deleted else []
        if not isinstance(deleted, list):
            deleted = []
        if self._bound.field is not None:
            largest = largest_of(rows, self._bound.field, largest, what)
        following = self._style.following(asked, answer)
        if following is not None and "url" in following:
            following = {"url": self._own(following["url"], answer.url, access)}
        if following is not None:
            cursor: dict[str, Any] = {"ask": following, "since": since, "largest": largest}
        else:
            cursor = {"since": largest if largest is not None else since}
        wait = window_end(answer.headers, reach.now) if self.rate_limit == "github" else None
        return Page(rows, cursor, deleted, following is not None, None, wait, self._style.rows_in_all(answer))

    # --- asking ----------------------------------------------------------------------------------------------

    async def _get(self, asked: Mapping[str, Any], since: Any, reach: Reach, access: Access | None) -> Answer:
        from dataflows_sdk.nodes.http import call_http
        from dataflows_sdk.nodes.registry import Call

        config = self._request(asked, since, reach)
        call = Call("page", reach.run, "dataflows.sync", reach.attempt, f"{reach.run}:page", {}, reach.services)
        answer = await call_http(config, call, access)
        url = self._base(asked, reach)
        return Answer(url=url, headers=answer["headers"], body=answer["body"], count=0)

    def _base(self, asked: Mapping[str, Any], reach: Reach) -> str:
        return str(asked["url"]) if "url" in asked else str(fill(self.url, reach.services.env))

    def _request(self, asked: Mapping[str, Any], since: Any, reach: Reach) -> ActionHttp:
        from dataflows_sdk.nodes.http import ActionHttp

        env = reach.services.env
        query: dict[str, Any]
        if "url" in asked:  # a whole URL has its parameters already, but for what was taken out of it
            query = {name: fill(value, env) for name, value in self.params.items() if name in self._hidden()}
        else:
            query = {**fill(dict(self.params), env), **asked.get("params", {})}
            if self.cursor_param is not None and since is not None:
                query[self.cursor_param] = _as_param(since)
        auth = None if self.auth is None else fill(dict(self.auth), env)
        if auth is not None and auth["type"] == "query":
            query[auth["name"]] = auth["value"]
            auth = None
        headers = {"Accept": "application/json", **fill(dict(self.headers), env)}
        return ActionHttp.model_validate(
            {
                "url": self._base(asked, reach),
                "query": query,
                "headers": headers,
                "auth": auth,
                "max_bytes": self.max_bytes,
            }
        )

    def _own(self, url: str, base: str, access: Access | None) -> str:
        """The URL of the next page, without what is secret in it.

        Raises:
            NonRetryableError: it leads to another host, which is not given our secrets.
        """
        parts, home = urlsplit(url), urlsplit(base)
        if (parts.scheme, parts.netloc) != (home.scheme, home.netloc):
            raise NonRetryableError(
                f"the next page is said to be at {shown_url(url)}, which is another host than {home.netloc}; secrets "
                "are not sent there"
            )
        hidden, query = self._hidden(), parse_qsl(parts.query, keep_blank_values=True)
        if access is not None and (name := access.hidden()) is not None:
            hidden.add(name)
        if not any(name in hidden for name, _ in query):
            return url
        query = [(name, value) for name, value in query if name not in hidden]
        return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))

    def _hidden(self) -> set[str]:
        """Parameters whose values come from the environment: they are sent, and never kept."""
        names = {name for name, value in self.params.items() if isinstance(value, str) and "{{" in value}
        return names | ({self.auth["name"]} if self.auth is not None and self.auth["type"] == "query" else set())

    def _records(self, body: Any, what: str) -> list[Any]:
        found = look(body, self.records)
        if is_missing(found) or not isinstance(found, list):
            has = (
                f"it has {', '.join(map(repr, list(body)[:10]))}"
                if isinstance(body, Mapping)
                else f"it is {body!r:.200}"
            )
            where = f"at {self.records!r} of the answer" if self.records else "in the answer"
            wrong = "nothing" if is_missing(found) else f"no list but {type(found).__name__}"
            raise SyncError(f"{what}: there is {wrong} {where}; {has}. Say where the records are: records='data.items'")
        return check_rows(found, what)


def _as_param(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime | date) else value
