"""How long a file may be: 400 lines is where to stop and think, beyond 600 a file gives its reason here."""

from __future__ import annotations

from pathlib import Path

from .source_tree import ROOT, project_files

LIMIT = 600
#: path → why it is better as one file
LONG: dict[str, str] = {
    "tests/flow/test_builder.py": "one table of what the builder accepts and refuses",
}


def too_long(files: list[Path], root: Path, excused: dict[str, str]) -> list[str]:
    """What is wrong: a long file without a reason, a reason without a long file."""
    lines = {str(path.relative_to(root)): len(path.read_text().splitlines()) for path in files}
    long = {name: count for name, count in lines.items() if count > LIMIT}
    return [f"{name} has {count} lines" for name, count in long.items() if not excused.get(name, "").strip()] + [
        f"{name} is excused, and is not long (any more)" for name in excused if name not in long
    ]


def test_no_file_is_longer_than_a_head_can_hold() -> None:
    sources = [path for path in project_files() if path.suffix in {".py", ".sql", ".js", ".css"}]
    assert len(sources) > 10
    assert too_long(sources, ROOT, LONG) == []


def test_long_files_are_found(tmp_path: Path) -> None:
    for name, count in {"long.py": LIMIT + 1, "excused.py": LIMIT + 1, "short.py": LIMIT}.items():
        (tmp_path / name).write_text("x\n" * count)
    excused = {"excused.py": "a table", "short.py": "once long"}
    assert too_long(sorted(tmp_path.iterdir()), tmp_path, excused) == [
        f"long.py has {LIMIT + 1} lines",
        "short.py is excused, and is not long (any more)",
    ]
    assert too_long([tmp_path / "long.py"], tmp_path, {"long.py": " "}) == [f"long.py has {LIMIT + 1} lines"]
