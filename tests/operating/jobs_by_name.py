"""A process that knows no workflow: enqueues a job by the name of one, and stays until it is told to end."""

from __future__ import annotations

import sys

import dataflows_sdk as df

url, callback = sys.argv[1:]
with df.connect(url, services=df.Services(egress=["127.0.0.1"])) as ctx:
    job = ctx.jobs.enqueue("jobs-by-name-price", {"n": 3}, queue="heavy", callback=callback)
    once = ctx.start("jobs-by-name-price", {"n": 1}, queue="heavy", batch=df.Batch(1, "1s"))
    assert ctx.workflows() == []
    print(job.id, once.id, flush=True)
    sys.stdin.read()
