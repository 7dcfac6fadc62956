"""What runs snippets: which engines are installed here, and how a process of each is started."""

from __future__ import annotations

import base64
import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Literal, get_args

from dataflows_sdk.errors import MissingExtraError

Engine = Literal["quickjs", "v8", "python", "node", "deno", "wasmtime"]

#: every engine, by name
ENGINES: tuple[Engine, ...] = get_args(Engine)
#: a process of these serves one snippet: their limits are given when it starts, or it may have been changed
COLD: frozenset[Engine] = frozenset({"python", "node", "deno"})
#: programs, where the others are packages
_PROGRAMS = ("node", "deno")

_SANDBOX = Path(__file__).parent / "sandbox"
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from sandbox.child import main; main()"
_MODULES = {"quickjs": "_quickjs", "v8": "py_mini_racer", "wasmtime": "wasmtime"}
_MISSING = {
    "quickjs": "the package quickjs-ng is not installed, which has the engine 'quickjs': pip install quickjs-ng",
    "v8": "the package mini-racer is not installed, which has the engine 'v8': pip install 'dataflows-sdk[v8]'",
    "wasmtime": "the package wasmtime is not installed: pip install 'dataflows-sdk[wasm]'",
    "node": "there is no program 'node' in the PATH: install Node.js, 20 or later (nodejs.org)",
    "deno": "there is no program 'deno' in the PATH: pip install 'dataflows-sdk[deno]', or install Deno (deno.com)",
}
# Nothing else of the parent's environment gets in: it is where credentials live.
_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "LD_LIBRARY_PATH",
)
_OLDEST_NODE = 20


@functools.cache
def require(engine: Engine) -> tuple[str, ...]:
    """Where the engine's package lies, or its program: the workers look for nothing anywhere else.

    Raises:
        MissingExtraError: it is not installed.
    """
    if engine == "python":
        return ()
    if engine in _PROGRAMS:
        found = shutil.which(engine) or shutil.which(engine, path=sysconfig.get_path("scripts"))
        if found is None:
            raise MissingExtraError(_MISSING[engine])
        return (found,)
    spec = importlib.util.find_spec(_MODULES[engine])
    if spec is None or spec.origin is None:
        raise MissingExtraError(_MISSING[engine])
    file = Path(spec.origin)
    return (str(file.parent if engine == "quickjs" else file.parents[1]),)


def available(engine: Engine) -> bool:
    """Whether the engine is installed."""
    try:
        require(engine)
    except MissingExtraError:
        return False
    return True


def command(engine: Engine, memory_mb: int) -> list[str]:
    """How a process for snippets is started.

    Args:
        memory_mb: for programs, which must know it from the beginning.

    Raises:
        MissingExtraError: the engine is not installed, or too old.
    """
    where = require(engine)
    if engine == "node":
        heap = f"--max-old-space-size={memory_mb}"
        return [*where, _permission(where[0]), "--no-warnings", heap, "--eval", _script("node.js")]
    if engine == "deno":
        alone = ("--no-prompt", "--no-remote", "--no-npm", "--no-config", "--no-lock", "--quiet")
        source = base64.b64encode(_script("deno.js").encode()).decode()
        heap = f"--v8-flags=--max-old-space-size={memory_mb}"
        return [*where, "run", *alone, heap, f"data:text/javascript;base64,{source}"]
    # site-packages only where the snippet may want them: looking through them takes as long as all the rest
    flags = ("-I",) if engine == "python" else ("-I", "-S")
    return [sys.executable, *flags, "-c", _BOOT, str(_SANDBOX.parent), engine, *where]


def environment(engine: Engine) -> dict[str, str]:
    """The environment variables of such a process."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {**kept, "NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1"} if engine in _PROGRAMS else kept


@functools.cache
def _script(name: str) -> str:
    driver = (_SANDBOX / "driver.js").read_text(encoding="utf-8")
    return f"const DRIVER = {json.dumps(driver)};\n{(_SANDBOX / name).read_text(encoding='utf-8')}"


@functools.cache
def _permission(node: str) -> str:
    """The flag of Node's permission model, which was an experiment until 22.13 and 23.5."""
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    match = re.match(r"v(\d+)\.(\d+)", said)
    if match is None or int(match[1]) < _OLDEST_NODE:
        raise MissingExtraError(
            f"{node} is {said.strip() or 'no Node.js'}; snippets need Node.js {_OLDEST_NODE} or later"
        )
    version = int(match[1]), int(match[2])
    stable = version >= (23, 5) or (22, 13) <= version < (23, 0)
    return "--permission" if stable else "--experimental-permission"
