"""Code in documents: JavaScript in a sandbox, Python in a process of its own.

`SnippetRunner` is all there is to know; `pool` keeps its processes, `sandbox` is what runs inside of them.
"""

from __future__ import annotations

from dataflows_sdk.nodes.snippets.runner import SnippetRunner

__all__ = ["SnippetRunner"]
