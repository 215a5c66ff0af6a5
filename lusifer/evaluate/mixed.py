"""Measure retrieval where languages are mixed: the product's case, and what a preference for one costs there.

``scattered_pool`` holds every paragraph in one language only, so whoever asks in another must cross over;
``native_pool`` holds paragraphs of many languages, each asked for in its own.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lusifer.evaluate.datasets import QuestionAnswering
from lusifer.evaluate.retrieval import Encoder, Scorer, index_passages, ranks, recall_at

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
