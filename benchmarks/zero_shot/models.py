"""The models of the experiment: the English one, and the multilingual table joined to it by a connector.

The English model is a sentence-transformers BERT, read through our language model class. It is at once what
is measured before, what alignment imitates, and what the connector's output goes into.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lusifer.checkpoints.published import read_backbone
from lusifer.config import ConnectorConfig, LanguageModelConfig, ModelConfig
from lusifer.errors import ConfigError
from lusifer.model import Connector, LanguageModel, Lusifer, UniversalEncoder, pad, pool
from lusifer.sentence_transformers import read_layout
from lusifer.tokenization import encode, load_tokenizer
from lusifer.train.stages.model import EncoderPart, add_lora, pretrained, set_trainable
from lusifer.train.stages.settings import LoraSettings

#: Tokens in a batch, padding included.
_BUDGET = 4096
_UNKNOWN = "[UNK]"


class EnglishModel(nn.Module):
    """An English embedding model: word pieces, BERT, mean pooling.

    Args:
        folder: a sentence-transformers folder.
        device: where it runs.

    Attributes:
        config: of its BERT.
        pieces: its word-piece embeddings, ``(pieces, dimensions)``.
        reader: its BERT without them.
        longest: tokens it reads, special ones included.

    Raises:
        DataError: the folder cannot be read.
        ConfigError: it is no BERT, does not pool by the mean, or wants prompts.
        CheckpointError: a tensor is missing.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import BertModel

        super().__init__()
        layout = read_layout(folder)
        if layout.pooling != "mean" or any(layout.prompts):
            raise ConfigError(
                f"{folder} pools by {layout.pooling}, with prompts {layout.prompts}",
                hint="name a model that pools by the mean and takes no prompts",
            )
        name = str(layout.transformer)
        self.config = LanguageModelConfig.bert(read_backbone(Path(), name, "bert"))
        bert = pretrained(BertModel, name, dtype=torch.float32, add_pooling_layer=False)
        self.pieces: nn.Embedding = bert.embeddings.word_embeddings
        del bert.embeddings.word_embeddings
        with torch.device("meta"):
            self.reader = LanguageModel(self.config)
        self.reader.transformer = bert
        self.tokenizer = load_tokenizer(layout.transformer / "tokenizer.json")
        self.longest = min(layout.longest, bert.config.max_position_embeddings)
        self.name, self._device = "/".join(folder.resolve().parts[-2:]), device
        self.requires_grad_(False).eval().to(device)

    @property
    def edges(self) -> tuple[int, int]:
        """Ids of the pieces before and after each text.

        Raises:
            ConfigError: the tokenizer has none.
        """
        begin, end = (self.tokenizer.token_to_id(piece) for piece in ("[CLS]", "[SEP]"))
        if begin is None or end is None:
            raise ConfigError(f"the tokenizer of {self.name} has no [CLS] and [SEP]", hint="name another")
        return begin, end

    @property
    def unknown(self) -> int | None:
        """Id of the piece that stands for what the tokenizer does not know."""
        found: int | None = self.tokenizer.token_to_id(_UNKNOWN)
        return found

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors, float32 ``(len(texts), dimensions)``, on the CPU."""
        begin, end = self.edges
        rows = [[begin, *found.ids[: self.longest - 2], end] for found in encode(self.tokenizer, list(texts))]
        order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
        result = torch.empty(len(rows), self.config.dimensions)
        start = 0
        while start < len(order):
            batch = order[start : start + max(1, _BUDGET // len(rows[order[start]]))]
            ids, mask = (tensor.to(self._device) for tensor in pad([rows[row] for row in batch], 0))
            pooled = pool(self.reader(self.pieces(ids), mask), mask, "mean")
            result[batch] = functional.normalize(pooled.float(), dim=1).cpu()
            start += len(batch)
        return result

    def embed_documents(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the vectors of passages."""
        vectors: NDArray[np.float32] = self.embed(texts).numpy()
        return vectors

    def embed_query(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the vectors of questions, made as those of passages."""
        return self.embed_documents(texts)


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
