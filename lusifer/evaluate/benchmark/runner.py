"""Measure tasks with mteb: its tasks, its runner, its cache of results.

Each subset is a task of its own to mteb, fresh and alone, so that a score does not depend on what was run
before it and a subset that fails hides no other. Several processes may run the same tasks into one folder,
one for each device: each task is measured by the first that comes to it.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import mteb
import numpy as np
import torch
from mteb.abstasks.abstask import AbsTask
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import Array, BatchedInput, PromptType
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from common.files import FileLock
from lusifer.embedder import Embedder
from lusifer.errors import ConfigError
from lusifer.evaluate.benchmark.catalogue import Catalogue, Job
from lusifer.evaluate.benchmark.scores import Outcome

_BATCH = 256
_log = logging.getLogger(__name__)


class BenchmarkEncoder:
    """An embedder as mteb wants its encoders, under one instruction.

    As in the authors' evaluation, documents of retrieval and reranking get the document prompt and everything
    else the query prompt, both with the instruction; a model whose prompts take none goes without.

    Args:
        embedder: the model.
        revision: of the model and of what is measured; scores of another do not count.
        device: where similarities are computed.

    Attributes:
        instruction: what the model is asked to do; set it for each task.
    """

    def __init__(self, embedder: Embedder, revision: str, device: str = "cpu") -> None:
        self.instruction = ""
        self._embedder = embedder
        self._device = device
        self._meta = ModelMeta.create_empty(
            {
                "name": f"lusifer/{embedder.name}",
                "revision": revision,
                "embed_dim": embedder.dimensions,
                "max_tokens": embedder.max_tokens,
                "similarity_fn_name": ScoringFunction.COSINE,
            }
        )

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb wants to know about the model."""
        return self._meta

    def encode(
        self, inputs: DataLoader[BatchedInput], *, prompt_type: PromptType | None = None, **_task: Any
    ) -> NDArray[np.float32]:
        """Return unit vectors, (texts, dimensions); mteb's batches are joined, the model has its own."""
        texts = [text for batch in inputs for text in batch["text"]]
        prompts = self._embedder.config.prompts
        if prompt_type == PromptType.document:
            instruction = self.instruction if prompts.takes_instruction("document") else ""
            return self._embedder.embed_documents(texts, instruction)
        instruction = self.instruction if prompts.takes_instruction("query") else ""
        return self._embedder.embed_query(texts, instruction)

    def similarity(self, embeddings1: Array, embeddings2: Array) -> torch.Tensor:
        """Return cosines, shape (n, m), on the device; the vectors have unit length."""
        first = torch.as_tensor(embeddings1, device=self._device)
        second = torch.as_tensor(embeddings2, device=self._device)
        # mteb compares single vectors too.
        width = first.shape[-1]
        return first.reshape(-1, width) @ second.reshape(-1, width).T

    def similarity_pairwise(self, embeddings1: Array, embeddings2: Array) -> torch.Tensor:
        """Return the cosines of corresponding rows, shape (n,), in main memory, where mteb reads them."""
        first, second = torch.as_tensor(embeddings1), torch.as_tensor(embeddings2)
        return (first * second).sum(-1)


def open_task(job: Job, subset: str) -> AbsTask:
    """Return a fresh mteb task for one subset, nothing loaded yet.

    Fresh, since mteb's tasks draw samples from a generator of their own: so a score does not depend on what
    was run before it.
    """
    if job.source is not None:
        from lusifer.evaluate.benchmark.local import open_local_task

        return open_local_task(job, subset)
    return mteb.get_task(job.task, eval_splits=[job.split], hf_subsets=[subset])


def check_catalogue(catalogue: Catalogue) -> None:
    """See that the installed mteb has every task with its subsets and metric.

    Raises:
        ConfigError: it has not; the message names the first task that differs, and how.
    """
    for job in catalogue.jobs():
        try:
            metadata = open_task(job, job.subsets[0]).metadata
        except (KeyError, ValueError) as error:
            raise _different(job.task, str(error)) from error
        if unknown := set(job.subsets) - set(metadata.hf_subsets):
            raise _different(job.task, f"no subset {min(unknown)}")
        metric = catalogue.tasks[job.task].metric
        if metadata.main_score != metric:
            raise _different(job.task, f"its main score is {metadata.main_score}, not {metric}")


