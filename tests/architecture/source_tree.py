"""Where the sources of this checkout are."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: import package → the folder that holds it
PACKAGES = {
    "dataflows_sdk": ROOT / "dataflows_sdk",
    "dataflows_memory": ROOT / "memory" / "dataflows_memory",
    "dataflows_integrations": ROOT / "integrations" / "dataflows_integrations",
}


def files_of(folder: Path) -> list[Path]:
    """All files below a folder but what Python makes by itself."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def project_files() -> list[Path]:
    """What is in version control or would be with the next commit; in an unpacked sdist: what we wrote."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return [path for name in sorted(set(listed.split("\0"))) if name and (path := ROOT / name).is_file()]
    folders = ("dataflows_sdk", "memory", "integrations", "tests", "docs", "benchmarks")
    return [path for folder in folders if (ROOT / folder).exists() for path in files_of(ROOT / folder)]
