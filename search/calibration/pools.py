"""Questions with known answers over pools of passages: what vectors and words say of each candidate.

A pool holds, for each question, the candidates both halves of a search would bring, and which are right.
``gather_pools`` makes them of questions and paragraphs, one language at a time and all together, and of
parallel sentences, the first words of one standing for a question. The lexical half is computed here as the
engines do: the analyser's terms with BM25's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lusifer.evaluate.datasets import ParallelSentences, QuestionAnswering
from lusifer.evaluate.retrieval import Encoder
from store.lexical import ANALYSER_VERSION, document_vector, query_vector
from store.types import NEAREST

#: Candidates of each half of a search, as the product asks for.
CANDIDATES = 200
#: Words of a sentence that stand for a question; questions of MLQA have 8 to 11.
QUESTION_WORDS = 8

Floats = NDArray[np.float32]
Kind = Literal["one", "mixed", "sentences"]


@dataclass(frozen=True, slots=True)
class Pool:
    """Questions of one language over one pool of passages.

    Arrays are of shape (questions, candidates). Where a question has fewer, ``language`` is empty and the
    similarity -inf.

    Attributes:
        kind: passages of one language; of all languages; parallel sentences of all languages.
        asked: language of the questions.
        similarity: cosine.
        coverage: share of the question's words, by weight, 0 to 1.
        words: lexical score.
        language: of the passage.
        right: whether the passage answers the question.
        own_share: share of right passages that are in the question's language, the mean over questions.
    """

    kind: Kind
    asked: str
    similarity: Floats
    coverage: Floats
    words: Floats
    language: NDArray[np.str_]
    right: NDArray[np.bool_]
    own_share: float

    @property
    def own(self) -> NDArray[np.bool_]:
        """Whether the passage is in the question's language."""
        return np.asarray(self.language == self.asked, np.bool_)

    @property
    def nearest(self) -> Floats:
        """Mean of the highest cosines, shape (questions, 1)."""
        highest = np.sort(self.similarity, axis=1)[:, ::-1][:, :NEAREST]
        known = np.isfinite(highest)
        mean = np.where(known, highest, 0).sum(1) / np.maximum(known.sum(1), 1)
        return np.asarray(mean[:, None], np.float32)

    def unanswered(self) -> Pool:
        """Return the same questions with their answers taken out of the pool."""
        return replace(
            self,
            similarity=np.where(self.right, -np.inf, self.similarity).astype(np.float32),
            language=np.where(self.right, "", self.language),
            coverage=np.where(self.right, 0, self.coverage).astype(np.float32),
            words=np.where(self.right, 0, self.words).astype(np.float32),
            right=np.zeros_like(self.right),
        )


