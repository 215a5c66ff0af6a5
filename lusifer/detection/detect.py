"""Tell which of the 14 languages a text is written in, and how sure that is.

Script first: Hangul, Bengali, Telugu, Devanagari and Cyrillic decide alone. Languages that share a script are
told apart by langdetect's n-gram profiles, restricted to those languages, and by a few cues. Same text, same
answer, in every order and thread: the n-gram evidence is summed, not sampled as langdetect itself does.
Must not know files or queries.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from lusifer.detection.hints import LETTERS, WORDS

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

_LATIN = ("en", "es", "fr", "vi", "id", "fi", "sw")
_ARABIC = ("fa", "ar")
_SCRIPTS: dict[str, tuple[tuple[str, ...], str]] = {
    "Latn": (_LATIN, "A-Za-zÀ-ÖØ-öø-ɏ\u1e00-\u1eff"),
    "Arab": (_ARABIC, "\u0620-\u064a\u066e-\u06d3\u06fa-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefe"),
    "Cyrl": (("ru",), "\u0400-\u052f"),
    "Hang": (("ko",), "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"),
    "Deva": (("hi",), "\u0904-\u0939\u0958-\u0961\u0970-\u097f"),
    "Beng": (("bn",), "\u0985-\u09b9\u09ce\u09dc-\u09e1\u09f0\u09f1"),
    "Telu": (("te",), "\u0c05-\u0c39\u0c58-\u0c61"),
}
_LETTERS = {script: re.compile(f"[{letters}]") for script, (_, letters) in _SCRIPTS.items()}
_WORD = re.compile(r"[^\W\d_]+(?:['’\u200c][^\W\d_]+)*")
_ADDRESS = re.compile(r"https?://\S+|www\.\S+|[\w.+-]+@[\w-]+\.[\w.]+")


@dataclass(frozen=True, slots=True)
class Detection:
    """What a text seems to be written in.

    Attributes:
        code: ISO 639-1 code, always one of the 14; ``en`` where nothing speaks for any.
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
    codes = _SCRIPTS[script][0]
    if len(codes) == 1:
        return Detection(codes[0], round(certain, 4))
    code, probability = _weigh(sample.lower(), script)
    return Detection(code, round(probability * certain, 4))


def _weigh(text: str, script: str) -> tuple[str, float]:
    """Return the likeliest language of a script for a lower-case text, and its probability."""
    codes = _SCRIPTS[script][0]
    pattern, scores = _LETTERS[script], [0.0] * len(codes)
    for word, count in Counter(_WORD.findall(text)).items():
        if pattern.search(word):
            for index, value in enumerate(_score_word(word, script)):
                scores[index] += count * value
    for index, code in enumerate(codes):
        scores[index] += sum(nats for letter, nats in LETTERS.get(code, {}).items() if letter in text)
    best = max(scores)
    weights = [math.exp(score - best) for score in scores]
    index = scores.index(best)
    return codes[index], weights[index] / sum(weights)


@lru_cache(maxsize=65536)
def _score_word(word: str, script: str) -> tuple[float, ...]:
    """Return how much a word speaks for each language of a script, in nats."""
    codes, profiles = _SCRIPTS[script][0], _profiles(script)
    scores = [0.0] * len(codes)
    for part in re.split("['’\u200c]", word[:60]):
        padded = f" {part} "
        for size in (1, 2, 3):
            for start in range(len(padded) - size + 1):
                evidence = profiles.get(padded[start : start + size])
                if evidence:
                    for index, value in enumerate(evidence):
                        scores[index] += value
    return tuple(
        score + _WORD_NATS * (word.replace("’", "'") in WORDS[code])
        for code, score in zip(codes, scores, strict=True)
    )


@cache
def _profiles(script: str) -> dict[str, tuple[float, ...]]:
    """Return the log-probability of each n-gram in each language of a script, from langdetect's profiles."""
    import langdetect

    folder = Path(langdetect.__file__).parent / "profiles"
    codes = _SCRIPTS[script][0]
    grams: dict[str, list[float]] = {}
    for index, code in enumerate(codes):
        profile = json.loads((folder / code).read_text(encoding="utf-8"))
        for gram, count in profile["freq"].items():
            row = grams.setdefault(gram, [0.0] * len(codes))
            row[index] = count / profile["n_words"][len(gram) - 1]
    return {
        gram: tuple(math.log(_SMOOTHING + value) / _TEMPERATURE for value in row)
        for gram, row in grams.items()
        if gram.strip()
    }
