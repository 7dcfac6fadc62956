"""The magics of ``%load_ext dataflows_sdk``: ``%dataflows``, ``%%flow``, ``%runs`` and ``%%dfsql``."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import MagicArgumentParser
from IPython.display import display

from dataflows_sdk.context import Context, connect
from dataflows_sdk.core.redact import REDACTOR
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import DataflowsError
from dataflows_sdk.flow.builder import Flow
from dataflows_sdk.notebook.cells import find_context, run_defining
from dataflows_sdk.notebook.preview import FlowPreview, WorkflowPreview
from dataflows_sdk.runs import Runs

show: Callable[[Any], Any] = display


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext dataflows_sdk`` calls."""
    shell.register_magics(DataflowsMagics(shell))


def _parser(name: str, about: str, *, ctx: bool = True) -> MagicArgumentParser:
    make: Any = MagicArgumentParser
    parser: MagicArgumentParser = make(prog=name, description=about, add_help=False)
    if ctx:
        parser.add_argument("--ctx", help="the variable that holds the context, where there are several")
    return parser


_RUNS = _parser("%runs", "A table of runs, newest first.")
_RUNS.add_argument("workflow", nargs="?", help="only those of this workflow")
_RUNS.add_argument("--status", action="append", help="failed, running, …; may be said more than once")
_RUNS.add_argument("--since", help="24h ago, or a moment: 2026-11-01")
_RUNS.add_argument("--until", help="a moment")
_RUNS.add_argument("--limit", type=int, default=20)

_SQL = _parser("%%dfsql", "Ask DuckDB.")
_SQL.add_argument("name", nargs="?", help="variable for the answer")
_SQL.add_argument("--as-of", dest="as_of", help="2d ago, a moment, or a variable that holds a moment or a run")
_SQL.add_argument("--timeout", help="30s: how long it may take")
_SQL.add_argument("--quiet", action="store_true", help="do not show the answer")

_FLOW = _parser("%%flow", "Define a flow or a workflow and show its plan.", ctx=False)
_FLOW.add_argument("name", nargs="?", help="variable for what the last line gives")

_CONNECT = _parser("%dataflows", "Which context the magics work on.")
_CONNECT.add_argument("command", nargs="?", choices=["connect", "use"], help="connect [URL], use VARIABLE")
_CONNECT.add_argument("target", nargs="?", help="connect: a URL; use: a variable")
_CONNECT.add_argument("--directory", help="connect: where the embedded database lives")
_CONNECT.add_argument("--as", dest="variable", default="ctx", help="connect: the variable for the context")
_CONNECT.add_argument("--no-work", dest="work", action="store_false", help="connect: only look, run nothing here")


