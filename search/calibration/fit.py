"""Calibrate a model: from questions with known answers to the numbers its folder ships with.

Knows the steps. Must not know the command line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lusifer.checkpoints.own import CONFIG, read_config
from lusifer.errors import DataError
from lusifer.evaluate.datasets import ParallelSentences, QuestionAnswering
from lusifer.evaluate.retrieval import Encoder
from search.calibration.pools import Pool, question_pools, sentence_pools
from search.calibration.scores import fit_scores
from search.calibration.weights import chance_coverage, choose_weights
from search.ranking import Calibration


def gather_pools(
    model: Encoder, questions: QuestionAnswering, sentences: ParallelSentences, *, every: int = 8
) -> list[Pool]:
    """Ask every question of every pool; ``every`` as for ``sentence_pools``."""
    return question_pools(model, questions) + sentence_pools(model, sentences, every=every)


def calibrate(pools: Sequence[Pool]) -> Calibration:
    """Fit weights, then scores on what they find first.

    Raises:
        DataError: the pools lack what the fit needs.
    """
    own = [bool(pool.own.any()) for pool in pools if pool.kind == "one"]
    known = {pool.asked for pool in pools if pool.kind == "sentences"}
    unknown = {pool.asked for pool in pools} - known
    if not any(own) or all(own) or unknown:
        raise DataError(
            "the questions cannot calibrate a model"
            + (f": there are no parallel sentences in {', '.join(sorted(unknown))}" if unknown else ""),
            hint="give questions in one language and across languages, and sentences in all of them",
        )
    weights = choose_weights(pools)
    chance = chance_coverage([pool for pool in pools if pool.kind == "sentences"])
    return Calibration(weights, fit_scores(pools, weights, chance))


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Put a calibration into a model folder's ``config.json``, all at once; vectors do not depend on it.

    Raises:
        CheckpointError, ConfigError: the folder holds no model of our own format.
    """
    config = replace(read_config(folder), calibration=calibration.to_dict())
    path = folder / CONFIG
    temporary = path.with_name(f"{CONFIG}.{os.getpid()}")
    temporary.write_text(config.to_json(), encoding="utf-8")
    temporary.replace(path)
