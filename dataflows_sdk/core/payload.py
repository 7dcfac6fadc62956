"""A JSON object that also reads by attribute."""

from __future__ import annotations

from typing import Any


class Payload(dict[str, Any]):
    """A dict whose keys can be read as attributes too, also those of objects in it: ``event.payload.project.id``.

    It is a dict in every other way, and is stored as one: what comes back from the journal is a plain dict, equal to
    it.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            found = self[name]
        except KeyError:
            known = ", ".join(map(repr, self)) or "nothing"
            raise AttributeError(f"the payload has no {name!r}; it has {known}") from None
        return Payload(found) if type(found) is dict else found
