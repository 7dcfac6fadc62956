"""The cluster on disk: made once, whole or not at all."""

from __future__ import annotations

import contextlib
import locale
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import privileges
from .layout import MAJOR, USER, ServerRefusedError, write_private

if TYPE_CHECKING:
    from .layout import Layout

# Appended to postgresql.conf of a new cluster; the file belongs to the user from then on. Durability (fsync,
# synchronous_commit, full_page_writes) stays as PostgreSQL ships it: on. What changes at every start, the
# port and the socket directory, is given on the command line instead.
_CONFIGURATION = """
# --- dataflows-sdk: room for many small clients, little memory, a short log ---
max_connections = 200
shared_buffers = 128MB
work_mem = 8MB
maintenance_work_mem = 64MB
effective_cache_size = 1GB
max_wal_size = 512MB
password_encryption = scram-sha-256     # its 4096 rounds stay: JDBC clients refuse fewer
log_min_messages = log                  # errors of statements go to their clients, not into the log as well
log_checkpoints = off
log_autovacuum_min_duration = -1
log_line_prefix = '%m [%p] '
"""
_STARTED = "pgdata.new-"


def prepare(layout: Layout, programs: Path) -> None:
    """Make the cluster if there is none. Raises ServerRefusedError if there is one that cannot be used."""
    _remove_leftovers(layout)
    version = layout.data / "PG_VERSION"
    if version.exists():
        found = version.read_text("ascii", "replace").strip()
        if found != str(MAJOR):
            raise ServerRefusedError(
                f"{layout.data} is a cluster of PostgreSQL {found}, this library runs {MAJOR}. Dump it with "
                f"pg_dumpall of version {found} and restore it into a new directory."
            )
        if not layout.password.exists():
            raise ServerRefusedError(
                f"{layout.data} is a cluster whose password file {layout.password} is gone. Restore it."
            )
        return
    if layout.data.exists() and any(layout.data.iterdir()):
        raise ServerRefusedError(f"{layout.data} exists and is no PostgreSQL cluster. Move it away.")
    if not layout.password.exists():
        write_private(layout.password, secrets.token_urlsafe(24) + "\n")
    # The database "dataflows" is not part of a fresh cluster, whatever an earlier one had.
    layout.database_made.unlink(missing_ok=True)
    new = layout.root / f"{_STARTED}{secrets.token_hex(4)}"
    try:
        _make(new, layout, programs)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _make(new: Path, layout: Layout, programs: Path) -> None:
    new.mkdir(0o700)
    maker = privileges.initdb_identity()
    maker.own(new)
    maker = privileges.enabled(maker, new, programs)
    _initdb(new, layout, programs, maker)
    with (new / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(_CONFIGURATION)
        file.flush()
        os.fsync(file.fileno())
    privileges.server_identity(layout.data).own(new)
    with contextlib.suppress(FileNotFoundError):
        layout.data.rmdir()
    new.rename(layout.data)
    _sync_folder(layout.root)


def _initdb(new: Path, layout: Layout, programs: Path, maker: privileges.Identity) -> None:
    inherited: tuple[int, ...] = ()
    password_file = str(layout.password)
    if sys.platform == "linux" and maker.uid is not None:
        # The other user may not read our password file. A file in memory reaches it as a descriptor.
        memory = os.memfd_create("password")
        os.write(memory, layout.password.read_bytes())
        inherited, password_file = (memory,), f"/proc/self/fd/{memory}"
    # The builtin locale provider sorts the same on every system and never changes with a libc update.
    # lc_ctype is what full text search asks whether a character is a letter.
    command = [
        str(programs / "initdb"),
        f"--pgdata={maker.path_of(new)}",
        f"--username={USER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--data-checksums",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
        f"--lc-ctype={_character_types()}",
        "--no-instructions",
    ]
    try:
        done = subprocess.run(
            command,
            cwd=new,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=inherited,
            check=False,
            **maker.popen(),
        )
    finally:
        for fd in inherited:
            os.close(fd)
    output = done.stdout.decode("utf-8", "replace")
    with layout.log.open("a", encoding="utf-8") as log:
        log.write(output)
    if done.returncode != 0:
        full = "No space left on device" in output
        raise ServerRefusedError(
            f"initdb could not make a cluster in {layout.root}"
            + (": the disk is full. Free some 100 MB there or choose another directory." if full else ".")
            + "\n"
            + "\n".join(output.strip().splitlines()[-8:])
        )


def _character_types() -> str:
    for candidate in ("C.UTF-8", "en_US.UTF-8"):
        try:
            locale.setlocale(locale.LC_CTYPE, candidate)
        except locale.Error:
            continue
        locale.setlocale(locale.LC_CTYPE, "C")
        return candidate
    return "C"


def _remove_leftovers(layout: Layout) -> None:
    """What a keeper left that was killed in the middle: we are the only one now.

    An initdb that outlived its keeper may go on for a second and leave files again; the next keeper takes those.
    """
    for leftover in layout.root.glob(f"{_STARTED}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable; Windows does that by itself and cannot open a directory."""
    if sys.platform == "win32":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
