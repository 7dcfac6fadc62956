"""Named statements in ``.sql`` files.

A file holds statements headed by ``-- name: some_name``; comments that follow say what the parameters are. SQL is
written there and nowhere else, so that it can be read, explained and reviewed as SQL. Parameters are PostgreSQL's
own ``$1``, because the same statement serves the pipelined writer (libpq) and plain reads (psycopg).
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)


@cache
def statements(file: str, package: str = "dataflows_sdk.store") -> dict[str, str]:
    """Every statement of ``sql/<file>.sql`` in *package*, by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a name stands twice in it.
    """
    text = files(package).joinpath("sql", f"{file}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)
    found: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in found:
            raise ValueError(f"statement {name!r} stands twice in {file}.sql")
        found[name] = body.strip().rstrip(";")
    return found


def statement(file: str, name: str, package: str = "dataflows_sdk.store") -> str:
    """One statement of a file; KeyError names those that exist."""
    found = statements(file, package)
    if name not in found:
        raise KeyError(f"no statement {name!r} in {file}.sql; it has {', '.join(sorted(found))}")
    return found[name]
