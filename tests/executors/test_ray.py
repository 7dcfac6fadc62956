"""Steps on a Ray cluster: one test, because starting Ray takes longer than all that there is to see."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from ..conftest import Need

ROOT = Path(__file__).parents[2]

SCRIPT = """
import json, os, sys
from pathlib import Path

import ray

import dataflows_sdk as df
from dataflows_sdk.errors import StepTimeoutError
from tests.executors import work

seen = {}


async def colours(event, step):
    path = event.payload
    seen["who"] = await step.run("who", work.who, executor="ray")
    fast = df.Retry(1, initial_delay="1ms")
    seen["lost"] = await step.run("lost", work.until_attempt, 2, "kill", executor="ray", retry=fast)
    try:
        await step.run("stock", work.fail, "stock", executor="ray", retry=df.NO_RETRY)
    except work.OutOfStock as error:
        seen["left"] = error.left
    try:
        await step.run("hang", work.hang, path, executor="ray", timeout=5, retry=df.NO_RETRY)
    except StepTimeoutError as error:
        seen["late"] = str(error)
    seen["pids"] = [int(pid) for pid in Path(path).read_text().split()]
    await step.run("note", work.note, path + ".calls", executor="ray")
    points = await step.map("flip", work.flip, [work.Point(1, n) for n in range(5)], executor="ray")
    return points == [work.Point(n, 1) for n in range(5)]


local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "_temp_dir": sys.argv[3]}
for remaining in (2, 1, 0):
    try:
        ray.init(num_cpus=2, log_to_driver=False, **local)
        break
    except Exception as error:
        if not remaining:
            raise
        print(error, file=sys.stderr)
        ray.shutdown()
with df.connect(sys.argv[1], executors={"ray": "auto"}, always_replay=True) as ctx:
    run = ctx.run(df.Workflow("colours", colours), sys.argv[2])
    seen["ok"] = run.result() and run.replay().ok
    seen["run"] = run.id
    seen["errors"] = [a.error["type"] for step in run.timeline() if step.key == "lost" for a in step.failures]
seen["ours"] = not ray.is_initialized()
print(json.dumps(seen))
"""


def first_in_line() -> None:
    """Ray ends itself where a part of it takes 15 s to start (its issue 65983), and others may have every core."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)


@pytest.mark.slow
def test_steps_on_a_cluster(database_url: str, tmp_path: Path, need: Need) -> None:
    if importlib.util.find_spec("ray") is None:
        need("the package ray is not installed (.ci/run installs it)")
    script = tmp_path / "steps.py"
    script.write_text(SCRIPT)
    environment = {
        **os.environ,
        "HOME": str(tmp_path),  # where Ray leaves things of its own
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    path = tmp_path / "hanging"
    # not in tmp_path: the names of Ray's sockets would be too long
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        done = subprocess.run(
            [sys.executable, str(script), database_url, str(path), folder],
            capture_output=True,
            text=True,
            timeout=240,
            env=environment,
            check=False,
            preexec_fn=first_in_line,
        )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert (seen["who"]["run"], seen["who"]["key"], seen["who"]["attempt"]) == (seen["run"], "who", 1)
    assert (seen["lost"], seen["left"], seen["ok"], seen["ours"]) == (2, 2, True, False)
    assert "executor 'ray' was told to stop it" in seen["late"]
    assert not Path(f"/proc/{seen['pids'][0]}").exists()
    assert Path(f"{path}.calls").read_text() == "called\n"
    assert seen["errors"] == ["dataflows_sdk.errors:WorkerLostError"]