class LexicalIndex:
    """Passages by their terms.

    Args:
        passages: the texts.
    """

    def __init__(self, passages: Sequence[str]) -> None:
        self._count = len(passages)
        vectors = [document_vector([passage]) for passage in passages]
        rows = np.repeat(np.arange(len(vectors)), [len(indices) for indices, _ in vectors])
        terms = np.concatenate([indices for indices, _ in vectors]) if vectors else np.empty(0, np.uint32)
        weights = np.concatenate([weight for _, weight in vectors]) if vectors else np.empty(0, np.float32)
        order = np.argsort(terms, kind="stable")
        self._rows, self._weights = rows[order], weights[order]
        known, starts = np.unique(terms[order], return_index=True)
        ends = np.append(starts[1:], len(order))
        spans = zip(known.tolist(), starts.tolist(), ends.tolist(), strict=True)
        self._spans = {term: slice(start, end) for term, start, end in spans}

    def score(self, questions: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Score every passage for every question.

        Returns:
            scores, shape (questions, passages), and each question's ideal score (``store.fusion``).
        """
        scores = np.zeros((len(questions), self._count), np.float32)
        ideal = np.zeros(len(questions))
        for number, question in enumerate(questions):
            for term, importance in zip(*(part.tolist() for part in query_vector(question)), strict=True):
                span = self._spans.get(term, slice(0, 0))
                found = self._rows[span]
                rarity = np.log(1 + (self._count - len(found) + 0.5) / (len(found) + 0.5))
                ideal[number] += importance * rarity
                scores[number, found] += (importance * rarity * self._weights[span]).astype(np.float32)
        return scores, ideal


class Bm25:
    """The lexical half as a system of its own, for ``lusifer evaluate retrieval --model bm25``."""

    @property
    def fingerprint(self) -> str:
        """What makes its scores."""
        return f"analyser {ANALYSER_VERSION}"

    def index(self, passages: Sequence[str]) -> Callable[[Sequence[str]], NDArray[np.float32]]:
        """Return a function that scores these passages, shape (questions, passages)."""
        index = LexicalIndex(passages)
        return lambda questions: index.score(questions)[0]


class Passages:
    """Texts with their languages, ready to be asked.

    Args:
        model: embeds them.
        texts: the passages.
        languages: of each.
    """

    def __init__(self, model: Encoder, texts: Sequence[str], languages: Sequence[str]) -> None:
        self._model = model
        self._vectors = model.embed_documents(list(texts))
        self._lexical = LexicalIndex(texts)
        self._languages = np.array(languages)

    def ask(
        self,
        kind: Kind,
        asked: str,
        questions: Sequence[str],
        right: Sequence[Iterable[int]],
        without: Sequence[Iterable[int]] | None = None,
    ) -> Pool:
        """Gather each question's candidates.

        Args:
            kind: what the pool is, for those who weigh pools.
            asked: language of the questions.
            questions: their texts.
            right: rows of the passages that answer each.
            without: rows that are kept out of each question's pool.
        """
        similarity = np.asarray(self._model.embed_query(list(questions)) @ self._vectors.T, np.float32)
        words, ideal = self._lexical.score(questions)
        for row, hidden in enumerate(without or ()):
            similarity[row, list(hidden)], words[row, list(hidden)] = -np.inf, 0
        marks = np.zeros(similarity.shape, np.bool_)
        shares = []
        for row, found in enumerate(map(list, right)):
            marks[row, found] = True
            shares.append(float((self._languages[found] == asked).mean()) if found else 0.0)
        chosen = _candidates(similarity, words)
        picked = [np.take_along_axis(values, chosen, 1) for values in (similarity, words)]
        held = picked[1] / np.maximum(ideal, 1e-9)[:, None]
        outside = ~np.isfinite(picked[0])
        return Pool(
            kind=kind,
            asked=asked,
            similarity=picked[0],
            coverage=np.clip(held, 0, 1).astype(np.float32),
            words=picked[1],
            language=np.where(outside, "", self._languages[chosen]),
            right=np.take_along_axis(marks, chosen, 1) & ~outside,
            own_share=float(np.mean(shares)) if shares else 0.0,
        )


def _candidates(similarity: Floats, words: Floats) -> NDArray[np.int64]:
    """Choose the union of both halves' best, filled up by cosine to one width for all questions."""
    width = min(2 * CANDIDATES, similarity.shape[1])
    half = min(CANDIDATES, similarity.shape[1])
    order = np.argsort(-similarity, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(similarity.shape[1])[None, :], 1)
    lexical = np.argsort(-words, axis=1, kind="stable")[:, :half]
    first = np.zeros(similarity.shape, np.bool_)
    np.put_along_axis(first, lexical, np.take_along_axis(words, lexical, 1) > 0, 1)
    key = np.where(first | (place < half), place - similarity.shape[1], place)
    return np.argsort(key, axis=1, kind="stable")[:, :width]


def gather_pools(
    model: Encoder, questions: QuestionAnswering, sentences: ParallelSentences, *, every: int = 8
) -> list[Pool]:
    """Ask every question of every pool.

    Args:
        model: embeds questions and passages.
        questions: with the paragraphs that answer them.
        sentences: parallel ones.
        every: how many parallel sentences there are to one question.
    """
    return _question_pools(model, questions) + _sentence_pools(model, sentences, every)


def _question_pools(model: Encoder, data: QuestionAnswering) -> list[Pool]:
    """Make a pool for each pair of question and paragraph language, and one of all languages for each."""
    pools = []
    for answered, paragraphs in data.paragraphs.items():
        rows = {pid: row for row, pid in enumerate(paragraphs)}
        passages = Passages(model, list(paragraphs.values()), [answered] * len(rows))
        pools += [
            passages.ask("one", asked, questions.texts, [[rows[pid]] for pid in questions.relevant])
            for (asked, language), questions in data.questions.items()
            if language == answered
        ]
    return pools + _mixed_pools(model, data)


def _mixed_pools(model: Encoder, data: QuestionAnswering) -> list[Pool]:
    rows = {pid: row for row, pid in enumerate(pid for group in data.paragraphs.values() for pid in group)}
    texts = [text for group in data.paragraphs.values() for text in group.values()]
    languages = [code for code, group in data.paragraphs.items() for _ in group]
    passages = Passages(model, texts, languages)
    pools = []
    for asked in dict.fromkeys(pair[0] for pair in data.questions):
        right: dict[str, set[int]] = {}
        questions: dict[str, str] = {}
        for (language, _), group in data.questions.items():
            if language == asked:
                for qid, text, pid in zip(group.ids, group.texts, group.relevant, strict=True):
                    right.setdefault(qid, set()).add(rows[pid])
                    questions[qid] = text
        pools.append(passages.ask("mixed", asked, list(questions.values()), list(right.values())))
    return pools


def _sentence_pools(model: Encoder, data: ParallelSentences, every: int) -> list[Pool]:
    """Ask for the other languages' versions of a sentence by its first words, among all sentences.

    The sentence itself is kept out, so that the right answers are all in other languages.
    """
    codes, size = list(data.texts), len(next(iter(data.texts.values())))
    languages = [code for code in codes for _ in range(size)]
    passages = Passages(model, [text for code in codes for text in data.texts[code]], languages)
    chosen = range(0, size, every)
    return [
        passages.ask(
            "sentences",
            asked,
            [" ".join(data.texts[asked][row].split()[:QUESTION_WORDS]) for row in chosen],
            [[row + size * other for other in range(len(codes)) if other != own] for row in chosen],
            [[row + size * own] for row in chosen],
        )
        for own, asked in enumerate(codes)
    ]
