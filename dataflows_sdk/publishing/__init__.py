"""From notebook to worker: workflows as signed text in the database.

    keys          the keys that sign and verify
    signing       what exactly is signed
    names, classes, expressions, gathering      what a function needs, as text
    module        the text of a module, and `export_module`
    loading       a module in memory, made of verified text
    desk          ``ctx.publish``, ``ctx.published``, and the workers' side

A worker takes up what is published with `load`, and goes on doing so with ``follow=True``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataflows_sdk.context import Context
    from dataflows_sdk.publishing.desk import Published

__all__ = ["load"]


def load(context: Context, *, follow: bool = False) -> list[Published]:
    """Take up the workflows that are published in a context's database, as far as its keys verify them.

    Args:
        follow: also take up what is published from now on, until the context is closed.

    Returns:
        everything that is published; ``.problem`` says what was refused, and why. That is logged, too.

    Raises:
        SigningKeyError: the context has no key to verify with.
    """
    return context.load_published(follow=follow)
