"""The recipe of lusifer-mini: every number that decides its weights, read from one TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from lusifer.config import configuration
from lusifer.train.run import SEED, Dropout, make_settings, read_toml

RECIPES = Path(__file__).parent / "recipes"


@configuration
class Recipe:
    """One training run.

    Attributes:
        seed: of sampling and initial weights.
        vocabulary: pieces of the tokenizer.
        tokenizer_texts: texts per language the tokenizer is trained on.
        dimensions: width of the table.
        max_tokens: longer training texts are cut.
        steps: optimiser steps.
        batch_sentences: translation pairs in a batch, pivot pairs too.
        batch_words: word and phrase pairs in a batch.
        batch_passages: query-passage pairs in a batch.
        share_sentences: share of the steps given to translations; the four shares are relative.
        share_words: share of words and phrases.
        share_pivot: share of pairs of two languages other than English, joined over their English side.
        share_passages: share of query-passage pairs.
        language_exponent: languages are drawn by (number of pairs) to this power.
        source_exponent: within a language, sources are drawn by (number of pairs) to this power.
        source_pairs: sources with fewer pairs are drawn together with others like them.
        general_weight: how much more often a source of general language is drawn than its size says.
        window_share: share of the batches of translations whose right side is widened to its neighbours.
        window_neighbours: at most so many sentences on each side.
        temperature: of the contrastive loss, for sentences and words.
        temperature_passages: the same for query-passage pairs.
        learning_rate: of Adam, at its peak.
        warmup: share of the steps in which the rate rises.
        teacher_weight: of the pull to the English teacher's vectors, where one is given.
        teacher_texts: how many English texts the teacher embeds.
        teacher_characters: longer English texts are not given to the teacher.
        token_prior: common tokens are weighed down by a / (a + their share) when the model is written;
            this is a, 0 for no weighing.
        repeats: of the written model, see ``ModelConfig``.
        whitening: variances of the space are raised to 1 - 2 times this power when the model is written; 0
            for none, 0.5 makes them equal.
        whitening_texts: texts of each side of each word set that the variances are taken from.
        token_dropout: share of tokens left out of a training text.
        initial_scale: standard deviation of the initial table.
        checkpoint_minutes: time between checkpoints.
    """

    seed: int = SEED
    vocabulary: PositiveInt = 98_304
    tokenizer_texts: int = 30_000
    dimensions: PositiveInt = 384
    max_tokens: PositiveInt = 128
    steps: PositiveInt = 10_000
    batch_sentences: PositiveInt = 2048
    batch_words: PositiveInt = 2048
    batch_passages: PositiveInt = 1024
    share_sentences: float = 0.40
    share_words: float = 0.15
    share_pivot: float = 0.20
    share_passages: float = 0.25
    language_exponent: float = 0.5
    source_exponent: float = 0.5
    source_pairs: int = 1500
    general_weight: float = 3.0
    window_share: float = 0.0
    window_neighbours: int = 2
    temperature: float = 0.05
    temperature_passages: float = 0.05
    learning_rate: float = 0.01
    warmup: float = 0.02
    teacher_weight: float = 1.0
    teacher_texts: int = 500_000
    teacher_characters: int = 120
    token_prior: float = 0.001
    repeats: float = 0.85
    whitening: float = 0.35
    whitening_texts: int = 4000
    token_dropout: Dropout = 0.0
    initial_scale: float = 0.1
    checkpoint_minutes: float = 10.0

    @classmethod
    def read(cls, path: Path, **changes: Any) -> Recipe:
        """Read a recipe from a TOML file; ``changes`` that are not None win over it.

        Raises:
            ConfigError: the file is missing, is not TOML, or has a name or value a recipe cannot have.
        """
        values = read_toml(path, examples=RECIPES)
        values |= {name: value for name, value in changes.items() if value is not None}
        return make_settings(cls, values, path)
