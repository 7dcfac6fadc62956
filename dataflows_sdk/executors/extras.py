"""Packages that only some executors need."""

from __future__ import annotations

import importlib.util

from dataflows_sdk.errors import MissingExtraError


def require(package: str, extra: str) -> None:
    """See that a package is there, without loading it: that can take seconds.

    Raises:
        MissingExtraError: it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"executor {extra!r} needs the package {package}: pip install 'dataflows-sdk[{extra}]'")
