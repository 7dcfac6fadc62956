"""What an embedder is, what it counts, and what it takes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from dataflows_sdk.errors import EmbeddingError, EmbeddingRefusedError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]


class Embedder(Protocol):
    """Makes texts into vectors of length one, so that the dot product of two is their cosine."""

    @property
    def name(self) -> str:
        """Model and version. Vectors of two names are never compared, and what changes the vectors changes the name."""
        ...

    @property
    def dimension(self) -> int:
        """How long a vector is."""
        ...

    @property
    def usage(self) -> Usage:
        """What it did so far."""
        ...

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """A float32 array of shape ``(len(texts), dimension)``, in the order of the texts.

        Args:
            texts: none of them empty.
            query: they are questions rather than what is searched; models that tell the two apart need it.

        Raises:
            EmbeddingError: no vectors, or not for all; `.done` has those that were paid for.
        """
        ...

    async def aembed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """The same, awaited."""
        ...


class Usage:
    """Counts of one embedder, from any thread.

    Attributes:
        requests: sent to an endpoint, or runs of a local model; also those that failed.
        texts: that got a vector.
        tokens: of those texts, as the endpoint or the local tokenizer counts them.
        retries: requests that were sent again.
        shortened: texts of which only the beginning was read, because the model takes no more.
    """

    __slots__ = ("_lock", "requests", "retries", "shortened", "texts", "tokens")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = self.texts = self.tokens = self.retries = self.shortened = 0

    def add(self, *, requests: int = 0, texts: int = 0, tokens: int = 0, retries: int = 0, shortened: int = 0) -> None:
        """Count up."""
        with self._lock:
            self.requests += requests
            self.texts += texts
            self.tokens += tokens
            self.retries += retries
            self.shortened += shortened

    def as_dict(self) -> dict[str, int]:
        """The counts at one moment."""
        with self._lock:
            return {name: getattr(self, name) for name in self.__slots__ if name != "_lock"}

    def __repr__(self) -> str:
        return f"Usage({', '.join(f'{name}={count}' for name, count in self.as_dict().items())})"


def clean_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a model can take them: halves of surrogate pairs, which no encoding has, become U+FFFD.

    Raises:
        EmbeddingRefusedError: a text is empty or only space: every model gives nonsense for it, or an error.
        TypeError: not a sequence of str; a single str is refused too, for its letters would be embedded one by one.
    """
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"texts is a sequence of str, not one {type(texts).__name__}: write [text]")
    cleaned = []
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{position}] is a {type(text).__name__}, not a str")
        if not text.strip():
            raise EmbeddingRefusedError(
                f"texts[{position}] of {len(texts)} is {'only space' if text else 'empty'}: there is nothing to embed; "
                "leave it out"
            )
        cleaned.append(text if text.isascii() else without_surrogates(text))
    return cleaned


def import_numpy() -> Any:
    """The module numpy.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import numpy as np
    except ImportError as error:
        raise MissingExtraError(
            "vectors need numpy, which is not installed: pip install 'dataflows-sdk[memory]'"
        ) from error
    return np


def normalised(vectors: Any, what: str) -> Vectors:
    """The rows with length one.

    Args:
        vectors: a float array of two dimensions.
        what: who made them, for the error.

    Raises:
        EmbeddingError: a row has NaN or infinity, or no direction.
    """
    np = import_numpy()
    wide = np.asarray(vectors, dtype=np.float64)
    finite = np.isfinite(wide).all(axis=1)
    if not finite.all():
        raise EmbeddingError(f"{what}: vector {int(np.argmin(finite))} of {len(wide)} has NaN or infinity in it")
    # a float32 that overflows when squared is still a direction
    largest = np.abs(wide).max(axis=1, keepdims=True) if wide.shape[1] else np.zeros((len(wide), 1))
    if len(wide) and not largest.all():
        raise EmbeddingError(
            f"{what}: vector {int(np.argmin(largest))} of {len(wide)} is all zeros: it has no direction"
        )
    scaled = wide / largest
    result: Vectors = (scaled / np.linalg.norm(scaled, axis=1, keepdims=True)).astype(np.float32)
    return result


def checked_vectors(given: Any, embedder: Embedder, count: int) -> Vectors:
    """What an embedder gave, whoever made it: a vector for each text, as long as it says, all of them numbers.

    Args:
        given: its answer.
        embedder: that was asked.
        count: for how many texts.

    Raises:
        EmbeddingError: it gave something else.
    """
    np = import_numpy()
    try:
        vectors = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError):
        raise EmbeddingError(f"{embedder.name!r} gave no vectors but {type(given).__name__}: {given!r:.100}") from None
    if vectors.shape != (count, embedder.dimension):
        shape = " by ".join(map(str, vectors.shape)) or "no"
        raise EmbeddingError(
            f"{embedder.name!r} gave {shape} numbers for {count} texts; {count} by {embedder.dimension} are wanted"
        )
    if not np.isfinite(vectors).all():
        raise EmbeddingError(f"{embedder.name!r} gave vectors with NaN or infinity in them")
    result: Vectors = vectors
    return result


def without_surrogates(text: str) -> str:
    """The text with each half of a surrogate pair as U+FFFD; as long as it was."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)
    return text
