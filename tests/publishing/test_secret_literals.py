"""Secrets in source are found, and code that handles them is not taken for one."""

from __future__ import annotations

import pytest

from dataflows_sdk.core.redact import Redactor
from dataflows_sdk.publishing.secret_literals import has_secret


@pytest.mark.parametrize(
    "text",
    [
        'token = os.environ["TOKEN"]',
        'headers = {"Authorization": f"Bearer {token}"}',
        "password = getpass.getpass()",
        "def login(user: str, password: str = '') -> Token: ...",
        'connection = psycopg.connect(f"postgresql://{user}:{password}@{host}/db")',
        'client = OpenAI(api_key=os.environ["OPENAI_API_KEY_2"])',
        'payload = {"password": password, "token": "{{trigger.token1}}"}',
        'def f():\n    """Bearer abc123 is what a header reads."""\n    "password=hunter2 as prose"',
        'query = "update users set password = %(password1)s where token = $2"',
        'token_variable = "GITHUB_TOKEN_2"',
        'token_url = "https://example.com/oauth2/token"',
        "if token == 'abc1': pass",
        "secret = 'no digits in it'",
    ],
)
def test_code_that_handles_secrets_has_none(text: str) -> None:
    assert not has_secret(text, Redactor())


@pytest.mark.parametrize(
    "text",
    [
        "API_TOKEN = '9f8e7d6c5b4a3f2e1d'",
        "client.api_key = 'k3y-0f-s0m3b0dy'",
        "login('me', password='hunter2hunter2')",
        "def login(user, *, password='hunter2hunter2'): ...",
        "def login(user, password='hunter2hunter2', n=1): ...",
        "x = {'password': 'hunter2hunter2'}",
        "url = 'postgresql://me:hunter2@host/db'",
        "x = 'ghp_" + "a1B2" * 9 + "'",
        "x = ['the known one: letmein-please']",
    ],
)
def test_literals_that_are_secrets_are_found(text: str) -> None:
    assert has_secret(text, Redactor("letmein-please"))


def test_a_short_declared_secret_is_a_word_of_any_program() -> None:
    redactor = Redactor()
    redactor.add("p")
    redactor.add("hunter2")
    assert not has_secret("names = {'p', 'q'}", redactor)
    assert has_secret("names = {'p', 'hunter2'}", redactor)
