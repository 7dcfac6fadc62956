"""A BERT as an ONNX graph with weights of 8 bits, made from the model's own weights when it is loaded.

Every row of activations is quantised by itself, so that the vector of a text does not depend on the texts beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataflows_memory.embedding.embedder import import_numpy

if TYPE_CHECKING:
    from dataflows_memory.embedding.weights import Shape

_MS = "com.microsoft"


class OnnxBert:
    """Token numbers to the mean of the last layer, by onnxruntime.

    Args:
        weights: as in the file of the model.
        shape: of the model.
        threads: of one run; None: as many as onnxruntime thinks right.

    Raises:
        KeyError: a weight is missing.
        ImportError: onnx or onnxruntime is not installed.
    """

    def __init__(self, weights: Mapping[str, Any], shape: Shape, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        # memory of the longest batch would be kept for good
        options.enable_cpu_mem_arena = False
        model = _Graph(weights, shape).build()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, ids: Any, mask: Any) -> Any:
        """The means, one row per text; see `NumpyBert.run`."""
        (means,) = self._session.run(None, {"ids": ids, "mask": mask})
        return means


class _Graph:
    """The nodes as they are added, and the numbers that they need."""

    def __init__(self, weights: Mapping[str, Any], shape: Shape) -> None:
        from onnx import helper, numpy_helper

        self._np = import_numpy()
        self._helper, self._tensor = helper, numpy_helper.from_array
        self._weights, self._shape = weights, shape
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def build(self) -> bytes:
        """The model, as onnxruntime reads it."""
        np, shape, helper = self._np, self._shape, self._helper
        hidden = self._embeddings()
        mask = self._node("Cast", "mask", to=6)
        for number in range(shape.layers):
            hidden = self._layer(f"encoder.layer.{number}.", hidden, mask)
        column = self._node("Unsqueeze", "mask", self._constant("axis 2", np.array([2], np.int64)))
        axis = self._constant("axis 1", np.array([1], np.int64))
        total = self._node("ReduceSum", self._node("Mul", hidden, column), axis, keepdims=0)
        self._node("Div", total, self._node("ReduceSum", column, axis, keepdims=0), name="means")
        graph = helper.make_graph(
            self._nodes,
            "bert",
            [
                helper.make_tensor_value_info("ids", 7, ["texts", "length"]),
                helper.make_tensor_value_info("mask", 1, ["texts", "length"]),
            ],
            [helper.make_tensor_value_info("means", 1, ["texts", shape.hidden])],
            [self._tensor(np.ascontiguousarray(value), name) for name, value in self._constants.items()],
        )
        versions = [helper.make_opsetid("", 17), helper.make_opsetid(_MS, 1)]
        # an old onnxruntime reads an old format; nothing newer is used
        model: bytes = helper.make_model(graph, opset_imports=versions, ir_version=8).SerializeToString()
        return model

    def _node(self, kind: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any) -> str:
        output = name or f"{kind} {len(self._nodes)}"
        self._nodes.append(self._helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def _constant(self, name: str, value: Any) -> str:
        self._constants.setdefault(name, value)
        return name

    def _given(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _embeddings(self) -> str:
        np = self._np
        numbers, scales = _rows_of_8_bits(np, self._weights["embeddings.word_embeddings.weight"], 127)
        rows = self._node("Gather", self._constant("words", numbers), "ids")
        scale = self._node("Gather", self._constant("words scale", scales[:, None]), "ids")
        words = self._node("Mul", self._node("Cast", rows, to=1), scale)
        kind = self._weights["embeddings.token_type_embeddings.weight"][0]
        places = self._constant("places", self._weights["embeddings.position_embeddings.weight"] + kind)
        length = self._node("Shape", "ids", start=1, end=2)
        begin, axis = self._constant("zero", np.array([0], np.int64)), self._constant("first", np.array([0], np.int64))
        here = self._node("Slice", places, begin, length, axis)
        return self._norm("embeddings.LayerNorm", self._node("Add", words, here))

    def _layer(self, prefix: str, hidden: str, mask: str) -> str:
        np = self._np
        parts = [f"{prefix}attention.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self._weights[f"{part}.weight"] for part in parts])
        three = self._linear(f"{prefix}qkv", hidden, weight)
        query, key, value = self._split(three)
        bias = self._constant(f"{prefix}qkv.bias", np.concatenate([self._weights[f"{part}.bias"] for part in parts]))
        seen = self._node("MultiHeadAttention", query, key, value, bias, mask, domain=_MS, num_heads=self._shape.heads)
        out = self._dense(f"{prefix}attention.output.dense", seen)
        hidden = self._norm(f"{prefix}attention.output.LayerNorm", self._node("Add", hidden, out))
        inner = self._node("Gelu", self._dense(f"{prefix}intermediate.dense", hidden), domain=_MS)
        down = self._dense(f"{prefix}output.dense", inner)
        return self._norm(f"{prefix}output.LayerNorm", self._node("Add", hidden, down))

    def _split(self, three: str) -> list[str]:
        names = [f"{three} {part}" for part in ("query", "key", "value")]
        sizes = self._constant("sizes", self._np.array([self._shape.hidden] * 3, self._np.int64))
        self._nodes.append(self._helper.make_node("Split", [three, sizes], names, axis=2))
        return names

    def _norm(self, name: str, values: str) -> str:
        weight, bias = self._given(f"{name}.weight"), self._given(f"{name}.bias")
        return self._node("LayerNormalization", values, weight, bias, axis=-1, epsilon=self._shape.epsilon)

    def _dense(self, name: str, values: str) -> str:
        product = self._linear(name, values, self._weights[f"{name}.weight"])
        return self._node("Add", product, self._given(f"{name}.bias"))

    def _linear(self, name: str, values: str, weight: Any) -> str:
        """Values times weight, in whole numbers: each row and each column has its own scale."""
        np = self._np
        # up to 64: two products of 255 must add up to 16 bits, in which processors without VNNI add them
        numbers, scales = _rows_of_8_bits(np, weight, 64)
        axis = self._node("Abs", values)
        largest = self._node("ReduceMax", axis, axes=[-1], keepdims=1)
        step = self._node(
            "Max",
            self._node("Mul", largest, self._constant("1/127", np.float32(1 / 127))),
            self._constant("tiny", np.float32(1e-20)),
        )
        shifted = self._node(
            "Add", self._node("Round", self._node("Div", values, step)), self._constant("128", np.float32(128))
        )
        whole = self._node("Cast", shifted, to=2)
        product = self._node(
            "MatMulInteger",
            whole,
            self._constant(f"{name} numbers", numbers.T),
            self._constant("middle", np.uint8(128)),
        )
        # not scaled by the product of the two scales: onnxruntime takes that for its own pattern, in which the first is
        # one number for all rows, and gives nonsense
        rows = self._node("Mul", self._node("Cast", product, to=1), step)
        return self._node("Mul", rows, self._constant(f"{name} scale", scales))


def _rows_of_8_bits(np: Any, matrix: Any, most: int) -> tuple[Any, Any]:
    """The matrix as whole numbers up to `most`, and what to multiply each row with."""
    scales = np.maximum(np.abs(matrix).max(axis=1), 1e-20) / most
    return np.round(matrix / scales[:, None]).astype(np.int8), scales.astype(np.float32)
