"""Which embedder a setting means, and what it means that there is none."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

from dataflows_memory.embedding.embedder import Embedder
from dataflows_memory.embedding.local import LocalEmbedder
from dataflows_memory.embedding.openai_embedder import OpenAIEmbedder
from dataflows_memory.embedding.weights import INSTALL, installed
from dataflows_sdk.errors import DefinitionError, MissingExtraError

_FORMS = (
    '"auto", "local", "local:<path>", "openai", "openai:<model>", "openai:<model>/<dimensions>", "none", or an embedder'
)


class Choice(NamedTuple):
    """An embedder, or none, and a sentence that says what that means."""

    #: None: recall by words only
    embedder: Embedder | None
    #: for people
    reason: str


def choose_embedder(setting: str | Embedder | None = "auto") -> Choice:
    """The embedder that a setting means.

    ``"auto"`` takes the local one where its model is installed. It never takes an endpoint: texts leave this machine,
    and money is spent, only where somebody said so. Without a model nothing takes its place: recall is by words, and
    the sentence says that.

    Args:
        setting: ``"auto"``, ``"local"``, ``"local:<path>"``, ``"openai"``, ``"openai:<model>"``,
            ``"openai:<model>/<dimensions>"``, ``"none"`` or None, or an embedder.

    Raises:
        DefinitionError: anything else, or OpenAI without a key.
        MissingExtraError: what was asked for by name is not installed.
    """
    if setting is None or setting == "none":
        return Choice(None, "Recall is by words only: no embedder is wanted.")
    if not isinstance(setting, str):
        # not isinstance: it would look at `dimension`, for which an endpoint may have to be asked
        if not all(callable(getattr(setting, face, None)) for face in ("embed", "aembed")):
            raise DefinitionError(f"an embedder is {_FORMS}; not {setting!r}")
        return Choice(setting, f"Recall is by words and by meaning, with {setting!r}.")
    kind, _, rest = setting.partition(":")
    if kind == "openai":
        made = _openai(rest, setting)
        return Choice(made, f"Recall is by words and by meaning, with {made!r}; texts are sent there.")
    if kind not in {"auto", "local"} or (kind == "auto" and rest):
        raise DefinitionError(f"an embedder is {_FORMS}; not {setting!r}")
    missing = _missing(rest)
    if not missing:
        return Choice(LocalEmbedder(rest or None), "Recall is by words and by meaning, with a model in this process.")
    if kind == "local":
        raise MissingExtraError(f"the local embedder cannot run: {missing}")
    return Choice(
        None,
        f"Recall is by words only, and does not know meaning: {missing}; or name an endpoint, for example "
        'embedder="openai".',
    )


def _missing(path: str) -> str:
    if importlib.util.find_spec("numpy") is None:
        return f"numpy is not installed: {INSTALL}"
    if not path and installed() is None:
        return f"no model is installed: {INSTALL}"
    return ""


def _openai(rest: str, setting: str) -> OpenAIEmbedder:
    if not rest:
        return OpenAIEmbedder()
    # names of models have slashes too: only a number after the last one is the dimensions
    model, _, number = rest.rpartition("/")
    if model and number.isdecimal() and number.isascii():
        if int(number) < 1:
            raise DefinitionError(f"{setting!r} asks for vectors of {number} numbers")
        return OpenAIEmbedder(model, dimensions=int(number))
    return OpenAIEmbedder(rest)
