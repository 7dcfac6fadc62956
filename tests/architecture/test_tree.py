"""Nothing in version control points at the machine of its author or at one particular package index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .source_tree import ROOT, project_files

FOREIGN = re.compile(
    r"/(root|home|work|farm|Users)/[a-z]|pypi\.org|pythonhosted|registry\.npmjs|deb\.debian|(extra-)?index-url|files\.python"
)


def foreign_lines(path: Path, checkout: Path) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError:  # a picture
        return []
    here = str(checkout)
    return [
        f"{path.relative_to(checkout)}:{number}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if FOREIGN.search(line) or here in line
    ]


def test_no_machine_path_or_registry_host() -> None:
    files = project_files()
    assert len(files) > 20
    own = Path(__file__)
    assert [line for path in files if path != own for line in foreign_lines(path, ROOT)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cd /home/ada/project", True),
        ("a path in {root}/data", True),
        ("https://pypi.org/simple", True),
        ("pip install --index-url x", True),
        ("read from ./home/ or PyPI", False),
        ("root/home", False),
    ],
)
def test_the_pattern_finds(tmp_path: Path, text: str, found: bool) -> None:
    file = tmp_path / "file.txt"
    file.write_text(text.format(root=tmp_path))
    assert bool(foreign_lines(file, tmp_path)) is found
