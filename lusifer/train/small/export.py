"""Write a trained model as it is shipped: calibrated and quantised, with graph, tokenizer, configuration.

Word embeddings become blocks of 4 bits, matrices int8 with one factor for each output channel; what they
read is put into 8 bits with a factor and a zero fixed here, from the activations of calibration texts, so
that the vector of a text is the same in any batch. Channels that reach far are first shrunk and the
matrix's rows grown by as much (SmoothQuant, arXiv 2211.10438). The graph holds no weights: each of its
tensors names offset and length in ``model.safetensors`` beside it, which ONNX Runtime maps into memory.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import save
from tokenizers import Tokenizer
from torch import nn

from lusifer.checkpoints.own import CONFIG, GRAPH, TOKENIZER, WEIGHTS
from lusifer.config import PromptKind
from lusifer.errors import TrainingError, TruncationWarning
from lusifer.model import Lusifer, pad
from lusifer.tokenization import batches, tokenise
from lusifer.train.small.source import save_compact, to_arrays

Tensors = dict[str, NDArray[np.generic]]

BLOCK = 32
WORDS = "encoder.transformer.embeddings.word_embeddings.weight"
#: Rows kept of each batch, and looked at in all, to choose how a layer reads its states.
_SAMPLE, _ROWS = 24, 384
#: Weights are kept to 7 bits: two products of an 8-bit and a 7-bit number fit 16 bits, so that processors
#: without VNNI, which add pairs in 16 bits, get the same sums as those with it.
LEVELS = 63


_STRENGTHS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)
_CLIPS = (1.0, 0.9, 0.75, 0.6)


@dataclass
class Reach:
    """What a linear layer reads: the smallest and largest number of each input channel, and some rows."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    rows: list[NDArray[np.float32]]


@contextmanager
def watch(model: Lusifer, mask: Sequence[torch.Tensor]) -> Iterator[dict[str, Reach]]:
    """Record what every linear layer of a model reads while the context lasts.

    Args:
        model: the model that is run inside.
        mask: holds the attention mask of the batch being run as its only item; padding is not counted.
    """
    seen: dict[str, Reach] = {}
    rng = np.random.default_rng(0)

    def note(name: str, states: torch.Tensor) -> None:
        rows = states[mask[0].bool()].float().numpy()
        low, high = rows.min(axis=0), rows.max(axis=0)
        some = rows[rng.choice(len(rows), min(len(rows), _SAMPLE), replace=False)]
        found = seen.setdefault(name, Reach(low, high, []))
        found.low, found.high = np.minimum(low, found.low), np.maximum(high, found.high)
        found.rows.append(some)

    handles = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: note(name, inputs[0]))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def quantise(parameters: Mapping[str, NDArray[np.float32]], reaches: Mapping[str, Reach]) -> Tensors:
    """Return the tensors to ship.

    Args:
        parameters: of a model with an XLM-RoBERTa encoder and, perhaps, a connector.
        reaches: what :func:`watch` recorded.
    """
    tensors: Tensors = {}
    done: set[str] = set()
    for group in _groups(reaches):
        done |= {f"{name}.{kind}" for name in group for kind in ("weight", "bias")}
        _quantise_group(parameters, reaches[group[0]], group, tensors)
    second = "connector.ff.2.weight"
    if second in parameters:
        done.add(second)
        tensors[f"{second}.t"] = np.ascontiguousarray(parameters[second].T, np.float16)
    tensors[f"{WORDS}.q4"], tensors[f"{WORDS}.factors"] = pack_rows(parameters[WORDS])
    done.add(WORDS)
    for name, value in parameters.items():
        if name not in done:
            tensors[name] = np.ascontiguousarray(value, np.float32)
    return tensors


def _groups(reaches: Mapping[str, Reach]) -> list[list[str]]:
    """Return the layers that are quantised, those that read the same states together."""
    groups: list[list[str]] = []
    for name in reaches:
        if name.endswith("attention.self.query"):
            stem = name.removesuffix("query")
            groups.append([f"{stem}query", f"{stem}key", f"{stem}value"])
        elif name != "connector.ff.2" and ".self." not in name:
            groups.append([name])
    return groups


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a group of layers reads its states in 8 bits."""

    spread: NDArray[np.float32]
    factor: np.float32
    zero: int

    def read(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what is left of rows, still multiplied by ``spread``."""
        numbers = np.clip(np.rint(rows * self.spread / self.factor) + self.zero, 0, 255) - self.zero
        values: NDArray[np.float32] = (numbers * self.factor).astype(np.float32)
        return values


def _quantise_group(
    parameters: Mapping[str, NDArray[np.float32]], reach: Reach, group: Sequence[str], tensors: Tensors
) -> None:
    weights = np.concatenate([parameters[f"{name}.weight"] for name in group])
    rows = np.concatenate(reach.rows)[-_ROWS:]
    wanted = rows @ weights.T
    plans = [_plan(reach, weights, strength, clip) for strength in _STRENGTHS for clip in _CLIPS]
    best = min(plans, key=lambda plan: _error(plan, rows, weights, wanted))
    for name in group:
        numbers, factors = _round_matrix(parameters[f"{name}.weight"] / best.spread)
        tensors[f"{name}.spread"] = best.spread
        tensors[f"{name}.input_factor"] = np.array(best.factor, np.float32)
        tensors[f"{name}.input_zero"] = np.array(best.zero, np.uint8)
        tensors[f"{name}.weight.q8"] = np.ascontiguousarray(numbers.T)
        tensors[f"{name}.weight.factors"] = factors
        tensors[f"{name}.bias"] = parameters[f"{name}.bias"].astype(np.float32)


