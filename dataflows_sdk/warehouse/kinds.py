"""Which types of DuckDB columns of PostgreSQL have, so that no value changes on the way."""

from __future__ import annotations

from dataclasses import dataclass

from dataflows_sdk.store.sqlfiles import statement
from dataflows_sdk.warehouse.intake import Field

_KINDS = {
    "int2": "SMALLINT",
    "int4": "INTEGER",
    "int8": "BIGINT",
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "bool": "BOOLEAN",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "interval": "INTERVAL",
    "uuid": "UUID",
    "bytea": "BLOB",
    "json": "JSON",
    "jsonb": "JSON",
}
#: PostgreSQL's text of these has another form before the first year
_DAYS = frozenset({"DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"})
#: more digits before the point, and a double does not hold the number
_DOUBLE = 308


def kind_of(column: str, type_: str) -> str:
    """DuckDB's type for a column; what it does not know becomes text, as PostgreSQL prints it."""
    if column == "_execution_id":  # it joins with the ids of runs, which are text
        return "VARCHAR"
    return _KINDS.get(type_, "VARCHAR")


def field_of(kind: str) -> Field:
    """How a column of that type is read from CSV."""
    if kind == "BLOB":
        return Field("VARCHAR", _sql("bytes"))
    if kind == "INTERVAL":
        return Field("VARCHAR", _sql("interval"))
    if kind in _DAYS:
        return Field("VARCHAR", _sql("day").replace("$kind", kind))
    return Field.of(kind)


@dataclass(frozen=True, slots=True)
class Digits:
    """What the values of a column of decimals need."""

    whole: int = 0
    scale: int = 0
    #: NaN or an infinity is among them
    odd: bool = False

    def __or__(self, other: Digits) -> Digits:
        return Digits(max(self.whole, other.whole), max(self.scale, other.scale), self.odd or other.odd)

    @property
    def kind(self) -> str:
        """The type that loses nothing; DOUBLE where there is none but numbers are numbers, else text."""
        for width in (18, 38):
            if not self.odd and self.whole + self.scale <= width:
                return f"DECIMAL({width},{self.scale})"
        return "DOUBLE" if self.whole <= _DOUBLE else "VARCHAR"


def quoted(*names: str) -> str:
    """A name of DuckDB, in as many parts as there are."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def _sql(name: str) -> str:
    return statement("table_mirror", name, "dataflows_sdk.warehouse")
