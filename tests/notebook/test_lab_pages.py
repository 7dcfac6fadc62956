# ruff: noqa: E501 - what the page is to do stands in one line each
"""Pages that need no kernel, in Chromium: without scripts, with some, and of runs that are large.

See `test_lab`.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

import pytest

from dataflows_sdk.notebook import html

from ..conftest import wait_until
from .rig import Browser
from .test_pictures import view_of as many

# one process has the browser (TOGETHER in conftest.py); and no test of an event loop in between
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


# --- where scripts may not run, or only some -----------------------------------------------------------------------

#: VS Code's own for outputs, where somebody switched it on (microsoft/vscode, backLayerWebView.ts, without its own sources)
VS_CODE_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src https: http: data:; connect-src https:; child-src https: data:"
STRICT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@pytest.mark.parametrize(
    ("sandbox", "policy", "moves"),
    [
        ("", "", False),  # no script at all
        ("allow-scripts", STRICT_POLICY, False),
        ("allow-scripts", VS_CODE_POLICY, True),
        ("allow-scripts", "", True),
        ("allow-scripts allow-same-origin", "", True),
    ],
)
def test_html_alone_is_a_picture_and_more_where_scripts_may_run(
    browser: Browser, tmp_path: Path, sandbox: str, policy: str, moves: bool
) -> None:
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
    inside = f"<!doctype html><html><head>{head}</head><body>{html.fragment(many(6, 2))}</body></html>"
    path = tmp_path / "framed.html"
    path.write_text(f'<iframe sandbox="{sandbox}" width="1000" height="700" srcdoc="{escape(inside)}"></iframe>')
    with browser.file(path) as page:
        frame = page.frame_locator("iframe")
        if moves:
            slider = frame.locator(".df-slider")
            slider.wait_for()
            slider.focus()
            page.keyboard.press("ArrowLeft")
            frame.locator(".df-run[data-n='12']").wait_for()
            assert browser.errors == []
        else:
            picture = frame.locator("img").first
            picture.wait_for()
            assert picture.evaluate("e => e.complete && e.naturalWidth") > 100
            assert "step 1" in (picture.get_attribute("alt") or "") or "steps" in (picture.get_attribute("alt") or "")
            assert frame.locator(".df-run").count() == 0
            assert all("violates" in each or "sandboxed" in each for each in browser.errors)


# --- pages of runs that are large ----------------------------------------------------------------------------------


def test_many_boxes_are_painted_chosen_and_walked(browser: Browser, tmp_path: Path) -> None:
    path = html.save(many(700), tmp_path / "many.html")
    with browser.file(path) as page:
        here = page.locator(".df-here")
        here.wait_for()
        painted = "e => new Set(e.getContext('2d').getImageData(0, 0, e.width, e.height).data).size"
        page.wait_for_function(
            "() => document.querySelector('div').shadowRoot.querySelector('.df-run').dataset.painted > 0"
        )
        canvas = page.locator(".df-many canvas")
        assert canvas.evaluate(painted) > 8
        assert page.locator(".df-many svg, .df-many [data-step]").count() == 1
        # a box is found where it was painted; then arrows walk, and say where they are
        page.get_by_role("button", name="show all").click()
        here.focus()
        first = here.get_attribute("data-step")
        page.keyboard.press("ArrowRight")
        second = here.get_attribute("data-step")
        assert second != first
        assert page.locator(".df-unseen").inner_text().startswith(f"{second}, completed")
        page.keyboard.press("Enter")
        page.locator(".df-side b", has_text=str(second)).wait_for()
        place = here.bounding_box()
        assert place is not None
        page.keyboard.press("ArrowRight")
        assert here.get_attribute("data-step") != second
        page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
        assert here.get_attribute("data-step") == second
        # lines that were taken stand out; at the beginning none was
        many_ = page.locator(".df-many")
        assert int(many_.get_attribute("data-taken") or 0) > 600
        # another point is another picture, and so is another theme
        before = canvas.evaluate("e => e.toDataURL()")
        page.locator(".df-slider").fill("3")
        page.wait_for_function(
            "() => document.querySelector('div').shadowRoot.querySelector('.df-run').dataset.n === '3'"
        )
        point = canvas.evaluate("e => e.toDataURL()")
        assert point != before
        assert int(many_.get_attribute("data-taken") or 0) < 3
        page.emulate_media(color_scheme="dark")
        wait_until(lambda: canvas.evaluate("e => e.toDataURL()") != point, "it is painted for the dark")
        assert browser.errors == []


def test_time_is_zoomed_by_a_drag(browser: Browser, tmp_path: Path) -> None:
    path = html.save(many(90, 2), tmp_path / "time.html")
    with browser.file(path) as page:
        time = page.locator(".df-time svg")
        time.wait_for()
        # chains of forty boxes apart: the end waited for one of each
        assert time.locator(".df-critical").count() == 3
        assert time.locator("[data-status=queued]").count() > 0
        bars = time.locator(".df-bar-of").count()
        frame = time.bounding_box()
        assert frame is not None
        page.mouse.move(frame["x"] + frame["width"] * 0.3, frame["y"] + 30)
        page.mouse.down()
        page.mouse.move(frame["x"] + frame["width"] * 0.5, frame["y"] + 30, steps=4)
        page.mouse.up()
        wait_until(lambda: 0 < time.locator(".df-bar-of").count() < bars / 2, "a part of the time is shown")
        time.dblclick(position={"x": frame["width"] * 0.5, "y": 30})
        wait_until(lambda: time.locator(".df-bar-of").count() == bars, "all of it is shown again")
        assert browser.errors == []


def test_time_is_zoomed_by_keys_and_says_what_is_seen(browser: Browser, tmp_path: Path) -> None:
    path = html.save(many(90, 2), tmp_path / "keys.html")
    with browser.file(path) as page:
        region, said = page.get_by_role("region", name="time"), page.locator(".df-say")
        time = region.locator("svg")
        time.wait_for()
        bars, whole = time.locator(".df-bar-of").count(), time.get_attribute("aria-label")
        assert whole == "what happened when: all of it"
        assert "Plus" in (region.get_attribute("aria-keyshortcuts") or "")
        page.locator(".df-slider").fill("90")
        region.focus()

        def pressed(key: str) -> str:
            """What is said after a key; the picture has it as its name."""
            before = time.get_attribute("aria-label")
            page.keyboard.press(key)
            wait_until(lambda: time.get_attribute("aria-label") != before, f"{key} shows another part")
            told = said.inner_text()
            assert time.get_attribute("aria-label") == f"what happened when: {told.removeprefix('time: ')}"
            return told

        pressed("+")
        near = pressed("+")
        assert re.fullmatch(r"time: \d.* to \d.* of \d.*", near)
        assert 0 < time.locator(".df-bar-of").count() < bars
        # the point of the slider stays in view
        cursor = float(time.locator(".df-cursor").get_attribute("x1") or 0)
        assert 150 <= cursor <= 960
        assert pressed("ArrowLeft") != near
        assert pressed("ArrowRight") == near
        pressed("-")
        assert pressed("Escape") == "time: all of it"
        assert time.locator(".df-bar-of").count() == bars
        pressed("+")
        assert pressed("0") == "time: all of it"
        # the focus is where it was, and other keys do what they do elsewhere
        assert region.evaluate("e => e.getRootNode().activeElement === e")
        page.keyboard.press("End")
        page.locator(".df-run[data-n='181']").wait_for()
        assert browser.errors == []
