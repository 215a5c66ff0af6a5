"""Measure what a searcher feels: sentence retrieval between languages, questions to paragraphs, mixed pools.

Takes anything that embeds texts or scores passages, gives plain numbers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from common.languages import CODES, LANGUAGES
from lusifer.embedder import TextEmbedder
from lusifer.errors import ConfigError
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


_SEED = 7
_NEVER = -1e9


def scattered_pool(system: Encoder | Scorer, data: QuestionAnswering, seed: int = _SEED) -> dict[str, Any]:
    """Ask in every language over one pool that has each paragraph in one language, drawn at random.

    Paragraphs of several languages that answer the same question count as one.

    Returns:
        For each question language: ``other@1``, ``other@5`` (the answer is in another language), ``same@1``
        (in the question's own), ``own_first`` (share of first hits in the question's language where the
        answer is in another), ``fair`` (share of the pool in it) and ``loss`` (how much higher ``other@1`` is
        without the paragraphs in the question's language); and ``mean`` of each, ``weakest`` other@1.
    """
    languages, texts, columns = _scatter(data, seed)
    ask = index_passages(system, texts)
    result: dict[str, Any] = {}
    for asked in data.paragraphs:
        questions: dict[str, str] = {}
        answers: dict[str, int] = {}
        for (question_language, answered), group in data.questions.items():
            if question_language != asked:
                continue
            for qid, text, pid in zip(group.ids, group.texts, group.relevant, strict=True):
                if (answered, pid) in columns:
                    questions[qid], answers[qid] = text, columns[answered, pid]
        if questions:
            scores = np.asarray(ask(list(questions.values())), np.float32)
            result[asked] = _row(scores, np.array(list(answers.values())), languages, asked)
    rows = list(result.values())
    result["mean"] = {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}
    result["weakest"] = min(row["other@1"] for row in rows)
    return result


def _row(
    scores: NDArray[np.float32], answers: NDArray[np.int64], languages: NDArray[np.str_], asked: str
) -> dict[str, float]:
    own = languages == asked
    crossing = languages[answers] != asked
    places = ranks(scores, answers)
    without = np.where(own[None, :], np.float32(_NEVER), scores)[crossing]
    other, first = places[crossing], scores[crossing].argmax(axis=1)
    return {
        "other@1": recall_at(other, 1),
        "other@5": recall_at(other, 5),
        "same@1": recall_at(places[~crossing], 1) if (~crossing).any() else float("nan"),
        "own_first": float(own[first].mean()),
        "fair": float(own.mean()),
        "loss": recall_at(ranks(without, answers[crossing]), 1) - recall_at(other, 1),
    }


def _scatter(
    data: QuestionAnswering, seed: int
) -> tuple[NDArray[np.str_], list[str], dict[tuple[str, str], int]]:
    """Return the languages and texts of the pool, and the place of each paragraph that is in it."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def find(place: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(place, place) != place:
            place = parent[place]
        return place

    first: dict[str, tuple[str, str]] = {}
    for (_, answered), group in data.questions.items():
        for qid, pid in zip(group.ids, group.relevant, strict=True):
            place = (answered, pid)
            parent[find(place)] = find(first.setdefault(qid, place))
    groups: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for place in list(parent):
        groups.setdefault(find(place), set()).add(place)
    draw = random.Random(seed)
    chosen: list[tuple[str, str]] = []
    for places in sorted(map(sorted, groups.values())):
        language = draw.choice(sorted({code for code, _ in places}))
        chosen += [place for place in places if place[0] == language]
    texts = [data.paragraphs[code][pid] for code, pid in chosen]
    return np.array([code for code, _ in chosen]), texts, {place: at for at, place in enumerate(chosen)}


def native_pool(system: Encoder | Scorer, data: QuestionAnswering) -> dict[str, Any]:
    """Ask for paragraphs in their own language over one pool of all languages.

    Returns:
        For each language ``recall@1`` and ``recall@5``; and their ``mean``, ``weakest`` recall@1.
    """
    places = [(code, pid) for code, group in data.paragraphs.items() for pid in group]
    columns = {place: at for at, place in enumerate(places)}
    ask = index_passages(system, [data.paragraphs[code][pid] for code, pid in places])
    result: dict[str, Any] = {}
    for (code, answered), group in data.questions.items():
        if code != answered:
            continue
        wanted = np.array([columns[code, pid] for pid in group.relevant])
        found = ranks(np.asarray(ask(group.texts), np.float32), wanted)
        result[code] = {"recall@1": recall_at(found, 1), "recall@5": recall_at(found, 5)}
    rows = list(result.values())
    result["mean"] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    result["weakest"] = min(row["recall@1"] for row in rows)
    return result


# How well the installed model works for the languages of whoever uses it, in seconds. The sentences come with
# the package and were written for this: none is in any training or evaluation set.


_SENTENCES = Path(__file__).parent / "data" / "parallel.json"


@dataclass(frozen=True, slots=True)
class PairTest:
    """How one pair of languages does.

    Attributes:
        asked: code of the language that is asked in.
        found: code of the language of the texts.
        right: share of sentences whose translation is the first hit in that language.
        margin: by how much cosine the translation is above the best other sentence, in the mean.
    """

    asked: str
    found: str
    right: float
    margin: float

    @property
    def verdict(self) -> str:
        """What that means, in plain words."""
        if self.right > 0.9:
            return "works well"
        return "works mostly" if self.right > 0.8 else "works poorly"


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The outcome for some languages: each pair, and how often the first hit of one pool is right."""

    pairs: list[PairTest]
    mixed: dict[str, float]


def run_selftest(model: TextEmbedder, languages: Sequence[str] = ()) -> SelfTest:
    """Test a model on the sentences that come with the package.

    Args:
        model: what is tested.
        languages: codes; none for all fourteen.

    Raises:
        ConfigError: a language is not one of the fourteen, or only one is given.
    """
    chosen = list(dict.fromkeys(languages)) or list(CODES)
    for code in chosen:
        if code not in CODES:
            raise ConfigError(f"there is no language {code!r}", hint=f"use some of {' '.join(CODES)}")
    if len(chosen) < 2:
        raise ConfigError("one language makes no pair", hint="name two or more, or none for all")
    texts: dict[str, list[str]] = json.loads(_SENTENCES.read_text(encoding="utf-8"))
    asked = {code: model.embed_query(texts[code]) for code in chosen}
    told = {code: model.embed_documents(texts[code]) for code in chosen}
    pairs = []
    for one in chosen:
        for two in chosen:
            if one != two:
                cosines = asked[one] @ told[two].T
                own = np.diagonal(cosines).copy()
                np.fill_diagonal(cosines, -np.inf)
                best = cosines.max(axis=1)
                pairs.append(PairTest(one, two, float((own > best).mean()), float((own - best).mean())))
    return SelfTest(pairs, {code: _mixed(code, asked, told) for code in chosen})


def _mixed(code: str, asked: dict[str, np.ndarray], told: dict[str, np.ndarray]) -> float:
    """Return how often the first hit over all languages but one's own and the same sentence's is right."""
    others = [other for other in told if other != code]
    right = 0
    for place in range(len(asked[code])):
        # The sentence in one other language, all the other sentences in every language, one's own too.
        home = others[place % len(others)]
        distractors = [rows[row] for rows in told.values() for row in range(len(rows)) if row != place]
        own = float(asked[code][place] @ told[home][place])
        right += own > float(np.max(np.stack(distractors) @ asked[code][place]))
    return right / len(asked[code])


def describe_selftest(test: SelfTest, name: str, seconds: float) -> str:
    """Return the outcome in plain words: the weak pairs by name, the others in one line."""
    weak = [pair for pair in test.pairs if pair.verdict != "works well"]
    lines = [f"{name}: {len(test.pairs)} pairs of {len(test.mixed)} languages tested in {seconds:.1f} s."]
    for pair in sorted(weak, key=lambda pair: pair.right):
        asks, tells = LANGUAGES[pair.asked].name, LANGUAGES[pair.found].name
        lines.append(
            f"  Asking in {asks} for {tells} {pair.verdict}: {pair.right:.0%} of the answers come first."
        )
    rest = len(test.pairs) - len(weak)
    if rest:
        lines.append(f"  {'All' if not weak else 'The other'} {rest} pairs work well.")
    mean = sum(test.mixed.values()) / len(test.mixed)
    worst = min(test.mixed, key=lambda code: test.mixed[code])
    lines.append(
        f"  With all languages in one pool, {mean:.0%} of the answers come first; fewest when asking in "
        f"{LANGUAGES[worst].name} ({test.mixed[worst]:.0%})."
    )
    return "\n".join(lines)
