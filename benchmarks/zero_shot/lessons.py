"""Make of English text what the two stages learn from: tokens, the English model's vectors, words in common.

Must not know how anything is learnt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from benchmarks.zero_shot.english import EnglishModel
from benchmarks.zero_shot.stages import Alignment, Pairs
from lusifer.config import ModelConfig, PromptKind
from lusifer.errors import TrainingError
from lusifer.tokenization import encode

#: Words are drawn by their count to this power, so that rare ones are met as well.
_COUNT_POWER = 0.5


def make_alignment(
    texts: Sequence[str], targets: Tensor, english: EnglishModel, tokenizer: Tokenizer, config: ModelConfig
) -> Alignment:
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
    return Alignment(
        rows=tokenise(texts, tokenizer, config),
        targets=targets,
        words=words,
        pieces=vectors.detach().float().cpu(),
        shares=shares / shares.sum(),
    )


def make_pairs(pairs: Sequence[tuple[str, str]], tokenizer: Tokenizer, config: ModelConfig) -> Pairs:
    """Prepare stage 2."""
    labels = {passage: number for number, passage in enumerate(dict.fromkeys(text for _, text in pairs))}
    return Pairs(
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
