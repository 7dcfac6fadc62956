"""A worker that has no code of its own: ``python worker_child.py URL``; it ends when its input does."""

from __future__ import annotations

import logging
import sys

import dataflows_sdk as df


class Order:
    """Of the name that notebooks have, too: the worker's own must not be taken for theirs."""


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    with df.connect(sys.argv[1], published=True) as ctx:
        print("ready", sorted(each.name for each in ctx.workflows()), flush=True)
        sys.stdin.read()
