"""What nodes may reach, as it is given to a context."""

from __future__ import annotations

import asyncio
import json

import pytest

import dataflows_sdk as df
from dataflows_sdk.core.redact import Redactor
from dataflows_sdk.errors import DefinitionError, EgressDeniedError

from ..conftest import MakeContext


def test_variables_by_name_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", "https://shop")
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    assert df.Services(env=["SHOP_URL"]).env == {"SHOP_URL": "https://shop"}
    assert df.Services(env="SHOP_URL").env == {"SHOP_URL": "https://shop"}
    assert df.Services(env={"A": "1"}).env == {"A": "1"}
    assert df.Services().env == {}
    with pytest.raises(DefinitionError, match="SHOP_TOKEN"):
        df.Services(env=["SHOP_URL", "SHOP_TOKEN"])


def test_hosts_and_mail_by_address() -> None:
    policy = df.Services(egress=["127.0.0.1"]).egress
    assert policy.check_url("http://127.0.0.1/").host == "127.0.0.1"
    with pytest.raises(EgressDeniedError):
        df.Services().egress.check_url("http://127.0.0.1/")
    settings = df.Services(mail="memory:?from=a@example.com").mail
    assert settings is not None
    assert settings.outbox == []
    with pytest.raises(DefinitionError):
        df.Services(mail="carrier-pigeon://x")


def test_secrets_of_the_environment_are_masked(make_ctx: MakeContext) -> None:
    services = df.Services(env={"SHOP_TOKEN": "tok-123456789", "SHOP_URL": "https://shop.example"})
    ctx = make_ctx(services=services, redactor=Redactor())
    flow = df.flow("masked").on_manual().notify("n", "ops", title="{{env.SHOP_TOKEN}}", message="{{env.SHOP_URL}}")
    run = ctx.run(flow, timeout="20s")
    run.result()
    journal = json.dumps([event.data for event in run.events()])
    assert "tok-123456789" not in journal
    assert "https://shop.example" in journal


def test_every_loop_has_a_sandbox_of_its_own_and_ends_it() -> None:
    services = df.Services()

    async def use() -> int:
        found = await services.snippets.run("1 + 1")
        assert services.snippets is services.snippets
        await services.aclose()
        return int(found)

    assert asyncio.run(use()) == 2
    assert asyncio.run(use()) == 2
    assert len(services._runners) == 0
