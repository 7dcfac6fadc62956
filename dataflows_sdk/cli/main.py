"""The entry point of ``dataflows``: the commands, and how they end.

Exit codes: 0 it worked; 1 it did not (an error of dataflows, a run without a result); 2 the command line is wrong;
130 interrupted with Ctrl-C; 141 nobody reads the output any more. Those of ``doctor`` say the worst that it found: 0, 1
for warnings, 2 for problems.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from dataflows_sdk.cli.bulk import cancel, resume, retry
from dataflows_sdk.cli.demo import demo
from dataflows_sdk.cli.doctor import doctor
from dataflows_sdk.cli.export import export
from dataflows_sdk.cli.key import key
from dataflows_sdk.cli.run import run
from dataflows_sdk.cli.runs import runs
from dataflows_sdk.cli.screen import fail
from dataflows_sdk.cli.show import show
from dataflows_sdk.cli.tail import tail
from dataflows_sdk.cli.worker import worker
from dataflows_sdk.errors import DataflowsError
from dataflows_sdk.plugins import added_command, added_commands

INTERRUPTED = 130
BROKEN_PIPE = 141


class Program(click.Group):
    """A group whose commands end with a sentence and an exit code, never with a traceback of our own errors."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()
        except DataflowsError as error:
            fail(str(error))
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _nobody_reads()
            ctx.exit(BROKEN_PIPE)
        return done

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [
            *self.commands,
            *(name for name in added_commands() if name not in self.commands),
        ]  # as a newcomer meets them

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or added_command(cmd_name)


def _nobody_reads() -> None:
    # What is still buffered would be flushed into the closed pipe at exit, with a complaint.
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"dataflows-sdk {version('dataflows-sdk')}")
        ctx.exit()


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 it worked, 1 it did not, 2 wrong usage, 130 interrupted.",
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
@click.option(
    "--log-json",
    is_flag=True,
    envvar="DATAFLOWS_LOG_JSON",
    help="Log to stderr as JSON lines with run, step and attempt.",
)
def cli(log_json: bool) -> None:
    """Durable dataflows: run them, and look at what they did.

    The database is the one of DATAFLOWS_URL or --url, else an embedded PostgreSQL in ./.dataflows.
    """
    if log_json:
        from dataflows_sdk.logs import configure_logging

        os.environ["DATAFLOWS_LOG_JSON"] = "1"  # for the processes that a command starts
        configure_logging(json=True)


for _command in (demo, run, worker, runs, show, tail, cancel, resume, retry, export, doctor, key):
    cli.add_command(_command)


def main() -> None:
    """What the script ``dataflows`` calls."""
    cli(prog_name="dataflows")


if __name__ == "__main__":
    main()
