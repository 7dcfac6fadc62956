"""What a worker accepts: only what the holder of a key signed, as it was signed, and nothing older than what it saw."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dataflows_sdk as df
from dataflows_sdk.engine.definitions import Workflow
from dataflows_sdk.errors import PublishedCodeError, PublishError, SigningKeyError
from dataflows_sdk.publishing.keys import Keyring, new_key
from dataflows_sdk.publishing.signing import Publication

from ..conftest import MakeContext, wait_until
from .conftest import KEY, OTHER_KEY, Notebook

CELL = '@df.workflow("trusted")\ndef trusted(event, step):\n    return {}\n'
NEW_KEY = "the-next-key-of-the-tests-5647382910qwertz"


def sql(context: Any, statement: str, *parameters: Any) -> list[Any]:
    with context._database.connection() as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def names(context: Any) -> set[str]:
    return {each.name for each in context.workflows() if each.scope is not None}


@pytest.fixture
def published(notebook: Notebook, publisher: Any) -> Any:
    notebook.run(CELL.format(1))
    return publisher.publish(notebook["trusted"], requires=["pydantic>=2"], created_by="ada")


def test_what_was_published_can_be_seen(published: Any, publisher: Any, notebook: Notebook) -> None:
    (shown,) = publisher.published()
    assert shown == published == publisher.published("trusted")
    assert (shown.name, shown.kind, shown.created_by, shown.verified) == ("trusted", "code", "ada", True)
    assert shown.requires == ("pydantic>=2",)
    assert "def trusted(event, step):" in shown.source
    assert abs((datetime.now(UTC) - shown.created_at).total_seconds()) < 60
    assert sql(publisher, "select action, detail ->> 'by' from dataflows.audit") == [("published", "ada")]
    with pytest.raises(PublishedCodeError, match="nothing is published under 'nope'"):
        publisher.published("nope")
    with pytest.raises(PublishedCodeError, match="nothing is published under 'nope'"):
        publisher.unpublish("nope")
    # the same code again is nothing new
    assert publisher.publish(notebook["trusted"], requires=["pydantic>=2"]) == shown
    assert len(sql(publisher, "select 1 from dataflows.audit")) == 1


def test_a_run_can_be_started_from_sql(published: Any, publisher: Any, make_ctx: MakeContext) -> None:
    ((run,),) = sql(publisher, "select dataflows.start('trusted')")
    make_ctx(key=KEY, published=True)
    assert publisher.get(run).result("20s") == 1


COLUMNS = {
    "name": "'trusted2'",
    "kind": "'flow'",
    "version": "'0000000000000000'",
    "home": "'os'",
    "source": "source || ' '",
    "requires": "array[]::text[]",
    "python": "'>=3'",
    "revoked": "true",
    "created_at": "created_at + interval '1 second'",
    "created_by": "'eve'",
    "key_id": "'000000000000'",
    "signature": "translate(signature, '0123456789', '1234567890')",
}


def test_every_column_is_known(publisher: Any) -> None:
    found = sql(publisher, "select column_name from information_schema.columns where table_name = 'published'")
    assert {row[0] for row in found} == set(COLUMNS)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_column_is_refused(
    column: str, published: Any, publisher: Any, make_ctx: MakeContext, caplog: pytest.LogCaptureFixture
) -> None:
    sql(publisher, f"update dataflows.published set {column} = {COLUMNS[column]}")
    name = "trusted2" if column == "name" else "trusted"
    run = publisher.start(_any_of("trusted"))
    worker = make_ctx(key=KEY, published=True)
    worker.load_published()
    assert names(worker) == set()
    shown = worker.published(name)
    assert not shown.verified
    expected = "signed with key '000000000000'" if column == "key_id" else "changed after it was signed"
    assert expected in (shown.problem or "")
    assert "NOT VERIFIED" in repr(shown)
    refusals = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert len(refusals) == 1, "told once"
    assert f"'{name}' is refused: it" in refusals[0].getMessage()
    assert run.status == "queued"
    if column != "name":
        assert "NOT VERIFIED" in str(run.explain())


def _any_of(name: str) -> Any:
    return Workflow(name, lambda event, step: 1)


@pytest.mark.parametrize("signature", ["", "ü", "0" * 64])
def test_unsigned_code_is_refused(signature: str, publisher: Any, make_ctx: MakeContext) -> None:
    sql(
        publisher,
        "insert into dataflows.published values ('evil', 'code', '1', '__main__', %s, '{}', '>=3', false, now(), "
        "'eve', %s, %s)",
        "import sys\nsys.modules['evil_was_here'] = sys\n",
        publisher._publishing.keys().ids[0],
        signature,
    )
    worker = make_ctx(key=KEY)
    (shown,) = worker.load_published()
    assert not shown.verified
    assert ("not signed" if not signature else "signature is wrong") in shown.problem
    assert "evil_was_here" not in sys.modules


def test_an_older_row_that_is_put_back_is_refused(
    published: Any, publisher: Any, make_ctx: MakeContext, notebook: Notebook
) -> None:
    worker = make_ctx(key=KEY, published=True)
    assert names(worker) == {"trusted"}
    (old,) = sql(
        publisher, "select source, version, created_at, created_by, signature, requires from dataflows.published"
    )
    notebook.run(CELL.format(2))
    publisher.publish(notebook["trusted"])
    second = notebook["trusted"].version
    wait_until(lambda: worker._catalog.get("trusted").version == second, "the worker took it up")
    sql(
        publisher,
        "update dataflows.published set source = %s, version = %s, created_at = %s, created_by = %s, signature = %s, "
        "requires = %s",
        *old,
    )
    worker.load_published()
    shown = worker.published("trusted")
    assert shown.verified, "it is signed: that is the point"
    assert "an old row was put back" in shown.problem
    assert names(worker) == set()
    # and what was taken back does not come to life again
    publisher.publish(notebook["trusted"])
    worker.load_published()
    assert names(worker) == {"trusted"}


def test_what_was_taken_back_stays_so(
    published: Any, publisher: Any, make_ctx: MakeContext, notebook: Notebook
) -> None:
    worker = make_ctx(key=KEY, published=True)
    (row,) = sql(publisher, "select * from dataflows.published")
    gone = publisher.unpublish("trusted", created_by="ada")
    assert (gone.revoked, gone.source, gone.verified) == (True, "", True)
    wait_until(lambda: names(worker) == set(), "the worker let go of it")
    sql(publisher, "delete from dataflows.published")
    worker.load_published()
    marks = ", ".join(["%s"] * len(row))
    sql(publisher, f"insert into dataflows.published values ({marks})", *row)
    worker.load_published()
    assert names(worker) == set()
    assert "an old row was put back" in worker.published("trusted").problem
    # whoever has the key and has seen it all can publish again
    publisher.publish(notebook["trusted"])
    worker.load_published()
    assert names(worker) == {"trusted"}


def test_a_row_that_is_gone_is_let_go_of(
    published: Any, publisher: Any, make_ctx: MakeContext, caplog: pytest.LogCaptureFixture
) -> None:
    worker = make_ctx(key=KEY, published=True)
    sql(publisher, "delete from dataflows.published")
    worker.load_published()
    assert names(worker) == set()
    assert "its row is gone" in caplog.text


def test_keys_are_rotated(published: Any, publisher: Any, make_ctx: MakeContext, notebook: Notebook) -> None:
    both = make_ctx(key=f"{NEW_KEY},{KEY}", published=True)
    assert names(both) == {"trusted"}, "an old signature counts as long as its key is accepted"
    new_only = make_ctx(key=NEW_KEY, published=True)
    assert names(new_only) == set()
    assert both.publish(notebook["trusted"], requires=["pydantic>=2"]).verified, "the same code, signed anew"
    wait_until(lambda: names(new_only) == {"trusted"}, "it was taken up")
    old_only = make_ctx(key=KEY)
    assert not old_only.published("trusted").verified


@pytest.mark.parametrize(
    ("requires", "python", "said"),
    [
        (
            ["no-such-package-here>=1"],
            None,
            "requires no-such-package-here>=1, and no-such-package-here is not installed",
        ),
        (["pydantic<1"], None, "it requires pydantic<1, and pydantic 2"),
        ((), "<3", "it wants Python <3, and this is 3"),
        (["nothing-at-all; python_version < '3'"], ">=3.8", None),
    ],
)
def test_what_a_worker_must_have(
    requires: Any, python: str | None, said: str | None, notebook: Notebook, publisher: Any, make_ctx: MakeContext
) -> None:
    notebook.run(CELL.format(1))
    publisher.publish(notebook["trusted"], requires=requires, python=python)
    worker = make_ctx(key=KEY, published=True)
    shown = worker.published("trusted")
    assert shown.verified
    assert names(worker) == (set() if said else {"trusted"})
    assert (said or "") in (shown.problem or "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"requires": ["pandas >= "]}, "requires='pandas >= ' is no requirement"),
        ({"requires": [3]}, "is no requirement"),
        ({"requires": ["x @ https://example.com/x.whl"]}, "an address cannot be compared"),
        ({"python": "3.11 or so"}, "python='3.11 or so' names no versions"),
        ({"include": [3]}, "include= takes the names of modules"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], said: str, notebook: Notebook, publisher: Any) -> None:
    notebook.run(CELL.format(1))
    with pytest.raises(PublishError, match=said):
        publisher.publish(notebook["trusted"], **options)
    assert publisher.published() == []


def test_a_module_that_is_missing_on_the_worker(
    notebook: Notebook, publisher: Any, make_ctx: MakeContext, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def f():\n    return 1\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        notebook.run("from only_here import f").run(CELL.format("f()"))
        publisher.publish(notebook["trusted"])
    sys.modules.pop("only_here")
    worker = make_ctx(key=KEY, published=True)
    assert "No module named 'only_here' (line" in worker.published("trusted").problem


def test_own_code_goes_first(published: Any, make_ctx: MakeContext) -> None:
    worker = make_ctx(key=KEY)
    own = _any_of("trusted")
    worker.register(own)
    worker.load_published()
    assert worker._catalog.get("trusted") is own
    assert "a workflow of this name of its own" in worker.published("trusted").problem


def test_own_code_takes_the_place_of_published_code(published: Any, make_ctx: MakeContext) -> None:
    worker = make_ctx(key=KEY)
    worker.load_published()
    assert worker.run("trusted").result("20s") == 1
    own = _any_of("trusted")
    worker.register(own)
    assert worker._catalog.get("trusted") is own


def test_two_publications_with_classes_of_one_name(notebook: Notebook, publisher: Any, make_ctx: MakeContext) -> None:
    other = Notebook()
    for number, book in ((1, notebook), (2, other)):
        book.run("from dataclasses import dataclass\nclass Wrong(Exception): ...")
        book.run(f"@dataclass\nclass Row:\n    n: int\n    unit: int = {number}\n")
        book.run(f"""\
