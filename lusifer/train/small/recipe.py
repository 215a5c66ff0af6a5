"""The recipe of lusifer-small: every number that decides its weights, read from one TOML file."""

from __future__ import annotations

from pathlib import Path

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from lusifer.config import configuration
from lusifer.train.run import SEED, Share, make_settings, read_toml

RECIPES = Path(__file__).parent / "recipes"


@configuration
class SmallRecipe:
    """One training run.

    Attributes:
        seed: of sampling.
        vocabulary: pieces kept of the source's vocabulary, unless single characters alone are more.
        steps: optimiser steps.
        learning_rate: of AdamW, at its peak.
        warmup: share of the steps in which it rises.
        pattern: the kinds of steps, one letter each, in turn: ``s`` sentences, ``p`` passages,
            ``k`` questions within a language, ``m`` questions in mixed languages, ``u`` questions without
            passages.
        temperature: of the contrastive losses.
        temperature_scores: of the losses that compare the model's scores with the teacher's.
        table: share of lusifer-mini's cosine in the scores that are aimed at within a language.
        batch_sentences: pairs in a batch of sentences; the next three likewise.
        batch_passages: pairs.
        batch_asked: questions with their passages.
        batch_questions: questions.
        tokens_sentence: longer ones are cut; the next three likewise.
        tokens_passage: of parallel passages.
        tokens_question: of questions.
        tokens_answer: of passages that answer.
        sentences: pairs a language, half of them of general sources.
        per_wide_source: pairs a general source, at most.
        per_narrow_source: pairs a narrow source, at most.
        shortest: characters of the shortest English side.
        short: below so many characters only half of the pairs are taken.
        longest: characters of the longest English side.
        parallel_questions: pairs a language.
        words: words and phrases a language.
        passages: parallel passages a language made of sentences, and half as many real ones.
        passage_shortest: characters of the English side of the shortest passage.
        passage_longest: of the longest; others are cut or left out.
        stories: texts of Bible stories a file, which are many versions of little.
        per_question_source: real questions a source and file.
        per_heading_source: headings a source and file.
        calibration_texts: texts a language for calibration.
        checkpoint_minutes: time between checkpoints.
    """

    seed: int = SEED
    vocabulary: PositiveInt = 90_000
    steps: PositiveInt = 4_000
    learning_rate: NonNegativeFloat = 5e-5
    warmup: Share = 0.03
    pattern: str = "skspsmkspskusmkp"
    temperature: NonNegativeFloat = 0.03
    temperature_scores: NonNegativeFloat = 0.02
    table: NonNegativeFloat = 0.3
    batch_sentences: PositiveInt = 72
    batch_passages: PositiveInt = 14
    batch_asked: PositiveInt = 16
    batch_questions: PositiveInt = 32
    tokens_sentence: PositiveInt = 96
    tokens_passage: PositiveInt = 256
    tokens_question: PositiveInt = 48
    tokens_answer: PositiveInt = 176
    sentences: PositiveInt = 15_000
    per_wide_source: PositiveInt = 3_500
    per_narrow_source: PositiveInt = 450
    shortest: PositiveInt = 10
    short: PositiveInt = 25
    longest: PositiveInt = 300
    parallel_questions: NonNegativeInt = 3_500
    words: NonNegativeInt = 1_000
    passages: PositiveInt = 2_400
    passage_shortest: PositiveInt = 200
    passage_longest: PositiveInt = 900
    stories: NonNegativeInt = 160
    per_question_source: PositiveInt = 5_000
    per_heading_source: PositiveInt = 350
    calibration_texts: PositiveInt = 34
    checkpoint_minutes: NonNegativeFloat = 7.0

    @classmethod
    def read(cls, path: Path, **changes: object) -> SmallRecipe:
        """Read a recipe; ``changes`` that are not None replace its values.

        Raises:
            ConfigError: the file cannot be read or a field is wrong.
        """
        values = read_toml(path, examples=RECIPES)
        values.update({name: value for name, value in changes.items() if value is not None})
        return make_settings(cls, values, path)
