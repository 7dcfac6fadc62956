"""``dataflows worker``: take on runs until told to stop, in one process or several."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

import click

from dataflows_sdk.cli.place import Place, database_options

if TYPE_CHECKING:
    from dataflows_sdk.context import Context


@click.command()
@click.argument("modules", metavar="MODULE...", nargs=-1)
@click.option(
    "--queue", "-q", "queues", metavar="NAME", multiple=True, help="Take runs from this queue only; may be repeated."
)
@click.option("--processes", "-p", type=click.IntRange(1, 256), default=1, show_default=True, help="Worker processes.")
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Runs in memory at once, of each process.",
)
@click.option(
    "--threads", type=click.IntRange(1), default=256, show_default=True, help="Blocking steps at once, of each process."
)
@click.option(
    "--lease", metavar="TIME", default="20s", show_default=True, help="How long a silent worker still owns its runs."
)
@click.option(
    "--grace", metavar="TIME", default="30s", show_default=True, help="How long steps under way may take when it stops."
)
@click.option("--published", is_flag=True, help="Also take up published workflows, if DATAFLOWS_KEY verifies them.")
@click.option("--reload", "watch", is_flag=True, help="Start anew when a file of the modules changes.")
@click.option("--supervised", is_flag=True, hidden=True)
@database_options
def worker(
    modules: tuple[str, ...], queues: tuple[str, ...], processes: int, concurrency: int, threads: int, lease: str,
    grace: str, published: bool, watch: bool, supervised: bool, place: Place,
) -> None:  # fmt: skip
    """Take on runs of the workflows that MODULE... define, until SIGTERM or Ctrl-C.

    MODULE is a module's name or path/to/file.py. Saved flows need none. What is under way when the worker stops gets
    --grace to end its steps; then the runs are handed back, and others go on with them at once.

    With --processes a supervisor starts that many, and again those that die. SIGHUP to it (or --reload) replaces them
    one after another by processes with the code of now.
    """
    if not supervised and (processes > 1 or watch):
        from dataflows_sdk.cli.supervisor import Supervisor

        options = {"concurrency": str(concurrency), "threads": str(threads), "lease": lease, "grace": grace}
        Supervisor(_arguments(modules, queues, options, published, place), processes, modules, watch).run()
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    from dataflows_sdk.cli.target import load_module, workflows_of

    found = [each for module in modules for each in workflows_of(load_module(module))]
    limits: dict[str, Any] = {"concurrency": concurrency, "threads": threads, "lease": lease}
    with place.open(work=True, make=True, queues=queues or None, published=published, **limits) as ctx:
        ctx.register(*found)
        settle_memory()
        working = ctx.worker(grace=grace)
        working.listen()
        _say(ctx, queues, supervised)
        if supervised:
            threading.Thread(target=_until_orphaned, args=(working.stop,), daemon=True).start()
        working.run()


def _arguments(
    modules: tuple[str, ...],
    queues: tuple[str, ...],
    options: dict[str, str],
    published: bool,
    place: Place,
) -> list[str]:
    """The command line of one process of many."""
    limits = [word for name, value in options.items() for word in (f"--{name}", value)]
    chosen = [word for queue in queues for word in ("--queue", queue)] + (["--published"] if published else [])
    return ["worker", *modules, *chosen, *limits, "--supervised", *place.arguments()]


def settle_memory() -> None:
    """What was imported stays: the collector need not walk over it again and again.

    A process that takes on runs all day makes many objects and hardly any cycles; with the usual thresholds a quarter
    of its time is spent on looking for them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _say(ctx: Context, queues: tuple[str, ...], supervised: bool) -> None:
    known = ", ".join(sorted(each.name for each in ctx.workflows())) or "no workflow yet (saved flows are learnt)"
    where = "all queues" if not queues else "queue" + ("s " if len(queues) > 1 else " ") + ", ".join(queues)
    logging.getLogger("dataflows.worker").info("ready: %s; from %s", known, where)
    if supervised:
        click.echo("ready")  # the supervisor waits for it


def _until_orphaned(stop: object) -> None:
    """The supervisor holds our standard input open; its end is ours."""
    sys.stdin.read()
    if callable(stop):
        stop()
