"""The recipe of lusifer-small: every number that decides its weights, read from one TOML file."""

from __future__ import annotations

from pathlib import Path

from pydantic.dataclasses import dataclass

from lusifer.train.settings import SEED, STRICT, AtLeastOne, NotNegative, Share, make_settings, read_toml

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True, config=STRICT)
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
    vocabulary: AtLeastOne = 90_000
    steps: AtLeastOne = 4_000
    learning_rate: NotNegative = 5e-5
    warmup: Share = 0.03
    pattern: str = "skspsmkspskusmkp"
    temperature: NotNegative = 0.03
    temperature_scores: NotNegative = 0.02
    table: NotNegative = 0.3
    batch_sentences: AtLeastOne = 72
    batch_passages: AtLeastOne = 14
    batch_asked: AtLeastOne = 16
    batch_questions: AtLeastOne = 32
    tokens_sentence: AtLeastOne = 96
    tokens_passage: AtLeastOne = 256
    tokens_question: AtLeastOne = 48
    tokens_answer: AtLeastOne = 176
    sentences: AtLeastOne = 15_000
    per_wide_source: AtLeastOne = 3_500
    per_narrow_source: AtLeastOne = 450
    shortest: AtLeastOne = 10
    short: AtLeastOne = 25
    longest: AtLeastOne = 300
    parallel_questions: int = 3_500
    words: int = 1_000
    passages: AtLeastOne = 2_400
    passage_shortest: AtLeastOne = 200
    passage_longest: AtLeastOne = 900
    stories: int = 160
    per_question_source: AtLeastOne = 5_000
    per_heading_source: AtLeastOne = 350
    calibration_texts: AtLeastOne = 34
    checkpoint_minutes: NotNegative = 7.0

    @classmethod
    def read(cls, path: Path, **changes: object) -> SmallRecipe:
        """Read a recipe; ``changes`` that are not None replace its values.

        Raises:
            ConfigError: the file cannot be read or a field is wrong.
        """
        values = read_toml(path, examples=RECIPES)
        values.update({name: value for name, value in changes.items() if value is not None})
        return make_settings(cls, values, path)
