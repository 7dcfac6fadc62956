"""``dataflows mcp``: the tools of a database for any MCP client."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from dataflows_sdk.cli.place import Place, database_options

if TYPE_CHECKING:
    from dataflows_memory.tools.desk import ContextTools
    from dataflows_sdk.context import Context

#: under other names of loopback the server would not see that a page of a stranger asks
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LOG = logging.getLogger("dataflows.mcp")


@click.command("mcp")
@click.argument("modules", metavar="[MODULE...]", nargs=-1)
@click.option("--flow", "flows", metavar="NAME", multiple=True, help="Offer this workflow or saved flow.")
@click.option(
    "--table", "tables", metavar="NAME", multiple=True, help="Let this table or view be read; all by default."
)
@click.option(
    "--write-table",
    "write_tables",
    metavar="NAME",
    multiple=True,
    help="Let rows of this table be written; none by default.",
)
@click.option("--no-tables", is_flag=True, help="Let no table be read.")
@click.option("--scope", metavar="NAME", default="", help="Whose memory is recalled.")
@click.option("--collection", metavar="NAME", default="default", show_default=True, help="Of that memory.")
@click.option("--no-memory", is_flag=True, help="Offer no memory.")
@click.option("--write", is_flag=True, help="Also offer remember and send_event.")
@click.option("--wait", metavar="TIME", default="20s", show_default=True, help="How long a call waits at the most.")
@click.option("--http", metavar="[HOST:]PORT", help="Serve streamable HTTP instead of stdin and stdout.")
@click.option("--token", envvar="DATAFLOWS_MCP_TOKEN", help="What HTTP clients must send.  [env: DATAFLOWS_MCP_TOKEN]")
@click.option("--work", is_flag=True, help="Also take on runs; with MODULE that is so anyway.")
@database_options
def mcp(
    modules: tuple[str, ...], flows: tuple[str, ...], tables: tuple[str, ...], no_tables: bool, scope: str,
    collection: str, no_memory: bool, write: bool, write_tables: tuple[str, ...],
    wait: str, http: str | None, token: str | None, work: bool,
    place: Place,
) -> None:  # fmt: skip
    """Serve the database to agents over MCP: recall, SQL, runs, and flows.

    MODULE is a module's name or path/to/file.py; the workflows that it defines are offered, unless --flow names which.
    Without any a client can only look. Over HTTP it listens on loopback; another HOST needs a --token.
    """
    if no_tables and tables:
        raise click.UsageError("--table and --no-tables contradict each other")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("mcp").setLevel(logging.WARNING)
    where = None if http is None else _address(http, token)
    import asyncio

    from dataflows_memory.mcp.server import mcp_server, serve_http, serve_stdio

    with contextlib.ExitStack() as opened:
        with _printing_to_stderr():
            from dataflows_sdk.cli.target import load_module, workflows_of

            found = [each for module in modules for each in workflows_of(load_module(module))]
            ctx = opened.enter_context(place.open(work=work or bool(modules), make=bool(modules)))
            ctx.register(*found)
            box = ctx.tools(
                flows or [each.name for each in found], [] if no_tables else tables or None,
                memory=None if no_memory else scope, collection=collection, write=write,
                write_tables=write_tables, wait=wait,
            )  # fmt: skip
            server = mcp_server(box)
        if where is None:
            _say(box, "standard input")
            _end_on_signals(ctx)
            asyncio.run(serve_stdio(server))
        else:
            # uvicorn passes on, at its end, the signal that ended it
            signal.signal(signal.SIGTERM, lambda *_: None)
            with _listening(*where) as listening:
                host, port = where[0], listening.getsockname()[1]
                shown = f"[{host}]" if ":" in host else host
                _say(box, f"http://{shown}:{port}/mcp")
                asyncio.run(serve_http(server, listening, token=token, host=host))


def _address(given: str, token: str | None) -> tuple[str, int]:
    host, _, number = given.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not number.isdigit() or not 0 <= int(number) < 1 << 16:
        raise click.UsageError(f"--http {given}: give a port, or HOST:PORT such as 127.0.0.1:8765")
    if token is not None and not token.strip():
        raise click.UsageError("--token is empty")
    if token is None and host not in _LOOPBACK:
        raise click.UsageError(
            f"--http {given}: who reaches {host} would read the database and start flows; "
            "give a --token (or DATAFLOWS_MCP_TOKEN), or listen on 127.0.0.1"
        )
    return host, int(number)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host, port), family=family)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    with made:
        yield made


@contextlib.contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """What is printed before the server is there is no message of the protocol, whoever prints it."""
    sys.stdout.flush()
    try:
        wire = os.dup(1)
    except OSError:  # there is none
        yield
        return
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(wire, 1)
        os.close(wire)


def _end_on_signals(ctx: Context) -> None:
    def end(number: int, _frame: Any) -> None:
        # a thread waits for standard input and would keep the process from ending by itself
        try:
            ctx.close()
        finally:
            os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _say(box: ContextTools, where: str) -> None:
    _LOG.info("serving %s on %s", ", ".join(box), where)
