"""JSON APIs: every style of paging against a server on loopback, limits, secrets, and bad answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from dataflows_sdk.core.redact import Secret
from dataflows_sdk.errors import (
    DefinitionError,
    EgressDeniedError,
    HttpStatusError,
    NonRetryableError,
    RetryAfter,
    SourceNotFoundError,
    SyncError,
)
from dataflows_sdk.nodes.services import Services
from dataflows_sdk.warehouse.sources.json_api import JsonApi
from dataflows_sdk.warehouse.sources.page import Bound, Reach
from dataflows_sdk.warehouse.sources.paging import link_of, look
from dataflows_sdk.warehouse.sources.throttle import asked_to_wait, window_end

from .conftest import NOW, Asked, Reply, Serve, all_pages

ITEMS = [{"id": n, "updated_at": f"2026-01-{n:02}T00:00:00Z"} for n in range(1, 11)]
MakeReach = Callable[..., Reach]


def slice_of(asked: Asked, offset: str = "offset", limit: str = "limit") -> list[dict[str, Any]]:
    begin = int(asked.query.get(offset, "0"))
    return ITEMS[begin : begin + int(asked.query.get(limit, "3"))]


def by_link(asked: Asked) -> Reply:
    page = int(asked.query.get("page", "1"))
    links = ['<http://127.0.0.1/first?page=1>; rel="first"']
    if page < 4:
        links.append(f'<?page={page + 1}&keep=1>; title="a, b"; rel=next')
    return 200, {"Link": ", ".join(links)}, ITEMS[(page - 1) * 3 : page * 3]


def by_url(asked: Asked) -> Reply:
    page = int(asked.query.get("page", "1"))
    following = f"{asked.path}?page={page + 1}" if page < 4 else None
    return 200, {}, {"data": {"items": ITEMS[(page - 1) * 3 : page * 3]}, "links": {"next": following}}


def by_cursor(asked: Asked) -> Reply:
    begin = {None: 0, "a": 3, "b": 6, "c": 9}[asked.query.get("after")]
    following = {0: "a", 3: "b", 6: "c"}.get(begin)
    return 200, {}, {"items": ITEMS[begin : begin + 3], "meta": {"next": following}}


def by_last_id(asked: Asked) -> Reply:
    begin = int(asked.query.get("starting_after", "0"))
    return 200, {}, {"data": ITEMS[begin : begin + 3], "has_more": begin + 3 < len(ITEMS)}


def by_offset(asked: Asked) -> Reply:
    return 200, {}, {"items": slice_of(asked), "count": len(ITEMS)}


def by_page(asked: Asked) -> Reply:
    page, size = int(asked.query["page"]), int(asked.query.get("per_page", "3"))
    return 200, {}, {"items": ITEMS[(page - 1) * size : page * size], "meta": {"pages": 4, "total": len(ITEMS)}}


STYLES: list[tuple[Callable[[Asked], Reply], str, Any, int]] = [
    (by_link, "", "link", 4),
    (by_url, "data.items", {"style": "next_url", "at": "links.next"}, 4),
    (by_cursor, "items", {"style": "cursor", "at": "meta.next", "param": "after"}, 4),
    (by_last_id, "data", {"style": "cursor", "at": "data.-1.id", "param": "starting_after", "more": "has_more"}, 4),
    (by_offset, "items", {"style": "offset", "size": 3}, 4),
    (by_offset, "items", {"style": "offset", "size": 5}, 3),
    (by_offset, "items", {"style": "offset", "size": 5, "total": "count"}, 2),
    (by_page, "items", {"style": "page", "size": 3}, 4),
    (by_page, "items", {"style": "page", "size": 3, "pages": "meta.pages"}, 4),
    (by_page, "items", {"style": "page", "size": 5, "total": "meta.total"}, 2),
    (by_page, "items", {"style": "page", "size_param": None}, 5),
    (lambda asked: (200, {}, ITEMS), "", "none", 1),
]


@pytest.mark.parametrize(
    ("answer", "records", "paging", "requests"), STYLES, ids=lambda each: getattr(each, "__name__", str(each)[:40])
)
def test_every_record_comes_once(
    answer: Callable[[Asked], Reply], records: str, paging: Any, requests: int, api: Serve, reach: MakeReach
) -> None:
    server = api(answer)
    source = JsonApi(f"{server.url}/items", records=records, paging=paging)
    pages, _ = all_pages(source, reach())
    assert [row["id"] for page in pages for row in page] == list(range(1, 11))
    assert len(server.asked) == requests


@pytest.mark.parametrize(
    ("answer", "records", "paging", "requests"), STYLES[:7], ids=lambda each: getattr(each, "__name__", str(each)[:40])
)
def test_another_process_goes_on_in_the_middle(
    answer: Callable[[Asked], Reply], records: str, paging: Any, requests: int, api: Serve, reach: MakeReach
) -> None:
    server = api(answer)
    source = JsonApi(f"{server.url}/items", records=records, paging=paging)
    first = source.fetch(None, reach())
    description, position = json.loads(json.dumps([source.describe(), first.cursor]))
    again = JsonApi(**{name: value for name, value in description.items() if name != "kind"})
    pages, _ = all_pages(again, reach(), position)
    assert [row["id"] for page in [first.rows, *pages] for row in page] == list(range(1, 11))
    assert len(server.asked) == requests


def test_an_incremental_sync_asks_for_what_changed_since(api: Serve, reach: MakeReach) -> None:
    def answer(asked: Asked) -> Reply:
        since = asked.query.get("since", "")
        found = [item for item in ITEMS if str(item["updated_at"]) >= since]
        begin = int(asked.query["offset"])
        return 200, {}, found[begin : begin + int(asked.query["limit"])]

    server = api(answer)
    source = JsonApi(f"{server.url}/items", paging={"style": "offset", "size": 4}, cursor_param="since")
    source.bind(Bound("items", ("id",), "updated_at"))
    _, position = all_pages(source, reach())
    assert position == {"since": "2026-01-10T00:00:00Z"}
    ITEMS.append({"id": 11, "updated_at": "2026-02-01T00:00:00Z"})
    try:
        pages, position = all_pages(source, reach(), position)
    finally:
        ITEMS.pop()
    assert [row["id"] for page in pages for row in page] == [10, 11]
    assert position == {"since": "2026-02-01T00:00:00Z"}
    assert {each.query.get("since") for each in server.asked} == {None, "2026-01-10T00:00:00Z"}


def test_deleted_keys_and_the_total_are_read(api: Serve, reach: MakeReach) -> None:
    server = api(lambda asked: (200, {}, {"items": ITEMS[:2], "gone": [7, 8], "count": 40}))
    source = JsonApi(
        server.url, records="items", deleted="gone", paging={"style": "offset", "size": 2, "total": "count"}
    )
    page = source.fetch(None, reach())
    assert list(page.deleted) == [7, 8]
    assert page.total == 40


# --- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), 120),
        ("soon", None),
        ("nan", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(
    status: int, header: str, seconds: int | None, api: Serve, reach: MakeReach
) -> None:
    server = api(lambda asked: (status, {"Retry-After": header}, {}))
    with pytest.raises(HttpStatusError) as caught:
        JsonApi(server.url).fetch(None, reach())
    until = asked_to_wait(caught.value, NOW)
    assert until == (None if seconds is None else NOW + timedelta(seconds=seconds))


def test_github_says_when_its_window_ends(api: Serve, reach: MakeReach) -> None:
    end = int((NOW + timedelta(minutes=5)).timestamp())
    limits = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(end)}
    server = api(lambda asked: (403, limits, {"message": "API rate limit exceeded"}))
    with pytest.raises(HttpStatusError) as caught:
        JsonApi(server.url, rate_limit="github").fetch(None, reach())
    assert asked_to_wait(caught.value, NOW) == NOW + timedelta(minutes=5)
    other = api(lambda asked: (200, limits, ITEMS))
    assert JsonApi(other.url, rate_limit="github").fetch(None, reach()).wait_until == NOW + timedelta(minutes=5)
    assert JsonApi(other.url).fetch(None, reach()).wait_until is None


def test_a_403_is_no_limit_by_itself(api: Serve, reach: MakeReach) -> None:
    server = api(lambda asked: (403, {}, {"message": "no"}))
    with pytest.raises(HttpStatusError) as caught:
        JsonApi(server.url).fetch(None, reach())
    assert asked_to_wait(caught.value, NOW) is None


def test_what_functions_raise_and_what_is_nonsense() -> None:
    assert asked_to_wait(RetryAfter("30s"), NOW) == NOW + timedelta(seconds=30)
    assert asked_to_wait(RetryAfter(NOW - timedelta(hours=1)), NOW) == NOW
    assert asked_to_wait(ValueError("no"), NOW) is None
    assert window_end({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}, NOW) is None
    assert window_end({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9" * 30}, NOW) is None
    assert window_end({"x-ratelimit-remaining": "3", "x-ratelimit-reset": str(2**31)}, NOW) is None


# --- secrets ----------------------------------------------------------------------------------------------

TOKEN = "gh-very-secret-token-123"


def test_a_secret_is_sent_and_never_described(api: Serve, reach: MakeReach) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}" or asked.query.get("api_key") != TOKEN:
            return 401, {}, {}
        page = int(asked.query.get("page", "1"))
        following = f"http://{asked.headers['host']}/items?page={page + 1}&api_key={asked.query['api_key']}"
        return 200, {"Link": f'<{following}>; rel="next"'} if page < 3 else {}, ITEMS[page : page + 1]

    server = api(answer)
    source = JsonApi(
        f"{server.url}/items",
        paging="link",
        params={"api_key": "{{env.TOKEN}}"},
        auth={"type": "bearer", "token": "{{ env.TOKEN }}"},
    )
    first = source.fetch(None, reach(TOKEN=TOKEN))
    kept = json.dumps([source.describe(), first.cursor])
    assert TOKEN not in kept
    assert "{{env.TOKEN}}" in kept
    pages, _ = all_pages(source, reach(TOKEN=TOKEN), first.cursor)
    assert len(pages) == 2
    with pytest.raises(SourceNotFoundError, match=r"TOKEN.*Services\(env="):
        source.fetch(None, reach())


@pytest.mark.parametrize(
    "arguments",
    [
        {"headers": {"Authorization": f"Bearer {TOKEN}"}},
        {"headers": {"X-Api-Key": TOKEN}},
        {"params": {"access_token": TOKEN}},
        {"auth": {"type": "bearer", "token": TOKEN}},
        {"auth": {"type": "basic", "username": "me", "password": TOKEN}},
        {"auth": {"type": "query", "name": "k", "value": TOKEN}},
        {"auth": {"type": "header", "name": "X-K", "value": Secret("another one")}},
    ],
)
def test_a_literal_secret_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match="holds a secret") as caught:
        JsonApi("https://api.example.com/items", **arguments)
    assert TOKEN not in str(caught.value)


def test_secrets_do_not_follow_to_another_host(api: Serve, reach: MakeReach) -> None:
    elsewhere = api(lambda asked: (200, {}, ITEMS))
    server = api(lambda asked: (200, {}, {"items": ITEMS, "next": f"{elsewhere.url}/items?page=2"}))
    source = JsonApi(server.url, records="items", paging={"style": "next_url", "at": "next"})
    with pytest.raises(NonRetryableError, match="another host"):
        source.fetch(None, reach())
    assert not elsewhere.asked


def test_what_is_private_is_not_called(api: Serve, reach: MakeReach) -> None:
    server = api(lambda asked: (200, {}, ITEMS))
    closed = Reach(Services(), reach().loop, NOW)
    with pytest.raises(EgressDeniedError):
        JsonApi(server.url).fetch(None, closed)
    assert not server.asked


# --- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"url": "ftp://example.com"}, "url is an address"),
        ({"url": ""}, "url is an address"),
        ({"url": "https://me:pw@example.com/"}, "holds a user or password"),
        ({"paging": "sideways"}, "style is 'link'"),
        ({"paging": {"style": "cursor"}}, "cursor.at|at: Field required"),
        ({"paging": {"style": "page", "size": 0}}, "greater than or equal to 1"),
        ({"paging": 7}, "paging is 'link'"),
        ({"auth": {"type": "magic"}}, "auth has a type and its parts"),
        ({"auth": {"type": "bearer"}}, "auth has a type and its parts"),
        ({"rate_limit": "always"}, "rate_limit is 'github'"),
        ({"headers": "no"}, "headers is a mapping"),
    ],
)
def test_a_wrong_description_says_so(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        JsonApi(**({"url": "https://api.example.com/items"} | arguments))


@pytest.mark.parametrize(
    ("body", "records", "says"),
    [
        ({"items": ITEMS}, "data.items", "nothing at 'data.items' of the answer; it has 'items'"),
        ({"items": "none"}, "items", "no list but str"),
        ({"items": [{"id": 1}, 7]}, "items", "row 1 of the page is int 7"),
        (b"<html>", "items", "nothing at 'items'"),
        ([1, 2], "", "row 0 of the page"),
    ],
)
def test_a_wrong_answer_says_where(body: Any, records: str, says: str, api: Serve, reach: MakeReach) -> None:
    server = api(lambda asked: (200, {}, body))
    with pytest.raises(SyncError, match=says):
        JsonApi(server.url, records=records).fetch(None, reach())


def test_a_parameter_without_a_field_says_so() -> None:
    with pytest.raises(DefinitionError, match=r"cursor='updated_at'"):
        JsonApi("https://api.example.com", cursor_param="since").bind(Bound("x"))


def test_links_and_paths() -> None:
    assert link_of('<a>; rel="prev", <b>; rel="last next"') == "b"
    assert link_of('<a>; rel="prev"') is None
    assert link_of("") is None
    assert link_of('<https://e.org/?a=1,2>; rel="next"') == "https://e.org/?a=1,2"
    assert look({"a": [{"b": 1}, {"b": 2}]}, "a.-1.b") == 2
    assert look([5], "0") == 5
    assert look({"a": 1}, "") == {"a": 1}
