"""Finish a trained table: weigh its tokens, even out its directions, write it as a model folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from lusifer.checkpoints.own import write_static
from lusifer.config import EncoderConfig, LanguageModelConfig, ModelConfig
from lusifer.embedder import DEFAULT_MODEL
from lusifer.train.mini.batches import sample_sides
from lusifer.train.mini.prepare import count_tokens
from lusifer.train.mini.recipe import Recipe
from lusifer.train.mini.table import encode


def finish_table(table: Tensor, caches: list[Path], recipe: Recipe) -> NDArray[np.float32]:
    """Weigh the tokens by how common they are, then even out the directions of the space."""
    counts = count_tokens(caches, len(table))
    weighed = weigh_tokens(table.numpy(), counts, recipe.token_prior)
    if recipe.whitening == 0:
        return weighed
    rows = torch.from_numpy(weighed)
    texts = sample_sides(caches, recipe.whitening_texts, seed=recipe.seed)
    vectors = torch.cat([encode(rows, torch.from_numpy(t.ids), torch.from_numpy(t.starts)) for t in texts])
    return weighed @ whitening(vectors.numpy(), recipe.whitening)


def weigh_tokens(table: NDArray[np.float32], counts: NDArray[np.int64], prior: float) -> NDArray[np.float32]:
    """Scale each row by a / (a + p), p the share of its token in running text (SIF, Arora et al. 2017).

    The training text is short of natural questions, so the table learns too little that "what", "should" and
    "if" say nothing about the subject; this tells it. Common words matter to tell translations apart, so a
    small ``a`` finds more passages and matches fewer sentences.

    Args:
        table: shape (vocabulary, dimensions).
        counts: of each token, shape (vocabulary,).
        prior: the a of the formula; 0 leaves the table as it is.
    """
    if prior == 0:
        return table
    share = counts / max(1, int(counts.sum()))
    factor = (prior / (prior + share)).astype(np.float32)
    return table * factor[:, None]


def whitening(vectors: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Return the linear map C^-power of the space in which ``vectors`` have the second moments C.

    The training text leans to computing, so a few directions that tell its texts apart take most of the
    variance and are of no use for other subjects. Evening the directions out over words of general language
    (half-way: 0.5 is full whitening, Su et al. 2021) lets every direction count. The map is the model's
    connector, a linear layer, and folds into the table.

    Args:
        vectors: unit vectors, shape (n, d), n well above d.
        power: of the eigenvalues; 0 is the identity.

    Returns:
        Symmetric, shape (d, d).
    """
    moments = vectors.T.astype(np.float64) @ vectors / len(vectors)
    values, directions = np.linalg.eigh(moments)
    values = np.maximum(values, values[-1] * 1e-4) / values[-1]
    even: NDArray[np.float64] = (directions * values**-power) @ directions.T
    return even.astype(np.float32)


def export_mini(
    table: NDArray[np.float32],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    repeats: float = 1.0,
    max_tokens: int = 2048,
) -> None:
    """Write the per-token pipeline, folded: token table, identity connector, a language model of no layers.

    Args:
        table: float32, shape (vocabulary, dimensions); stored as int8 with one factor per row.
        tokenizer: its ids are the table's rows.
        folder: made if missing.
        repeats: see ``ModelConfig``.
        max_tokens: texts are cut there when they are embedded; a sum of tokens has no limit of its own.
    """
    vocabulary, dimensions = table.shape
    config = ModelConfig(
        name=DEFAULT_MODEL,
        encoder=EncoderConfig("token_table", vocabulary, dimensions),
        language_model=LanguageModelConfig(dimensions),
        repeats=repeats,
        max_tokens=max_tokens,
    )
    write_static(folder, table, tokenizer, config, quantise="int8")
