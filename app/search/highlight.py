"""Mark the sentence of each passage that answers the question best.

Whole sentences only: a mark inside a word would break the joins of Arabic letters. Must not embed by itself;
it says what has to be embedded and reads the vectors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.search.sentences import split_sentences
from store.base import Vector

Span = tuple[int, int]

#: A passage is at most some hundred tokens; a longer list of sentences is a table or a poem.
_MOST_SENTENCES = 40
#: Characters; a heading fits one line.
_LONGEST_HEADING = 60
_BLANK_LINE = re.compile(r"[^\S\n]*\n\s*\n")
_ENDS_SENTENCE = re.compile(r"[.!?…:;।॥؟۔。！？؛][\"'”’»)\]]*\Z")
_MARKDOWN_HEADING = re.compile(r"#{1,6}[ \t]+\S.*\Z")


@dataclass(frozen=True, slots=True)
class SentencePlan:
    """The sentences of some passages.

    Attributes:
        spans: for each passage, where its sentences are.
        texts: all sentences, one passage after the other: what has to be embedded.
    """

    spans: tuple[tuple[Span, ...], ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage in which a sentence is to be marked.

    Attributes:
        text: the passage.
        headings: texts of headings that may stand in it; a heading answers nothing and is not marked.
    """

    text: str
    headings: tuple[str, ...] = ()


def plan_sentences(passages: Sequence[Candidate]) -> SentencePlan:
    """Find the sentences to compare with the question."""
    spans = tuple(tuple(_sentences(passage)) for passage in passages)
    texts = (
        passage.text[start:end]
        for passage, found in zip(passages, spans, strict=True)
        for start, end in found
    )
    return SentencePlan(spans, tuple(texts))


def _sentences(passage: Candidate) -> list[Span]:
    """The sentences that are no headings; all of them where there is nothing else."""
    spans = [_without_heading(passage, span) for span in split_sentences(passage.text)]
    body = [span for span in spans if not _is_heading(passage, span)]
    return (body or spans)[:_MOST_SENTENCES]


def _without_heading(passage: Candidate, span: Span) -> Span:
    """Leave out a known heading on the first line of a sentence; PDF files have no blank line after it."""
    start, end = span
    line, _, rest = passage.text[start:end].partition("\n")
    return (end - len(rest.lstrip()), end) if rest.strip() and line.strip() in passage.headings else span


def _is_heading(passage: Candidate, span: Span) -> bool:
    """Tell whether a sentence is a heading: known, marked, or a short line that ends a paragraph openly."""
    line = passage.text[slice(*span)]
    if line in passage.headings or _MARKDOWN_HEADING.match(line):
        return True
    stands_alone = _BLANK_LINE.match(passage.text, span[1]) is not None
    return stands_alone and len(line) <= _LONGEST_HEADING and not _ENDS_SENTENCE.search(line)


def best_sentences(plan: SentencePlan, sentences: Vector, question: Vector) -> list[Span | None]:
    """Choose the sentence closest to the question in each passage.

    Args:
        plan: the sentences.
        sentences: their vectors, shape (len(plan.texts), dimensions).
        question: vector of the question, shape (dimensions,).

    Returns:
        One span for each passage, None for a passage without a sentence.
    """
    similarity = sentences @ question if plan.texts else np.empty(0, np.float32)
    chosen: list[Span | None] = []
    first = 0
    for spans in plan.spans:
        scores = similarity[first : first + len(spans)]
        chosen.append(spans[int(scores.argmax())] if spans else None)
        first += len(spans)
    return chosen
