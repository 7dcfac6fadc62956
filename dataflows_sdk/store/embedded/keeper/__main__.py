"""The entry point of the keeper process; see the docstring of the package."""

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    # An isolated interpreter does not know dataflows_sdk: the package `keeper` is loaded by itself. Its
    # parent goes to the *end* of the path, where its modules cannot shadow one of the standard library.
    package = Path(__file__).resolve().parent
    sys.path[:] = [*(entry for entry in sys.path if entry != str(package)), str(package.parent)]
    sys.exit(importlib.import_module(f"{package.name}.supervise").main(sys.argv[1:]))
