"""The page of the command line is what ``--help`` prints."""

from __future__ import annotations

import re
from pathlib import Path

import click
from click.testing import CliRunner

from dataflows_sdk.cli.main import cli

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def helped(*arguments: str) -> str:
    runner = CliRunner(env={"COLUMNS": "100", "DATAFLOWS_URL": ""})
    return runner.invoke(cli, [*arguments, "--help"], prog_name="dataflows", terminal_width=100).output.rstrip()


def test_the_page_has_every_command_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = dict(re.findall(r"^## (dataflows[^\n]*)\n\n```text\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL))
    real = {
        "dataflows": helped(),
        **{f"dataflows {name}": helped(name) for name in cli.list_commands(click.Context(cli))},
    }
    assert shown == real
