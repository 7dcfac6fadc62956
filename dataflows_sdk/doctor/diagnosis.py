"""All checks of a database."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dataflows_sdk.doctor import journal, secrets, server, views
from dataflows_sdk.doctor.findings import Diagnosis, Finding
from dataflows_sdk.doctor.looking import Patient, carefully

if TYPE_CHECKING:
    from dataflows_sdk.store.database import Database


def diagnose(
    database: Database,
    *,
    known: Iterable[str] | None = None,
    here: Iterable[str] | None = None,
    retention: str | None = None,
    with_journal: bool = True,
    directory: Path | None = None,
) -> Diagnosis:
    """Look at a database. Nothing is changed.

    Args:
        database: where.
        known: names of the workflows of modules that somebody named; those of nobody with open runs are reported.
        here: names of the workflows of the asking process, if it takes on runs.
        retention: what the asking process does with old runs, in words; ``""`` for nothing, None where it is unknown.
        with_journal: the schema is there and fits.
        directory: of the embedded database, where there is one.

    Raises:
        StoreUnavailableError: nobody answers.
    """
    patient = Patient(
        database,
        None if known is None else frozenset(known),
        None if here is None else frozenset(here),
        retention,
        directory,
    )
    found: list[Finding] = []
    for check in (*server.CHECKS, *((*journal.CHECKS, *views.CHECKS, *secrets.CHECKS) if with_journal else ())):
        found += carefully(check, patient)
    return Diagnosis(found)
