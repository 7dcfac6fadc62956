"""What a view may be called and what its text may be; and what PostgreSQL's refusals mean for whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dataflows_sdk.errors import DataflowsError, DefinitionError, WarehouseError
from dataflows_sdk.store.statements import RefusedError

#: what `ctx.sql` and the documented views of the journal call their tables
RESERVED = ("runs", "steps", "events", "executions", "execution_steps", "connections", "service_clients")
#: of these a view may read in the schema of the journal; all else there may hold secrets
JOURNAL = ("runs", "steps", "events", "executions", "execution_steps")
#: of PostgreSQL's own tables, those with passwords, and those with samples of what is in other tables
SECRET = frozenset(
    {"pg_authid", "pg_user_mapping", "pg_subscription", "pg_largeobject", "pg_statistic", "pg_statistic_ext_data"}
)
_LONGEST = 63
#: parameters are wanted and none are sent
_UNBOUND = "08P01"
_TRANSIENT = ("08", "40", "53", "55", "57", "58", "XX")


def checked_name(name: object) -> str:
    """A name that a view can have.

    Raises:
        DefinitionError: it cannot.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise DefinitionError(f"a view has a name such as 'project_profitability', not {name!r:.100}")
    if len(_encoded(name, "the name of a view")) > _LONGEST:
        raise DefinitionError(
            f"the name of view {name!r:.80} has more than {_LONGEST} bytes; PostgreSQL would cut it off"
        )
    if name.lower() in RESERVED:
        raise DefinitionError(f"{name!r} is a table of the journal in ctx.sql; give the view another name")
    if name.lower().endswith("_history"):
        raise DefinitionError(
            f"view {name!r}: names that end in _history are those of tables' pasts; give it another name"
        )
    return name


def checked_text(name: str, text: object) -> str:
    """A text that can be sent as one statement, without the blanks around it.

    Raises:
        DefinitionError: it is none.
    """
    if not isinstance(text, str) or not text.strip().rstrip(";").strip():
        raise DefinitionError(f"view {name!r}: its text is one SELECT, not {text!r:.100}")
    if "\0" in text:
        raise DefinitionError(f"view {name!r}: its text holds a NUL character, which PostgreSQL cannot read")
    _encoded(text, f"the text of view {name!r}")
    return text.strip().rstrip(";").rstrip()


def checked_columns(name: str, given: object) -> tuple[str, ...]:
    """``key=``: a column or several.

    Raises:
        DefinitionError: it is neither.
    """
    columns = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else ()
    if not columns or not all(isinstance(each, str) and each and "\0" not in each for each in columns):
        raise DefinitionError(
            f"view {name!r}: key= is a column or several that are unique together, not {given!r:.100}"
        )
    return columns


def taken(name: str, relations: Iterable[tuple[str, str, bool, bool]]) -> None:
    """See to it that no other relation of the warehouse has the name, nor one that DuckDB would take for the same.

    Args:
        relations: name, kind, whether it is a view that was defined here, whether it is a table of the warehouse.

    Raises:
        DefinitionError: one has.
    """
    for other, kind, ours, table in relations:
        if other.lower() != name.lower():
            continue
        if table or kind in ("r", "p", "f"):
            raise DefinitionError(
                f"view {name!r} would stand before the table {other!r} of the warehouse; give the view another name"
            )
        if other != name:
            raise DefinitionError(f"view {name!r} differs from view {other!r} only in case; give it another name")
        if not ours:
            raise DefinitionError(
                f"there is a view {name!r} that was made by hand, not by ctx.warehouse.view(); drop it there "
                f'(drop view warehouse."{name}"), or give this one another name'
            )


def explained(refused: RefusedError, name: str, text: str, prefix: int, known: Sequence[str]) -> DataflowsError:
    """What to tell the author of a view.

    Args:
        prefix: how many characters stood before the text in the statement.
        known: what there is in the warehouse.
    """
    state, message = refused.sqlstate, refused.message
    if state == "55P03":
        return WarehouseError(
            f"view {name!r}: somebody has been reading it, or writing a table beneath it, for too long ({message}); "
            "try again when that is over"
        )
    if state == "42501":
        return WarehouseError(f"view {name!r}: {message}; the role of this connection must own what it defines anew")
    if state[:2] in _TRANSIENT and state != _UNBOUND:
        return WarehouseError(f"view {name!r} was not defined: PostgreSQL says: {message}")
    lines = [f"view {name!r}: {_meaning(refused)}{_place(refused, text, prefix)}"]
    if state == "42P01":
        lines.append(f"In the warehouse there are: {', '.join(known) or 'no tables yet'}; and of the journal "
                     f"{', '.join(f'dataflows.{each}' for each in JOURNAL[:3])}.")  # fmt: skip
    if refused.hint:
        lines.append(refused.hint)
    return DefinitionError("\n".join(lines))


def _meaning(refused: RefusedError) -> str:
    state, message = refused.sqlstate, refused.message
    if state == "42601" and "multiple commands" in message:
        return "its text is one SELECT, and these are several statements"
    if state == "42601":
        return f"its text is one SELECT (or VALUES, TABLE, WITH … SELECT), and PostgreSQL cannot read it so: {message}"
    if state in ("42P02", _UNBOUND):
        return f"a view has no parameter such as $1; write the value into the text ({message})"
    if state == "42P17":
        return "it would stand on itself"
    if state == "42701":
        return f"{message}; name the columns apart with `as`"
    if state == "23505":
        return f"its key= is not unique: {refused.detail or message}"
    return f"PostgreSQL says: {message}"


def _place(refused: RefusedError, text: str, prefix: int) -> str:
    if refused.position is None or not 0 <= refused.position - prefix <= len(text):
        return ""
    at = refused.position - prefix
    line = text[: at + 1].count("\n") + (1 if text[at : at + 1] != "\n" else 0)
    return f" (line {line}: {(text.splitlines() or [''])[line - 1].strip()[:100]!r})"


def _encoded(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise DefinitionError(f"{what} holds half a surrogate pair, which is no text: {text!r:.100}") from None
