"""Which database a command is about: ``--url``, ``--dir`` and ``DATAFLOWS_URL``."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from dataflows_sdk.errors import StoreUnavailableError

if TYPE_CHECKING:
    from dataflows_sdk.context import Context

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A database: a server's address, or the directory of an embedded one."""

    url: str | None
    directory: Path

    @property
    def exists(self) -> bool:
        """Whether there is anything to connect to; of a server only an attempt tells."""
        return self.url is not None or (self.directory / "pgdata").is_dir()

    def open(self, *, work: bool = False, make: bool = False, **options: Any) -> Context:
        """Connect.

        Args:
            work: take on runs. A command that only looks does not.
            make: make the embedded database where there is none.
            options: others of `connect`.

        Raises:
            StoreUnavailableError: there is none and *make* is false, or nobody answers.
        """
        if not make and not self.exists:
            raise StoreUnavailableError(
                f"there is no dataflows database in {self.directory}: name another directory with --dir, a server with "
                "--url or DATAFLOWS_URL, or make one here with `dataflows demo` or df.connect()"
            )
        from dataflows_sdk.context import connect

        return connect(self.url, directory=self.directory, work=work, **options)

    def arguments(self) -> list[str]:
        """The options that name this place in another process."""
        return ["--dir", str(self.directory)] if self.url is None else []

    def hint(self) -> str:
        """What to add to a command that is shown to the user, so that it finds the same place again."""
        if self.url is not None or self.directory == Path(".dataflows"):
            return ""
        return f" --dir {self.directory}"


def database_options(command: Command) -> Command:
    """Add ``--url`` and ``--dir``; the command gets a `Place` as *place*."""

    @click.option(
        "--url",
        envvar="DATAFLOWS_URL",
        metavar="URL",
        help="A PostgreSQL server, postgresql://user:password@host/db.  [env: DATAFLOWS_URL]",
    )
    @click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path),
        default=Path(".dataflows"),
        show_default=True,
        help="Directory of the embedded PostgreSQL, where no server is named.",
    )
    @functools.wraps(command)
    def with_place(*args: Any, url: str | None, directory: Path, **options: Any) -> Any:
        return command(*args, place=_place(url, directory), **options)

    return with_place


def _place(url: str | None, directory: Path) -> Place:
    context = click.get_current_context()
    named = context.get_parameter_source("directory") is not ParameterSource.DEFAULT
    if named and context.get_parameter_source("url") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--url and --dir name two databases; give one of them")
    if named:
        # What was typed wins over what is set, here and in the processes that we start.
        os.environ.pop("DATAFLOWS_URL", None)
        return Place(None, directory)
    return Place(url or None, directory)


def json_option(command: Command) -> Command:
    """Add ``--json``; the command gets *as_json*."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(command)
