"""Tell which language a text is written in, and how sure that is.

Script first: Hangul, Bengali, Telugu, Devanagari and Cyrillic decide alone. Languages that share a script are
told apart by the n-gram probabilities of langdetect and by letters and common words of their own. Same text,
same answer, in every order and thread: langdetect's own verdict draws n-grams at random until it is certain,
which on short texts is both less often right and never in doubt (docs/decisions.md), so here its
probabilities of all n-grams are summed.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from common.languages import LANGUAGES, SCRIPTS

if TYPE_CHECKING:
    from langdetect import DetectorFactory

#: Longer texts are judged by their beginning.
SAMPLE = 1000

#: A script other than Latin decides from this share of the letters on: its writers mix in Latin terms, while
#: a Latin text that quotes more than this in another script is rare.
_SHARE = 0.2

#: N-grams overlap (each letter is in up to six), so their evidence is divided; a common word adds to it.
#: Fitted on training text for likelihood, which is what makes the confidence honest.
_TEMPERATURE = 4.0
_WORD_NATS = 4.0
#: Probability of an n-gram that a language's profile lacks; langdetect's own value.
_SMOOTHING = 5e-5
#: How many times likelier each of the fourteen is than another language, before a text is looked at.
_PRIOR = 10.0

_CODES = {
    script: tuple(code for code, language in LANGUAGES.items() if language.script == script)
    for script in SCRIPTS
}
_LETTERS = {name: re.compile(f"[{script.letters}{script.forms}]") for name, script in SCRIPTS.items()}
_OWN_LETTERS = {
    code: {letter: nats for letters, nats in language.letters for letter in letters}
    for code, language in LANGUAGES.items()
}
_COMMON_WORDS = {code: frozenset(language.words.split()) for code, language in LANGUAGES.items()}
_WORD = re.compile(r"[^\W\d_]+(?:['’\u200c][^\W\d_]+)*")
_ADDRESS = re.compile(r"https?://\S+|www\.\S+|[\w.+-]+@[\w-]+\.[\w.]+")


@dataclass(frozen=True, slots=True)
class Detection:
    """What a document, a passage or a question is written in."""

    code: Annotated[str, Field(description="ISO 639-1 code.", examples=["en"])]
    confidence: Annotated[float, Field(ge=0, le=1, description="Estimated probability that this is right.")]


def detect(text: str) -> Detection:
    """Return the language of a text, judged by its first thousand characters.

    It is one of the fourteen, and the confidence is the probability that it is right if the text is in any of
    them; English with confidence 0.0 for a text without letters of their scripts.
    """
    sample = unicodedata.normalize("NFKC", _ADDRESS.sub(" ", text[: 4 * SAMPLE].lstrip())[:SAMPLE])
    counts = {script: len(pattern.findall(sample)) for script, pattern in _LETTERS.items()}
    letters = sum(character.isalpha() for character in sample)
    if not any(counts.values()):
        return Detection("en", 0.0)
    other = max((script for script in counts if script != "Latn"), key=counts.__getitem__)
    script = other if counts[other] >= _SHARE * sum(counts.values()) else "Latn"
    share = min(1.0, counts[script] / max(letters, 1))
    certain = 0.99 if share > 0.5 else 0.5 + 0.98 * share / 2
    codes = _CODES[script]
    if len(codes) == 1:
        return Detection(codes[0], round(certain, 4))
    code, probability = _weigh(sample.lower(), script)
    return Detection(code, round(probability * certain, 4))


def _weigh(text: str, script: str) -> tuple[str, float]:
    """Return the likeliest language of a script for a lower-case text, and its probability."""
    codes = _CODES[script]
    pattern, scores = _LETTERS[script], [0.0] * len(codes)
    for word, count in Counter(_WORD.findall(text)).items():
        if pattern.search(word):
            for index, value in enumerate(_score_word(word, script)):
                scores[index] += count * value
    for index, code in enumerate(codes):
        scores[index] += sum(nats for letter, nats in _OWN_LETTERS[code].items() if letter in text)
    best = max(scores)
    weights = [math.exp(score - best) for score in scores]
    index = scores.index(best)
    return codes[index], weights[index] / sum(weights)


@lru_cache(maxsize=65536)
def _score_word(word: str, script: str) -> tuple[float, ...]:
    """Return how much a word speaks for each language of a script, in nats."""
    codes, evidence = _CODES[script], _evidence(script)
    scores = [0.0] * len(codes)
    for part in re.split("['’\u200c]", word[:60]):
        padded = f" {part} "
        for size in (1, 2, 3):
            for start in range(len(padded) - size + 1):
                for index, value in enumerate(evidence.get(padded[start : start + size], ())):
                    scores[index] += value
    plain = word.replace("’", "'")
    return tuple(
        score + _WORD_NATS * (plain in _COMMON_WORDS[code]) for code, score in zip(codes, scores, strict=True)
    )


@cache
def _evidence(script: str) -> dict[str, tuple[float, ...]]:
    """Return how much each n-gram speaks for each language of a script, in nats."""
    from langdetect import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    profiles = Path(PROFILES_DIRECTORY)
    factory.load_json_profile([(profiles / code).read_text(encoding="utf-8") for code in _CODES[script]])
    return {
        gram: tuple(math.log(_SMOOTHING + value) / _TEMPERATURE for value in probabilities)
        for gram, probabilities in factory.word_lang_prob_map.items()
        if gram.strip()
    }


def detect_any(text: str) -> Detection | None:
    """Return the language of a text among the 55 that langdetect knows; None where it cannot say.

    This is langdetect's own verdict, for whole sentences; on a few words it is certain and often wrong. Its
    profiles take a third of a second and 60 MB, once.
    """
    from langdetect import LangDetectException

    factory = _every_language()
    detector = factory.create()
    detector.set_prior_map({code: _PRIOR if code in LANGUAGES else 1.0 for code in factory.get_lang_list()})
    detector.append(unicodedata.normalize("NFKC", text[: 4 * SAMPLE].lstrip()[:SAMPLE]))
    try:
        found = detector.get_probabilities()
    except LangDetectException:
        return None
    return Detection(found[0].lang.partition("-")[0], round(min(1.0, found[0].prob), 4)) if found else None


@cache
def _every_language() -> DetectorFactory:
    from langdetect import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.set_seed(0)
    return factory
