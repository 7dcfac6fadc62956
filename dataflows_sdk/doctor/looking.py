"""How the doctor asks a database: one statement at a time, none of which may take long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflows_sdk.doctor.findings import Finding
from dataflows_sdk.errors import StoreUnavailableError

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Database

#: a statement that takes longer is given up, and that is said
_PATIENCE = "5s"


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at, and what is known of it beforehand.

    Attributes:
        database: reachable, with the schema in it.
        known: names of the workflows of the modules that somebody named; None without any.
        here: names of the workflows of this process, if it takes on runs.
        retention: what the asking process does: an age in words, ``""`` for none, None where it is not known.
        directory: of the embedded database, where there is one.
    """

    database: Database
    known: frozenset[str] | None = None
    here: frozenset[str] | None = None
    retention: str | None = None
    directory: Path | None = None

    def ask(self, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement of ``doctor.sql``."""
        with self.database.connection() as connection, connection.transaction():
            self.database.run(connection, "doctor", "patience", (_PATIENCE,))
            return self.database.run(connection, "doctor", name, parameters)

    def percent(self, table: str, pages: int) -> float:
        """Which share of a table to sample so as to read about so many pages."""
        there = self.ask("pages", f"dataflows.{table}")[0][0] or 0
        return min(100.0, 100.0 * pages / there) if there else 100.0


Check = Callable[[Patient], Iterator[Finding]]


def carefully(check: Check, patient: Patient) -> Iterator[Finding]:
    """The findings of a check; where it cannot be made, that is one."""
    try:
        yield from list(check(patient))
    except StoreUnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - a right that is missing, or a server that is too busy to answer
        reason = " ".join(str(error).split())
        yield Finding(
            "unexamined",
            "note",
            check.__name__,
            f"could not be looked at: {reason:.200}",
            "a role with pg_monitor may look at everything; a busy server may answer later",
        )


__all__ = ["Check", "Patient", "carefully"]
