"""A BERT of a few kilobytes with weights of chance, in the shape of sentence-transformers."""

from __future__ import annotations

import json
import string
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

HIDDEN, LAYERS, POSITIONS = 48, 2, 64
WORDS = ["the", "a", "of", "cat", "dog", "budget", "project", "late", "over", "##s", "##ing", "##ed"]
VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *WORDS,
    *string.ascii_lowercase,
    *(f"##{letter}" for letter in string.ascii_lowercase),
    *string.digits,
    *".,!?:-()[]",
]
CONFIG: dict[str, Any] = {
    "_name_or_path": "chance/small-bert",
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": HIDDEN,
    "num_attention_heads": 4,
    "num_hidden_layers": LAYERS,
    "max_position_embeddings": POSITIONS,
    "layer_norm_eps": 1e-12,
}


def tensors() -> dict[str, Any]:
    chance = np.random.default_rng(7)
    found: dict[str, Any] = {}

    def add(name: str, *shape: int, spread: float = 0.1) -> None:
        found[name] = chance.normal(0, spread, shape).astype(np.float32)

    def dense(name: str, into: int, out: int) -> None:
        add(f"{name}.weight", out, into, spread=into**-0.5)
        add(f"{name}.bias", out)

    def norm(name: str) -> None:
        add(f"{name}.weight", HIDDEN)
        found[f"{name}.weight"] += 1
        add(f"{name}.bias", HIDDEN)

    add("embeddings.word_embeddings.weight", len(VOCABULARY), HIDDEN, spread=1.0)
    add("embeddings.position_embeddings.weight", POSITIONS, HIDDEN, spread=0.2)
    add("embeddings.token_type_embeddings.weight", 2, HIDDEN)
    norm("embeddings.LayerNorm")
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}."
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            dense(f"{layer}attention.{part}", HIDDEN, HIDDEN)
        norm(f"{layer}attention.output.LayerNorm")
        dense(f"{layer}intermediate.dense", HIDDEN, HIDDEN * 4)
        dense(f"{layer}output.dense", HIDDEN * 4, HIDDEN)
        norm(f"{layer}output.LayerNorm")
    return found


def safetensors(numbers: dict[str, Any]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, values in numbers.items():
        raw = np.ascontiguousarray(values).tobytes()
        kind = {"float32": "F32", "float16": "F16"}[values.dtype.name]
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def files(**changed: Any) -> dict[str, bytes]:
    """Name → content; *changed* replaces entries of the config."""
    return {
        "model.safetensors": safetensors(tensors()),
        "vocab.txt": "\n".join([*VOCABULARY, ""]).encode(),
        "config.json": json.dumps({**CONFIG, **changed}).encode(),
        "sentence_bert_config.json": json.dumps({"max_seq_length": 32}).encode(),
        "1_Pooling/config.json": json.dumps({"pooling_mode_mean_tokens": True}).encode(),
    }


def as_folder(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def as_wheel(file: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"some_package/model/{name}", content)
    return file
