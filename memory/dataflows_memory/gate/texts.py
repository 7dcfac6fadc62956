"""The SQL of this package: statements by name, with names and values of users put in."""

from __future__ import annotations

import re

from dataflows_sdk.store.sqlfiles import statement

_WORD = re.compile(r"\{(\w+)\}")


def text_of(name: str, /, **words: str) -> str:
    """A statement of ``reader.sql``, with what stands in braces filled in.

    In one pass, so that a name of a user's which looks like a place in braces stays a name.
    """
    return _WORD.sub(lambda found: words[found[1]], statement("reader", name, "dataflows_memory.gate"))
