"""Records to tensors: what the encoder reads, what the language model must say, what is masked.

Knows prompts and tokenizers. Must not know models, files or processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import MistralConfig

from lusifer.config import ModelConfig, PromptKind
from lusifer.encoder import pad
from lusifer.errors import ConfigError
from lusifer.tokens import encode
from lusifer.train.losses import IGNORED
from lusifer.train.stages.alignment import AlignmentBatch
from lusifer.train.stages.records import Record
from lusifer.train.stages.settings import Task

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
