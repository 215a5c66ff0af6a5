"""Join the token table and the English model by an untrained connector, and say which part learns.

Must not know texts, losses or results.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.zero_shot.english import EnglishModel
from lusifer.config import ConnectorConfig, ModelConfig
from lusifer.errors import ConfigError
from lusifer.model import Connector, Lusifer, UniversalEncoder
from lusifer.train.stages.lora import add_lora, set_trainable
from lusifer.train.stages.settings import LoraSettings
from lusifer.train.stages.model import EncoderPart


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to train, a row of the result.

    Attributes:
        name: what people call it.
        align: whether stage 1 is run.
        finetune: whether stage 2 is run.
        lora: whether the English model learns in stage 2, by LoRA; it is frozen in stage 1.
        encoder: whether the token table learns too, in both stages.
    """

    name: str
    align: bool = True
    finetune: bool = True
    lora: bool = True
    encoder: bool = False


UNTRAINED = Variant("untrained connector", align=False, finetune=False, lora=False)
#: The rows, in the order in which they are most useful should a run be cut short.
VARIANTS = (
    UNTRAINED,
    Variant("both stages"),
    Variant("alignment only", finetune=False, lora=False),
    Variant("finetuning only", align=False),
    Variant("connector only, both stages", lora=False),
    Variant("both stages, encoder trained too", encoder=True),
)


def join(encoder: EncoderPart, english: EnglishModel, seed: int) -> Lusifer:
    """Return the model with a new connector; nothing in it learns yet.

    The table is divided by the root mean square of its elements, which changes no cosine and lets the
    connector start from inputs of an ordinary size. The two added tokens start as the English model's own
    first and last piece, which its vectors are means over as well.

    Raises:
        ConfigError: the encoder is no token table, or the English model has no pieces around its texts.
    """
    table = encoder.module.table
    if table is None:
        raise ConfigError("the encoder is no token table", hint="name a folded model, such as lusifer-mini")
    edges = english.pieces(torch.tensor(english.edges, device=english.pieces.weight.device)).detach()
    config = ModelConfig(
        name=f"{english.name} read through a connector",
        encoder=encoder.config,
        connector=ConnectorConfig("ff", None, len(edges)),
        language_model=english.config,
        prompts=encoder.prompts,
        max_tokens=min(encoder.max_tokens, english.longest - len(edges)),
    )
    with torch.device("meta"):
        model = Lusifer(config)
        model.encoder = UniversalEncoder(config.encoder)
    assert model.encoder.table is not None
    rows = table.weight.detach().float()
    model.encoder.table.weight = nn.Parameter(rows / rows.square().mean().sqrt())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.connector = Connector(config.connector, config.encoder.dimensions, config.dimensions)
    model.connector.added_tokens = nn.Parameter(edges.cpu().clone())
    model.language_model = deepcopy(english.reader)
    set_trainable(model, False)
    return model.to(edges.device).eval()


def choose_what_learns(model: Lusifer, variant: Variant, lora: LoraSettings | None, seed: int) -> None:
    """Turn gradients on: of the connector, of the table where the variant says so, of LoRA where given."""
    set_trainable(model, False)
    set_trainable(model.connector, True)
    set_trainable(model.encoder, variant.encoder)
    if model.encoder.table is not None:
        # A batch meets few of the rows.
        model.encoder.table.sparse = variant.encoder
    if lora is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            add_lora(model, lora, encoder=False, language_model=True)


def learned(model: Lusifer) -> dict[str, torch.Tensor]:
    """Return what a stage has changed, by name."""
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
