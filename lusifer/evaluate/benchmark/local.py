"""mteb tasks over local parallel sentences, one class for each kind.

Each fills mteb's own task class with data and leaves the measuring to it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskClassification, AbsTaskClustering, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.task_metadata import TaskMetadata, TaskType

from common.languages import LANGUAGES
from lusifer.evaluate.benchmark import catalogue
from lusifer.evaluate.benchmark.catalogue import Job
from lusifer.evaluate.datasets import ParallelSentences

_CANDIDATES = 10


class _Local(AbsTask):
    """What the five tasks share: sentences of one language and of the one it is compared with."""

    def __init__(self, metadata: TaskMetadata, language: str, sentences: ParallelSentences) -> None:
        self.metadata = metadata
        super().__init__()
        self.language = language
        self.own = sentences.texts[language]
        self.theirs = sentences.texts[_partner(language, sentences)]
        self.topics = sentences.topics

    def load_data(self, *_args: Any, **_options: Any) -> None:
        """Make the dataset out of the sentences."""
        self.dataset = {self.language: self.content()}
        self.data_loaded = True

    def content(self) -> Any:
        """Return the splits in the form that the kind of task reads."""
        return DatasetDict({split: Dataset.from_dict(columns) for split, columns in self.columns().items()})

    def columns(self) -> dict[str, dict[str, list[Any]]]:
        """Return columns by split, for the kinds that read tables."""
        return {}


class TopicClassification(_Local, AbsTaskClassification):
    """Topics of half the sentences, learnt from the other half, all in one language."""

    def columns(self) -> dict[str, dict[str, list[Any]]]:
        names = sorted(set(self.topics))
        rows: dict[str, list[int]] = {"train": [], "test": []}
        for name in names:
            # Topic by topic, so that each half has every topic.
            numbers = [number for number, topic in enumerate(self.topics) if topic == name]
            rows["train"] += numbers[::2]
            rows["test"] += numbers[1::2]
        return {
            split: {
                "text": [self.own[number] for number in numbers],
                "label": [names.index(self.topics[number]) for number in numbers],
            }
            for split, numbers in rows.items()
        }


class TopicClustering(_Local, AbsTaskClustering):
    """The sentences of one language by topic."""

    max_fraction_of_documents_to_embed = None
    # mteb draws this many with replacement ten times over; its 16,384 would only repeat a small file.
    max_documents_per_cluster = 1024

    def columns(self) -> dict[str, dict[str, list[Any]]]:
        return {"test": {"sentences": self.own, "labels": self.topics}}


class TranslationSTS(_Local, AbsTaskSTS):
    """Pairs on the scale of SemEval's STS: 5 a translation, 1 the same topic, 0 another topic."""

    def columns(self) -> dict[str, dict[str, list[Any]]]:
        rows: list[tuple[str, str, float]] = []
        for position, (own, topic) in enumerate(zip(self.own, self.topics, strict=True)):
            following = [*range(position + 1, len(self.own)), *range(position)]
            same = next(other for other in following if self.topics[other] == topic)
            different = next(other for other in following if self.topics[other] != topic)
            rows += [
                (own, self.theirs[position], 5.0),
                (own, self.theirs[same], 1.0),
                (own, self.theirs[different], 0.0),
            ]
        names = ("sentence1", "sentence2", "score")
        return {"test": {name: [row[index] for row in rows] for index, name in enumerate(names)}}


class TranslationRetrieval(_Local, AbsTaskRetrieval):
    """Each sentence's translation among all translations."""

    def content(self) -> Any:
        numbers = [str(number) for number in range(len(self.own))]
        return {
            "test": {
                "queries": Dataset.from_dict({"id": numbers, "text": self.own}),
                "corpus": Dataset.from_dict({"id": numbers, "text": self.theirs}),
                "relevant_docs": {number: {number: 1} for number in numbers},
                "top_ranked": self.candidates(numbers),
            }
        }

    def candidates(self, numbers: list[str]) -> dict[str, list[str]] | None:  # noqa: ARG002 - for subclasses
        """Return which documents each query chooses from; None for all of them."""
        return None


class TranslationReranking(TranslationRetrieval):
    """Each sentence's translation among ten."""

    def candidates(self, numbers: list[str]) -> dict[str, list[str]] | None:
        """Return each sentence's own translation and those of the sentences after it, around the end."""
        ring = numbers + numbers[:_CANDIDATES]
        count = min(_CANDIDATES, len(numbers))
        return {number: ring[position : position + count] for position, number in enumerate(numbers)}


_CLASSES: dict[str, tuple[type[_Local], TaskType, str]] = {
    catalogue.CLASSIFICATION: (TopicClassification, "Classification", "accuracy"),
    catalogue.CLUSTERING: (TopicClustering, "Clustering", "v_measure"),
    catalogue.RERANKING: (TranslationReranking, "Reranking", "map_at_1000"),
    catalogue.RETRIEVAL: (TranslationRetrieval, "Retrieval", "ndcg_at_10"),
    catalogue.STS: (TranslationSTS, "STS", "cosine_spearman"),
}


def open_local_task(job: Job, subset: str) -> AbsTask:
    """Return the mteb task of one language; ``job.source`` holds its sentences.

    Raises:
        DataError: the file cannot be read.
    """
    assert job.source is not None
    sentences, revision = _read(job.source)
    task, kind, metric = _CLASSES[job.task]
    languages = {code: [f"{LANGUAGES[code].iso3}-{LANGUAGES[code].script}"] for code in job.subsets}
    metadata = TaskMetadata(
        name=job.task,
        description=f"{kind} over parallel sentences from a file.",
        dataset={"path": job.source.name, "revision": revision},
        type=kind,
        category="t2t",
        eval_splits=["test"],
        eval_langs=languages,
        main_score=metric,
    )
    return task(metadata, subset, sentences).filter_languages(None, hf_subsets=[subset])


@lru_cache(maxsize=1)
def _read(path: Path) -> tuple[ParallelSentences, str]:
    return catalogue.read_sentences(path), catalogue.digest(path.read_bytes())


def _partner(language: str, sentences: ParallelSentences) -> str:
    """Return the language whose translations are looked for: English, or another one for English."""
    others = [code for code in sentences.texts if code != language]
    return "en" if "en" in others else others[0]
