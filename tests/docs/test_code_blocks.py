"""Every block of Python in the READMEs and the documentation runs.

The blocks of a document are one script, run by a fresh interpreter in an empty folder, as a reader would do
it: documents do not see each other, and what one leaves running ends with its process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import wait_until
from .documents import ROOT, all_documents, blocks, script

SECONDS = 120
#: what a newcomer reads first begins with nothing
FIRST = {"README.md", "docs/tutorial/first-run.md"}
#: what needs the files of an embedded database, its keys for instance, gets one that is made already; all others get
#: the address of a database of the tests' server, which saves the start of one
EMBEDDED = {f"docs/how-to/{name}.md" for name in ("connections", "embedded", "encryption", "publish", "sync")}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedded database that is new and at rest."""
    folder = tmp_path_factory.mktemp("cluster")
    connect = "import dataflows_sdk as df; df.connect().close()"
    subprocess.run([sys.executable, "-c", connect], cwd=folder, timeout=SECONDS, check=True)
    made = folder / ".dataflows"
    wait_until(lambda: not (made / "pgdata" / "postmaster.pid").exists(), "its server has stopped", SECONDS)
    return made


def run(document: Path, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    file = folder / f"{document.stem}.py"
    file.write_text(script(blocks(document.read_text(), document.name)))
    # The command `dataflows` stands beside the interpreter, also where nobody activated the environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return subprocess.run(
        [sys.executable, file.name],
        cwd=folder,
        env={**os.environ, "PATH": path, **more},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


WITH_CODE = [path for path in all_documents() if "```python" in path.read_text()]


@pytest.mark.parametrize("document", WITH_CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_of_a_document_runs(document: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    name, more = document.relative_to(ROOT).as_posix(), {}
    if name in EMBEDDED:
        if os.name == "posix":
            made = request.getfixturevalue("cluster")
            subprocess.run(["cp", "-a", str(made), str(tmp_path)], check=True)  # keeps the owner, who need not be us
    elif name not in FIRST and "connect(" in document.read_text():
        more["DATAFLOWS_URL"] = request.getfixturevalue("database_url")
    done = run(document, tmp_path, **more)
    assert done.returncode == 0, f"{document.relative_to(ROOT)}, by its own line numbers:\n{done.stderr}"


@pytest.mark.parametrize("document", all_documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_fences_and_skips_are_written_as_agreed(document: Path) -> None:
    """Raises for a fence in an unknown language and for a skip without a reason."""
    assert all(block.source.strip() for block in blocks(document.read_text(), str(document.relative_to(ROOT))))


def test_documents_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in all_documents()}
    assert {
        "README.md",
        "CONTRIBUTING.md",
        "memory/README.md",
        "docs/index.md",
        "docs/how-to/handle-errors.md",
    } <= names


DOCUMENT = """\
# Title

```python
x = 1
```

<!-- skip: next "needs a cluster" -->
```python
raise SystemExit("skipped blocks do not run")
```

- a list

  ```python
  assert x == 1
  assert x == 2, "here"
  ```
"""


def test_blocks_share_names_keep_their_lines_and_fail(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(DOCUMENT)
    done = run(document, tmp_path)
    assert done.returncode == 1
    assert 'page.py", line 16' in done.stderr
    assert "AssertionError: here" in done.stderr


def test_a_directive_counts_as_a_block() -> None:
    (block,) = blocks("```{code-block} python\nx = 1\n```\n", "page.md")
    assert (block.line, block.source, block.skip) == (2, "x = 1\n", None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<!-- skip: next -->\n```python\nx\n```\n", "page.md:1: write <!-- skip: next"),
        ('<!-- skip: next "" -->\n```python\nx\n```\n', "page.md:1: write <!-- skip: next"),
        ('<!-- skip: start "why" -->\n```python\nx\n```\n', "page.md:1: write <!-- skip: next"),
        ('<!-- skip: next "why" -->\ntext\n```python\nx\n```\n', "no block of Python right after"),
        ('```python\nx\n```\n<!-- skip: next "why" -->\n', "no block of Python right after"),
        ("```py\nx\n```\n", "a block of py; say one of"),
    ],
)
def test_bad_marks_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        blocks(text, "page.md")
