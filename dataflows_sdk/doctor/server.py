"""The server: does it answer, how fast, and what holds it back?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from dataflows_sdk.core.durations import format_duration
from dataflows_sdk.core.sizes import format_size
from dataflows_sdk.doctor.findings import Finding, Severity
from dataflows_sdk.doctor.looking import Patient
from dataflows_sdk.store.database import OLDEST

_PINGS = 5
_SLOW, _VERY_SLOW = 0.02, 0.1
_FULL, _ALMOST_FULL = 0.95, 0.8
_APART, _FAR_APART = 5.0, 60.0
#: seconds that a transaction may be open, and that a session may do nothing in one
_LONG, _IDLE = 300.0, 60.0
_MUCH_WAL = 1 << 30
_DEAD_ROWS, _DEAD_SHARE = 50_000, 0.3
#: of 2,000,000,000 transactions, after which PostgreSQL takes no writes; at 200,000,000 VACUUM begins by itself
_OLD, _VERY_OLD = 800_000_000, 1_600_000_000


def server(patient: Patient) -> Iterator[Finding]:
    """Version and role of the server, clock, and how long it takes to answer."""
    begun = datetime.now(UTC)
    number, shown, standby, now = patient.database.read("schema", "server")[0]
    middle = begun + (datetime.now(UTC) - begun) / 2
    yield Finding("server", "ok", "PostgreSQL", f"version {shown.split(' ')[0]}", numbers={"version": number})
    if number < OLDEST:
        yield Finding("version", "problem", "PostgreSQL", f"version {shown}", "dataflows needs version 14 or later")
    if standby:
        yield Finding("standby", "problem", "PostgreSQL", "a read-only standby", "connect to the primary")
    apart = (now - middle).total_seconds()
    if abs(apart) > _APART:
        way = "ahead of" if apart > 0 else "behind"
        yield Finding(
            "clock",
            "warning" if abs(apart) > _FAR_APART else "note",
            "clock",
            f"the server's is {format_duration(abs(apart))} {way} this machine's",
            "dataflows goes by the server's; let NTP set both, or times in logs and in the journal do not fit",
            {"seconds": apart},
        )


def latency(patient: Patient) -> Iterator[Finding]:
    """The time of a round trip, which every commit takes at least."""
    took: list[float] = []
    with patient.database.connection() as connection:
        for _ in range(_PINGS):
            begun = time.perf_counter()
            patient.database.run(connection, "doctor", "ping", ())
            took.append(time.perf_counter() - begun)
    middle = statistics.median(took)
    severity: Severity = "warning" if middle > _VERY_SLOW else "note" if middle > _SLOW else "ok"
    advice = "every step waits for a commit: run workers near the database" if severity != "ok" else ""
    yield Finding(
        "latency",
        severity,
        "database",
        f"answers in {format_duration(timedelta(seconds=middle))}",
        advice,
        {"median_seconds": middle, "worst_seconds": max(took)},
    )


def connections(patient: Patient) -> Iterator[Finding]:
    """How near the server is to refusing the next one."""
    most, used, own = patient.ask("connections")[0]
    share = used / most if most else 1.0
    severity: Severity = "problem" if share >= _FULL else "warning" if share >= _ALMOST_FULL else "ok"
    advice = (
        "raise max_connections, close contexts that are not used, or put pgbouncer in session mode in between"
        if severity != "ok"
        else ""
    )
    yield Finding(
        "connections",
        severity,
        "connections",
        f"{used} of {most} are taken, {own} of them in this database",
        advice,
        {"used": used, "most": most, "here": own},
    )


def sessions(patient: Patient) -> Iterator[Finding]:
    """Open transactions that keep VACUUM from removing what is dead."""
    for pid, application, user, state, age, quiet in patient.ask("sessions", _LONG, _IDLE):
        idle = state.startswith("idle in transaction")
        what = f"does nothing since {format_duration(quiet)}" if idle else "is at work"
        yield Finding(
            "transaction",
            "warning",
            f"pid {pid} ({application or 'no application name'}, {user or 'another role'})",
            f"has a transaction open since {format_duration(age)} and {what}",
            f"VACUUM removes nothing that is younger: end it there, or with select pg_terminate_backend({pid}); "
            "idle_in_transaction_session_timeout ends such sessions by itself",
            {"pid": pid, "seconds": age, "idle_seconds": quiet if idle else 0.0},
        )
    for gid, owner, age in patient.ask("prepared", _LONG):
        yield Finding(
            "prepared",
            "warning",
            f"transaction {gid!r} of {owner}",
            f"was prepared {format_duration(age)} ago and neither committed nor rolled back",
            "VACUUM removes nothing that is younger: COMMIT PREPARED or ROLLBACK PREPARED",
            {"seconds": age},
        )


def slots(patient: Patient) -> Iterator[Finding]:
    """Replication slots that hold WAL back, until the disk is full."""
    for name, active, held in patient.ask("slots"):
        if held is None or (held < _MUCH_WAL and active):
            continue
        severity: Severity = "warning" if held >= _MUCH_WAL else "note"
        yield Finding(
            "slot",
            severity,
            f"replication slot {name}",
            f"holds {format_size(held)} of WAL and {'is read' if active else 'nobody reads it'}",
            f"if its reader is gone for good: select pg_drop_replication_slot('{name}')" if not active else "",
            {"bytes": held},
        )


def tables(patient: Patient) -> Iterator[Finding]:
    """Sizes, dead rows, and the age of the oldest row."""
    rows = patient.ask("tables")
    if not rows:
        return
    total = sum(row[1] for row in rows)
    largest = ", ".join(f"{row[0]} {format_size(row[1])}" for row in rows[:3])
    yield Finding("size", "ok", "dataflows", f"{format_size(total)} ({largest})", numbers={"bytes": total})
    for name, size, _, living, dead, vacuumed, age in rows:
        if dead > _DEAD_ROWS and dead > _DEAD_SHARE * (living + dead):
            when = (
                f"last vacuumed {vacuumed:%Y-%m-%d %H:%M}" if vacuumed else "never vacuumed since the statistics began"
            )
            yield Finding(
                "bloat",
                "warning",
                f"dataflows.{name}",
                f"{dead:,} dead rows beside {living:,} living ones, {format_size(size)}, {when}",
                f"is autovacuum on, and does an open transaction hold it back? vacuum (verbose) dataflows.{name}",
                {"dead": dead, "living": living, "bytes": size},
            )
        if age > _OLD:
            yield Finding(
                "freeze",
                "problem" if age > _VERY_OLD else "warning",
                f"dataflows.{name}",
                f"its oldest row is {age:,} transactions old; at 2,000,000,000 PostgreSQL takes no more writes",
                f"vacuum (freeze) dataflows.{name}, after ending what holds VACUUM back",
                {"transactions": age},
            )


CHECKS = (server, latency, connections, sessions, slots, tables)
