"""Write an encoder with connector and mean pooling as an ONNX graph over the tensors of a safetensors file.

The graph holds no weights: each initializer names offset and length in ``model.safetensors`` beside it, which
ONNX Runtime maps into memory. Matrices are int8 with one factor per output channel and read activations in
8 bits with factors fixed at calibration, so that the vector of a text is the same in any batch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

_MICROSOFT = "com.microsoft"
_TYPES = {
    "F32": TensorProto.FLOAT,
    "F16": TensorProto.FLOAT16,
    "I8": TensorProto.INT8,
    "U8": TensorProto.UINT8,
}


@dataclass(frozen=True, slots=True)
class GraphShape:
    """What the graph is built from.

    Attributes:
        layers: transformer layers.
        heads: attention heads of each.
        dimensions: width of the encoder.
        epsilon: of its layer norms.
        block: word embeddings share a factor in blocks of this many.
        first_position: row of the position table that the first token takes.
        connector: whether Linear-ReLU-Linear stands between encoder and pooling.
    """

    layers: int
    heads: int
    dimensions: int
    epsilon: float
    block: int
    first_position: int
    connector: bool


class _Graph:
    """Nodes and initializers under construction; tensors are taken from the header of the weights file."""

    def __init__(self, weights: Path) -> None:
        self._file = weights.name
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self._header: dict[str, dict[str, Any]] = json.loads(file.read(length))
        self._base = 8 + length
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._count = 0

    def add(self, kind: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        """Append a node with one output and return the output's name."""
        self._count += 1
        output = f"{kind}_{self._count}"
        node = helper.make_node(kind, list(inputs), [output], name=output, domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def has(self, name: str) -> bool:
        """Tell whether the weights file holds a tensor."""
        return name in self._header

    def tensor(self, name: str) -> str:
        """Refer to a tensor of the weights file."""
        if name not in self.initializers:
            info = self._header[name]
            self.initializers[name] = self._external(name, _TYPES[info["dtype"]], info["shape"])
        return name

    def packed(self, name: str) -> str:
        """Refer to a tensor of bytes that each hold two signed numbers of 4 bits, the low half first."""
        if name not in self.initializers:
            rows, half = self._header[name]["shape"]
            self.initializers[name] = self._external(name, TensorProto.INT4, (rows, half * 2))
        return name

    def constant(self, name: str, kind: int, shape: Sequence[int], values: Sequence[float]) -> str:
        """Put small numbers into the graph itself."""
        self.initializers.setdefault(name, helper.make_tensor(name, kind, list(shape), list(values)))
        return name

    def _external(self, name: str, kind: int, shape: Sequence[int]) -> onnx.TensorProto:
        tensor = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
        start, stop = self._header[name]["data_offsets"]
        place = {"location": self._file, "offset": self._base + start, "length": stop - start}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor


def write_graph(path: Path, weights: Path, shape: GraphShape) -> None:
    """Write ``path`` for the weights file beside it.

    Inputs are ``input_ids`` (int64, batch and length, filled up on the right) and ``lengths`` (int32, batch);
    the output ``pooled`` is the sum over each text's tokens, to be brought to unit length.
    """
    graph = _Graph(weights)
    mask = _mask(graph)
    states = _embed(graph, shape)
    for layer in range(shape.layers):
        states = _layer(graph, states, f"encoder.transformer.encoder.layer.{layer}.", shape)
    pooled = _pool(graph, states, mask, shape)
    graph.nodes.append(helper.make_node("Identity", [pooled], ["pooled"], name="pooled"))
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"]),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
    ]
    outputs = [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["batch", "dimensions"])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "lusifer", inputs, outputs, list(graph.initializers.values())),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(_MICROSOFT, 1)],
        ir_version=10,
        producer_name="lusifer",
    )
    path.write_bytes(model.SerializeToString())


def _mask(graph: _Graph) -> str:
    """Return float32 ``(batch, 1, length)``, 1 at tokens."""
    one = graph.constant("one", TensorProto.INT64, [1], [1])
    length = graph.add("Shape", ["input_ids"], start=1, end=2)
    zero = graph.constant("zero_scalar", TensorProto.INT64, [], [0])
    step = graph.constant("one_scalar", TensorProto.INT64, [], [1])
    places = graph.add("Range", [zero, graph.add("Squeeze", [length]), step])
    lengths = graph.add("Unsqueeze", [graph.add("Cast", ["lengths"], to=TensorProto.INT64), one])
    there = graph.add("Cast", [graph.add("Less", [places, lengths])], to=TensorProto.FLOAT)
    return graph.add("Unsqueeze", [there, one])


