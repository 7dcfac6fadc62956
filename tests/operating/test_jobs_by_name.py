"""A job of a process that knows no workflow, whose run only workers of another queue take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dataflows_sdk as df

from ..conftest import wait_until
from .listener import listening

if TYPE_CHECKING:
    from ..conftest import MakeContext


@df.workflow("jobs-by-name-price")
def price(event: Any, step: Any) -> int:
    given = event.payload[0] if isinstance(event.payload, list) else event.payload
    return int(given["n"]) * 2


def test_who_enqueues_a_job_looks_after_it_and_leaves_its_run_to_others(
    make_ctx: MakeContext, database_url: str
) -> None:
    looker = make_ctx(work=False)
    make_ctx(queues=["heavy"]).run(price, {"n": 0}, queue="heavy", timeout="20s")  # so that the name is known
    script = Path(__file__).with_name("jobs_by_name.py")
    with (
        listening() as heard,
        subprocess.Popen(
            [sys.executable, str(script), database_url, heard.url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        job, once = process.stdout.readline().split()
        looker.jobs.get(job).wait("20s")
        looker.get(once).wait("20s")
        process.communicate(timeout=20)
        assert process.returncode == 0
        (told,) = heard.documents
        assert (told["status"], told["result"]) == ("succeeded", 6)
        assert looker.get(once).status == "succeeded"


def test_who_has_no_code_takes_on_no_run(make_ctx: MakeContext, database_url: str) -> None:
    worker = make_ctx(queues=["heavy"])
    worker.run(price, {"n": 0}, queue="heavy", timeout="20s")
    worker.close()
    looker = make_ctx(work=False)
    script = Path(__file__).with_name("jobs_by_name.py")
    with subprocess.Popen(
        [sys.executable, str(script), database_url, "http://127.0.0.1:9/"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        job, once = process.stdout.readline().split()
        keeper = looker.get(job)
        wait_until(lambda: keeper.refresh().status == "waiting", "the process took on what looks after the job")
        assert [looker.get(once).status, looker.jobs.get(job).run.status] == ["queued", "queued"]
        process.communicate(timeout=20)