@df.workflow("rows-{number}")
def rows(event, step):
    try:
        step.run("fails", lambda: (_ for _ in ()).throw(Wrong("x")), retry=df.NO_RETRY)
    except Wrong:
        pass
    row = step.run("row", lambda: event.payload)
    step.sleep("a moment", 0.01)
    return isinstance(row, Row), row
""")
        publisher.publish(book["rows"])
    worker = make_ctx(key=KEY, published=True, linger="0s", always_replay=True)
    assert names(worker) == {"rows-1", "rows-2"}
    for number in (1, 2):
        payload = f'{{"$dataclass": "__main__:Row", "n": 5, "unit": {number}}}'
        ((identifier,),) = sql(publisher, "select dataflows.start(%s, %s)", f"rows-{number}", payload)
        run = publisher.get(identifier)
        wait_until(lambda run=run: run.status not in ("queued", "running", "sleeping"), "it is over")
        assert run.status == "succeeded", run.error
        found = "select data ->> 'value' from dataflows.event where run = %s and kind = 'run.completed'"
        ((value,),) = sql(publisher, found, identifier)
        assert json.loads(value) == {"$tuple": [True, {"$dataclass": "__main__:Row", "n": 5, "unit": number}]}
    other.close()


def test_a_quiet_worker_asks_nothing(published: Any, make_ctx: MakeContext) -> None:
    worker = make_ctx(key=KEY, published=True, triggers=False)
    asked: list[str] = []
    read = worker._database.read

    def noted(file: str, name: str, parameters: Any = ()) -> Any:
        asked.append(file)
        return read(file, name, parameters)

    worker._database.read = noted  # type: ignore[method-assign]
    time.sleep(1.5)
    assert "published" not in asked
    worker._engine.on_published()
    wait_until(lambda: asked.count("published") == 1, "one statement when something was announced and nothing changed")


# --- keys ---------------------------------------------------------------------------------------------------


def test_the_embedded_database_has_a_key_of_its_own(
    tmp_path: Any, make_ctx: MakeContext, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATAFLOWS_KEY", raising=False)
    place = tmp_path / "embedded"
    notebook.run(CELL.format(3))
    with df.connect(directory=place, work=False) as ctx:
        with pytest.raises(SigningKeyError, match="nothing was published from this directory yet"):
            ctx.load_published()
        ctx.publish(notebook["trusted"])
        file = place / "key"
        assert file.stat().st_mode & 0o777 == 0o600
        with df.connect(directory=place, published=True) as worker:
            assert worker.run("trusted").result("20s") == 3
        file.chmod(0o644)
        with pytest.raises(SigningKeyError, match="chmod 600"):
            df.connect(directory=place, published=True)
        file.chmod(0o600)
        with df.connect(directory=place, work=False, key=OTHER_KEY) as other:
            assert not other.published("trusted").verified, "a key that is given goes first"
        monkeypatch.setenv("DATAFLOWS_KEY", OTHER_KEY)
        with df.connect(directory=place, work=False) as other:
            assert not other.published("trusted").verified


@pytest.mark.parametrize("bad", ["", " , ", "short", "a" * 64, f"{KEY},short"])
def test_bad_keys_are_refused_without_being_shown(bad: str) -> None:
    with pytest.raises(SigningKeyError) as refused:
        Keyring(bad)
    assert "short" not in str(refused.value)
    assert "dataflows key new" in str(refused.value)


def test_keys_are_not_shown(publisher: Any) -> None:
    keys = publisher._publishing.keys()
    assert KEY not in repr(keys)
    assert keys.ids[0] not in KEY
    assert KEY not in publisher._redactor.redact_text(f"the key is {KEY}")
    assert len({new_key() for _ in range(100)}) == 100
    Keyring(new_key())


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
ROWS = st.builds(
    Publication, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, st.lists(TEXTS, max_size=3).map(tuple), TEXTS, st.booleans(),
    st.datetimes(timezones=st.timezones(), min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)), TEXTS,
)  # fmt: skip


@settings(deadline=None)
@given(ROWS, ROWS)
def test_different_rows_are_different_messages(one: Publication, other: Publication) -> None:
    keys = Keyring(KEY)
    assert one.signed(keys).doubt(keys) is None
    same = (
        one.row()[:8] == other.row()[:8] and one.created_by == other.created_by and one.created_at == other.created_at
    )
    assert (one.message() == other.message()) == same
    if not same:
        forged = replace(other, key_id=keys.ids[0], signature=one.signed(keys).signature)
        assert forged.doubt(keys) is not None


def test_the_command_prints_a_key() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dataflows_sdk.cli.main", "key", "new"], capture_output=True, text=True, check=True
    )
    assert f"its id is {Keyring(done.stdout).ids[0]}" in done.stderr


def test_children_come_along_and_are_looked_after(notebook: Notebook, publisher: Any, make_ctx: MakeContext) -> None:
    notebook.run("""\
