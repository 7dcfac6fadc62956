"""What a sync refuses: cursors that go nowhere, deletions of too much, rows that do not fit, wrong arguments."""

from __future__ import annotations

from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.errors import DefinitionError, StepFailed

from .conftest import Serve, Things, numbers, sync

# --- cursors that are none --------------------------------------------------------------------------------


def test_a_cursor_that_goes_in_a_circle_is_noticed(ctx: df.Context) -> None:
    following = {None: "a", "a": "b", "b": "c", "c": "a"}
    seen: list[Any] = []

    def pages(cursor: str | None) -> df.Page:
        seen.append(cursor)
        return df.Page([{"id": len(seen)}], following[cursor])

    with pytest.raises(StepFailed, match=r"goes in a circle: page 4 at 'c' names 'a'.*was page 2 already"):
        sync(ctx, pages).result()
    assert seen == [None, "a", "b", "c"]
    assert numbers(ctx) == [1, 2, 3]


@pytest.mark.parametrize(
    ("cursors", "says"),
    [
        ({None: 5, 5: 5}, "does not move: the page at 5"),
        ({None: 5, 5: 9, 9: 7}, "goes backwards: the page at 9 names 7"),
        ({None: "2026-02-01", "2026-02-01": "2026-01-31"}, "goes backwards"),
    ],
)
def test_a_cursor_that_does_not_go_forwards(cursors: dict[Any, Any], says: str, ctx: df.Context) -> None:
    with pytest.raises(StepFailed, match=says):
        sync(ctx, lambda cursor: df.Page([{"id": 1}], cursors[cursor]), mode="incremental").result()
    (state,) = ctx.warehouse.syncs()
    assert state.status == "failed"


def test_an_api_whose_next_url_is_always_the_same(ctx: df.Context, api: Serve) -> None:
    server = api(lambda asked: (200, {"Link": '<?page=2>; rel="next"'}, [{"id": 1}]))
    with pytest.raises(StepFailed, match=r"page 2 at '.*page=2' names '.*page=2'"):
        sync(ctx, df.JsonApi(f"{server.url}/x", paging="link")).result()
    assert len(server.asked) == 2


def test_a_cursor_that_cannot_be_kept(ctx: df.Context) -> None:
    with pytest.raises(StepFailed, match="a cursor is a text, a number, a moment"):
        sync(ctx, lambda cursor: df.Page([{"id": 1}], object()), retry=df.NO_RETRY).result()


# --- deletions that are none ------------------------------------------------------------------------------


def test_a_full_sync_that_comes_empty_deletes_nothing(ctx: df.Context, source: df.JsonApi, things: Things) -> None:
    sync(ctx, source).result()
    rows, things.rows = things.rows, []
    with pytest.raises(StepFailed, match=r"no row for 'things', which has 50 rows.*allow_empty=True"):
        sync(ctx, source).result()
    assert len(numbers(ctx)) == 50
    with pytest.raises(StepFailed, match="max_deletes"):
        sync(ctx, source, allow_empty=True).result()
    assert len(numbers(ctx)) == 50
    things.asked.clear()
    assert sync(ctx, source, allow_empty=True, max_deletes=1).result().deleted == 50
    assert things.asked == [], "the pages of the pass are stored; only its end was open"
    things.rows = rows
    assert sync(ctx, source).result().inserted == 50


def test_more_than_the_share_is_not_deleted(ctx: df.Context, source: df.JsonApi, things: Things) -> None:
    sync(ctx, source).result()
    things.rows = things.rows[:20]
    with pytest.raises(StepFailed, match=r"30 of 50 rows of 'things' would be deleted.*max_deletes=0.5"):
        sync(ctx, source).result()
    assert len(numbers(ctx)) == 50
    assert sync(ctx, source, max_deletes=0.6).result().deleted == 30
    assert numbers(ctx) == list(range(20))


