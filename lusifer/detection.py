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

from common.languages import LANGUAGES, SCRIPTS

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

_CODES = {
    script: tuple(code for code, language in LANGUAGES.items() if language.script == script)
    for script in SCRIPTS
}
_LETTERS = {name: re.compile(f"[{script.letters}{script.forms}]") for name, script in SCRIPTS.items()}
_COMMON_WORDS = {code: frozenset(language.words.split()) for code, language in LANGUAGES.items()}
_WORD = re.compile(r"[^\W\d_]+(?:['’\u200c][^\W\d_]+)*")
_ADDRESS = re.compile(r"https?://\S+|www\.\S+|[\w.+-]+@[\w-]+\.[\w.]+")


@dataclass(frozen=True, slots=True)
class Detection:
    """What a text, a passage or a question seems to be written in.

    Attributes:
        code: ISO 639-1 code; from ``detect`` always one of the 14, ``en`` where nothing speaks for any.
        confidence: estimated probability that ``code`` is right, given that it is one of the 14; 0.0 for a
            text without letters of their scripts.
    """

    code: str
    confidence: float


def detect(text: str) -> Detection:
    """Return the language of a text, judged by its first thousand characters."""
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
        own = LANGUAGES[code].letters
        scores[index] += sum(nats for letters, nats in own for letter in letters if letter in text)
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
