"""The names of a flow's nodes: what a parameter or a reference means by them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dataflows_sdk.flow.inputs import split_path
from dataflows_sdk.flow.model import CONTEXT_NAMES, ContextInput, Input, NodeInput


def normalise(name: str) -> str:
    """A node's name as a parameter would have to be spelled: ``new-order`` → ``new_order``."""
    return re.sub(r"\W", "_", name)


class NodeNames:
    """The nodes of a flow by id and by the name that a parameter may have."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = dict.fromkeys(ids)
        self.by_parameter: dict[str, list[str]] = {}
        for node_id in self.ids:
            self.by_parameter.setdefault(normalise(node_id), []).append(node_id)

    def match(self, parameter: str) -> list[str]:
        """The nodes that a parameter of this name may mean; more than one is ambiguous."""
        return [parameter] if parameter in self.ids else self.by_parameter.get(parameter, [])

    def resolve(self, text: str) -> Input:
        """Read ``node``, ``node.field[0]`` or ``event.payload.n``; the longest node id that fits wins."""
        if text in self.ids:
            return NodeInput(text)
        cuts = [match.start() for match in re.finditer(r"[.\[]", text)]
        for cut in reversed(cuts):
            if text[:cut] in self.ids:
                return NodeInput(text[:cut], split_path(text[cut:]))
        head = text[: cuts[0]] if cuts else text
        path = split_path(text[len(head) :])
        return ContextInput(head, path) if head in CONTEXT_NAMES else NodeInput(head, path)


def near_misses(name: str, known: Iterable[str]) -> str:
    """``did you mean 'load'?`` or nothing."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else ""
