"""The directory that holds an embedded server: made private, and refused when it cannot be ours."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from dataflows_sdk.errors import EmbeddedServerError

from .keeper.layout import Layout

WAY_OUT = 'Choose another directory, or use a server of your own: connect("postgresql://…").'
_FOREIGN_BUT_HARMLESS = {"lost+found", ".DS_Store", ".gitignore"}


def prepare(directory: Path) -> Layout:
    """Make `directory` if needed, 0700, and give its layout. No mode of anything above it is changed.

    Raises:
        EmbeddedServerError: it is a file, belongs to somebody else, cannot be written or holds other things.
    """
    root = Path(os.path.realpath(directory))
    layout = Layout(root)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise EmbeddedServerError(
            f"{root} cannot be the directory of the embedded PostgreSQL: it or something above it is a file. {WAY_OUT}"
        ) from None
    except OSError as error:
        raise unusable(root, error) from error
    try:
        _check_ours(layout)
        _leave_out_of_git(root)
    except OSError as error:
        raise unusable(root, error) from error
    return layout


def unusable(root: Path, error: OSError) -> EmbeddedServerError:
    """What to tell about an operating system error in `root`."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        why = "cannot be written by this user"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        why = "is on a full disk: free some 100 MB"
    elif error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
        why = "is on a file system without file locks: take one on a local disk"
    else:
        why = "cannot be used"
    return EmbeddedServerError(
        f"The directory {root} of the embedded PostgreSQL {why} ({error.strerror or error}). {WAY_OUT}"
    )


def _check_ours(layout: Layout) -> None:
    if sys.platform == "win32":
        return  # the profile's access lists already keep others out
    found = layout.root.stat()
    if found.st_uid != os.geteuid():
        raise EmbeddedServerError(
            f"{layout.root} belongs to uid {found.st_uid}, and this process runs as uid {os.geteuid()}. "
            f"Run as the owner. {WAY_OUT}"
        )
    if layout.clients_lock.exists():
        known = True
    else:
        entries = {entry.name for entry in layout.root.iterdir()}
        known = layout.clients_lock.name in entries or entries <= _FOREIGN_BUT_HARMLESS  # another may just come first
    if not known:
        raise EmbeddedServerError(
            f"{layout.root} is not empty and holds no embedded PostgreSQL: it would get mode 0700 and a "
            f"thousand files. Name a new directory inside it, such as {layout.root / '.dataflows'}."
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        layout.root.chmod(mode & 0o700)


def _leave_out_of_git(root: Path) -> None:
    """A password and a database are in here."""
    ignore = root / ".gitignore"
    if not ignore.exists():
        fd = os.open(ignore, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write("*\n")
