"""Measure what a searcher feels: sentence retrieval between languages, questions to paragraphs, mixed pools.

Takes anything that embeds texts or scores passages, gives plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lusifer.evaluate.datasets import ParallelSentences, QuestionAnswering

Matrix = NDArray[np.float32]
Scores = NDArray[np.floating]
#: Questions in, scores of shape (questions, passages) out.
Ask = Callable[[Sequence[str]], Matrix]


@runtime_checkable
class Encoder(Protocol):
    """What is measured: two functions from texts to unit vectors of shape (n, d)."""

    def embed_documents(self, texts: list[str]) -> Matrix: ...

    def embed_query(self, texts: list[str]) -> Matrix: ...


class Scorer(Protocol):
    """What is measured and has no vectors: passages in, a function that scores them out."""

    @property
    def fingerprint(self) -> str: ...

    def index(self, passages: Sequence[str]) -> Ask: ...


@dataclass(frozen=True, slots=True)
class System:
    """Something that finds passages.

    Attributes:
        name: what tables call it.
        fingerprint: what makes its scores.
        retriever: how it is asked.
    """

    name: str
    fingerprint: str
    retriever: Encoder | Scorer


def measure(
    system: Encoder | Scorer, sentences: ParallelSentences, questions: QuestionAnswering
) -> dict[str, Any]:
    """Measure everything below; see there."""
    return {
        "sentences": sentence_retrieval(system, sentences),
        "questions": question_retrieval(system, questions),
        "mixed": mixed_pool(system, questions),
    }


def sentence_retrieval(system: Encoder | Scorer, data: ParallelSentences) -> dict[str, Any]:
    """Find each sentence's translation among all sentences of another language, in every direction.

    Returns:
        ``accuracy``: {from: {to: share}}; ``against_english``: per language, mean of both directions;
        ``mean``, ``minimum`` of those; ``all_directions``: mean of every pair; ``topics``: accuracy of
        nearest-centroid topics learnt in English, per language, for systems with vectors.
    """
    target = np.arange(len(next(iter(data.texts.values()))))
    accuracy: dict[str, dict[str, float]] = {code: {} for code in data.texts}
    vectors: dict[str, Matrix] = {}
    if isinstance(system, Encoder):
        vectors = {code: system.embed_documents(texts) for code, texts in data.texts.items()}
    for found in data.texts:
        ask = None if isinstance(system, Encoder) else system.index(data.texts[found])
        for asked in data.texts:
            if asked != found:
                scores = ask(data.texts[asked]) if ask else vectors[asked] @ vectors[found].T
                accuracy[asked][found] = recall_at(ranks(scores, target), 1)
    result: dict[str, Any] = {
        "accuracy": accuracy,
        "all_directions": float(np.mean([v for row in accuracy.values() for v in row.values()])),
    }
    if "en" in accuracy:
        english = {c: (accuracy["en"][c] + accuracy[c]["en"]) / 2 for c in accuracy if c != "en"}
        result["against_english"] = english
        result["mean"] = float(np.mean(list(english.values())))
        result["minimum"] = min(english.values())
        result["weakest"] = min(english, key=lambda code: english[code])
        if data.topics and vectors:
            result["topics"] = _topics(vectors, data.topics)
    return result


def question_retrieval(system: Encoder | Scorer, data: QuestionAnswering) -> dict[str, Any]:
    """Find the paragraph that answers each question, for every pair of question and paragraph language.

    Returns:
        ``pairs``: {"en-ar": {recall@1, recall@10, ndcg@10}} (question language first), and the means
        ``same`` and ``cross`` over pairs of one and of two languages.
    """
    scores = _question_scores(system, data)
    pairs = {}
    for (asked, answered), matrix in scores.items():
        ids = {pid: column for column, pid in enumerate(data.paragraphs[answered])}
        relevant = np.array([ids[pid] for pid in data.questions[asked, answered].relevant])
        positions = ranks(matrix, relevant)
        pairs[f"{asked}-{answered}"] = {
            "recall@1": recall_at(positions, 1),
            "recall@10": recall_at(positions, 10),
            "ndcg@10": ndcg_at(positions, 10),
        }
    return {
        "pairs": pairs,
        "same": _mean([v for k, v in pairs.items() if _is_same(k)]),
        "cross": _mean([v for k, v in pairs.items() if not _is_same(k)]),
    }


def mixed_pool(system: Encoder | Scorer, data: QuestionAnswering) -> dict[str, Any]:
    """Ask in each language over the paragraphs of all languages together.

    Returns:
        For each question language: ``recall@10`` (any right paragraph), ``own_share`` (share of the ten best
        in the question's language), ``own_relevant`` (share of the right paragraphs in it), ``bias`` (their
        ratio); and ``bias``, the mean.
    """
    ids = [pid for group in data.paragraphs.values() for pid in group]
    languages = np.array([code for code, group in data.paragraphs.items() for _ in group])
    columns = {pid: i for i, pid in enumerate(ids)}
    ask = index_passages(system, [text for group in data.paragraphs.values() for text in group.values()])
    result: dict[str, Any] = {}
    for asked in data.paragraphs:
        relevant: dict[str, set[int]] = {}
        texts: dict[str, str] = {}
        for (question_language, _), questions in data.questions.items():
            if question_language == asked:
                for qid, text, pid in zip(questions.ids, questions.texts, questions.relevant, strict=True):
                    relevant.setdefault(qid, set()).add(columns[pid])
                    texts[qid] = text
        if not texts:
            continue
        best = top_k(ask(list(texts.values())), 10)
        own = float((languages[best] == asked).mean())
        shares = [np.mean(languages[list(group)] == asked) for group in relevant.values()]
        found = [bool(group & set(row)) for group, row in zip(relevant.values(), best.tolist(), strict=True)]
        own_relevant = float(np.mean(shares))
        result[asked] = {
            "recall@10": float(np.mean(found)),
            "own_share": own,
            "own_relevant": own_relevant,
            "bias": own / own_relevant,
        }
    result["bias"] = float(np.mean([row["bias"] for row in result.values()]))
    return result


def _question_scores(system: Encoder | Scorer, data: QuestionAnswering) -> dict[tuple[str, str], Matrix]:
    pools = {code: index_passages(system, list(group.values())) for code, group in data.paragraphs.items()}
    return {
        (asked, answered): pools[answered](questions.texts)
        for (asked, answered), questions in data.questions.items()
    }


def index_passages(system: Encoder | Scorer, passages: list[str]) -> Ask:
    """Make passages ready to be asked, by vectors or as the system itself scores them."""
    if not isinstance(system, Encoder):
        return system.index(passages)
    vectors, encoder = system.embed_documents(passages), system
    return lambda questions: np.asarray(encoder.embed_query(list(questions)) @ vectors.T, np.float32)


def _topics(vectors: dict[str, Matrix], topics: list[str]) -> dict[str, float]:
    return {
        code: nearest_centroid(vectors["en"], topics, rows, topics)
        for code, rows in vectors.items()
        if code != "en"
    }


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}


def _is_same(pair: str) -> bool:
    asked, _, answered = pair.partition("-")
    return asked == answered


def ranks(scores: Scores, relevant: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank (from 0) of each row's relevant column; ties count against it.

    Args:
        scores: shape (queries, candidates).
        relevant: column that answers each query, shape (queries,).
    """
    own = scores[np.arange(len(scores)), relevant][:, None]
    return np.asarray((scores >= own).sum(1) - 1, dtype=np.int64)


def recall_at(positions: NDArray[np.int64], k: int) -> float:
    """Return the share of queries whose relevant candidate is among the first ``k``."""
    return float((positions < k).mean())


def ndcg_at(positions: NDArray[np.int64], k: int) -> float:
    """Return nDCG@k for one relevant candidate each (Järvelin & Kekäläinen 2002)."""
    return float(np.where(positions < k, 1 / np.log2(positions + 2.0), 0.0).mean())


def top_k(scores: Scores, k: int) -> NDArray[np.int64]:
    """Return the columns of the ``k`` best of each row, best first, shape (queries, k)."""
    k = min(k, scores.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
    return np.take_along_axis(best, order, 1)


def nearest_centroid(
    train: NDArray[np.float32], labels: list[str], test: NDArray[np.float32], truth: list[str]
) -> float:
    """Return the accuracy of giving each test vector the label of the nearest mean training vector."""
    names = sorted(set(labels))
    known = np.array(labels)
    centroids = np.stack([train[known == name].mean(0) for name in names])
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    guesses = np.array(names)[(test @ centroids.T).argmax(1)]
    return float((guesses == np.array(truth)).mean())
