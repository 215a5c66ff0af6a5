"""The language of a document and of each of its passages, with confidence.

A document is detected on a sample of its text. Passages are not detected one by one, which would cost more
than embedding them: cheap signs (script, letters, common words) tell which of them may be in another
language, and only those are looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from common.languages import LANGUAGES, SIGNS
from lusifer.detection import Detection, detect

_SAMPLES = 3
_SAMPLE = 400
_PASSAGE_SAMPLE = 400
_SURE = 0.85
_SURE_PASSAGE = 0.9
_MIN_SIGNS = 24
_MIN_WORDS = 2
_WORD = re.compile(r"[^\W\d_]{2,}")


def _owners(parts: dict[str, list[str]]) -> dict[str, str]:
    """Map what only one language has to that language."""
    languages = Counter(part for own in parts.values() for part in set(own))
    return {part: code for code, own in parts.items() for part in own if languages[part] == 1}


_WORD_OWNERS = _owners({code: language.words.split() for code, language in LANGUAGES.items()})
_LETTER_OWNERS = _owners(
    {code: [*"".join(each for each, _ in language.letters)] for code, language in LANGUAGES.items()}
)


class LanguageFinder:
    """Finds the language of documents and passages.

    Args:
        detect: finds the language of a text, at some cost.
    """

    def __init__(self, detect: Callable[[str], Detection] = detect) -> None:
        self._detect = detect

    def of_document(self, text: str, hint: str = "") -> Detection:
        """Return the language of a document.

        Args:
            text: the whole text.
            hint: what the document says its language is; believed where detection is not sure, since many
                pages carry the language of the template they were made from.
        """
        found = self._vote(_samples(text))
        code = hint.lower().replace("_", "-").split("-")[0]
        if code in LANGUAGES and code != found.code and found.confidence < _SURE:
            return Detection(code, round(1.0 - found.confidence, 4))
        return found

    def of_passage(self, text: str, document: Detection) -> Detection:
        """Return the language of a passage: its document's, unless there are signs of another."""
        if not _may_differ(text[:_PASSAGE_SAMPLE], document.code):
            return document
        found = self._detect(text)
        if found.code == document.code or found.confidence < _SURE_PASSAGE:
            return document
        return found

    def _vote(self, samples: list[str]) -> Detection:
        """Return the language most samples are in, each counted with its confidence."""
        votes: dict[str, float] = {}
        for sample in samples:
            found = self._detect(sample)
            votes[found.code] = votes.get(found.code, 0.0) + found.confidence
        code = max(votes, key=votes.__getitem__)
        return Detection(code, round(votes[code] / len(samples), 4))


def _samples(text: str) -> list[str]:
    """Return a few stretches of the text, evenly spread; the whole of it if it is short."""
    number = min(_SAMPLES, max(1, len(text) // _SAMPLE))
    step = len(text) // number
    size = step if number < _SAMPLES else _SAMPLE
    return [text[start : start + size] for start in range(0, step * number, step)]


def _may_differ(text: str, code: str) -> bool:
    counts = {script: len(pattern.findall(text)) for script, pattern in SIGNS.items()}
    script = max(counts, key=counts.__getitem__)
    if counts[script] < _MIN_SIGNS:
        return False
    if script != LANGUAGES[code].script:
        return True
    if script == "Arab":
        own, most = _count_signs(text, _LETTER_OWNERS, code)
        return most > own
    if script == "Latn":
        own, most = _count_signs(_WORD.findall(text.lower()), _WORD_OWNERS, code)
        return most >= max(_MIN_WORDS, 2 * own)
    return False


def _count_signs(parts: Sequence[str], owners: dict[str, str], code: str) -> tuple[int, int]:
    """Count parts of the text that only this language has, and those of the other that has most."""
    counts = Counter(owners[part] for part in parts if part in owners)
    own = counts.pop(code, 0)
    return own, max(counts.values(), default=0)
