"""export: an archive from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dataflows_sdk as df
from dataflows_sdk.context import Context

from .conftest import Invoke


@df.workflow("exported")
async def exported(event: Any, step: Any) -> int:
    return await step.run("one", lambda: 1)


def test_an_archive(ctx: Context, invoke: Invoke, tmp_path: Path) -> None:
    one, two = ctx.run(exported), ctx.run(exported)
    done = invoke("export", f"{tmp_path}/all.duckdb")
    assert done.exit_code == 0, done.stderr
    assert "all.duckdb" in done.stdout
    with df.open_archive(tmp_path / "all.duckdb") as archive:
        assert {run.id for run in archive.runs()} == {one.id, two.id}
    assert invoke("export", f"{tmp_path}/one/", "--run", one.id, "--no-tables").exit_code == 0
    with df.open_archive(tmp_path / "one") as archive:
        assert [run.id for run in archive.runs()] == [one.id]
        assert archive.run(one.id).timeline()["one"].output == 1
    again = invoke("export", f"{tmp_path}/one/")
    assert again.exit_code == 1
    assert "replace" in again.stderr
    assert invoke("export", f"{tmp_path}/one/", "--replace").exit_code == 0
    assert invoke("export", f"{tmp_path}/x.duckdb", "--table", "nothing").exit_code == 1
    assert invoke("export", f"{tmp_path}/x", "--no-runs", "--run", one.id).exit_code == 2
    assert "file or a folder" in invoke("export", f"{tmp_path}/x").stderr