def _embed(graph: _Graph, shape: GraphShape) -> str:
    name = "encoder.transformer.embeddings."
    words = graph.add(
        "GatherBlockQuantized",
        [
            graph.packed(f"{name}word_embeddings.weight.q4"),
            "input_ids",
            graph.tensor(f"{name}word_embeddings.weight.factors"),
        ],
        _MICROSOFT,
        block_size=shape.block,
        gather_axis=0,
        quantize_axis=1,
        bits=4,
    )
    words = graph.add("Cast", [words], to=TensorProto.FLOAT)
    first = graph.constant("first", TensorProto.INT64, [1], [shape.first_position])
    last = graph.add("Add", [graph.add("Shape", ["input_ids"], start=1, end=2), first])
    zero = graph.constant("zero", TensorProto.INT64, [1], [0])
    table = graph.tensor(f"{name}position_embeddings.weight")
    places = graph.add("Slice", [table, first, last, zero])
    # All tokens are of the one type there is.
    places = graph.add("Add", [places, graph.tensor(f"{name}token_type_embeddings.weight")])
    return _norm(graph, graph.add("Add", [words, places]), f"{name}LayerNorm", shape)


def _norm(graph: _Graph, states: str, name: str, shape: GraphShape) -> str:
    inputs = [states, graph.tensor(f"{name}.weight"), graph.tensor(f"{name}.bias")]
    return graph.add("LayerNormalization", inputs, axis=-1, epsilon=shape.epsilon)


def _add_norm(graph: _Graph, states: str, added: str, name: str, shape: GraphShape) -> str:
    inputs = [states, added, graph.tensor(f"{name}.weight"), graph.tensor(f"{name}.bias")]
    return graph.add("SkipLayerNormalization", inputs, _MICROSOFT, epsilon=shape.epsilon)


def _quantise(graph: _Graph, states: str, name: str) -> tuple[str, str, str]:
    """Return 8-bit activations, their factor and their zero, as calibrated for the layer ``name``."""
    if graph.has(f"{name}.spread"):
        states = graph.add("Mul", [states, graph.tensor(f"{name}.spread")])
    factor, zero = graph.tensor(f"{name}.input_factor"), graph.tensor(f"{name}.input_zero")
    return graph.add("QuantizeLinear", [states, factor, zero]), factor, zero


def _linear(graph: _Graph, quantised: tuple[str, str, str], name: str) -> str:
    activations, factor, zero = quantised
    inputs = [activations, graph.tensor(f"{name}.weight.q8"), factor, graph.tensor(f"{name}.weight.factors")]
    return graph.add("MatMulIntegerToFloat", [*inputs, zero, "", graph.tensor(f"{name}.bias")], _MICROSOFT)


def _layer(graph: _Graph, states: str, name: str, shape: GraphShape) -> str:
    own = f"{name}attention.self."
    read = _quantise(graph, states, f"{own}query")
    query, key, value = (_linear(graph, read, f"{own}{part}") for part in ("query", "key", "value"))
    mixed = graph.add(
        "MultiHeadAttention", [query, key, value, "", "lengths"], _MICROSOFT, num_heads=shape.heads
    )
    mixed = _linear(
        graph, _quantise(graph, mixed, f"{name}attention.output.dense"), f"{name}attention.output.dense"
    )
    states = _add_norm(graph, states, mixed, f"{name}attention.output.LayerNorm", shape)
    inner = _linear(graph, _quantise(graph, states, f"{name}intermediate.dense"), f"{name}intermediate.dense")
    inner = graph.add("Gelu", [inner], _MICROSOFT)
    outer = _linear(graph, _quantise(graph, inner, f"{name}output.dense"), f"{name}output.dense")
    return _add_norm(graph, states, outer, f"{name}output.LayerNorm", shape)


def _pool(graph: _Graph, states: str, mask: str, shape: GraphShape) -> str:
    one = graph.constant("one", TensorProto.INT64, [1], [1])
    if not shape.connector:
        return graph.add("Squeeze", [graph.add("MatMul", [mask, states]), one])
    hidden = graph.add("Relu", [_linear(graph, _quantise(graph, states, "connector.ff.0"), "connector.ff.0")])
    # The second map is linear, so it may follow the mean: one vector a text instead of one a token.
    count = graph.add("Cast", [graph.add("Unsqueeze", ["lengths", one])], to=TensorProto.FLOAT)
    mean = graph.add("Div", [graph.add("Squeeze", [graph.add("MatMul", [mask, hidden]), one]), count])
    weight = graph.add("Cast", [graph.tensor("connector.ff.2.weight.t")], to=TensorProto.FLOAT)
    return graph.add("Gemm", [mean, weight, graph.tensor("connector.ff.2.bias")])
