"""How a column of a source becomes one of a table: the SQL that DuckDB casts, checks and writes it with.

A value is taken where nothing of it is lost: 3.0 is the integer 3, midnight is a date, 2**53 is a float. Text is
read as another type where it cannot be anything else (CSV), or with ``bad="coerce"``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataflows_sdk.warehouse.frames import Field

#: a type of the warehouse in DuckDB
_DUCKDB = {
    "int": "bigint",
    "float": "double",
    "bool": "boolean",
    "date": "date",
    "time": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "interval": "interval",
    "uuid": "uuid",
}
#: the macro of frames.sql that reads a type from text
_READERS = {
    "int": "as_int",
    "decimal": "as_decimal",
    "float": "as_float",
    "bool": "as_bool",
    "date": "as_date",
    "time": "as_time",
    "timestamp": "as_timestamp",
    "timestamptz": "as_moment",
    "interval": "as_interval",
    "uuid": "as_uuid",
    "json": "as_json",
}
#: values that PostgreSQL holds and Python cannot, or the other way round: whoever wrote one could not read its row
_LIMITS = {
    "date": ("{v} not between date '0001-01-01' and date '9999-12-31'", "years go from 1 to 9999"),
    "timestamp": (
        "{v} not between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999'",
        "years go from 1 to 9999",
    ),
    "timestamptz": (
        "{v} not between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999999+00'",
        "years go from 1 to 9999",
    ),
    "time": ("{v} >= time '24:00:00'", "a day ends before 24:00"),
    "interval": (
        "abs(epoch({v})) > 86399999913600 or abs(date_part('hour', {v})) > 2147483647",
        "it is longer than 999,999,999 days",
    ),
    "text": ("contains({v}, chr(0))", "PostgreSQL's text holds no NUL character"),
}
#: naive, but a moment is asked for
_NO_ZONE = 'it names no time zone; say timezone="Europe/Berlin", or where it is from'


@dataclass(frozen=True)
class Cast:
    """A column on its way.

    Attributes:
        value: SQL for the value; null where there is none, and where it does not fit.
        checks: SQL that is true for a value that does not fit, each with the reason.
        slow: whether the value is read from text, so that it pays to do that once.
    """

    value: str
    checks: tuple[tuple[str, str], ...] = ()
    slow: bool = False

    def kept_in(self, column: str) -> Cast:
        """The same, where the value is already in a column."""
        return Cast(column, tuple((check.replace(self.value, column), reason) for check, reason in self.checks))


def cast(field: Field, target: str, coerce: bool, timezone: str | None) -> Cast:
    """How *field* becomes a column of the type *target*."""
    x = field.sql
    if field.kind == "null":
        return Cast(f"cast(null as {_DUCKDB.get(target, 'varchar')})")
    if field.kind == "csv":
        found = _parsed(x, x, target, timezone)
    elif field.kind == "value":
        found = _from_value(x, target, coerce, timezone)
    elif field.kind == "document":
        found = _from_document(x, target, coerce)
    else:
        found = _from_typed(field, target, coerce, timezone)
    if target in _LIMITS:
        condition, reason = _LIMITS[target]
        found = replace(found, checks=(*found.checks, (condition.format(v=found.value), reason)))
    return found


def written(value: str, target: str, nullable: bool) -> tuple[str, str, str]:
    """What stands in CSV for a value: constant text before it, the value, constant text after it.

    Only where nothing may stand there the constants have to go with the value.
    """
    before = after = ""
    if target == "timestamptz":
        value, after = f"make_timestamp(epoch_us({value}))", "+00"  # much quicker than with a zone
    elif target == "bytes":
        before, value = "\\x", f"lower(hex({value}))"
    elif target in ("text", "json"):
        before, value, after = '"', f"replace({value}, '\"', '\"\"')", '"'
    if nullable and (before or after):
        parts = [f"'{before}'" if before else "", f"cast({value} as varchar)", f"'{after}'" if after else ""]
        return "", " || ".join(part for part in parts if part), ""
    return before, value, after


def python_value(field: Field, timezone: str | None) -> str:
    """What Python shall see of a column: a value of the type that was inferred for it."""
    if field.kind in ("nested", "document", "value"):
        return field.sql
    return cast(field, field.column.type, coerce=False, timezone=timezone).value


def shown(field: Field) -> str:
    """A value as it is, for whoever looks at a row that does not fit."""
    x = field.sql
    if field.kind in ("int", "wide", "float", "bool", "text", "csv", "value", "document"):
        return x if not field.native.startswith("ENUM") else f"cast({x} as varchar)"
    if field.kind == "nested":
        return f"cast(to_json({x}) as varchar)"
    if field.kind == "bytes":
        return f"'\\x' || lower(hex({x}))"
    return f"cast({x} as varchar)"


# --- text ------------------------------------------------------------------------------------------------------


def _parsed(x: str, text: str, target: str, timezone: str | None) -> Cast:
    """*text* (the text of x, or null) read as a value."""
    if target == "text":
        return Cast(text, () if text == x else ((f"{x} is not null and {text} is null", "it is no text"),))
    if target == "bytes":
        return Cast(f"encode({text})")
    value = f"{_READERS[target]}({text})"
    reason = f"it is no {_WORDS[target]}"
    if target == "timestamptz":
        if timezone is None:
            naive = f"{x} is not null and {value} is null and as_timestamp({text}) is not null"
            none = f"{x} is not null and {value} is null and as_timestamp({text}) is null"
            return Cast(value, ((naive, _NO_ZONE), (none, reason)), slow=True)
        value = f"coalesce({value}, as_timestamp({text}) at time zone '{timezone}')"
    return Cast(value, ((f"{x} is not null and {value} is null", reason),), slow=True)


_WORDS = {
    "int": "integer between -2^63 and 2^63",
    "decimal": "finite number",
    "float": "number, or too large",
    "bool": "true or false",
    "text": "text",
    "date": "date such as 2024-12-31",
    "time": "time such as 23:59:59",
    "timestamp": "timestamp such as 2024-12-31 23:59:59",
    "timestamptz": "timestamp such as 2024-12-31T23:59:59+01:00",
    "interval": "interval such as 3 days 04:05:06",
    "uuid": "UUID",
    "bytes": "bytes",
    "json": "JSON that PostgreSQL holds (no NaN, no Infinity, no \\u0000)",
}


def _from_value(x: str, target: str, coerce: bool, timezone: str | None) -> Cast:
    """Any JSON value. It has no dates: what is written like one may be one."""
    text = f"json_text({x})"
    number = f"json_number({x})"
    readers = {
        "int": f"json_int({x})",
        "decimal": f"as_decimal({number})",
        "float": f"as_float({number})",
        "bool": f"json_bool({x})",
        "text": text,
        "json": f"as_json({x})",
        "bytes": "cast(null as blob)",
    }
    if target not in readers:
        return _parsed(x, text, target, timezone)
    value = readers[target]
    if coerce and target in ("int", "decimal", "float", "bool"):
        value = f"coalesce({value}, {_READERS[target]}({text}))"
    elif coerce and target == "text":
        value = f"coalesce({value}, as_json({x}))"
    elif coerce and target == "bytes":
        value = f"encode({text})"
    checks = [(f"{x} is not null and {value} is null", f"it is no {_WORDS[target]}")]
    if target == "float":
        whole = f"regexp_full_match({number}, '-?[0-9]{{16,}}')"
        checks.append((f"{whole} and {_differ(number, value)}", "as a float it loses digits"))
    return Cast(value, tuple(checks), slow=True)


def _from_document(x: str, target: str, coerce: bool) -> Cast:
    """JSON that its column says it is."""
    if target == "json":
        return Cast(x, ((f"{x} is not null and not is_json({x})", f"it is no {_WORDS['json']}"),))
    if target == "text" and coerce:
        return Cast(x)
    return _misfit(x, target, "JSON")


# --- typed -----------------------------------------------------------------------------------------------------


def _from_typed(field: Field, target: str, coerce: bool, timezone: str | None) -> Cast:
    kind, x = field.kind, field.sql
    if kind == "text" and field.native != "VARCHAR":
        x = f"cast({x} as varchar)"
    if kind == target:
        return _same(x, target, field.native)
    if (rule := _LOSSLESS.get((kind, target))) is not None:
        return rule(x, field, timezone)
    if target == "json":
        return _to_json(x, kind)
    if kind == "other" and target == "text":
        return Cast(f"cast({x} as varchar)")  # bits, times of day with a zone: there is nothing else for them
    if coerce:
        if kind == "text":
            return _parsed(x, x, target, timezone)
        if (rule := _COERCED.get((kind, target))) is not None:
            return rule(x, field, timezone)
        if target == "text" and kind not in ("bytes", "nested"):
            return Cast(f"cast({x} as varchar)")
        if target == "text":
            return Cast(f"decode({x})" if kind == "bytes" else f"cast(to_json({x}) as varchar)")
    if target == "timestamptz" and kind in ("timestamp", "date"):
        return Cast("cast(null as timestamptz)", ((f"{x} is not null", _NO_ZONE),))
    return _misfit(x, target, {"nested": "JSON", "wide": "int", "other": field.native}.get(kind, kind))


def _same(x: str, target: str, native: str) -> Cast:
    if target in ("decimal", "text", "bytes", "bool", "date", "interval", "uuid"):
        return Cast(x)
    value = f"cast({x} as {_DUCKDB[target]})"
    if native in ("TIMESTAMP_NS", "TIMESTAMPTZ_NS", "TIME_NS"):
        fine = f"epoch_ns({x}) % 1000 <> 0" if native != "TIME_NS" else f"cast({value} as time_ns) <> {x}"
        return Cast(value, ((fine, "PostgreSQL keeps microseconds, and this has nanoseconds"),))
    return _in_time(x, value) if native in ("TIMESTAMP_S", "TIMESTAMP_MS") else Cast(value)


def _misfit(x: str, target: str, kind: str) -> Cast:
    how = '; bad="coerce" reads it' if kind == "text" or (target == "text" and kind != "JSON") else ""
    article = "an" if kind[0].lower() in "aeiou" else "a"
    kind_of = f"cast(null as {_DUCKDB.get(target, 'blob' if target == 'bytes' else 'varchar')})"
    return Cast(kind_of, ((f"{x} is not null", f"{article} {kind} where {target} belongs{how}"),))


def _to_json(x: str, kind: str) -> Cast:
    if kind == "bytes":
        return _misfit(x, "json", kind)
    value = f"cast(to_json({x}) as varchar)"
    if kind in ("int", "wide", "decimal", "bool", "date", "uuid", "timestamp", "timestamptz", "time", "interval"):
        return Cast(value)
    if kind == "float":
        return Cast(value, ((f"not isfinite({x})", "JSON has no NaN and no Infinity"),))
    return Cast(value, ((f"{x} is not null and not is_json({value})", f"it is no {_WORDS['json']}"),))


Rule = Callable[[str, "Field", "str | None"], Cast]


def _whole(x: str, field: Field, _: str | None) -> Cast:
    value = f"try_cast({x} as bigint)"
    beyond = "it is no integer between -2^63 and 2^63"
    if field.kind == "wide":
        return Cast(value, ((f"{x} is not null and {value} is null", beyond),))
    if field.kind == "decimal":
        return Cast(value, ((f"{x} is not null and ({value} is null or {value} <> {x})", beyond),))
    return Cast(value, ((f"{x} is not null and ({value} is null or floor({x}) <> {x})", beyond),))


def _as_float(x: str, field: Field, _: str | None) -> Cast:
    value = f"cast({x} as double)"
    if field.kind == "decimal":
        back = f"try_cast({value} as {field.native}) is distinct from {x}"
    elif field.native in ("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER"):
        return Cast(value)
    else:
        back = (
            f"abs({value}) >= 9007199254740992 and try_cast({value} as hugeint) is distinct from cast({x} as hugeint)"
        )
    return Cast(value, ((f"{x} is not null and {back}", "as a float it loses digits"),))


def _differ(x: str, value: str) -> str:
    """Whether an integer is another one as a float, or too large to tell."""
    return f"coalesce(try_cast({x} as hugeint) <> try_cast({value} as hugeint), true)"


def _finite(x: str, _: Field, __: str | None) -> Cast:
    value = f"cast(case when isfinite({x}) then {x} end as varchar)"
    return Cast(value, ((f"not isfinite({x})", "a decimal is a finite number"),))


def _day(x: str, _: Field, __: str | None) -> Cast:
    value = f"cast({x} as date)"
    return Cast(value, ((f"{value} <> {x}", "it has a time of day, which a date has not"),))


def _moment(x: str, _: Field, timezone: str | None) -> Cast:
    if timezone is None:
        return Cast("cast(null as timestamptz)", ((f"{x} is not null", _NO_ZONE),))
    return _in_time(x, f"{x}::timestamp at time zone '{timezone}'")


def _plain(to: str) -> Rule:
    return lambda x, _, __: Cast(f"cast({x} as {to})")


def _local(to: str) -> Rule:
    return lambda x, _, timezone: _in_time(x, f"cast({x} at time zone '{timezone or 'UTC'}' as {to})")


def _in_time(x: str, value: str) -> Cast:
    """A cast that DuckDB does not do far from our time."""
    condition, reason = _LIMITS["date"]
    return Cast(
        f"case when not ({condition.format(v=f'try_cast({x} as date)')}) then {value} end",
        ((f"{x} is not null and coalesce({condition.format(v=f'try_cast({x} as date)')}, true)", reason),),
    )


#: from a kind to a type, where a value is the same as both
_LOSSLESS: dict[tuple[str, str], Rule] = {
    ("wide", "int"): _whole,
    ("decimal", "int"): _whole,
    ("float", "int"): _whole,
    ("int", "decimal"): lambda x, _, __: Cast(x),
    ("wide", "decimal"): lambda x, _, __: Cast(x),
    ("float", "decimal"): _finite,
    ("int", "float"): _as_float,
    ("wide", "float"): _as_float,
    ("decimal", "float"): _as_float,
    ("timestamp", "date"): _day,
    ("date", "timestamp"): lambda x, _, __: _in_time(x, f"cast({x} as timestamp)"),
    ("date", "timestamptz"): _moment,
    ("timestamp", "timestamptz"): _moment,
}
#: what `bad="coerce"` adds
_COERCED: dict[tuple[str, str], Rule] = {
    ("int", "bool"): lambda x, _, __: Cast(f"cast({x} as boolean)", ((f"{x} not in (0, 1)", "it is neither 0 nor 1"),)),
    ("bool", "int"): _plain("bigint"),
    ("bool", "float"): _plain("double"),
    ("bool", "decimal"): _plain("bigint"),
    ("timestamptz", "timestamp"): _local("timestamp"),
    ("timestamptz", "date"): _local("date"),
}
