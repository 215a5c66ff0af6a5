"""Snippets of passages: split into sentences, choose the one that answers, shorten around it.

Spans are (start, end) in characters. Sentences are found by punctuation, in any of the 14 languages, and
never end inside a word.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from search.result import Passage
from store.types import HEADING_SEPARATOR, Vector

Span = tuple[int, int]

#: Ends a sentence wherever it stands: danda, Arabic and Urdu marks, full-width stops.
_STRONG = "।॥؟۔。！？"
#: Ends one only before a space, and not before a lower-case letter: full stop, marks shared by many scripts.
_WEAK = ".!?…"
_CLOSING = r"[\"'”’»)\]」』]*"

_BOUNDARY = re.compile(
    rf"[{_STRONG}]+{_CLOSING}\s*"
    rf"|[{_WEAK}]+{_CLOSING}(?:\s+|$)"
    r"|\n\s*\n\s*"
    r"|(?m:^#{1,6}[ \t]+\S.*\n\s*)"
    r"|\n(?=[ \t]*(?:[-*+•#>|]|\d{1,3}[.)])[ \t])"
)
_INITIAL = re.compile(r"(?:^|[\s(.])[^\W\d_]$")
_NUMBERED = re.compile(r"(?:^|\n|[.!?।؟]\s)[ \t]*\d{1,3}$")
#: A passage is at most some hundred tokens; a longer list of sentences is a table or a poem.
_MOST_SENTENCES = 40
#: Characters; a heading fits one line.
_LONGEST_HEADING = 60
_BLANK_LINE = re.compile(r"[^\S\n]*\n\s*\n")
_ENDS_SENTENCE = re.compile(r"[.!?…:;।॥؟۔。！？؛][\"'”’»)\]]*\Z")
_MARKDOWN_HEADING = re.compile(r"#{1,6}[ \t]+\S.*\Z")
_SPACE = re.compile(r"\s")
_BREAK = re.compile(r"[^\S\n]*\n(?P<apart>\s*\n\s*|[^\S\n]*(?=(?:[-*+•|]|\d{1,3}[.)])\s))?[^\S\n]*")
_LINE = re.compile(r"(?P<mark>#{1,6}[ \t]+)?(?P<body>[^\n]*\S)[^\S\n]*(?:\n\s*|\Z)")


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Find the sentences of a passage.

    Args:
        text: the passage.

    Returns:
        (start, end) of each sentence in characters, without the white space around it, in order; together
        they cover all but white space. Empty for a blank passage.
    """
    bounds = [0]
    bounds += [match.end() for match in _BOUNDARY.finditer(text) if _ends_sentence(text, match)]
    bounds.append(len(text))
    spans = (_trim(text, start, end) for start, end in itertools.pairwise(bounds))
    return [(start, end) for start, end in spans if start < end]


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    mark = match.group()
    if mark[0] == "#" or mark[0] not in _WEAK or match.end() == len(text):
        return True
    if text[match.end()].islower() and "\n\n" not in mark:
        return False
    before = text[max(0, match.start() - 8) : match.start()]
    return mark[0] != "." or not (_INITIAL.search(before) or _NUMBERED.search(before))


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())


def choose_sentences(
    passages: Sequence[tuple[str, Sequence[str]]], embed: Callable[[list[str]], Vector], question: Vector
) -> list[Span | None]:
    """Choose the sentence closest to a question in each passage.

    Args:
        passages: texts, each with the headings that may stand in it; a heading answers nothing and is not
            chosen.
        embed: returns the vectors of sentences; asked once for all of them.
        question: vector of the question, shape (dimensions,).

    Returns:
        One span for each passage, None for a passage without a sentence.
    """
    spans = [_sentences(text, headings) for text, headings in passages]
    texts = [text[slice(*span)] for (text, _), own in zip(passages, spans, strict=True) for span in own]
    similarity = iter((embed(texts) @ question).tolist() if texts else ())
    chosen: list[Span | None] = []
    for own in spans:
        scores = [next(similarity) for _ in own]
        chosen.append(own[scores.index(max(scores))] if own else None)
    return chosen


def _sentences(text: str, headings: Sequence[str]) -> list[Span]:
    """List the sentences that are no headings; all of them where there is nothing else."""
    spans = [_without_heading(text, headings, span) for span in split_sentences(text)]
    body = [span for span in spans if not _is_heading(text, headings, span)]
    return (body or spans)[:_MOST_SENTENCES]


