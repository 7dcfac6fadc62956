"""What `ctx.sql` gives: a DuckDB relation over an answer that was taken once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import duckdb

from dataflows_sdk.core.shown import MOST_ROWS, Sheet, ShownAsTable
from dataflows_sdk.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas as pd
    import polars  # noqa: ICN001 - `pl` is a method here
    import pyarrow as pa


class Answer(ShownAsTable):
    """The rows of a query, as they were when it was asked.

    Everything a DuckDB relation can is here too and gives plain relations: ``.filter("n > 3")``, ``.order("n")``,
    ``.limit(5)``, ``.columns``, ``.write_parquet(path)``. An answer may stand in the ``from`` of another query.

    Attributes:
        relation: the DuckDB relation itself.
    """

    def __init__(self, relation: duckdb.DuckDBPyRelation) -> None:
        self.relation = relation
        self._rows: Iterator[tuple[Any, ...]] | None = None

    # --- rows --------------------------------------------------------------------------------------------

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Every row, however many of them `fetchone` has given."""
        return self.relation.fetchall()

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, from the first one on; None after the last one."""
        if self._rows is None:
            self._rows = self._in_parts()
        return next(self._rows, None)

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """The next rows, as many as *size* at most."""
        rows: list[tuple[Any, ...]] = []
        while len(rows) < size and (row := self.fetchone()) is not None:
            rows.append(row)
        return rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._in_parts()

    def __len__(self) -> int:
        return len(self.relation)

    def _in_parts(self) -> Iterator[tuple[Any, ...]]:
        """Rows without having all of them as Python objects at once."""
        start, size = 0, 64
        while True:
            part = self.relation.limit(size, start).fetchall()
            yield from part
            if len(part) < size:
                return
            start, size = start + size, 16_384

    def dicts(self) -> list[dict[str, Any]]:
        """Every row as a dict by the names of the columns."""
        columns = self.relation.columns
        return [dict(zip(columns, row, strict=True)) for row in self.fetchall()]

    # --- frames ------------------------------------------------------------------------------------------

    def df(self) -> pd.DataFrame:
        """A pandas DataFrame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        _need("pandas")
        frame: pd.DataFrame = self.relation.df()
        return frame

    def arrow(self) -> pa.Table:
        """An Arrow table.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        _need("pyarrow")
        table: pa.Table = self.relation.to_arrow_table()
        return table

    def pl(self) -> polars.DataFrame:
        """A polars DataFrame.

        Raises:
            MissingExtraError: polars is not installed.
        """
        _need("polars")
        frame: polars.DataFrame = self.relation.pl()
        return frame

    # --- looks -------------------------------------------------------------------------------------------

    def show(self, **options: Any) -> None:
        """Print the first rows; options as those of DuckDB's ``show``."""
        self.relation.show(**options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("__", "_repr")) or name == "relation":
            raise AttributeError(name)
        return getattr(self.relation, name)

    def __getitem__(self, name: str) -> duckdb.DuckDBPyRelation:
        column: duckdb.DuckDBPyRelation = self.relation[name]
        return column

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        stream: Any = self.relation
        return stream.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return str(self.relation)

    def _sheet(self) -> Sheet:
        # one row more than is shown says that there are more, without counting them
        rows = self.relation.limit(MOST_ROWS + 1).fetchall()
        types = [str(each).lower() for each in self.relation.types]
        columns = [f"{name}\n{kind}" for name, kind in zip(self.relation.columns, types, strict=True)]
        return Sheet("", rows, columns, total=None)


def _need(package: str) -> None:
    try:
        __import__(package)
    except ModuleNotFoundError as error:
        how = "pip install polars" if package == "polars" else "pip install 'dataflows-sdk[frames]'"
        raise MissingExtraError(f"{package} is not installed ({how}); fetchall() gives the rows without it") from error