@df.workflow("kid")
async def kid(event, step):
    await step.wait_for_event("go")
    return event.payload + 1

inner = df.flow("inner").step("nap", lambda event: event.payload * 2)

@df.workflow("parent")
async def parent(event, step):
    one = await step.invoke("one", kid, event.payload)
    two = await step.invoke("two", inner, one)
    return one, two["nap"] if isinstance(two, dict) else two
""")
    publisher.publish(notebook["parent"])
    run = publisher.start(notebook["parent"], 1)
    first = make_ctx(key=KEY, published=True, linger="0s")
    assert names(first) == {"parent", "kid", "inner"}
    wait_until(lambda: run.children() and run.children()[0].status == "waiting", "the child waits")
    wait_until(lambda: run.status == "waiting", "and its parent for it")
    first.close()
    second = make_ctx(key=KEY, published=True)
    run.children()[0].send_event("go")
    assert run.result("20s") == (2, 4)
    # published by itself it takes the place of what came along
    notebook.run('@df.workflow("kid")\nasync def kid(event, step):\n    return "another"\n')
    publisher.publish(notebook["kid"])
    second.load_published()
    assert second.published("kid").problem is None
    assert second._catalog.get("kid").version == notebook["kid"].version
    publisher.unpublish("parent")
    second.load_published()
    assert names(second) == {"kid"}


def test_what_was_loaded_does_not_stand_in_the_way_of_the_notebook(
    notebook: Notebook, publisher: Any, make_ctx: MakeContext
) -> None:
    cells = (
        "from dataclasses import dataclass\n@dataclass\nclass Parcel:\n    n: int\n",
        (
            '@df.workflow("parcels")\ndef parcels(event: df.Event[Parcel], step):\n'
            '    return step.run("same", lambda: event.payload)\n'
        ),
    )
    yesterday = Notebook()
    for book in (yesterday, notebook):
        for cell in cells:
            book.run(cell)
    publisher.publish(yesterday["parcels"])
    worker = make_ctx(key=KEY, published=True)
    ((identifier,),) = sql(
        publisher, """select dataflows.start('parcels', '{"$dataclass": "__main__:Parcel", "n": 1}')"""
    )
    assert worker.get(identifier).result("20s").n == 1
    worker.register(notebook["parcels"])
    parcel = notebook["Parcel"](2)
    assert worker.run(notebook["parcels"], parcel, timeout="20s").result() == parcel
    yesterday.close()
