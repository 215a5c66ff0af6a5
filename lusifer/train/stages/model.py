"""Put together what a run trains: backbones, connector, LoRA (by peft), and which parameters learn.

Encoder and language model come from folders, hub ids or checkpoints; what is new depends on the seed only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from lusifer.checkpoints.own import (
    CONFIG,
    TOKENIZER,
    backbone_file,
    checkpoint_folder,
    is_published,
    read_config,
    read_json,
    read_table,
)
from lusifer.checkpoints.published import (
    PADDING,
    PROMPTS,
    longest_input,
    read_backbone,
)
from lusifer.config import ConnectorConfig, EncoderConfig, LanguageModelConfig, ModelConfig, Prompts
from lusifer.embedder import DEFAULT_FOLDER, DEFAULT_MODEL
from lusifer.errors import CheckpointError, ConfigError
from lusifer.model import Connector, LanguageModel, Lusifer, TokenHead, UniversalEncoder, build_projection
from lusifer.tokenization import load_tokenizer
from lusifer.torch_backend import load_checkpoint
from lusifer.train.stages.settings import LoraSettings, StageConfig

#: Adapter names of the published checkpoint.
ENCODER_ADAPTER, LANGUAGE_MODEL_ADAPTER = "universal_learner_lora", "encoder_lora"
#: What "all" linear layers are in each backbone; a BERT has the encoder's. XLM-R's pooler is not built.
_ENCODER_TARGETS = ["query", "key", "value", "dense"]
_LANGUAGE_MODEL_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_PART = re.compile(r"(.+)\.(base_layer|lora_[AB]\.\w+)\.(weight|bias)")
_CPU = torch.device("cpu")
_HERE = Path()


@dataclass(frozen=True, slots=True)
class Built:
    """A model on the CPU, with what belongs to it.

    Attributes:
        model: once it is ready to be trained, its parameters require gradients, in float32, where they learn.
        tokenizer: of its encoder.
        head: the language model's token embeddings and output; only where it was asked for.
    """

    model: Lusifer
    tokenizer: Tokenizer
    head: TokenHead | None = None


def build(config: StageConfig, *, head: bool) -> Built:
    """Load or make every part; new ones depend on the seed only.

    Args:
        config: the run.
        head: whether the language model's token head is needed, as in alignment, where the output
            projection takes no part.

    Raises:
        CheckpointError: a part cannot be found or read.
        ConfigError: the parts do not fit each other, or none of them would learn.
    """
    dtype = torch.bfloat16 if config.hardware.precision == "bf16" else torch.float32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        built = _assemble(config, dtype, head)
        _choose_what_learns(built, config, projection=config.train.projection and not head)
    if config.hardware.gradient_checkpointing:
        for transformer in (built.model.encoder.transformer, built.model.language_model.transformer):
            if transformer is not None:
                # Its name until transformers 5 was the second.
                enable: Any = getattr(transformer, "activation_checkpointing_enable", None)
                enable = enable or transformer.gradient_checkpointing_enable
                enable({"use_reentrant": False})
    return built


def _assemble(config: StageConfig, dtype: torch.dtype, head: bool) -> Built:
    settings = config.model
    token_head = None
    if settings.start is not None:
        whole = open_checkpoint(settings.start, dtype)
        before = whole.model.config
        longest = _longest(settings.max_tokens, before.max_tokens)
        whole.model.config = replace(before, name=config.name, max_tokens=longest)
        if head:
            assert settings.language_model is not None
            token_head = _head(settings.language_model, dtype, before.dimensions)
        return Built(whole.model, whole.tokenizer, token_head)
    assert settings.encoder is not None
    assert settings.language_model is not None
    inner = open_encoder(settings.encoder, dtype)
    outer = open_language_model(settings.language_model, dtype)
    described = ModelConfig(
        name=config.name,
        encoder=inner.config,
        connector=ConnectorConfig(
            settings.connector,
            settings.connector_hidden,
            settings.added_tokens,
            PADDING if inner.config.kind == "xlm-roberta" else 1,
        ),
        language_model=outer.config,
        pooling=settings.pooling,
        projection=settings.projection,
        prompts=inner.prompts,
        max_tokens=_longest(settings.max_tokens, inner.max_tokens),
    )
    with torch.device("meta"):
        model = Lusifer(described)
    model.encoder, model.language_model = inner.module, outer.module
    model.connector = Connector(described.connector, inner.config.dimensions, described.dimensions)
    if described.projection:
        model.projection = build_projection(described.dimensions)
    if head:
        token_head = outer.head or _head(settings.language_model, dtype, described.dimensions)
    return Built(model, inner.tokenizer, token_head)


def _head(name: str, dtype: torch.dtype, dimensions: int) -> TokenHead:
    head = open_language_model(name, dtype).head
    if head is None:
        raise ConfigError(
            f"model.language_model {name} has no token embeddings and output head",
            hint="name the language model's own folder, not a checkpoint made of it",
        )
    if head.embed.embedding_dim != dimensions:
        raise ConfigError(
            f"model.language_model has {head.embed.embedding_dim} dimensions, model.start {dimensions}",
            hint="name the language model that the checkpoint was made with",
        )
    return head


def _longest(wanted: int | None, possible: int) -> int:
    if wanted is None:
        return possible
    if not 1 <= wanted <= possible:
        raise ConfigError(f"model.max_tokens is {wanted}", hint=f"the encoder takes 1 to {possible}")
    return wanted


def _choose_what_learns(built: Built, config: StageConfig, *, projection: bool) -> None:
    model, train = built.model, config.train
    sides: tuple[tuple[nn.Module, str], ...] = (
        (model.encoder, train.encoder),
        (model.language_model, train.language_model),
    )
    for module, how in sides:
        set_trainable(module, how == "full")
    set_trainable(model.connector, train.connector)
    set_trainable(model.projection, projection)
    set_trainable(built.head, False)
    add_lora(
        model, train.lora, encoder=train.encoder == "lora", language_model=train.language_model == "lora"
    )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("nothing in this model would learn", hint="look at the settings under [train]")


def set_modes(model: Lusifer, config: StageConfig) -> None:
    """Put a model into training mode, but for a frozen encoder, whose dropout would be mere noise.

    A frozen language model stays in it, since gradients pass through it and only then can its layers be
    computed again instead of kept; it has no dropout.
    """
    model.train()
    if config.train.encoder == "frozen":
        model.encoder.eval()


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


def open_checkpoint(name: str, dtype: torch.dtype) -> Built:
    """Load a whole checkpoint of either format, on the CPU, LoRA merged in.

    Raises:
        CheckpointError: it cannot be found or read.
        ConfigError: it is a folded table, which cannot be trained further as a whole.
    """
    folder = DEFAULT_FOLDER if name == DEFAULT_MODEL else checkpoint_folder(name)
    if not is_published(read_json(folder / CONFIG)) and read_config(folder).folded:
        raise ConfigError(f"{folder} is a folded table", hint="name it as model.encoder instead")
    whole = load_checkpoint(folder, _CPU, dtype)
    return Built(whole.model, whole.tokenizer)


def open_encoder(name: str, dtype: torch.dtype) -> EncoderPart:
    """Load an XLM-RoBERTa, or the encoder of a checkpoint, folded tables included.

    Raises:
        CheckpointError: it cannot be found or read, or lacks a tensor.
        ConfigError: it is another kind of model.
    """
    folder = _checkpoint(name)
    if folder is not None and not is_published(read_json(folder / CONFIG)):
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
    folder = DEFAULT_FOLDER if name == DEFAULT_MODEL else backbone_file(_HERE, name, CONFIG).parent
    data = read_json(folder / CONFIG)
    return folder if is_published(data) or "format" in data else None


def _folded(folder: Path, config: ModelConfig, dtype: torch.dtype) -> EncoderPart:
    """Make an encoder of a folded table, whose rows are already those of the whole pipeline."""
    table = read_table(folder)
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
    except Exception as error:  # of the network, the disk or the format
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


def add_lora(model: Lusifer, settings: LoraSettings, *, encoder: bool, language_model: bool) -> None:
    """Wrap the linear layers of one backbone or both; only the updates of a wrapped one stay trainable.

    The updates are float32 even where the backbone is not, as in peft for models it knows.

    Raises:
        ConfigError: the side to wrap is no transformer.
    """
    for wanted, side, transformer, targets, adapter in (
        (encoder, "encoder", model.encoder.transformer, _ENCODER_TARGETS, ENCODER_ADAPTER),
        (
            language_model,
            "language_model",
            model.language_model.transformer,
            _LANGUAGE_MODEL_TARGETS if model.config.language_model.kind == "mistral" else _ENCODER_TARGETS,
            LANGUAGE_MODEL_ADAPTER,
        ),
    ):
        if not wanted:
            continue
        if transformer is None:
            raise ConfigError(
                f"the {side} has no linear layers that LoRA could update",
                hint=f"set train.{side} to 'full' or 'frozen'",
            )
        _inject(transformer, settings, targets, adapter)


def _inject(transformer: nn.Module, settings: LoraSettings, targets: list[str], adapter: str) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets
    )
    inject_adapter_in_model(config, transformer, adapter)
    for name, parameter in transformer.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()


def merge_lora(tensors: Mapping[str, Tensor], settings: LoraSettings) -> dict[str, Tensor]:
    """Return the tensors of a wrapped model under the names of a bare one, with the updates added.

    Updates are added in float32 and rounded once, to the type of the base.

    Args:
        tensors: parameters by name, wrapped or not.
        settings: what the wrapped ones were made with.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found = _PART.fullmatch(name)
        owner, part = (f"{found[1]}.{found[3]}", found[2][:6]) if found else (name, "base_l")
        parts.setdefault(owner, {})[part] = tensor
    merged = {}
    for name, owned in parts.items():
        base = owned["base_l"]
        if "lora_A" in owned:
            update = owned["lora_B"].float() @ owned["lora_A"].float()
            base = base.float().add(update, alpha=settings.alpha / settings.rank).to(base.dtype)
        merged[name] = base
    return merged


def set_trainable(module: nn.Module | None, wanted: bool) -> None:
    """Turn gradients of a module's parameters on, which makes them float32, or off."""
    for parameter in module.parameters() if module is not None else ():
        if wanted:
            parameter.data = parameter.data.to(torch.float32)
        parameter.requires_grad_(wanted)