def _different(task: str, how: str) -> ConfigError:
    found = f"mteb {version('mteb')} does not have {task} as published"
    return ConfigError(f"{found}: {how}", hint="update it")


def run_jobs(jobs: Sequence[Job], encoder: BenchmarkEncoder, folder: Path) -> Iterator[Outcome]:
    """Measure what is missing of some jobs and yield what came of each.

    Args:
        jobs: what to run.
        encoder: the model.
        folder: mteb's cache is kept in it, in ``results/``.
    """
    logging.getLogger("mteb").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    cache = mteb.ResultCache(folder)
    locks = folder / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    taken: list[Job] = []
    for job in jobs:
        lock = FileLock(locks / job.task)
        if not lock.try_acquire():
            taken.append(job)
            continue
        try:
            yield _run(job, encoder, cache)
        finally:
            lock.release()
    for job in taken:
        # Another process has it: when that is done, its scores are in the cache.
        lock = FileLock(locks / job.task)
        lock.acquire(seconds=math.inf)
        try:
            yield _run(job, encoder, cache)
        finally:
            lock.release()


def _run(job: Job, encoder: BenchmarkEncoder, cache: mteb.ResultCache) -> Outcome:
    """Measure what is missing of a job; once the hub could not be reached, no further subset is tried."""
    encoder.instruction = job.instruction
    outcome = Outcome(job.task, _known_scores(job, encoder, cache))
    unreachable = ""
    for subset in job.subsets:
        if subset in outcome.scores:
            continue
        if unreachable:
            outcome.unfetched[subset] = unreachable
            continue
        task = open_task(job, subset)
        try:
            with _quiet():
                task.load_data()
        except Exception as error:  # of the network, the disk, a gated or vanished dataset, a changed column
            outcome.unfetched[subset] = _reason(error)
            unreachable = _reason(error) if isinstance(error, ConnectionError) else ""
            continue
        try:
            with _quiet():
                outcome.scores[subset] = _measure(task, job.split, subset, encoder, cache)
        except Exception as error:  # of a dataset, mteb or scikit-learn
            _log.debug("%s, subset %s", job.task, subset, exc_info=True)
            outcome.failed[subset] = _reason(error)
    return outcome


def _known_scores(job: Job, encoder: BenchmarkEncoder, cache: mteb.ResultCache) -> dict[str, float]:
    """Return the scores in the cache; delete a file that is half written or of another dataset revision."""
    meta = encoder.mteb_model_meta
    try:
        found = cache.load_task_result(job.task, meta)
    except Exception:  # of a file that is not what mteb writes
        found = None
    if found is None or found.dataset_revision != open_task(job, job.subsets[0]).metadata.revision:
        cache.get_task_result_path(job.task, meta).unlink(missing_ok=True)
        return {}
    scores = {row["hf_subset"]: float(row["main_score"]) for row in found.scores.get(job.split, [])}
    return {subset: scores[subset] for subset in job.subsets if math.isfinite(scores.get(subset, math.nan))}


def _measure(
    task: AbsTask, split: str, subset: str, encoder: BenchmarkEncoder, cache: mteb.ResultCache
) -> float:
    found = mteb.evaluate(
        encoder,
        task,
        cache=cache,
        encode_kwargs={"batch_size": _BATCH, "show_progress_bar": False},
        show_progress_bar=False,
        co2_tracker=False,
    )
    rows = found.task_results[0].scores[split]
    score = float(next(row["main_score"] for row in rows if row["hf_subset"] == subset))
    if not math.isfinite(score):
        raise ValueError(f"the score is {score}")
    return round(score, 6)  # as the cache has it


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings: long texts are cut and some classifiers stop before they converge, by the protocol."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: Exception) -> str:
    """Return one line that says what happened."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
