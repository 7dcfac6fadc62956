"""The raw limit: what PostgreSQL and this machine give without any engine.

W1: one psycopg connection in autocommit, one prepared INSERT after another. ``pgbench``: the same INSERT from
C, by so many clients at once.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from protocol import PAYLOAD, Job, Measurement, Stopwatch, main, per_step, workload

TABLE = "create table one (id bigserial primary key, payload text)"
INSERT = "insert into one (payload) values (%s)"
TEXT = json.dumps(PAYLOAD)
WARM_UP, INSERTS = 100, 3000


@workload("W1", "sync")
@workload("W1", "async")
def insert_loop(job: Job) -> Measurement:
    durations: list[float] = []
    with psycopg.connect(job.dsn, autocommit=True, prepare_threshold=0) as connection:
        connection.execute(TABLE)
        for _ in range(WARM_UP):
            connection.execute(INSERT, (TEXT,))
        with Stopwatch() as watch:
            for _ in range(INSERTS):
                began = time.perf_counter()
                connection.execute(INSERT, (TEXT,))
                durations.append(time.perf_counter() - began)
    return per_step(durations, watch)


@workload("pgbench", "sync")
def pgbench(job: Job) -> Measurement:
    clients = job.settings["clients"]
    with psycopg.connect(job.dsn, autocommit=True) as connection:
        connection.execute(TABLE)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "insert.sql"
        script.write_text(INSERT.replace("%s", "'" + TEXT.replace("'", "''") + "'") + ";\n")
        command = [
            str(Path(job.server["binaries"]) / "pgbench"),
            "-n",
            "-M",
            "prepared",
            "-c",
            str(clients),
            "-j",
            str(min(2, clients)),
        ]
        command += ["-T", str(job.settings["seconds"]), "-f", str(script), job.dsn]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {name: re.search(pattern, report) for name, pattern in
             {"tps": r"tps = ([\d.]+)", "latency": r"latency average = ([\d.]+)"}.items()}  # fmt: skip
    assert found["tps"] is not None, report
    assert found["latency"] is not None, report
    return {
        "metric": "tps",
        "value": float(found["tps"][1]),
        "latency_ms": float(found["latency"][1]),
        "clients": clients,
    }


if __name__ == "__main__":
    main()
