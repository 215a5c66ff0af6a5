"""What the experiment learns from: English text without that of the evaluation, made ready for both stages.

Stage 1 takes tokens of sentences, the English model's vectors of them, and the words that are one token on
both sides; stage 2 takes tokens of questions and passages.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from benchmarks.zero_shot.models import EnglishModel
from common.files import write_atomically
from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import DataError, TrainingError
from lusifer.tokenization import encode
from lusifer.train.mini.corpus import GENERAL_SOURCES, TRANSLATED, Overlap, clean, find_tsv

Rows = list[list[int]]
#: Words are drawn by their count to this power, so that rare ones are met as well.
_COUNT_POWER = 0.5


@dataclass(frozen=True, slots=True)
class EnglishText:
    """What there is to learn from; no text of the evaluation sets is in it.

    Attributes:
        sentences: distinct, in random order, as many of general language as of documentation and interfaces
            where there are enough.
        pairs: questions (or titles) and passages that answer them.
    """

    sentences: list[str]
    pairs: list[tuple[str, str]]


def read_english(data: Path, cache: Path, *, characters: int, seed: int) -> EnglishText:
    """Read the English sides of the translations, and the English questions with passages.

    Args:
        data: holds ``train/``, ``asym/`` and (to be kept out) ``dev/``.
        cache: file that keeps the result, made if missing; it is for one seed and length.
        characters: longer sentences are left out.
        seed: of the order.

    Raises:
        DataError: there is no such text.
    """
    if not cache.is_file():
        overlap = Overlap.of_dev(data) if (data / "dev").is_dir() else None
        text = {
            "sentences": _balance(_sentences(data, overlap, characters), seed),
            "pairs": list(_pairs(data, overlap)),
        }
        if not text["sentences"] or not text["pairs"]:
            raise DataError(
                f"{data} holds no English text", hint="it needs train/<language>.tsv and asym/en-en.tsv"
            )
        write_atomically(cache, json.dumps(text, ensure_ascii=False))
    kept = json.loads(cache.read_text(encoding="utf-8"))
    return EnglishText(kept["sentences"], [(asked, answered) for asked, answered in kept["pairs"]])


def _sentences(data: Path, overlap: Overlap | None, characters: int) -> dict[str, bool]:
    """Return distinct sentences, and whether each is of general language."""
    found: dict[int, tuple[str, bool]] = {}
    for language in TRANSLATED:
        path = find_tsv(data / "train", language)
        for pair in clean(path, language, overlap) if path is not None else ():
            if len(pair.left) <= characters:
                found.setdefault(pair.left_key, (pair.left, pair.source in GENERAL_SOURCES))
    return dict(found.values())


def _balance(sentences: dict[str, bool], seed: int) -> list[str]:
    """Shuffle, and take one sentence of either sort in turn until one sort is used up."""
    general = [text for text, kind in sentences.items() if kind]
    other = [text for text, kind in sentences.items() if not kind]
    rng = random.Random(seed)
    rng.shuffle(general)
    rng.shuffle(other)
    size = min(len(general), len(other)) or max(len(general), len(other))
    mixed = general[:size] + other[:size]
    rng.shuffle(mixed)
    return mixed


def _pairs(data: Path, overlap: Overlap | None) -> Iterator[tuple[str, str]]:
    path = find_tsv(data / "asym", "en-en")
    for pair in clean(path, "en", overlap, symmetric=False) if path is not None else ():
        yield pair.left, pair.right


@dataclass(frozen=True, slots=True)
class AlignmentData:
    """What stage 1 learns from.

    Attributes:
        rows: token ids of each text, on the encoder's side.
        targets: the English model's own unit vector of each, ``(texts, dimensions)``.
        words: tokens of the encoder, ``(words,)``, and ...
        pieces: ... what the English model reads for them, ``(words, dimensions)``.
        shares: how often each is drawn, ``(words,)``.
    """

    rows: Rows
    targets: Tensor
    words: NDArray[np.int64]
    pieces: Tensor
    shares: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairData:
    """What stage 2 learns from: token ids of questions and passages; equal passages have equal labels."""

    questions: Rows
    passages: Rows
    labels: NDArray[np.int64]


def make_alignment_data(
    texts: Sequence[str], targets: Tensor, english: EnglishModel, tokenizer: Tokenizer, config: ModelConfig
) -> AlignmentData:
    """Prepare stage 1.

    Args:
        texts: English sentences.
        targets: the English model's vectors of them.
        english: whose pieces the words are.
        tokenizer: of the multilingual encoder.
        config: of the model to be trained.

    Raises:
        TrainingError: there is no text, or the two tokenizers have no word in common.
    """
    counts = common_words(texts, tokenizer, english)
    if not counts:
        raise TrainingError("the two tokenizers have no word in common", hint="give more English text")
    words, pieces = np.array(list(counts), np.int64).T
    shares = np.array(list(counts.values()), np.float64) ** _COUNT_POWER
    vectors = english.pieces.weight[torch.from_numpy(pieces).to(english.pieces.weight.device)]
    return AlignmentData(
        rows=tokenise(texts, tokenizer, config),
        targets=targets,
        words=words,
        pieces=vectors.detach().float().cpu(),
        shares=shares / shares.sum(),
    )


def make_pair_data(pairs: Sequence[tuple[str, str]], tokenizer: Tokenizer, config: ModelConfig) -> PairData:
    """Prepare stage 2."""
    labels = {passage: number for number, passage in enumerate(dict.fromkeys(text for _, text in pairs))}
    return PairData(
        questions=tokenise([asked for asked, _ in pairs], tokenizer, config, kind="query"),
        passages=tokenise([text for _, text in pairs], tokenizer, config),
        labels=np.array([labels[text] for _, text in pairs], np.int64),
    )


def tokenise(
    texts: Sequence[str], tokenizer: Tokenizer, config: ModelConfig, kind: PromptKind = "document"
) -> list[list[int]]:
    """Return the ids of each text in its prompt, cut to what the model reads; one without any gets id 0."""
    found = encode(tokenizer, [config.prompts.render(kind, text) for text in texts])
    return [item.ids[: config.max_tokens] or [0] for item in found]


def common_words(
    texts: Sequence[str], tokenizer: Tokenizer, english: EnglishModel
) -> Counter[tuple[int, int]]:
    """Count the pairs of one token and one piece that are the same stretch of a text."""
    counts: Counter[tuple[int, int]] = Counter()
    # Not encode(), which is fast because it keeps no places.
    sides = (
        side.encode_batch(list(texts), add_special_tokens=False) for side in (tokenizer, english.tokenizer)
    )
    for inner, outer in zip(*sides, strict=True):
        places = dict(zip(outer.offsets, outer.ids, strict=True))
        for place, token in zip(inner.offsets, inner.ids, strict=True):
            piece = places.get(place)
            if piece is not None and piece != english.unknown:
                counts[token, piece] += 1
    return counts
