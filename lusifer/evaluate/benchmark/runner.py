"""Run one task with one model through mteb, subset by subset, keeping each score as soon as it is there.

Must not know which tasks there are, nor how results are shown.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from typing import Any

import datasets
import mteb
from mteb.abstasks.abstask import AbsTask

from lusifer.evaluate.benchmark.catalogue import Job
from lusifer.evaluate.benchmark.encoder import BenchmarkEncoder
from lusifer.evaluate.benchmark.outcome import Outcome
from lusifer.evaluate.benchmark.records import Record, Records
from lusifer.evaluate.benchmark.registry import open_task

_BATCH = 256
_log = logging.getLogger(__name__)


class _UnfetchedError(Exception):
    """A dataset that could not be loaded."""


def run_job(job: Job, encoder: BenchmarkEncoder, records: Records) -> Outcome:
    """Measure what is missing of a job, whatever happens to single subsets.

    Once the hub could not be reached, the remaining subsets are not tried.
    """
    _silence()
    start = time.monotonic()
    encoder.instruction = job.instruction
    record = records.read(job, str(open_task(job, job.subsets[0]).metadata.revision))
    outcome, unreachable = Outcome(job.task), ""
    for subset in job.subsets:
        if subset not in record.scores and unreachable:
            outcome.unfetched[subset] = unreachable
            continue
        try:
            if subset not in record.scores:
                _measure(job, subset, encoder, record)
                records.write(record)
            outcome.scores[subset] = float(record.scores[subset]["main_score"])
        except _UnfetchedError as error:
            outcome.unfetched[subset] = str(error)
            unreachable = str(error) if isinstance(error.__cause__, ConnectionError) else ""
        except Exception as error:  # whatever a dataset, mteb or scikit-learn comes up with
            _log.debug("%s, subset %s", job.task, subset, exc_info=True)
            outcome.failed[subset] = _reason(error)
    outcome.seconds = time.monotonic() - start
    return outcome


def _measure(job: Job, subset: str, encoder: BenchmarkEncoder, record: Record) -> None:
    """Load a subset, measure it, add its scores to the record."""
    start = time.monotonic()
    task = open_task(job, subset)
    # Long texts are cut and some classifiers stop before they converge: that is the protocol.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _load(task)
        measured = task.evaluate(
            encoder,
            job.split,
            subsets_to_run=[subset],
            encode_kwargs={"batch_size": _BATCH, "show_progress_bar": False},
        )
    scores: dict[str, Any] = {**measured[subset], "mteb_version": mteb.__version__}
    if not math.isfinite(scores["main_score"]):
        raise ValueError(f"the score of subset {subset} is {scores['main_score']}")
    record.scores[subset] = scores
    record.seconds[subset] = round(time.monotonic() - start, 3)


def _load(task: AbsTask) -> None:
    try:
        task.load_data()
    except Exception as error:  # network, disk, a gated or vanished dataset, a changed column
        raise _UnfetchedError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Return one line that says what happened."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _silence() -> None:
    """Keep mteb and datasets from writing over the lines of this program."""
    logging.getLogger("mteb").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
