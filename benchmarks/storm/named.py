"""The test's own SQL: files of named statements, read as the library reads its own."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "sql"


@cache
def named(file: str) -> dict[str, str]:
    """The statements of ``sql/<file>.sql`` by name."""
    found: dict[str, str] = {}
    for part in (_FOLDER / f"{file}.sql").read_text(encoding="utf-8").split("-- name: ")[1:]:
        name, _, body = part.partition("\n")
        found[name.strip()] = body.strip()
    return found
