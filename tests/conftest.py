"""What every test may ask for. A missing service skips a test here and fails it where ``DATAFLOWS_CI=1``."""

from __future__ import annotations

import compileall
import gc
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import hypothesis
import psutil
import pytest

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.store.database import Database
    from dataflows_sdk.testing.databases import TestDatabases
    from dataflows_sdk.testing.sweep import SweepReport


#: a file system in memory, and how many bytes of it must be free
_MEMORY, _ROOM = Path("/dev/shm"), 8 << 30
_OURS = "dataflows-tests-"
_ROOT = Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _compile()
        _use_memory(config)
    # The processes of a session collect the same modules, and one reads what another has rewritten: half a minute less.
    sys.dont_write_bytecode = False


def _compile() -> None:
    """Where Python keeps no bytecode, each of some hundred processes would compile the library anew: 0.3 s each."""
    if sys.dont_write_bytecode:
        for package in ("dataflows_sdk", "memory", "integrations"):
            compileall.compile_dir(_ROOT / package, maxlevels=20, quiet=2)


def _use_memory(config: pytest.Config) -> None:
    """Two thousand databases are copied for two thousand tests: in memory that takes a third of the time."""
    if "PYTEST_DEBUG_TEMPROOT" in os.environ or not os.access(_MEMORY, os.W_OK):
        return
    for left in _MEMORY.glob(f"{_OURS}*-*"):
        if not psutil.pid_exists(int(left.name.removeprefix(_OURS).partition("-")[0])):
            shutil.rmtree(left, ignore_errors=True)
    runs_programs = not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC  # some tests write one and run it
    if runs_programs and shutil.disk_usage(_MEMORY).free > _ROOM:
        root = tempfile.mkdtemp(prefix=f"{_OURS}{os.getpid()}-", dir=_MEMORY)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = root
        config.add_cleanup(lambda: shutil.rmtree(root, ignore_errors=True))


def examples(few: int, many: int) -> int:
    """How many inputs are made for a property: *few*, and *many* where ``DATAFLOWS_SWEEP`` says that there is time."""
    return many if "DATAFLOWS_SWEEP" in os.environ else few


# how quickly inputs are made says how busy the machine is, and nothing of what is tested
hypothesis.settings.register_profile(
    "busy", max_examples=examples(40, 100), suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None
)
hypothesis.settings.load_profile("busy")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What ``-n auto`` comes to: two more than there are cores, for many tests wait for processes and for time."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 2


