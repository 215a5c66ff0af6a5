"""Fetch the two halves a run starts from: encoders and language models, by folder, hub id or checkpoint.

Knows the formats they come in. Must not know how they are joined or trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from lusifer.checkpoint import CONFIG, TOKENIZER, WEIGHTS, read_config
from lusifer.config import EncoderConfig, LanguageModelConfig, ModelConfig, Prompts
from lusifer.encoder import UniversalEncoder
from lusifer.errors import CheckpointError, ConfigError
from lusifer.hub import backbone_file, checkpoint_folder
from lusifer.language_model import LanguageModel, TokenHead
from lusifer.loading import SHIPPED
from lusifer.model import Lusifer
from lusifer.published import PROMPTS, is_published, longest_input, read_backbone, read_published
from lusifer.tensors import map_tensor, read_header
from lusifer.tokens import load_tokenizer
from lusifer.torch_checkpoint import load_model

#: Name of the model that comes with the package.
MINI = "lusifer-mini"
_CPU = torch.device("cpu")
_HERE = Path()


@dataclass(frozen=True, slots=True)
class Whole:
    """A checkpoint: the model, on the CPU, and its encoder's tokenizer."""

    model: Lusifer
    tokenizer: Tokenizer


@dataclass(frozen=True, slots=True)
class EncoderPart:
    """An encoder with what belongs to it."""

    module: UniversalEncoder
    config: EncoderConfig
    tokenizer: Tokenizer
    prompts: Prompts
    max_tokens: int


@dataclass(frozen=True, slots=True)
class LanguageModelPart:
    """A language model, with its token head where it came with one."""

    module: LanguageModel
    config: LanguageModelConfig
    head: TokenHead | None


def open_checkpoint(name: str, dtype: torch.dtype) -> Whole:
    """Load a whole checkpoint of either format, LoRA merged in.

    Raises:
        CheckpointError: it cannot be found or read.
        ConfigError: it is a folded table, which cannot be trained further as a whole.
    """
    folder = SHIPPED if name == MINI else checkpoint_folder(name)
    data = json.loads(backbone_file(folder, str(folder), CONFIG).read_text(encoding="utf-8"))
    if is_published(data):
        published, config = read_published(folder, data)
        path = backbone_file(folder, published.universal_learner_name_or_path, TOKENIZER)
        return Whole(load_model(folder, config, published, _CPU, dtype), load_tokenizer(path))
    config = read_config(folder)
    if config.folded:
        raise ConfigError(f"{folder} is a folded table", hint="name it as model.encoder instead")
    return Whole(load_model(folder, config, None, _CPU, dtype), load_tokenizer(folder / TOKENIZER))


def open_encoder(name: str, dtype: torch.dtype) -> EncoderPart:
    """Load an XLM-RoBERTa, or the encoder of a checkpoint, folded tables included.

    Raises:
        CheckpointError: it cannot be found or read, or lacks a tensor.
        ConfigError: it is another kind of model.
    """
    folder = _checkpoint(name)
    if folder is not None and not is_published(_config(folder)):
        config = read_config(folder)
        if config.folded:
            return _folded(folder, config, dtype)
    if folder is not None:
        whole = open_checkpoint(name, dtype)
        config = whole.model.config
        return EncoderPart(
            whole.model.encoder, config.encoder, whole.tokenizer, config.prompts, config.max_tokens
        )
    settings = read_backbone(_HERE, name, "xlm-roberta")
    config_of = EncoderConfig.xlm_roberta(settings)
    tokenizer = load_tokenizer(backbone_file(_HERE, name, TOKENIZER))
    from transformers import XLMRobertaModel

    with torch.device("meta"):
        module = UniversalEncoder(config_of)
    module.transformer = pretrained(XLMRobertaModel, name, dtype=dtype, add_pooling_layer=False)
    return EncoderPart(module, config_of, tokenizer, PROMPTS, longest_input(settings))


def open_language_model(name: str, dtype: torch.dtype) -> LanguageModelPart:
    """Load a Mistral with its token head, or the language model of a checkpoint, which has none.

    Raises:
        CheckpointError: it cannot be found or read, or lacks a tensor.
        ConfigError: it is another kind of model.
    """
    if _checkpoint(name) is not None:
        model = open_checkpoint(name, dtype).model
        return LanguageModelPart(model.language_model, model.config.language_model, None)
    config = LanguageModelConfig.mistral(read_backbone(_HERE, name, "mistral"))
    from transformers import MistralForCausalLM

    causal = pretrained(MistralForCausalLM, name, dtype=dtype, sliding_window=None, use_cache=False)
    with torch.device("meta"):
        module = LanguageModel(config)
        head = TokenHead(causal.config.vocab_size, config.dimensions)
    head.embed, head.output = causal.model.embed_tokens, causal.lm_head
    module.transformer = causal.model
    del causal.model.embed_tokens
    return LanguageModelPart(module, config, head)


def _checkpoint(name: str) -> Path | None:
    """Return the folder of a name that is a LUSIFER checkpoint; None for a bare backbone."""
    folder = SHIPPED if name == MINI else backbone_file(_HERE, name, CONFIG).parent
    data = _config(folder)
    return folder if is_published(data) or "format" in data else None


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}", hint="copy the file again") from error
    return data if isinstance(data, dict) else {}


def _folded(folder: Path, config: ModelConfig, dtype: torch.dtype) -> EncoderPart:
    """Make an encoder of a folded table, whose rows are already those of the whole pipeline."""
    header = read_header(folder / WEIGHTS)
    table = np.asarray(map_tensor(folder / WEIGHTS, "table", header["table"]), np.float32)
    if "scale" in header:
        scale = map_tensor(folder / WEIGHTS, "scale", header["scale"])
        table = table * np.asarray(scale, np.float32)[:, None]
    encoder = EncoderConfig("token_table", *table.shape)
    module = UniversalEncoder(encoder)
    assert module.table is not None
    module.table.weight = nn.Parameter(torch.from_numpy(table).to(dtype))
    return EncoderPart(module, encoder, load_tokenizer(folder / TOKENIZER), config.prompts, config.max_tokens)


def pretrained(kind: Any, name: str, **options: Any) -> Any:
    """Load a class of transformers, refusing weights it would otherwise make up."""
    try:
        with quiet_transformers():
            module, report = kind.from_pretrained(name, output_loading_info=True, **options)
    except Exception as error:  # whatever network, disk or format came up with
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"the weights of {name} cannot be loaded: {reason}", hint="copy or download the folder again"
        ) from error
    missing = sorted(report["missing_keys"]) + sorted(key for key, *_ in report["mismatched_keys"])
    if missing:
        raise CheckpointError(
            f"{name} lacks tensor {missing[0]}, or has it in another shape",
            hint="copy or download the folder again",
        )
    return module


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from drawing bars and reporting tensors that are not wanted."""
    from transformers.utils import logging

    tools: Any = logging  # untyped in part
    loud = tools.get_verbosity()
    tools.set_verbosity_error()
    tools.disable_progress_bar()
    try:
        yield
    finally:
        tools.set_verbosity(loud)
        tools.enable_progress_bar()
