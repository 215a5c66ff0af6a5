"""A small benchmark out of parallel sentences: one task of each kind, no network.

Shows that the whole path works before days of computing are spent on it, and measures a model on sentences
of one's own. Must not know mteb.
"""

from __future__ import annotations

from pathlib import Path

from lusifer.errors import DataError
from lusifer.evaluate.benchmark.catalogue import Catalogue, Column, Kind, Subsets, Task
from lusifer.evaluate.datasets import ParallelSentences, read_parallel

CLASSIFICATION = "LocalTopicClassification"
CLUSTERING = "LocalTopicClustering"
RERANKING = "LocalTranslationReranking"
RETRIEVAL = "LocalTranslationRetrieval"
STS = "LocalTranslationSTS"

_TASKS: tuple[tuple[str, Kind, str, str], ...] = (
    (CLASSIFICATION, "Classification", "accuracy", "Identify the topic of the sentence."),
    (CLUSTERING, "Clustering", "v_measure", "Identify the topic of the sentence."),
    (RERANKING, "Reranking", "map_at_1000", "Given a sentence, retrieve its translation."),
    (RETRIEVAL, "Retrieval", "ndcg_at_10", "Given a sentence, retrieve its translation."),
    (STS, "STS", "cosine_spearman", "Retrieve semantically similar text."),
)


def read_local_catalogue(path: Path) -> Catalogue:
    """Return the five tasks over the languages of a file of parallel sentences, one subset a language.

    Args:
        path: JSONL, each line ``{"en": …, "fi": …, "category": …}``.

    Raises:
        DataError: it is no such file.
    """
    subsets: Subsets = {code: (code,) for code in read_sentences(path).texts}
    tasks = {
        name: Task(name, kind, metric, "test", instruction, subsets, counted=True)
        for name, kind, metric, instruction in _TASKS
    }
    columns = {name: Column(name, subsets) for name in (RERANKING, RETRIEVAL, STS)}
    return Catalogue(tasks, columns, path)


def read_sentences(path: Path) -> ParallelSentences:
    """Read the sentences; each topic must be there twice and there must be two topics.

    Raises:
        DataError: the file is missing, broken or has no such topics.
    """
    sentences = read_parallel(path)
    topics = set(sentences.topics)
    if len(topics) < 2 or any(sentences.topics.count(topic) < 2 for topic in topics):
        raise DataError(
            f"{path} needs two topics or more, with two sentences or more each",
            hint='each line is {"en": …, "fi": …, "category": …}',
        )
    return sentences


def partner(language: str, sentences: ParallelSentences) -> str:
    """Return the language whose translations are looked for: English, or another one for English."""
    others = [code for code in sentences.texts if code != language]
    return "en" if "en" in others else others[0]