def test_a_row_that_was_set_aside_is_not_gone(ctx: df.Context) -> None:
    table = ctx.warehouse.table("things", {"id": int, "n": int}, key="id", bad="aside")
    sync(ctx, [[{"id": 1, "n": 1}, {"id": 2, "n": 2}]], into=table).result()
    report = sync(ctx, [[{"id": 1, "n": 1}, {"id": 2, "n": "two"}, {"id": "three", "n": 3}]], into=table).result()
    assert (report.aside, report.deleted, report.unchanged) == (2, 0, 1)
    assert numbers(ctx) == [1, 2]
    assert len(table.aside()) == 2


# --- rows that do not fit ---------------------------------------------------------------------------------


def test_a_type_that_changes_mid_stream(ctx: df.Context) -> None:
    def pages() -> list[list[dict[str, Any]]]:
        return [[{"id": 1, "n": 1}], [{"id": 2, "n": 2.5}], [{"id": 3, "n": "three"}], [{"id": 4, "n": 4}]]

    sync(ctx, pages()[:3], into="grown").result()
    assert [row["n"] for row in ctx.warehouse.table("grown").find(order="id")] == ["1", "2.5", "three"]
    strict = ctx.warehouse.table("strict", {"id": int, "n": float}, key="id")
    run = sync(ctx, pages(), into=strict, name="strict")
    with pytest.raises(StepFailed, match=r"page 3.*'n'.*three"):
        run.result()
    assert numbers(ctx, "strict") == [1, 2]
    assert {step.key: step.attempt for step in run.timeline()}["page 3"] == 1, "it would come back the same"
    report = sync(ctx, pages(), into=strict, name="strict", bad="aside").result()
    assert report.aside == 1
    assert numbers(ctx, "strict") == [1, 2, 4]


def test_rows_without_their_key(ctx: df.Context) -> None:
    with pytest.raises(StepFailed, match="id"):
        sync(ctx, [[{"id": 1}, {"name": "no"}, {"id": None}]], into="keyless").result()
    with pytest.raises(StepFailed, match="key"):
        sync(ctx, [[{"name": "x"}]], key=None, into="unkeyed").result()
    ctx.warehouse.table("other", {"id": int, "n": int}, key="id")
    with pytest.raises(StepFailed, match=r"has the key \(id\), not \(n\)"):
        sync(ctx, [[{"id": 1, "n": 1}]], key="n", into="other", name="other").result()
    with pytest.raises(StepFailed, match=r"names \(1, 2\) as deleted; the key of 'other' is \(id\)"):
        sync(ctx, [df.Page([], deleted=[(1, 2)])], key=None, into="other", name="other").result()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "sideways"}, "mode is 'full'"),
        ({"bad": "no"}, "bad is 'refuse'"),
        ({"max_deletes": 2}, "max_deletes is a share"),
        ({"max_deletes": True}, "max_deletes is a share"),
        ({"allow_empty": 1}, "allow_empty is True or False"),
        ({"retry": 3}, "retry is a policy"),
        ({"retry": df.Retry(3, retry_on=(OSError,))}, "cannot name classes"),
        ({"every": "-1s"}, "every is a time|Not a duration|duration"),
        ({"every": "1h"}, "exists in this process alone"),
        ({"patience": "soon"}, "soon"),
        ({"name": ""}, "name of a sync"),
        ({"into": "x" * 80}, "55|bytes|long"),
        ({"into": "runs"}, "runs"),
    ],
)
def test_a_wrong_argument_says_so_before_anything_runs(options: dict[str, Any], says: str, ctx: df.Context) -> None:
    with pytest.raises(DefinitionError, match=says):
        sync(ctx, [[{"id": 1}]], **options)
    assert list(ctx.runs()) == []


def test_a_name_belongs_to_one_table(ctx: df.Context) -> None:
    sync(ctx, [[{"id": 1}]]).result()
    with pytest.raises(StepFailed, match=r"brings rows into 'things', not 'others'; give this one another name="):
        sync(ctx, [[{"id": 1}]], into="others").result()
    for call in (ctx.warehouse.stop_sync, ctx.warehouse.forget_sync):
        with pytest.raises(DefinitionError, match=r"no sync 'nothing'; there are: things"):
            call("nothing")
