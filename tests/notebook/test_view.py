"""What a view holds of real runs: bounded, masked, the same from a database and from an archive."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

import dataflows_sdk as df
from dataflows_sdk.archive import open_archive
from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.engine.state import RunState, parse
from dataflows_sdk.engine.state import fold as engine_fold
from dataflows_sdk.errors import DefinitionError, RunNotFoundError
from dataflows_sdk.notebook import model
from dataflows_sdk.notebook.display import view_of
from dataflows_sdk.notebook.folding import OPEN
from dataflows_sdk.notebook.previews import SHOWN, preview

from ..conftest import MakeContext, wait_until
from .shows import NASTY, TOKEN, all_of_them, asking, colourful, declare


def plain(text: str) -> str:
    return text


def test_a_run_of_code_is_drawn_as_it_went(ctx: df.Context) -> None:
    run = ctx.start(colourful(), {"n": 1})
    run.send_event("go", {"by": "ana"})
    run.wait("20s")
    view = view_of(run)
    ids = [part.id for part in view.shape.parts]
    assert ids == [
        "load", "few[0]/inner", "few[1]/inner", "few[2]/inner", "many", "both[left]", "both[right]", "flaky", "again",
        "again#2", "again#3", "nap", "go",
    ]  # fmt: skip
    edges = {(edge.source, edge.target) for edge in view.shape.edges}
    assert {("load", "few[0]/inner"), ("few[2]/inner", "many"), ("many", "both[left]"), ("again", "again#2")} <= edges
    assert ("few[0]/inner", "few[1]/inner") not in edges
    boxes = view.boxes(view.at())
    assert boxes["many"].expected == 12
    assert len(boxes["many"].members) == 12
    assert boxes["flaky"].attempt == 2
    assert boxes["flaky"].own is not None
    assert [each[2] for each in boxes["flaky"].own["tries"]] == ["failed", "completed"]
    assert {box.status for box in boxes.values()} == {"completed"}
    assert view.head["status"] == "succeeded"


def test_the_state_at_each_point_is_the_engines(ctx: df.Context) -> None:
    words = {"started": "running"}
    for run in all_of_them(ctx).values():
        view, state = view_of(run), RunState()
        for n, event in enumerate(run.events(), 1):
            engine_fold(state, event)
            shown = view.at(n)
            assert shown.status == state.status
            wanted = {key: words.get(record.state, record.state) for key, record in state.steps.items()}
            if state.status in ("failed", "cancelled", "succeeded"):
                wanted = {key: "cancelled" if status in OPEN else status for key, status in wanted.items()}
            assert {key: step["status"] for key, step in shown.steps.items()} == wanted


def test_what_a_flow_has_not_begun_is_there_too(ctx: df.Context) -> None:
    run = ctx.start(asking(), {})
    wait_until(lambda: ctx.approvals.pending(run), "it asks")
    view = view_of(run)
    statuses = {key: box.status for key, box in view.boxes(view.at()).items()}
    assert statuses == {"prepare": "completed", "ok": "waiting", "tell": "pending", "drop": "pending"}
    ask = next(iter(view.at().asks.values()))
    assert ask["message"] == f"Publish {NASTY}?"
    assert {box.status for box in view.boxes(view.at(0)).values()} == {"pending"}
    ctx.approvals.respond(ask["id"], False)
    run.wait("20s")
    view = view_of(run)
    assert view.boxes(view.at())["tell"].status == "skipped"
    assert not view.at().asks


def test_the_steps_of_a_loop_are_in_its_box(ctx: df.Context) -> None:
    flow = df.flow("each").on_manual()
    flow = flow.loop("round", "{{ trigger.items }}", lambda part: part.notify("body", "hello"))
    flow = flow.notify("end", "bye", after="round")
    run = ctx.start(flow, {"items": list(range(5))})
    run.wait("20s")
    view = view_of(run)
    boxes = view.boxes(view.at())
    assert list(boxes) == ["round", "end"]
    assert len(boxes["round"].members) == 5
    assert boxes["round"].status == "completed"


def test_large_values_do_not_travel(ctx: df.Context) -> None:
    async def large(event: Any, step: Any) -> str:
        await step.run("blob", lambda: "y" * 1_000_000)
        await step.run("wide", lambda: {f"k{number}": "z" * 50 for number in range(60)})
        await step.run("day", lambda: [dt.date(2024, 5, 1), {1, 2}])
        raise ValueError("w" * 200_000)

    run = ctx.start(declare(large), {"text": "x" * 3_000})
    run.wait("20s")
    view = view_of(run)
    assert len(json.dumps(view.events)) < 4_000
    for _, _, _, _, data in view.events:
        for name in ("in", "out", "err"):
            assert len(data.get(name, "").encode()) <= SHOWN
    steps = view.at().steps
    assert steps["blob"]["out"] == "<1,000,002 bytes>"
    assert steps["wide"]["out"].startswith('{"k0": "zzz')
    assert steps["day"]["out"].startswith("[2024-05-01, ")
    assert view.at().err is not None
    assert view.at().err.startswith("ValueError: wwww")  # type: ignore[union-attr]
    assert len(run.text()) < 5_000


def test_secrets_are_masked(ctx: df.Context) -> None:
    async def telling(event: Any, step: Any) -> Any:
        await step.run("get", lambda: {"value": f"{'pad' * 82}{TOKEN}", "short": TOKEN})
        raise ValueError(f"the token {TOKEN} is no good")

    run = ctx.start(declare(telling), {"key": TOKEN})
    run.wait("20s")
    REDACTOR.add(TOKEN)
    shown = json.dumps(view_of(run).events) + run.text() + run.svg() + json.dumps(run._repr_mimebundle_())
    for piece in (TOKEN, TOKEN[:12], TOKEN[-12:]):
        assert piece not in shown


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"a": [1, None, "é"]}, '{"a": [1, null, "é"]}'),
        ({"$date": "2024-05-01"}, "2024-05-01"),
        ({"$repr": "<object>"}, "<object>"),
        ({"$dataclass": "shop.models:Order", "fields": {"id": 1}}, 'Order({"id": 1})'),
        ({"$blob": {"sha256": "ab", "size": 1_234}}, "<1,234 bytes>"),
        ([[[[[[[[[[[1]]]]]]]]]]], "[[[[[[[[[[…]]]]]]]]]]"),
        ("x" * 9_999, '"' + "x" * 252 + "…"),
    ],
)
def test_previews(tree: Any, text: str) -> None:
    assert preview(tree, plain) == text


def test_an_archive_shows_the_same(ctx: df.Context, tmp_path: Path) -> None:
    run = ctx.start(colourful(), {"n": 1})
    run.send_event("go", 1)
    run.wait("20s")
    path = ctx.export(tmp_path / "runs.duckdb")
    with open_archive(path) as archive:
        archived = archive.run(run.id)
        assert view_of(archived).events == view_of(run).events
        assert archived.text() == run.text()
        assert archived.svg() == run.svg()
        assert archived.save_html(tmp_path / "run.html").stat().st_size > 10_000
        assert archived._repr_mimebundle_()["image/svg+xml"].startswith("<svg")
        pytest.importorskip("anywidget")
        view = archived.view(at="nap")
        assert (view.commands, view._feed, view.follow) == (False, None, False)
        assert view.events[view.cursor][3] == "nap"
        view.close()


def test_a_fork_has_its_own_view(ctx: df.Context) -> None:
    runs = all_of_them(ctx)
    fork = runs["failed"].fork(at="second", set={"first": 41})
    fork.wait("20s")
    view = view_of(fork)
    assert view.head["forked_from"] == runs["failed"].id
    assert view.events[0][4]["fork"]["of"] == runs["failed"].id
    assert view.at().steps["first"]["out"] == "41"


def test_points_of_a_run(ctx: df.Context) -> None:
    run = ctx.start(colourful(), {"n": 1})
    run.send_event("go", 1)
    run.wait("20s")
    assert "pending" not in run.text()
    assert run.text(at="flaky").count("✓") < run.text().count("✓")
    assert run.svg(at=1) != run.svg()
    for bad in ("nothing", 10_000, -1, True, 1.5):
        with pytest.raises(DefinitionError):
            run.text(at=bad)  # type: ignore[arg-type]
    view = view_of(run)
    for wrong in (-1, len(view.events) + 1, "x", True):
        with pytest.raises(DefinitionError):
            view.at(wrong)  # type: ignore[arg-type]


def test_a_run_that_is_gone(ctx: df.Context, tmp_path: Path) -> None:
    run = ctx.start(declare(_nothing, "nothing"), None)
    run.wait("20s")
    ctx.purge(dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    assert list(run._repr_mimebundle_()) == ["text/plain"]
    for look in (run.text, run.svg, run.view, lambda: run.save_html(tmp_path / "x.html")):
        with pytest.raises(RunNotFoundError, match="no run"):
            look()
    assert not (tmp_path / "x.html").exists()


async def _nothing(event: Any, step: Any) -> None:
    await step.run("one", lambda: 1)


def test_only_so_many_events_are_read(make_ctx: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_ctx().start(colourful(), {"n": 1})
    run.send_event("go", 1)
    run.wait("20s")
    monkeypatch.setattr(model, "EVENTS", 7)
    view = model.read(_source(run), 7)
    assert len(view.events) == 7
    assert view.cut
    assert "the first 7 events" in model_summary(view)
    whole = parse(1, "run.created", "", "{}", dt.datetime.now(dt.UTC))
    assert whole.seq == view.events[0][0]


def _source(run: Any) -> Any:
    from dataflows_sdk.notebook.kept import source_of

    return source_of(run)


def model_summary(view: Any) -> str:
    from dataflows_sdk.notebook.svg import summary

    return summary(view)
