"""The language of a document and of each of its passages, with confidence.

A document is detected on a sample of its text. Passages are not detected one by one, which would cost more
than embedding them: cheap signs (script, frequent words) tell which of them may be in another language, and
only those are looked at. Must not know files.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from indexer.text.profiles import load_profiles
from lusifer.languages import CODES, LANGUAGES, SCRIPT_PATTERNS

_SAMPLES = 3
_SAMPLE = 400
_PASSAGE_SAMPLE = 400
_SURE = 0.85
_SURE_PASSAGE = 0.9
_MIN_LETTERS = 24
_MIN_WORDS = 2
_WORD = re.compile(r"[^\W\d_]{2,}")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
#: Letters that only the one of them uses.
_PERSIAN = re.compile("[پچژگکی]")
_ARABIC = re.compile("[ةيكىإأؤ]")


class Detection(Protocol):
    """A language and how sure it is."""

    @property
    def code(self) -> str:
        """ISO 639-1 code."""

    @property
    def confidence(self) -> float:
        """0 to 1."""


Detect = Callable[[str], Detection]


@dataclass(frozen=True, slots=True)
class Language:
    """The language of a text.

    Attributes:
        code: ISO 639-1 code.
        confidence: 0 to 1.
    """

    code: str
    confidence: float


class LanguageFinder:
    """Finds the language of documents and passages.

    Args:
        detect: finds the language of a text, at some cost; ``lusifer.detection.detect`` if not given.
    """

    def __init__(self, detect: Detect | None = None) -> None:
        self._detect = detect or _default_detect()

    def of_document(self, text: str, hint: str = "") -> Language:
        """Return the language of a document.

        Args:
            text: the whole text.
            hint: what the document says its language is; believed where detection is not sure, since many
                pages carry the language of the template they were made from.
        """
        found = self._vote(_samples(text))
        code = hint.lower().replace("_", "-").split("-")[0]
        if code in CODES and code != found.code and found.confidence < _SURE:
            return Language(code, round(1.0 - found.confidence, 4))
        return found

    def of_passage(self, text: str, document: Language) -> Language:
        """Return the language of a passage: its document's, unless there are signs of another."""
        if not _may_differ(text[:_PASSAGE_SAMPLE], document.code):
            return document
        found = self._detect(text)
        if found.code == document.code or found.confidence < _SURE_PASSAGE:
            return document
        return Language(found.code, found.confidence)

    def _vote(self, samples: list[str]) -> Language:
        """Return the language most samples are in, each counted with its confidence."""
        votes: dict[str, float] = {}
        for sample in samples:
            found = self._detect(sample)
            votes[found.code] = votes.get(found.code, 0.0) + found.confidence
        code = max(votes, key=lambda name: votes[name])
        return Language(code, round(votes[code] / len(samples), 4))


def _default_detect() -> Detect:
    from lusifer.detection import detect

    return detect


def _samples(text: str) -> list[str]:
    """Return a few stretches of the text, evenly spread; the whole of it if it is short."""
    number = min(_SAMPLES, max(1, len(text) // _SAMPLE))
    step = len(text) // number
    size = step if number < _SAMPLES else _SAMPLE
    return [text[start : start + size] for start in range(0, step * number, step)]


def _may_differ(text: str, code: str) -> bool:
    script = _script(text)
    if script is None:
        return False
    if script != LANGUAGES[code].script:
        return True
    if script == "Arab":
        return _may_differ_arabic(text, code)
    return script == "Latn" and _may_differ_latin(text, code)


def _script(text: str) -> str | None:
    """Return the script most letters are of; None if there are too few to tell."""
    counts = {script: len(pattern.findall(text)) for script, pattern in _script_patterns().items()}
    script = max(counts, key=lambda name: counts[name])
    return script if counts[script] >= _MIN_LETTERS else None


@cache
def _script_patterns() -> dict[str, re.Pattern[str]]:
    patterns = {"Latn": _LATIN}
    for code, pattern in SCRIPT_PATTERNS.items():
        patterns[LANGUAGES[code].script] = pattern
    return patterns


def _may_differ_arabic(text: str, code: str) -> bool:
    persian, arabic = len(_PERSIAN.findall(text)), len(_ARABIC.findall(text))
    return persian > arabic if code == "ar" else arabic > persian


def _may_differ_latin(text: str, code: str) -> bool:
    """Tell whether frequent words of another language outnumber those of this one."""
    words = _WORD.findall(text.lower())
    own, owners = 0, _word_owners()
    others: dict[str, int] = {}
    for word in words:
        owner = owners.get(word)
        if owner == code:
            own += 1
        elif owner is not None:
            others[owner] = others.get(owner, 0) + 1
    return max(others.values(), default=0) >= max(_MIN_WORDS, 2 * own)


@cache
def _word_owners() -> dict[str, str]:
    """Return frequent words by the one language they are frequent in."""
    owners: dict[str, set[str]] = {}
    for code, profile in load_profiles().items():
        if LANGUAGES[code].script == "Latn":
            for word in profile.words:
                owners.setdefault(word, set()).add(code)
    return {word: next(iter(codes)) for word, codes in owners.items() if len(codes) == 1}
