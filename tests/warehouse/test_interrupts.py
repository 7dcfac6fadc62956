"""Questions that would run for ever: a timeout, and Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

import pytest

from dataflows_sdk.context import Context
from dataflows_sdk.errors import InvalidDurationError, QueryError

FOR_EVER = "select count(*) from range(100000000) a, range(100000000) b where (a.range * b.range) % 7 = 3"


def test_a_timeout_ends_a_query(ctx: Context) -> None:
    began = time.monotonic()
    with pytest.raises(QueryError, match=r"interrupted after its timeout of 200 ms"):
        ctx.sql(FOR_EVER, timeout="200ms")
    assert time.monotonic() - began < 30
    assert ctx.sql("select count(*) from runs", timeout="30s").fetchone() == (0,)
    with pytest.raises(InvalidDurationError):
        ctx.sql("select 1", timeout="soon")


def test_a_mistake_is_told_as_one_though_there_is_a_timeout(sql: Callable[..., Any]) -> None:
    with pytest.raises(QueryError, match="nowhere"):
        sql("from nowhere", timeout=30)


def test_ctrl_c_ends_a_query(database_url: str) -> None:
    script = f"""
    import sys, dataflows_sdk as df
    with df.connect(sys.argv[1], work=False) as ctx:
        print("begin", flush=True)
        try:
            ctx.sql({FOR_EVER!r})
        except KeyboardInterrupt:
            print("interrupted", ctx.sql("select count(*) from runs").fetchone(), flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), database_url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n"
    time.sleep(1)  # until DuckDB computes: nothing of it can be seen from outside
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out == "interrupted (0,)\n"
    assert process.returncode == 0
