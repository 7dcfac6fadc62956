"""A BERT in numpy: the same weights where onnxruntime is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflows_memory.embedding.embedder import import_numpy

if TYPE_CHECKING:
    from dataflows_memory.embedding.weights import Shape


class NumpyBert:
    """Token numbers to the mean of the last layer.

    Args:
        weights: as in the file of the model.
        shape: of the model.

    Raises:
        KeyError: a weight is missing.
    """

    def __init__(self, weights: Mapping[str, Any], shape: Shape) -> None:
        self._np = np = import_numpy()
        self._shape = shape
        self._words = weights["embeddings.word_embeddings.weight"]
        # every token is of the first kind: there is one text, no pair of them
        kind = weights["embeddings.token_type_embeddings.weight"][0]
        self._places = weights["embeddings.position_embeddings.weight"] + kind
        self._first_norm = _pair(weights, "embeddings.LayerNorm")
        self._layers = []
        for number in range(shape.layers):
            prefix = f"encoder.layer.{number}."
            three = [_pair(weights, f"{prefix}attention.self.{part}") for part in ("query", "key", "value")]
            self._layers.append(
                {
                    "qkv": (
                        np.ascontiguousarray(np.concatenate([weight for weight, _ in three]).T),
                        np.concatenate([bias for _, bias in three]),
                    ),
                    "out": _turned(np, weights, f"{prefix}attention.output.dense"),
                    "norm": _pair(weights, f"{prefix}attention.output.LayerNorm"),
                    "up": _turned(np, weights, f"{prefix}intermediate.dense"),
                    "down": _turned(np, weights, f"{prefix}output.dense"),
                    "last_norm": _pair(weights, f"{prefix}output.LayerNorm"),
                }
            )

    def run(self, ids: Any, mask: Any) -> Any:
        """The means, one row per text.

        Args:
            ids: token numbers, padded; texts by positions.
            mask: 1.0 for a token, 0.0 for padding; as large.
        """
        np, shape = self._np, self._shape
        texts, length = ids.shape
        size = shape.hidden // shape.heads
        hidden = self._norm(self._words[ids] + self._places[:length], self._first_norm).reshape(-1, shape.hidden)
        unseen = np.where(mask > 0, np.float32(0), np.float32(-1e9))[:, None, None, :]
        for layer in self._layers:
            weight, bias = layer["qkv"]
            parts = (hidden @ weight + bias).reshape(texts, length, 3, shape.heads, size).transpose(2, 0, 3, 1, 4)
            scores = parts[0] @ parts[1].swapaxes(-1, -2)
            scores *= np.float32(size**-0.5)
            scores += unseen
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=-1, keepdims=True)
            seen = (scores @ parts[2]).transpose(0, 2, 1, 3).reshape(-1, shape.hidden)
            weight, bias = layer["out"]
            hidden = self._norm(hidden + (seen @ weight + bias), layer["norm"])
            weight, bias = layer["up"]
            inner = self._gelu(hidden @ weight + bias)
            weight, bias = layer["down"]
            hidden = self._norm(hidden + (inner @ weight + bias), layer["last_norm"])
        hidden = hidden.reshape(texts, length, shape.hidden)
        return np.einsum("tlh,tl->th", hidden, mask) / mask.sum(axis=1, keepdims=True)

    def _norm(self, values: Any, pair: tuple[Any, Any]) -> Any:
        weight, bias = pair
        values -= values.mean(axis=-1, keepdims=True)
        spread = self._np.einsum("...h,...h->...", values, values) / values.shape[-1]
        values /= self._np.sqrt(spread + self._shape.epsilon)[..., None]
        values *= weight
        values += bias
        return values

    def _gelu(self, values: Any) -> Any:
        """x·Φ(x), with the error function of Abramowitz and Stegun 7.1.26, which is off by at most 1.5e-7."""
        np = self._np
        scaled = values * np.float32(0.7071067811865476)
        size = np.abs(scaled)
        step = 1 / (1 + np.float32(0.3275911) * size)
        tail = step * np.float32(1.061405429)
        for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
            tail += np.float32(factor)
            tail *= step
        size *= size
        np.negative(size, out=size)
        np.exp(size, out=size)
        tail *= size
        result = np.copysign(1 - tail, scaled)
        result += 1
        result *= values
        result *= np.float32(0.5)
        return result


def _pair(weights: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def _turned(np: Any, weights: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    weight, bias = _pair(weights, name)
    return np.ascontiguousarray(weight.T), bias