@magics_class
class DataflowsMagics(Magics):
    """The magics; one of these per notebook."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._shell = shell
        self._used: Context | None = None

    def _context(self, named: str | None) -> Context:
        return find_context(self._shell.user_ns, named, self._used)

    @line_magic
    def dataflows(self, line: str) -> Context | None:
        """Connect, or say which context the other magics work on.

        Usage: ``%dataflows connect [URL] [--directory D] [--as VARIABLE] [--no-work]``, ``%dataflows use VARIABLE``;
        alone it shows the context.
        """
        said = _parse(_CONNECT, line)
        if said.command is None:
            return self._context(said.ctx)
        if said.command == "use":
            if said.target is None:
                raise UsageError("%dataflows use VARIABLE: name the variable that holds a context")
            self._used = find_context(self._shell.user_ns, said.target, None)
            return None
        if not said.variable.isidentifier():
            raise UsageError(f"--as {said.variable}: a variable has a name of letters, digits and underscores")
        before = self._shell.user_ns.get(said.variable)
        if before is not None and not isinstance(before, Context):
            raise UsageError(
                f"{said.variable} is a {type(before).__name__} already; choose another variable with --as NAME"
            )
        if said.target is not None and said.directory is not None:
            raise UsageError("%dataflows connect: a URL or --directory, not both")
        try:
            made = connect(said.target, directory=said.directory, work=said.work)
        except DataflowsError as error:
            raise UsageError(f"%dataflows connect: {REDACTOR.redact_text(str(error))}") from error
        if before is not None and before is self._used:
            before.close()
        self._used = made
        self._shell.user_ns[said.variable] = made
        return made

    @line_cell_magic
    def flow(self, line: str, cell: str | None = None) -> None:
        """Define a flow or a workflow in this cell and show its plan: levels, steps, and every problem.

        Usage: ``%%flow [VARIABLE]``: with a variable, it gets the flow on the cell's last line. ``%flow VARIABLE``
        shows the plan of one that is there.
        """
        said = _parse(_FLOW, line)
        if cell is None:
            found = [self._shell.user_ns.get(said.name)] if said.name else []
            if not found or not isinstance(found[0], (Flow, Workflow)):
                raise UsageError(f"%flow VARIABLE shows a flow or workflow; {said.name or 'nothing'} is none")
        else:
            if said.name is not None and not said.name.isidentifier():
                raise UsageError(f"%%flow {said.name}: a variable has a name of letters, digits and underscores")
            found = list(run_defining(self._shell, cell, said.name))
            if not found:
                raise UsageError(
                    "%%flow: this cell gives no flow and no workflow a name; write `name = df.flow(…)…`, "
                    "`@df.workflow(…)` over a function, or `%%flow name` with the flow on the last line"
                )
        for each in found:
            show(FlowPreview(each) if isinstance(each, Flow) else WorkflowPreview(each))

    @line_magic
    def runs(self, line: str) -> Runs:
        """Show runs, newest first.

        Usage: ``%runs [WORKFLOW] [--status failed] [--since 24h] [--until MOMENT] [--limit 20]``.
        """
        said = _parse(_RUNS, line)
        context = self._context(said.ctx)
        try:
            return context.runs(said.workflow, said.status, since=said.since, until=said.until, limit=said.limit)
        except DataflowsError as error:
            raise UsageError(f"%runs: {error}") from error

    @line_cell_magic
    def dfsql(self, line: str, cell: str | None = None) -> Any:
        """Ask DuckDB: the warehouse, the runs, and the DataFrames of this notebook. ``$name`` is a variable of it.

        Usage: ``%%dfsql [VARIABLE] [--as-of 2d] [--timeout 30s] [--quiet]`` with a query in the cell (``as_of=2d`` is
        understood as well), or ``%dfsql select …``.
        """
        said = _parse(_SQL, line if cell is not None else "")
        query = (line if cell is None else cell).strip()
        if not query:
            raise UsageError("%%dfsql: there is no query; write one in the cell, or after %dfsql")
        if said.name is not None and not said.name.isidentifier():
            raise UsageError(f"%%dfsql {said.name}: a variable has a name of letters, digits and underscores")
        context, names = self._context(said.ctx), self._shell.user_ns
        as_of = names.get(said.as_of, said.as_of) if said.as_of is not None else None
        try:
            answer = context._sql(query, _parameters(query, names), [names], as_of, said.timeout)
        except DataflowsError as error:
            raise UsageError(f"%%dfsql: {error}") from error
        if said.name is not None:
            names[said.name] = answer
        return None if said.quiet else answer


def _parse(parser: MagicArgumentParser, line: str) -> Any:
    """The arguments of a magic; ``name=value`` is ``--name value``."""
    try:
        words = shlex.split(line.partition("#")[0])
    except ValueError as error:
        raise UsageError(f"{parser.prog}: {error}") from None
    split: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name.isidentifier() and any(name == action.dest for action in parser._actions):
            split += [f"--{name.replace('_', '-')}={value}"]
        else:
            split.append(word)
    return parser.parse_args(split)


def _parameters(query: str, names: dict[str, Any]) -> list[Any]:
    """The notebook's variables that a query asks for with ``$name``."""
    import duckdb

    if "$" not in query:
        return []
    try:
        asked = {name for statement in duckdb.extract_statements(query) for name in statement.named_parameters}
    except duckdb.Error:
        return []  # the query itself will say what is wrong with it
    missing = sorted(name for name in asked if name not in names)
    if missing:
        raise UsageError(f"%%dfsql: ${missing[0]} is no variable of this notebook")
    return [{name: names[name] for name in asked}] if asked else []
