"""What templates can read while a flow runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dataflows_sdk.core.recorded import error_to_data


class Steps(Mapping[str, Any]):
    """``steps``: the nodes that came to an end, with their ``output`` or ``error``; those of outer scopes too."""

    def __init__(self, outputs: Mapping[str, Any], errors: Mapping[str, BaseException], outer: Steps | None) -> None:
        self._outputs = outputs
        self._errors = errors
        self._outer = outer

    def __getitem__(self, node: str) -> dict[str, Any]:
        if node in self._outputs:
            return {"output": self._outputs[node]}
        if node in self._errors:
            return {"output": None, "error": described(self._errors[node])}
        if self._outer is None:
            raise KeyError(node)
        return self._outer[node]

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((*self._outputs, *self._errors, *(self._outer or ())))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, node: object) -> bool:
        if node in self._outputs or node in self._errors:
            return True
        return self._outer is not None and node in self._outer


class Roots(Mapping[str, Any]):
    """The words with which a path may begin; after them, the names of nodes mean their outputs."""

    def __init__(self, words: Mapping[str, Any], steps: Steps) -> None:
        self._words = words
        self._steps = steps

    def __getitem__(self, word: str) -> Any:
        if word in self._words:
            return self._words[word]
        return self._steps[word]["output"]

    def __contains__(self, word: object) -> bool:
        return word in self._words or word in self._steps

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)


def described(error: BaseException) -> dict[str, Any]:
    """An error as templates and handlers see it."""
    data = error_to_data(error, str)
    return {"type": data.get("type", type(error).__name__), "message": data.get("message", str(error))}