def _without_heading(text: str, headings: Sequence[str], span: Span) -> Span:
    """Leave out a known heading on the first line of a sentence; PDF files have no blank line after it."""
    start, end = span
    line, _, rest = text[start:end].partition("\n")
    return (end - len(rest.lstrip()), end) if rest.strip() and line.strip() in headings else span


def _is_heading(text: str, headings: Sequence[str], span: Span) -> bool:
    """Tell whether a sentence is a heading: known, marked, or a short line that ends a paragraph openly."""
    line = text[slice(*span)]
    if line in headings or _MARKDOWN_HEADING.match(line):
        return True
    stands_alone = _BLANK_LINE.match(text, span[1]) is not None
    return stands_alone and len(line) <= _LONGEST_HEADING and not _ENDS_SENTENCE.search(line)


@dataclass(frozen=True, slots=True)
class Run:
    """Some text with how strongly it is marked: 0 not at all, 1 the passage, 2 the best sentence."""

    text: str
    level: int = 0


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a passage.

    Attributes:
        runs: its text.
        cut_before: whether text was left out before it.
        cut_after: whether text was left out after it.
    """

    runs: tuple[Run, ...]
    cut_before: bool
    cut_after: bool


def make_runs(text: str, passage: Span | None, sentence: Span | None) -> list[Run]:
    """Cut a text at the ends of the marked spans; spans may reach beyond it."""
    cuts = {0, len(text)}
    for span in (passage, sentence):
        if span:
            cuts |= {min(max(offset, 0), len(text)) for offset in span}
    ordered = sorted(cuts)
    return [
        Run(text[start:end], _level(start, end, passage, sentence))
        for start, end in itertools.pairwise(ordered)
    ]


def _level(start: int, end: int, passage: Span | None, sentence: Span | None) -> int:
    if sentence and sentence[0] <= start and end <= sentence[1]:
        return 2
    return 1 if passage and passage[0] <= start and end <= passage[1] else 0


def excerpt(text: str, highlights: Sequence[Span], budget: int) -> Excerpt:
    """Shorten a passage to about ``budget`` characters around its marked sentence, which stays whole."""
    mark = highlights[0] if highlights else (0, 0)
    room = max(0, budget - (mark[1] - mark[0]))
    after = min(len(text) - mark[1], max(room // 2, room - mark[0]))
    before = min(mark[0], room - after)
    start = _word_start(text, mark[0] - before)
    end = _word_end(text, mark[1] + after)
    runs = make_runs(text[start:end], None, (mark[0] - start, mark[1] - start) if highlights else None)
    return Excerpt(tuple(runs), start > 0, end < len(text))


def excerpt_passage(passage: Passage, title: str, budget: int) -> Excerpt:
    """Shorten a passage of a result; headings at its start are left out, they are shown above it already."""
    lead = heading_length(passage.text, (title, *passage.heading.split(HEADING_SEPARATOR)))
    if passage.highlights and passage.highlights[0][0] < lead:
        lead = 0
    highlights = [(start - lead, end - lead) for start, end in passage.highlights]
    shown = excerpt(passage.text[lead:], highlights, budget)
    runs = tuple(Run(_join_lines(run.text), run.level) for run in shown.runs)
    return Excerpt(runs, shown.cut_before, shown.cut_after)


def _join_lines(text: str) -> str:
    """Keep one line break between paragraphs and before list items; lines of a paragraph run on."""
    return _BREAK.sub(lambda match: "\n" if match["apart"] is not None else " ", text)


def heading_length(text: str, headings: Sequence[str]) -> int:
    """How many characters the headings at the start of a passage take; 0 if there is nothing else."""
    length = 0
    while (line := _LINE.match(text, length)) and (line["mark"] or line["body"] in headings):
        length = line.end()
    return length if length < len(text) else 0


def snap_to_words(text: str, span: Span) -> Span | None:
    """Widen a span to whole words within the text; None if it is empty or outside."""
    start, end = max(0, span[0]), min(len(text), span[1])
    if start >= end:
        return None
    while start > 0 and not text[start - 1].isspace() and not text[start].isspace():
        start -= 1
    return start, _word_end(text, end)


def _word_start(text: str, offset: int) -> int:
    """The first start of a word at or after an offset."""
    if offset <= 0:
        return 0
    space = _SPACE.search(text, offset - 1)
    return len(text) if space is None else space.end()


def _word_end(text: str, offset: int) -> int:
    """The first end of a word at or after an offset."""
    if offset <= 0:
        return 0
    space = _SPACE.search(text, offset)
    return len(text) if space is None else space.start()