#: modules that share something which takes long to start, and that is what: those of one are in one process
TOGETHER = {
    "tests/notebook/test_lab": "a browser",
    "tests/notebook/test_docs_images.py": "a browser",
    "tests/executors/test_ray.py": "a cluster",
    "tests/executors/test_dask.py": "a cluster",
}
#: what takes long
FIRST = (*TOGETHER, "tests/cli/test_demo.py", "tests/chaos/", "tests/engine/test_kill_sweep.py", "tests/notebooks/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first, so that it is not waited for in the end; a sweep of everything takes an hour."""
    for item in items:
        if "sweep" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(3600 if _KILLS == "all" else 300))
    items.sort(key=lambda item: next((n for n, each in enumerate(FIRST) if item.nodeid.startswith(each)), len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Every process takes the next test, but one takes all of what is `TOGETHER`."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((shared for module, shared in TOGETHER.items() if nodeid.startswith(module)), nodeid)

    return Scheduling(config, log)


class Need(Protocol):
    """Call it with what is missing: ends the test."""

    def __call__(self, reason: str) -> NoReturn: ...


def pytest_collection_finish() -> None:
    """Thousands of tests and what they import stay until the end: no collection of garbage has to look at them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def need() -> Need:
    """``need("no strace on this machine")`` skips the test, and fails it where nothing may be missing."""

    def ends_the_test(reason: str) -> NoReturn:
        if os.environ.get("DATAFLOWS_CI", "0") not in {"", "0"}:
            pytest.fail(f"DATAFLOWS_CI is set, so nothing may be missing: {reason}", pytrace=False)
        pytest.skip(reason)

    return ends_the_test


@pytest.fixture(scope="session")
def old_postgres(need: Need) -> Path:
    """Where ``initdb`` and ``postgres`` of an older server without pgvector are (`.ci/run`: Debian's 15)."""
    named = os.environ.get("DATAFLOWS_OLD_POSTGRES")
    if not named:
        need("DATAFLOWS_OLD_POSTGRES names no older PostgreSQL")
    binaries = Path(named)
    if not (binaries / "initdb").exists():
        pytest.fail(f"DATAFLOWS_OLD_POSTGRES={named}: there is no initdb in it", pytrace=False)
    return binaries


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real inputs of other people, which are not copied into the project: ``DATAFLOWS_DATA``, or beside the clone.

    Where they are nowhere a test skips; where `.ci/run` or somebody else names them, they have to be there.
    """
    named = os.environ.get("DATAFLOWS_DATA")
    folder = Path(named) if named else Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        if named:
            pytest.fail(f"DATAFLOWS_DATA={named}: there is no such folder", pytrace=False)
        pytest.skip(f"no data in {folder.name!r} beside the clone; DATAFLOWS_DATA names another place")
    return folder


@pytest.fixture(autouse=True)
def _no_secret_outlives_its_test() -> Iterator[None]:
    """What a test declares as a secret would be masked in the texts of those that come after it in the process."""
    from dataflows_sdk.core.redact import REDACTOR

    with REDACTOR._lock:
        added, passing = dict(REDACTOR._added), dict(REDACTOR._passing)
    yield
    with REDACTOR._lock:
        for known, before in ((REDACTOR._added, added), (REDACTOR._passing, passing)):
            known.clear()
            known.update(before)
        REDACTOR._current = None


@pytest.fixture(autouse=True)
def _no_workflow_outlives_its_test() -> Iterator[None]:
    """A context takes on whatever workflows its process knows, by name: those of an earlier test too."""
    from dataflows_sdk.engine.catalog import CATALOG

    before = set(CATALOG._current)
    yield
    for workflow in [each for name, each in CATALOG._current.items() if name not in before]:
        if "<locals>" in workflow.origin[1]:  # those of a module that was imported meanwhile stay
            CATALOG.forget(workflow)
            CATALOG._gone.pop(workflow.name, None)


# --- databases and contexts -------------------------------------------------------------------------------


def wait_until(fact: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The value of *fact* once it is true; the test fails when that takes longer than *seconds*."""
    deadline = time.monotonic() + seconds
    while not (value := fact()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s until {what}"
        time.sleep(0.005)
    return value


@pytest.fixture
def database_url(dataflows_url: str) -> str:
    """A migrated database of the test's own, dropped at its end."""
    return dataflows_url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """That database as the library's parts see it."""
    from dataflows_sdk.store.database import Database

    database = Database(database_url)
    yield database
    database.close()


class MakeContext(Protocol):
    """``make_ctx(linger="0s", url=…)``: like `df.connect`, on the test's database."""

    def __call__(self, url: str | None = None, **options: Any) -> Context: ...


def _engine_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("dataflows-")}


@pytest.fixture
def make_ctx(database_url: str, dataflows_databases: TestDatabases) -> Iterator[MakeContext]:
    """Makes contexts, closes them at the end, and sees to it that no thread and no connection of theirs is left."""
    from dataflows_sdk.context import connect

    made: list[Context] = []
    before = _engine_threads()

    def make(url: str | None = None, **options: Any) -> Context:
        context = connect(url or database_url, **options)
        made.append(context)
        return context

    yield make
    for context in reversed(made):
        context.close()
    if made:
        wait_until(lambda: not _engine_threads() - before, f"no engine thread is left: {_engine_threads() - before}")
        wait_until(
            lambda: dataflows_databases.connections(database_url) == 0, "no connection to the test's database is left"
        )


@pytest.fixture
def ctx(make_ctx: MakeContext) -> Context:
    """A context on the test's database."""
    return make_ctx()


def everything_stored(database_url: str) -> str:
    """Every table and view of every schema of ours, and every blob, as text."""
    import psycopg
    from psycopg import sql as composed

    parts: list[str] = []
    with psycopg.connect(database_url) as connection:
        names = connection.execute(
            "select table_schema, table_name from information_schema.tables where table_schema in "
            "('dataflows', 'warehouse', 'warehouse_past')"
        ).fetchall()
        for schema, name in names:
            query = composed.SQL("select t::text from {} t").format(composed.Identifier(schema, name))
            parts += [row[0] for row in connection.execute(query).fetchall()]
        parts += [
            bytes(row[0]).decode("utf-8", "replace") for row in connection.execute("select data from dataflows.blob")
        ]
    return "\n".join(parts)


# --- kills ------------------------------------------------------------------------------------------------

#: at how many fault points a sweep kills, or "all" of them (an hour)
_KILLS = os.environ.get("DATAFLOWS_SWEEP", "2")


#: runs that stay in memory while they wait, and runs that are let go of
_LINGERS = [pytest.param("1s", id="in-memory"), pytest.param("0s", id="suspending")]


def lingers(which: int) -> list[Any]:
    """For a test of a sweep: both ways to wait where time is given, else one; programs take them by turns."""
    return _LINGERS if "DATAFLOWS_SWEEP" in os.environ else [_LINGERS[which % 2]]


class Sweep(Protocol):
    """``sweep(HERE / "flows.py", "main", linger="0s", seed=7)``: a report of kills after which nothing was wrong."""

    def __call__(
        self, script: Path, main: str = "main", *, linger: str, seed: int, timeout: str = "45s"
    ) -> SweepReport: ...


@pytest.fixture
def sweep(dataflows_databases: TestDatabases) -> Sweep:
    """Kills a workflow at a seeded sample of its fault points; ``DATAFLOWS_SWEEP`` says how many, or ``all``."""
    from dataflows_sdk.testing import kill_sweep

    def swept(script: Path, main: str = "main", *, linger: str, seed: int, timeout: str = "45s") -> SweepReport:
        report = kill_sweep(
            f"{script}:{main}",
            dataflows_databases,
            sample=None if _KILLS == "all" else int(_KILLS),
            seed=seed,
            connect={"linger": linger},
            timeout=timeout,
        )
        print(report)
        assert report.ok, str(report)
        return report

    return swept
