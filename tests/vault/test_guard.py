"""Finding secrets in what is about to be stored, among many of them."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows_sdk.vault.guard import Guard

SECRETS = st.text(st.characters(codec="utf-8"), min_size=12, max_size=40)


@settings(deadline=None)
@given(SECRETS, st.lists(SECRETS, max_size=80), st.text(st.characters(codec="utf-8"), max_size=20))
def test_a_secret_is_found_in_every_form(secret: str, others: list[str], around: str) -> None:
    guard = Guard()
    for each in (secret, *others):
        guard.add(each)
    coded = base64.b64encode(secret.encode()).decode()
    for text in (
        secret,
        json.dumps({"a": [secret]}),
        json.dumps(secret, ensure_ascii=False),
        quote(secret, safe=""),
        coded,
    ):
        assert guard.finds((around + text + around).encode())
        assert guard.finds(b"\xff\x00" + text.encode() + b"\xfe")


@settings(deadline=None, max_examples=30)
@given(st.lists(SECRETS, max_size=200), st.text(st.characters(codec="utf-8"), max_size=200))
def test_nothing_else_is_found(secrets: list[str], text: str) -> None:
    guard = Guard()
    for each in secrets:
        guard.add(each)
    raw = text.encode()
    forms = [form for each in secrets for form in (
        each, json.dumps(each)[1:-1], json.dumps(each, ensure_ascii=False)[1:-1], quote(each, safe=""),
        base64.b64encode(each.encode()).decode(),
    )]  # fmt: skip
    assert guard.finds(raw) == any(form.encode() in raw for form in forms)


def test_the_newest_thousand_are_known() -> None:
    guard = Guard()
    assert not guard.finds(b"anything")
    for number in range(3_000):
        guard.add(f"secret-number-{number:05d}-")
        guard.add("short")
    found = [number for number in range(3_000) if guard.finds(f"x secret-number-{number:05d}- y".encode())]
    assert found == list(range(found[0], 3_000))
    assert 1_000 <= len(found) <= 1_064
    assert not guard.finds(b"short")
