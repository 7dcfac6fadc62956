"""What a run said to the memory, beside its events, and what the memory would have answered it then.

The memory is a plug-in: what it gives is known here by its names alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dataflows_sdk.errors import DefinitionError
from dataflows_sdk.notebook.folding import Event
from dataflows_sdk.notebook.places import checked, moment, places
from dataflows_sdk.notebook.previews import cut

if TYPE_CHECKING:
    from dataflows_sdk.notebook.kept import Kept

#: what a page knows of that was said; collections and scopes that it can choose from
SAID, CHOICES = 500, 100
#: letters that are looked at for secrets, and bytes of a hit and of names
_LOOKED_AT, _HIT, _NAME = 4_000, 1_000, 80
#: letters of a question
_QUESTION = 2_000

#: how many events there are when it is to be seen, what was done, step, item, collection, scope, text
Saying = list[Any]


def told(
    said: Sequence[dict[str, Any]] | None, events: Sequence[Event], began: datetime, mask: Callable[[str], str]
) -> list[Saying] | None:
    """What was said with its places; None where there is no memory."""
    if said is None:
        return None
    some = said[:SAID]
    found = places(((each["at"], each["step"]) for each in some), events, began)
    return [
        [
            place,
            each["act"],
            each["step"],
            each["item"],
            cut(mask(each["collection"]), _NAME),
            cut(mask(each["scope"]), _NAME),
            cut(mask(each["text"][:_LOOKED_AT])),
        ]
        for place, each in zip(found, some, strict=True)
    ]


def choices(source: Kept) -> list[list[str | None]]:
    """Where may be looked: collections, each as a whole (scope None) and by scope. What is masked is left out."""
    found: list[list[str | None]] = []
    for each in source.collections():
        name = each["name"]
        if source.mask(name) != name:
            continue
        found.append([name, None])
        found += [[name, scope] for scope in each["scopes"] if source.mask(scope) == scope]
    return found[:CHOICES]


def recalled(source: Kept, events: Sequence[Event], n: object, asked: dict[str, Any]) -> dict[str, Any]:
    """What the run would have recalled after *n* events: of the true then, what was known then; a fork on its branch.

    Raises:
        DefinitionError: there are not that many events, or it is no question.
        RecallError: there is no such collection or scope, or it cannot be searched.
    """
    n = checked(n, events, "what was remembered is")
    question, collection, scope = asked.get("question"), asked.get("collection"), asked.get("scope")
    if not isinstance(question, str) or not question.strip() or len(question) > _QUESTION:
        raise DefinitionError(f"a question is a text of 1 to {_QUESTION:,} letters, not {question!r:.80}")
    if not isinstance(collection, str) or not (scope is None or isinstance(scope, str)):
        raise DefinitionError(f"a collection and a scope of it are asked, not {collection!r} and {scope!r}")
    began = source.head()["created"]
    said = source.said() or []
    numbers = places(((each["at"], each["step"]) for each in said), events, began)
    then = moment(n, events, began, zip(numbers, (each["at"] for each in said), strict=True))
    found = source.recall(question, then, collection, scope)
    return {
        "hits": [
            [f"{hit.score:.3f}", cut(source.mask(hit.text[:_LOOKED_AT]), _HIT), cut(source.mask(hit.item.source), _HIT)]
            for hit in found.hits
        ],
        "note": source.mask(f"{len(found.hits)} of {found.among:,} items, by {found.mode}. {found.note}".strip()),
    }
