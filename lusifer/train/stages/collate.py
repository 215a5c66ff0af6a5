"""Records to batches: what the encoder reads, what the language model must say, what is masked.

In alignment the language model must say a text that it is given only through encoder and connector; in
finetuning a question, passages that answer it and passages that do not are drawn for each record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import MistralConfig

from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import ConfigError
from lusifer.model import Lusifer, TokenHead, pad
from lusifer.tokenization import encode
from lusifer.train.losses import IGNORED, next_token_loss
from lusifer.train.stages.data import Record
from lusifer.train.stages.settings import Task


class SourceTokens:
    """Texts as the encoder reads them: in the model's prompts, cut at its length.

    Args:
        config: prompts and length.
        tokenizer: of the encoder.
    """

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer) -> None:
        self._prompts, self._longest, self._tokenizer = config.prompts, config.max_tokens, tokenizer

    def __call__(self, texts: Sequence[tuple[PromptKind, str, str]]) -> list[list[int]]:
        """Return the token ids of each (kind, text, instruction); as ``TorchBackend.tokenise`` does."""
        rendered = [self._prompts.render(kind, text, instruction) for kind, text, instruction in texts]
        return [encoding.ids[: self._longest] for encoding in encode(self._tokenizer, rendered)]


RECONSTRUCT = "Please reconstruct the following text."
ASK = "Please write a question based on this passage."
#: Of the records with questions and passages, what share is put to which use (the authors' mixture).
_FORWARD, _RECONSTRUCT_POSITIVE, _RECONSTRUCT_QUERY = 0.30, 0.28, 0.10


@dataclass(frozen=True, slots=True)
class Exercise:
    """What alignment asks of the model: to say ``target`` when it is given ``source``."""

    instruction: str
    source: str
    target: str


def make_exercise(record: Record, task: Task, rng: np.random.Generator) -> Exercise:
    """Turn a record into an exercise, at random where its task allows several.

    ``reconstruct``: the text itself. ``passage_to_query``: 30 % question to passage, 28 % the passage itself,
    42 % passage to question. ``query_to_passage``: 90 % question to passage, 10 % the question itself.
    """
    if task == "reconstruct":
        return _reconstruct(record.query, record.instruction or RECONSTRUCT)
    passage = record.positives[rng.integers(len(record.positives))]
    draw = rng.random()
    if task == "query_to_passage":
        if draw < _RECONSTRUCT_QUERY:
            return _reconstruct(record.query, RECONSTRUCT)
        return Exercise(record.instruction, record.query, passage)
    if draw < _FORWARD:
        return Exercise(record.instruction, record.query, passage)
    if draw < _FORWARD + _RECONSTRUCT_POSITIVE:
        return _reconstruct(passage, RECONSTRUCT)
    return Exercise(ASK, passage, record.query)


def _reconstruct(text: str, instruction: str) -> Exercise:
    return Exercise(instruction, text, f"{instruction}.\n{text}")


@dataclass(frozen=True, slots=True)
class TargetTokens:
    """The language model's tokens.

    Attributes:
        tokenizer: of the language model.
        bos: begins every target.
        eos: ends it, unless it is cut.
        bos_id: id of ``bos``.
        pad_id: what fills shorter targets up: the id of ``eos``, as in the authors' code.
        mask_id: what masked tokens become.
    """

    tokenizer: Tokenizer
    bos: str
    eos: str
    bos_id: int
    pad_id: int
    mask_id: int

    @classmethod
    def of(cls, tokenizer: Tokenizer, settings: MistralConfig, mask_token: str) -> TargetTokens:
        """Find the special tokens that a language model's configuration names.

        Raises:
            ConfigError: configuration or tokenizer lack one.
        """
        bos_id, eos_id = settings.bos_token_id, settings.eos_token_id
        eos_id = eos_id[0] if isinstance(eos_id, list) else eos_id
        if bos_id is None or eos_id is None:
            raise ConfigError(
                "the language model's config.json lacks bos_token_id or eos_token_id", hint="add it"
            )
        bos, eos = tokenizer.id_to_token(bos_id), tokenizer.id_to_token(eos_id)
        mask_id = tokenizer.token_to_id(mask_token)
        if bos is None or eos is None:
            raise ConfigError(
                f"the language model's tokenizer has no token {bos_id if bos is None else eos_id}",
                hint="tokenizer.json and config.json belong to different models; copy both again",
            )
        if mask_id is None:
            raise ConfigError(
                f"the language model's tokenizer has no token {mask_token!r}",
                hint="set model.mask_token to one it has",
            )
        return cls(tokenizer, bos, eos, bos_id, eos_id, mask_id)


@dataclass(frozen=True, slots=True)
class AlignmentBatch:
    """What one forward pass reads; all ``(batch, length)`` int64, lengths differ between the two sides.

    Attributes:
        input_ids: the source text in the encoder's tokens, padded on the right.
        attention_mask: 1 at its tokens.
        lm_input_ids: the target text in the language model's tokens, some of them masked.
        lm_attention_mask: which of those may be looked at.
        labels: the tokens to predict, ``IGNORED`` at padding; None for ``lm_input_ids`` as they are.
    """

    input_ids: Tensor
    attention_mask: Tensor
    lm_input_ids: Tensor
    lm_attention_mask: Tensor
    labels: Tensor | None

    def rows(self, chosen: slice, device: torch.device) -> AlignmentBatch:
        """Return some rows of it on a device, with the padding they have."""
        labels = None if self.labels is None else self.labels[chosen].to(device)
        ids, mask, lm_ids, lm_mask = (
            tensor[chosen].to(device)
            for tensor in (self.input_ids, self.attention_mask, self.lm_input_ids, self.lm_attention_mask)
        )
        return AlignmentBatch(ids, mask, lm_ids, lm_mask, labels)


class AlignmentModel(nn.Module):
    """A :class:`~lusifer.model.Lusifer` with the token head its language model lacks.

    The language model reads ``<s>``, then the connector's output (padding and added tokens included), then
    the rest of the target; where a target does not begin with ``<s>``, connector output and target.

    Args:
        model: its projection takes no part.
        head: token embeddings and output of the language model.
        bos_id: the language model's ``<s>``.
        causal: whether the language model sees only what came before (figure 1 of the paper, and the
            authors' code until October 2024), or everything that is not masked (their code since).
    """

    def __init__(self, model: Lusifer, head: TokenHead, *, bos_id: int, causal: bool) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self._bos_id = bos_id
        self._causal = causal

    def forward(self, batch: AlignmentBatch) -> tuple[Tensor, Tensor]:
        """Return the summed loss of a batch in nats, and over how many tokens."""
        labels = batch.lm_input_ids if batch.labels is None else batch.labels
        encoded = self.model.encoder(batch.input_ids, batch.attention_mask)
        # As the authors do in this stage, added tokens follow the batch's padding; the target follows them.
        carried, mask = self.model.connector(encoded, batch.attention_mask, "batch")
        tokens = self.head.embed(batch.lm_input_ids).to(carried.dtype)
        first = int(bool((labels[:, 0] == self._bos_id).all()))
        ignored = labels.new_full(mask.shape, IGNORED)
        inputs = torch.cat([tokens[:, :first], carried, tokens[:, first:]], dim=1)
        looked_at = batch.lm_attention_mask
        mask = torch.cat([looked_at[:, :first], mask, looked_at[:, first:]], dim=1)
        targets = torch.cat([labels[:, :first], ignored, labels[:, first:]], dim=1)
        states = self.model.language_model(inputs, mask, causal=self._causal)
        return next_token_loss(states, targets, self.head.output)


def collate_alignment(
    exercises: Sequence[Exercise],
    source: SourceTokens,
    target: TargetTokens,
    *,
    pad_id: int,
    max_tokens: int,
    mask_probability: float,
    rng: np.random.Generator,
) -> AlignmentBatch:
    """Make a batch, each side padded to its longest text (the authors' PretrainingCollator).

    The encoder's side is never masked. On the language model's, positions to look at and input tokens are
    masked independently of each other; every token of the target is learnt, masked or not.

    Args:
        exercises: one a row.
        source: of the encoder's side.
        target: of the language model's side.
        pad_id: the encoder's padding.
        max_tokens: longer targets are cut.
        mask_probability: of each mask, at each position.
        rng: draws the masks.
    """
    rows = source([("query", item.source, item.instruction) for item in exercises])
    ids, mask = pad(rows, pad_id, multiple=1)
    texts = [f"{target.bos}{item.target}{target.eos}" for item in exercises]
    wanted = [encoding.ids[:max_tokens] for encoding in encode(target.tokenizer, texts)]
    lm_ids, lm_mask = pad(wanted, target.pad_id, multiple=1)
    real = lm_mask.bool()
    labels = lm_ids.masked_fill(~real, IGNORED)
    hidden, replaced = (
        torch.from_numpy(rng.random(tuple(lm_ids.shape)) < mask_probability) for _ in range(2)
    )
    return AlignmentBatch(
        ids, mask, lm_ids.masked_fill(replaced & real, target.mask_id), lm_mask.masked_fill(hidden, 0), labels
    )


def count_targets(labels: Tensor) -> int:
    """Return how many tokens of a batch whose targets begin with ``<s>`` are learnt; ``<s>`` is given."""
    return int((labels[:, 1:] != IGNORED).sum())


@dataclass(frozen=True, slots=True)
class Group:
    """One example of representation finetuning, with as many texts as its batch has of each kind."""

    record: Record
    positives: list[str]
    negatives: list[str]

    def texts(self) -> list[tuple[PromptKind, str, str]]:
        """Return question, positives, negatives, each with its prompt's kind and the instruction."""
        instruction = self.record.instruction
        return [
            ("query", self.record.query, instruction),
            *(("document", text, instruction) for text in (*self.positives, *self.negatives)),
        ]


def draw_groups(
    records: Sequence[Record], positives: int, negatives: int, rng: np.random.Generator
) -> list[Group]:
    """Draw texts for each record, as many as wanted, or as the poorest record of the batch has."""
    positives = min(positives, *(len(record.positives) for record in records))
    negatives = min(negatives, *(len(record.negatives) for record in records))
    return [
        Group(record, _draw(record.positives, positives, rng), _draw(record.negatives, negatives, rng))
        for record in records
    ]


def _draw(texts: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    return [texts[place] for place in rng.permutation(len(texts))[:count]]
