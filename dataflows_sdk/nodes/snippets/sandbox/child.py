"""The process for snippets. Arguments: the folder that holds `sandbox`, the engine, where the engine's package lies."""

from __future__ import annotations

import os
import sys

from .wire import Engine, Wire, escaped


def main() -> None:
    """Load the engine, say so, and answer requests until the parent is gone."""
    del sys.path[0]  # the folder that this package was found in: only needed until here
    engine, *folders = sys.argv[2:]
    wire = Wire()
    sys.path.extend(folders)
    try:
        if engine == "python":
            from .python import Python

            run: Engine = Python()
        elif engine == "wasmtime":
            from .wasm import Wasm

            run = Wasm()
        else:
            from .javascript import V8, QuickJS

            run = V8() if engine == "v8" else QuickJS()
    except Exception as error:  # noqa: BLE001 - the parent says it
        wire.send(f'{{"failed":{escaped(f"{type(error).__name__}: {error}")}}}'.encode())
        os._exit(1)
    wire.listen()
    run.confine()
    wire.send(b'{"ready":true}')
    wire.serve(run)
