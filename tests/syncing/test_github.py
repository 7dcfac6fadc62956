"""Issues, pull requests and users as GitHub sends them, from a paginated API on loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df

from ..conftest import MakeContext
from .conftest import Api, Asked, Reply, Serve


@pytest.fixture(scope="module")
def payloads(shared_data: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_bytes()) for path in sorted((shared_data / "github-webhooks").glob("*.json"))]
    assert len(found) > 200
    return [each for each in found if isinstance(each, dict)]


class GitHub:
    """Lists with ``since``, ``per_page`` and ``page``, and a ``Link`` header, as GitHub's REST API has them."""

    def __init__(self) -> None:
        self.lists: dict[str, dict[int, dict[str, Any]]] = {"/issues": {}, "/pulls": {}, "/users": {}}

    def __call__(self, asked: Asked) -> Reply:
        since, size = asked.query.get("since", ""), int(asked.query.get("per_page", "30"))
        page = int(asked.query.get("page", "1"))
        rows = [row for row in self.lists[asked.path].values() if row.get("updated_at", "9") >= since]
        rows.sort(key=lambda row: (row.get("updated_at", ""), row["id"]))
        links = []
        if page * size < len(rows):
            others = "".join(f"&{name}={value}" for name, value in asked.query.items() if name != "page")
            links.append(f'<http://{asked.headers["host"]}{asked.path}?page={page + 1}{others}>; rel="next"')
        headers = {"Link": ", ".join(links), "X-RateLimit-Remaining": "4999", "X-RateLimit-Reset": "1999999999"}
        return 200, headers, rows[(page - 1) * size : page * size]


def source_of(api: Api, path: str, **more: Any) -> df.JsonApi:
    params = {"per_page": 2, "state": "all"}
    return df.JsonApi(f"{api.url}{path}", paging="link", params=params, rate_limit="github", **more)


@pytest.fixture
def ctx(make_ctx: MakeContext) -> df.Context:
    return make_ctx(services=df.Services(egress=["127.0.0.1"]))


@pytest.mark.parametrize(("path", "field"), [("/issues", "issue"), ("/pulls", "pull_request")])
def test_every_version_of_an_issue_is_in_its_history(
    path: str, field: str, payloads: list[dict[str, Any]], ctx: df.Context, api: Serve
) -> None:
    versions = [each[field] for each in payloads if isinstance(each.get(field), dict) and "updated_at" in each[field]]
    versions.sort(key=lambda row: row["updated_at"])
    assert len(versions) > 15
    hub = GitHub()
    source = source_of(api(hub), path, cursor_param="since")
    expected: dict[int, list[dict[str, Any]]] = {}
    for version in versions:
        hub.lists[path][version["id"]] = version
        now = {**(expected[version["id"]][-1] if version["id"] in expected else {}), **version}
        known = expected.setdefault(version["id"], [])
        if not known or known[-1] != now:
            known.append(now)
        ctx.warehouse.sync(source, into=field, key="id", cursor="updated_at", name=path).result("30s")
    for key, known in expected.items():
        history = ctx.warehouse.history(field, key)
        assert [each.row["updated_at"] for each in history if each.row is not None] == [
            row["updated_at"] for row in known
        ]
        for was, row in zip(history, known, strict=True):
            assert was.row is not None
            assert was.row["user"] == row["user"]
            assert was.row["title"] == row["title"]
            assert was.row["labels"] == row.get("labels")
    assert sum(len(known) for known in expected.values()) > len(expected)


def test_users_page_by_page_and_those_who_left(payloads: list[dict[str, Any]], ctx: df.Context, api: Serve) -> None:
    users: dict[int, dict[str, Any]] = {}

    def look(tree: Any) -> None:
        if isinstance(tree, dict):
            if {"login", "id", "type"} <= set(tree):
                users[tree["id"]] = tree
            for value in tree.values():
                look(value)
        elif isinstance(tree, list):
            for value in tree:
                look(value)

    look(payloads)
    assert len(users) > 20
    hub = GitHub()
    hub.lists["/users"] = users
    server = api(hub)
    source = source_of(server, "/users")
    report = ctx.warehouse.sync(source, into="users", key="id", name="users").result("30s")
    assert report.inserted == len(users)
    assert report.pages == (len(users) + 1) // 2 == len(server.asked)
    gone = max(users)
    hub.lists["/users"] = {key: row for key, row in users.items() if key != gone}
    assert ctx.warehouse.sync(source, into="users", name="users").result("30s").deleted == 1
    assert ctx.warehouse.table("users").get(gone) is None
    assert ctx.warehouse.history("users", gone)[0].row is not None
