"""``dataflows export``: an archive of runs and tables."""

from __future__ import annotations

from pathlib import Path

import click

from dataflows_sdk.cli import screen
from dataflows_sdk.cli.place import Place, database_options


@click.command()
@click.argument("path")
@click.option("--format", "form", type=click.Choice(["duckdb", "parquet"]), help="By default as PATH says.")
@click.option("--table", "-t", "tables", metavar="NAME", multiple=True, help="Only this table; may be repeated.")
@click.option("--run", "-r", "runs", metavar="RUN", multiple=True, help="Only this run; may be repeated.")
@click.option("--no-tables", is_flag=True, help="No tables.")
@click.option("--no-runs", is_flag=True, help="No runs.")
@click.option("--replace", is_flag=True, help="Put it in the place of an archive that is there.")
@database_options
def export(
    path: str,
    form: str | None,
    tables: tuple[str, ...],
    runs: tuple[str, ...],
    no_tables: bool,
    no_runs: bool,
    replace: bool,
    place: Place,
) -> None:
    """Write an archive: runs with their steps, tables with their histories, as of one moment.

    PATH is a file (incident.duckdb) or a folder of Parquet files (incident/). df.open_archive(PATH) reads it without
    any PostgreSQL, and so does DuckDB.
    """
    if (no_tables and tables) or (no_runs and runs):
        raise click.UsageError("--no-tables and --no-runs leave all of them out; name none beside them")
    console = screen.console(stderr=True)
    with place.open() as ctx:

        def write(line: object = None) -> Path:
            def tell(what: str, done: int, total: int | None) -> None:
                if callable(line):
                    line(screen.plain(f"{what} {done:,}" if total is None else f"{what} {done + 1:,}/{total:,}"))

            return ctx.export(
                path,
                format=form,
                tables=[] if no_tables else list(tables) or None,
                runs=[] if no_runs else list(runs) or None,
                replace=replace,
                progress=tell,
            )

        if console.is_terminal:
            with console.status("reading", spinner="dots") as status:
                written = write(status.update)
        else:
            written = write()
    files = [written] if written.is_file() else [each for each in written.iterdir() if each.is_file()]
    click.echo(f"{written} {screen.size(sum(each.stat().st_size for each in files))}")