def _plan(reach: Reach, weights: NDArray[np.float32], strength: float, clip: float) -> _Plan:
    top = np.maximum(np.abs(reach.low), np.abs(reach.high)).clip(1e-5)
    spread = np.ones_like(top)
    if strength:
        spread = np.abs(weights).max(axis=0).clip(1e-5) ** (1 - strength) / top**strength
        spread /= np.exp(np.log(spread).mean())
    low = min(0.0, float((reach.low * spread).min()) * clip)
    high = max(0.0, float((reach.high * spread).max()) * clip)
    factor = max(high - low, 1e-8) / 255
    return _Plan(spread.astype(np.float32), np.float32(factor), round(-low / factor))


def _error(
    plan: _Plan, rows: NDArray[np.float32], weights: NDArray[np.float32], wanted: NDArray[np.float32]
) -> float:
    numbers, factors = _round_matrix(weights / plan.spread)
    got = (plan.read(rows) @ numbers.T.astype(np.float32)) * factors
    return float(np.square(got - wanted).mean())


def _round_matrix(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    factors = (np.abs(matrix).max(axis=1).clip(1e-12) / LEVELS).astype(np.float32)
    return np.rint(matrix / factors[:, None]).astype(np.int8), factors


def pack_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Put rows into blocks of signed 4-bit numbers.

    The number that reaches farthest becomes -8, so a table that came out of such blocks goes back in
    without loss.

    Returns:
        Bytes ``(rows, width / 2)``, the first of two numbers in the low half, and the factors of the blocks
        ``(rows, width / 32)``.
    """
    rows, width = table.shape
    blocks = table.reshape(rows, width // BLOCK, BLOCK)
    far = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)[..., 0]
    factors = (far / np.float32(-8)).astype(np.float16)
    safe = np.where(factors == 0, np.float32(1), factors.astype(np.float32))
    numbers = np.clip(np.rint(blocks / safe[..., None]), -8, 7).astype(np.int8).reshape(rows, width)
    low, high = numbers[:, 0::2] & 15, numbers[:, 1::2] & 15
    return (low | (high << 4)).astype(np.uint8), factors


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


_BUDGET = 2048


def export_small(
    model: Lusifer,
    tokenizer: Tokenizer,
    texts: Sequence[tuple[PromptKind, str]],
    folder: Path,
    calibration: dict[str, object] | None = None,
) -> None:
    """Write a checkpoint folder that runs without torch.

    Args:
        model: an XLM-RoBERTa encoder, a connector or none, mean pooling.
        tokenizer: of the model's vocabulary.
        texts: questions and passages, in all languages, from which it is learnt how far activations reach.
        folder: made if missing; files of an earlier checkpoint are replaced.
        calibration: goes into the configuration.

    Raises:
        TrainingError: the model is of another make, or a parameter holds NaN or infinity.
    """
    config = model.config
    plain = config.pooling == "mean" and config.repeats == 1 and not config.projection
    if config.encoder.kind != "xlm-roberta" or config.language_model.layers or not plain:
        raise TrainingError(f"{config.name} has parts that cannot be quantised", hint="export it whole")
    parameters = to_arrays(model)
    for name, value in parameters.items():
        if not _finite(value):
            raise TrainingError(f"tensor {name} holds NaN or infinity", hint="look for a diverged run")
    tensors = quantise(parameters, calibrate(model, tokenizer, texts))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(save(tensors))
    transformer = config.encoder.transformer
    shape = GraphShape(
        layers=transformer["num_hidden_layers"],
        heads=transformer["num_attention_heads"],
        dimensions=config.dimensions,
        epsilon=transformer["layer_norm_eps"],
        block=BLOCK,
        first_position=transformer["pad_token_id"] + 1,
        connector=config.connector.kind == "ff",
    )
    write_graph(folder / GRAPH, folder / WEIGHTS, shape)
    save_compact(tokenizer, folder / TOKENIZER)
    (folder / CONFIG).write_text(replace(config, calibration=calibration).to_json(), encoding="utf-8")


def _finite(value: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(value).all())


@torch.inference_mode()
def calibrate(
    model: Lusifer, tokenizer: Tokenizer, texts: Sequence[tuple[PromptKind, str]]
) -> dict[str, Reach]:
    """Run texts through the model in float32 and return what each of its linear layers read."""
    model.eval()
    with warnings.catch_warnings():
        # Of a long text the beginning does as well.
        warnings.simplefilter("ignore", TruncationWarning)
        rows = [tokenise(tokenizer, model.config, [text], kind)[0] for kind, text in texts]
    mask: list[torch.Tensor] = [torch.empty(0)]
    with watch(model, mask) as seen:
        for batch in batches(rows, _BUDGET):
            ids, mask[0] = pad([rows[index] for index in batch], model.encoder.pad_id)
            model(ids, mask[0])
    return seen
