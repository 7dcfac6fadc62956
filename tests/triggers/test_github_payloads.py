"""Every payload that GitHub sends, signed and verified."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataflows_sdk.triggers.signatures import parse_body, verify

from .test_signatures import mac

SECRET = "correct horse battery staple"
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def payloads(shared_data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((shared_data / "github-webhooks").glob("*.json"))}


def headers(body: bytes, name: str) -> dict[str, str]:
    return {
        "X-Hub-Signature-256": f"sha256={mac(SECRET.encode(), body).hex()}",
        "X-GitHub-Delivery": hashlib.sha256(name.encode()).hexdigest()[:32],
        "X-GitHub-Event": name.partition("__")[0],
    }


def test_every_payload_is_taken_once_and_as_it_came(payloads: dict[str, bytes]) -> None:
    assert len(payloads) > 200
    config = {"secret": ["the old one", SECRET]}
    ids = set()
    rewritten = 0
    for number, (name, body) in enumerate(payloads.items()):
        sent = headers(body, name)
        verdict = verify("github", config, sent, body, NOW)
        assert verdict.ok, name
        ids.add(verdict.delivery_id)
        assert verify("github", config, sent, body, NOW) == verdict
        assert parse_body("application/json", body).value == json.loads(body)

        flipped = bytearray(body)
        flipped[number * 7919 % len(body)] ^= 1
        assert not verify("github", config, sent, bytes(flipped), NOW).ok, name
        # the same value, written again: other bytes, so another message
        again = json.dumps(json.loads(body)).encode()
        if again != body:
            rewritten += 1
            assert not verify("github", config, sent, again, NOW).ok, name
        assert not verify("github", {"secret": "the old one"}, sent, body, NOW).ok, name
    assert len(ids) == len(payloads)
    assert rewritten == len(payloads)
