"""Rows of files: CSV, Parquet, JSON, read by DuckDB; in an incremental sync only those that changed."""

from __future__ import annotations

import glob
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflows_sdk.core.shown import ShownAsTable
from dataflows_sdk.errors import DefinitionError, SyncError
from dataflows_sdk.warehouse.sources.page import Bound, Page, Reach

__all__ = ["FileSource"]

_READERS = {
    ".csv": "read_csv", ".tsv": "read_csv", ".parquet": "read_parquet", ".pq": "read_parquet",
    ".jsonl": "read_ndjson", ".ndjson": "read_ndjson", ".json": "read_json",
}  # fmt: skip


@dataclass
class FileSource(ShownAsTable):
    """Rows of the files that match a pattern, for `Warehouse.sync`.

    Files are read in the order of their names, *page_size* rows at a time. What a file is, its ending says: ``.csv``,
    ``.tsv``, ``.parquet``, ``.jsonl``, ``.ndjson``, ``.json``, the texts also with ``.gz``. An incremental sync reads
    the files that are new or changed (by time and size, and then by content); rows of files that are gone are deleted
    by a full one.

    Args:
        pattern: ``"data/*.csv"``, ``"data/**/*.parquet"``; relative to the working directory of the process that reads.
        page_size: rows of a page.

    Raises:
        DefinitionError: the pattern is no text, or the size out of range.
    """

    pattern: str | os.PathLike[str]
    page_size: int = 5_000

    def __post_init__(self) -> None:
        if isinstance(self.pattern, os.PathLike):
            self.pattern = os.fspath(self.pattern)
        if not isinstance(self.pattern, str) or not self.pattern.strip():
            raise DefinitionError(f"FileSource: the pattern is a text such as 'data/*.csv', not {self.pattern!r}")
        if (
            isinstance(self.page_size, bool)
            or not isinstance(self.page_size, int)
            or not 1 <= self.page_size <= 100_000
        ):
            raise DefinitionError(f"FileSource: page_size lies between 1 and 100,000, not {self.page_size!r}")
        #: a file that is being read: where it stands, the connection, the rows that follow
        self._open: tuple[tuple[str, int], Any, list[Any]] | None = None

    def describe(self) -> dict[str, Any]:
        return {"kind": "files", "pattern": self.pattern, "page_size": self.page_size}

    def name(self) -> str | None:
        return str(self.pattern)[:200]

    def bind(self, bound: Bound) -> None:
        """Files take anything."""

    def fetch(self, position: Any, reach: Reach) -> Page:  # noqa: ARG002 - the port says so
        position = dict(position or {})
        known: dict[str, list[Any]] = dict(position.get("files") or {})
        at = position.get("at")
        paths = sorted(glob.glob(str(self.pattern), recursive=True))  # noqa: PTH207 - a pattern may be absolute
        paths = [path for path in paths if Path(path).is_file()]
        if not paths and not known:
            raise SyncError(f"no file matches {self.pattern!r} in {Path.cwd()}")
        for path in paths:
            self._reader(path)
        wanted = [path for path in paths if at is None or path >= at["path"]]
        for place, path in enumerate(wanted):
            resumed = at is not None and path == at["path"]
            mark = _mark(path, known.get(path))
            if not resumed and path in known and mark[2] == known[path][2]:
                known[path] = mark  # touched, and the same
                continue
            row = at["row"] if resumed and at["sha256"] == mark[2] else 0
            rows, ends = self._rows(path, row)
            if not ends:
                after: dict[str, Any] | None = {"path": path, "row": row + len(rows), "sha256": mark[2]}
            else:
                known[path] = mark
                after = {"path": wanted[place + 1], "row": 0, "sha256": ""} if place + 1 < len(wanted) else None
            if after is not None:
                return Page(rows, {"files": known, "at": after}, more=True)
            return Page(rows, {"files": _there(known, paths)}, more=False)
        return Page((), {"files": _there(known, paths)}, more=False)

    def _reader(self, path: str) -> str:
        suffixes = [suffix.lower() for suffix in Path(path).suffixes]
        last = (
            suffixes[-2] if len(suffixes) > 1 and suffixes[-1] in (".gz", ".zst") else suffixes[-1] if suffixes else ""
        )
        reader = _READERS.get(last)
        if reader is None:
            raise SyncError(
                f"{path}: what kind of file is it? The ending says that: {', '.join(sorted(_READERS))}, or narrow "
                "the pattern"
            )
        return reader

    def _rows(self, path: str, begin: int) -> tuple[list[dict[str, Any]], bool]:
        """Rows from a place on, and whether the file ends with them."""
        import duckdb

        try:
            if self._open is None or self._open[0] != (path, begin):
                self._close()
                connection = duckdb.connect()
                offset = f" offset {begin}" if begin else ""
                connection.execute(f"select * from {self._reader(path)}(?){offset}", [path])  # noqa: S608
                ahead = connection.fetchmany(self.page_size)
            else:
                _, connection, ahead = self._open
            names = [column[0] for column in connection.description or ()]
            following = connection.fetchmany(self.page_size) if len(ahead) == self.page_size else []
        except duckdb.Error as error:
            self._close()
            raise SyncError(f"DuckDB cannot read {path}: {error}") from error
        rows = [dict(zip(names, row, strict=True)) for row in ahead]
        if following:
            self._open = ((path, begin + len(rows)), connection, following)
            return rows, False
        connection.close()
        self._open = None
        return rows, True

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _there(known: dict[str, list[Any]], paths: list[str]) -> dict[str, list[Any]]:
    """Without the files that are gone."""
    return {path: mark for path, mark in known.items() if path in paths}


def _mark(path: str, known: list[Any] | None) -> list[Any]:
    """Time, size and hash of a file; the hash is made where time or size are not what they were."""
    found = Path(path).stat()
    if known is not None and known[:2] == [found.st_mtime_ns, found.st_size]:
        return known
    with Path(path).open("rb") as file:
        return [found.st_mtime_ns, found.st_size, hashlib.file_digest(file, "sha256").hexdigest()]
