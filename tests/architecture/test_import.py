"""``import dataflows_sdk`` is cheap and silent.

It loads no driver, server or widget library, starts no thread and no process, opens no socket and writes no
file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "IPython", "cryptography", "duckdb", "fastapi", "httpx", "ipywidgets", "keyring", "kubernetes", "networkx", "numpy",
    "openai", "opentelemetry", "pandas", "polars", "psycopg", "psycopg_pool", "pyarrow", "rich", "sqlglot", "uvicorn",
}  # fmt: skip

PROBE = """
import sys, threading

seen = []

def watch(event, details):
    if event in {"socket.__new__", "subprocess.Popen", "os.fork", "os.posix_spawn"}:
        seen.append(event)
    elif event == "open" and set(str(details[1] or "")) & set("wax+"):
        seen.append(f"open {details[0]} for writing")

sys.addaudithook(watch)
import MODULE
import json
threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
print(json.dumps({"events": seen, "threads": threads, "modules": sorted(sys.modules)}))
"""


def effects_of_importing(module: str, path: Path | None = None) -> dict[str, list[str]]:
    environment = {**os.environ, "PYTHONPATH": str(path or ""), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE.replace("MODULE", module)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    loaded = {name.partition(".")[0] for name in found.pop("modules")}
    return {"heavy": sorted(loaded & HEAVY), "printed": done.stdout.splitlines()[:-1], **found}


@pytest.mark.parametrize("module", ["dataflows_sdk", "dataflows_memory", "dataflows_integrations"])
def test_importing_is_cheap_and_silent(module: str) -> None:
    assert effects_of_importing(module) == {"heavy": [], "printed": [], "events": [], "threads": []}


def test_the_probe_sees_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "import networkx, socket, subprocess, sys, threading, pathlib\n"
        "print('hello')\n"
        "socket.socket().close()\n"
        "subprocess.run([sys.executable, '-c', ''], check=True)\n"
        "pathlib.Path(__file__).with_suffix('.log').write_text('x')\n"
        "threading.Thread(target=threading.Event().wait, daemon=True, name='busy').start()\n"
    )
    effects = effects_of_importing("loud", tmp_path)
    assert effects["heavy"][:1] == ["networkx"]
    assert effects["printed"] == ["hello"]
    assert effects["threads"] == ["busy"]
    assert effects["events"][:2] == ["socket.__new__", "subprocess.Popen"]
    assert effects["events"][-1].endswith("loud.log for writing")
