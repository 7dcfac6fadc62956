"""Where models answer: the address and the key of an endpoint that is compatible with OpenAI's."""

from __future__ import annotations

import importlib.util
import os
from urllib.parse import urlsplit

from dataflows_sdk.core.redact import Secret
from dataflows_sdk.errors import DefinitionError, MissingExtraError

OPENAI = "https://api.openai.com/v1"


def need_openai(who: str) -> None:
    """Raises MissingExtraError where ``openai`` is not installed; loads nothing."""
    if importlib.util.find_spec("openai") is None:
        raise MissingExtraError(f"{who} needs openai, which is not installed: pip install 'dataflows-sdk[memory]'")


def checked_url(url: str) -> str:
    """An address that can be asked.

    Raises:
        DefinitionError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise DefinitionError(f"base_url is like {OPENAI!r}, not {public_url(url)!r}")
    return url


def public_url(url: str) -> str:
    """The address without a password, and without the query, where some put a key."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def key_of(given: str | Secret | None, url: str) -> Secret:
    """The key that was given, or that of the environment.

    Raises:
        DefinitionError: there is none, and OpenAI wants one.
    """
    key = given.reveal() if isinstance(given, Secret) else given
    if key is None:
        key = os.environ.get("OPENAI_API_KEY", "")
    key = key.strip()
    if not key and url == OPENAI:
        raise DefinitionError(
            "there is no API key for OpenAI: set OPENAI_API_KEY or pass api_key=; for an endpoint of your own "
            "pass base_url="
        )
    return Secret(key)
