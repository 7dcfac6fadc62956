"""Which user PostgreSQL runs as, and how it reaches its files, without opening a directory to anybody.

Everybody but root: as themselves. PostgreSQL refuses uid 0, so for root (containers, Colab, CI; Linux only):

* The server runs under a uid that nobody has: one out of the range that systemd keeps for such users, derived
  from the path. The postmaster needs no passwd entry for it, initdb does: that runs as `nobody` in a fresh
  directory, and the result is handed over.
* The data lie below directories of root that this uid may not enter. The server is *started in* its data
  directory and is given it as /proc/self/cwd, a link that the kernel follows without looking at the path. No
  privilege needed.
* The binaries may lie in such a place too (/root/.venv). The program finds its parts by their real path, so
  here the server keeps one capability: to read past permissions (CAP_DAC_READ_SEARCH; where only that is
  there, as in a default Docker container, CAP_DAC_OVERRIDE). It can then read what root can, and its only
  superuser is root's client. Nothing is granted where the binaries can be reached.
"""

from __future__ import annotations

import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .layout import ServerRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CWD = Path("/proc/self/cwd")
_FIRST_DYNAMIC_UID, _LAST_DYNAMIC_UID = 61184, 65519  # systemd.exec(5), DynamicUser=

_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _CAP_SETPCAP = 1, 2, 8  # linux/capability.h


@dataclass(frozen=True)
class Identity:
    """Who a PostgreSQL program runs as. ``uid=None`` is the caller."""

    uid: int | None = None
    capability: int | None = None

    def popen(self) -> dict[str, Any]:
        """Keyword arguments for `subprocess.Popen`."""
        if self.uid is None:
            return {}
        if self.capability is None:
            return {"user": self.uid, "group": self.uid, "extra_groups": []}
        return {"preexec_fn": _become(self.uid, self.capability)}

    def own(self, path: Path) -> None:
        """Make this identity the owner of `path` and everything in it."""
        if sys.platform == "win32" or self.uid is None:
            return
        os.chown(path, self.uid, self.uid, follow_symlinks=False)
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.chown(Path(folder, name), self.uid, self.uid, follow_symlinks=False)

    def path_of(self, data: Path) -> Path:
        """How this identity calls a data directory that it was started in."""
        return data if self.uid is None else CWD


def is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def initdb_identity() -> Identity:
    """Who runs initdb: it looks its user up, so for root it must be one that has a name."""
    if sys.platform == "win32" or not is_root():
        return Identity()
    import pwd

    for entry in sorted(pwd.getpwall(), key=lambda entry: entry.pw_name != "nobody"):
        if entry.pw_uid != 0:
            return Identity(entry.pw_uid)
    raise ServerRefusedError("PostgreSQL refuses to run as root, and /etc/passwd has no other user. Add one.")


def server_identity(data: Path) -> Identity:
    """Who runs the server: the owner of its data directory, or if that is root, a uid made from its path."""
    if sys.platform == "win32" or not is_root():
        return Identity()
    if not sys.platform.startswith("linux"):
        raise ServerRefusedError("As root the embedded PostgreSQL runs on Linux only. Run as an ordinary user.")
    span = _LAST_DYNAMIC_UID - _FIRST_DYNAMIC_UID + 1
    derived = _FIRST_DYNAMIC_UID + zlib.crc32(os.fsencode(data)) % span
    try:
        return Identity(data.stat().st_uid or derived)
    except FileNotFoundError:
        return Identity(derived)


def enabled(identity: Identity, data: Path, programs: Path) -> Identity:
    """The same identity with what it takes to reach `data` and the tree of `programs`.

    `data` must belong to the identity already. Raises ServerRefusedError that names the directory in the way.
    """
    if identity.uid is None:
        return identity
    tree = programs.parent
    parts = (
        tree / "lib",
        tree / "share",
        tree.parent.with_suffix(".libs"),
    )  # auditwheel puts libraries in the last
    needed = [
        programs / "postgres",
        programs / "initdb",
        *(file for part in parts for file in _samples(part)),
    ]
    obstacle = first_obstacle(identity.uid, needed, cwd=data)
    if obstacle is None:
        return identity
    held = _capabilities()
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if {capability, _CAP_SETPCAP} <= held:
            return Identity(identity.uid, capability)
    raise ServerRefusedError(
        f"PostgreSQL refuses to run as root, and as another user it cannot pass {obstacle}. This root "
        f"lacks the capabilities to help it: CAP_DAC_READ_SEARCH or CAP_DAC_OVERRIDE, and CAP_SETPCAP. "
        f"Run as another user, or install the packages below a directory that everybody may enter."
    )


def first_obstacle(uid: int, paths: Sequence[Path], cwd: Path | None = None) -> str | None:
    """What keeps `uid` from reading one of `paths` (and from standing in `cwd`), or None: asked of the
    kernel, by a child that becomes that user. Only for a process without threads.
    """
    if sys.platform == "win32":
        return None
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write_end, os.fsencode(_obstacle_as(uid, paths, cwd) or ""))
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answer:
        text = os.fsdecode(answer.read())
    os.waitpid(child, 0)
    return text or None


def _obstacle_as(uid: int, paths: Sequence[Path], cwd: Path | None) -> str | None:
    if sys.platform == "win32":
        return None
    try:
        if cwd is not None:
            os.chdir(cwd)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        if cwd is not None:
            os.stat(CWD / ".")  # noqa: PTH116 - Path would drop the dot that makes this a walk *through* the link
    except OSError as error:
        return f"{cwd} (as uid {uid}: {error})"
    for path in paths:
        for step in (*reversed(path.parents), path):
            if not os.access(step, os.X_OK if step != path or step.is_dir() else os.R_OK):
                return str(step)
    return None


def _samples(tree: Path) -> list[Path]:
    """One file of every folder in `tree`: an installation with a tight umask shows at any of them."""
    found: list[Path] = []
    for folder, _, files in os.walk(tree):
        found.append(Path(folder, files[0]) if files else Path(folder))
    return found


def _capabilities() -> set[int]:
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            return {bit for bit in range(64) if mask >> bit & 1}
    return set()


def _become(uid: int, capability: int) -> Callable[[], None]:
    """Become `uid` and keep this one capability across exec; to be called between fork and exec."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    set_securebits, cap_ambient, raise_it = 28, 47, 2  # linux/prctl.h
    # access(2) looks at the *real* uid and forgets capabilities of everybody but root, and PostgreSQL checks
    # its own program with access(2). This bit turns that off; it also lets setuid leave the capabilities
    # alone.
    no_setuid_fixup = 1 << 2
    version_3 = 0x20080522  # linux/capability.h
    header = (ctypes.c_uint32 * 2)(version_3, 0)
    mask = 1 << capability
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)  # effective, permitted, inheritable; low and high words

    def check(result: int, call: str) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), call)

    def become() -> None:
        if sys.platform != "win32":
            check(libc.prctl(set_securebits, no_setuid_fixup, 0, 0, 0), "PR_SET_SECUREBITS")
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            check(libc.capset(header, sets), "capset")
            check(libc.prctl(cap_ambient, raise_it, capability, 0, 0), "PR_CAP_AMBIENT")

    return become
