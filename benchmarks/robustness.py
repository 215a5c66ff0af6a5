"""Measure what careless or unusual spelling of a question costs, and how short questions do on long passages.

    python benchmarks/robustness.py DATA [--model FOLDER] [--output FOLDER]

DATA holds ``sib200.jsonl`` and ``mlqa/`` as ``lusifer evaluate retrieval`` reads them. Each change is made to
the questions only, in the languages where it can happen, and compared with the same questions as they are:
sentences looked up in English (accuracy), and questions to paragraphs of their own language (recall@10 by
vectors, by words, and by both as the search weighs them). Typos are drawn with a fixed seed.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.languages import CODES
from lusifer import Embedder
from lusifer.evaluate.datasets import ParallelSentences, QuestionAnswering, read_parallel, read_questions
from lusifer.evaluate.retrieval import ranks, recall_at
from search.calibration.pools import Passages
from search.calibration.weights import fused, positions
from search.ranking import Calibration, FusionWeights
from store.lexical import weight, words

RESULTS = Path(__file__).parent / "results"
SEED = 0
QUESTION_TOKENS, PASSAGE_TOKENS = 6, 200
CASED = ("en", "es", "ru", "fr", "vi", "id", "fi", "sw")
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
_HALF_WIDTH_VOWELS = dict(
    zip("ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ", [*range(0xFFC2, 0xFFC8), *range(0xFFCA, 0xFFD0),
        *range(0xFFD2, 0xFFD8), *range(0xFFDA, 0xFFDD)], strict=True)
)  # fmt: skip
_PERSIAN_KEYS = str.maketrans("يك", "یک")
_ARABIC_KEYS = str.maketrans("یک", "يك")
_PLAIN_ARABIC = str.maketrans("أإآىة", "ااايه")
_TO_DIGITS = {"ar": 0x0660, "fa": 0x06F0, "hi": 0x0966, "bn": 0x09E6, "te": 0x0C66}


def without_marks(text: str) -> str:
    """Drop accents of Latin letters, as people type without them."""
    split = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    kept = "".join(one for one in split if not 0x0300 <= ord(one) <= 0x036F)
    return unicodedata.normalize("NFC", kept)


def without_nukta(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).replace("\u093c", ""))


def half_width_vowels(text: str) -> str:
    """Write Korean as separate letters, the vowels among them half-width: what old systems hand over."""
    return "".join(chr(_HALF_WIDTH_VOWELS.get(one, ord(one))) for one in _letters(text))


def _letters(text: str) -> str:
    """Cut Hangul syllables into compatibility letters."""
    first, middle, last = (
        "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ",
        "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ",
        ["", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"],
    )
    parts = []
    for one in text:
        place = ord(one) - 0xAC00
        if 0 <= place < 11172:
            parts += [first[place // 588], middle[place // 28 % 21], last[place % 28]]
        else:
            parts.append(one)
    return "".join(parts)


def native_digits(code: str) -> Callable[[str], str]:
    table = {0x30 + digit: _TO_DIGITS[code] + digit for digit in range(10)}
    return lambda text: text.translate(table)


def typo(text: str) -> str:
    """Swap, drop or double one letter inside one of the longer words."""
    draw = random.Random(f"{SEED} {text}")
    parts = text.split(" ")
    long = [place for place, word in enumerate(parts) if len(word) >= 4]
    if not long:
        return text
    place = draw.choice(long)
    word = parts[place]
    at = draw.randrange(1, len(word) - 2)
    parts[place] = draw.choice(
        (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[: at + 1] + word[at:],
        )
    )
    return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Change:
    """A way to spell questions otherwise: its name, and the function for each language it happens in."""

    name: str
    by_language: dict[str, Callable[[str], str]]


def changes() -> list[Change]:
    def each(codes: tuple[str, ...], change: Callable[[str], str]) -> dict[str, Callable[[str], str]]:
        return dict.fromkeys(codes, change)

    return [
        Change("lower case", each(CASED, str.lower)),
        Change("upper case", each(CASED, str.upper)),
        Change("without accents", each(("vi", "fr", "es", "fi"), without_marks)),
        Change("decomposed (NFD)", each(CODES, lambda text: unicodedata.normalize("NFD", text))),
        Change("Persian letters in Arabic", each(("ar",), lambda text: text.translate(_PERSIAN_KEYS))),
        Change("plain alef, yeh, heh", each(("ar",), lambda text: text.translate(_PLAIN_ARABIC))),
        Change("Arabic letters in Persian", each(("fa",), lambda text: text.translate(_ARABIC_KEYS))),
        Change("Persian joiner left out", each(("fa",), lambda text: text.replace("\u200c", ""))),
        Change("Persian joiner a space", each(("fa",), lambda text: text.replace("\u200c", " "))),
        Change("without nukta", each(("hi",), without_nukta)),
        Change("native digits", {code: native_digits(code) for code in _TO_DIGITS}),
        Change(
            "full-width letters", each(("en", "es", "fr", "id"), lambda text: text.translate(_FULL_WIDTH))
        ),
        Change("Hangul as letters (NFD)", each(("ko",), lambda text: unicodedata.normalize("NFD", text))),
        Change("Hangul half-width", each(("ko",), half_width_vowels)),
        Change("one typo", each(CODES, typo)),
        Change("question mark left out", each(CODES, lambda text: text.rstrip("?؟？।. "))),
    ]


class Bench:
    """Both sets, ready to be asked; what the unchanged questions give is measured once."""

    def __init__(self, model: Embedder, sentences: ParallelSentences, questions: QuestionAnswering) -> None:
        self._model, self._sentences, self._questions = model, sentences, questions
        self._english = model.embed_documents(sentences.texts["en"])
        self._passages = {
            code: Passages(model, list(group.values()), [code] * len(group))
            for code, group in questions.paragraphs.items()
        }
        self._plain: dict[str, tuple[float, dict[str, float]]] = {}
        calibration = Calibration.read(model.calibration)
        self._weights = (
            calibration.fusion if calibration else FusionWeights(1.2, 0.8, dict.fromkeys(CODES, 0.0))
        )

    def sentence_accuracy(self, code: str, change: Callable[[str], str]) -> float:
        vectors = self._model.embed_query([change(text) for text in self._sentences.texts[code]])
        target = np.arange(len(vectors))
        return recall_at(ranks(vectors @ self._english.T, target), 1)

    def question_recall(self, code: str, change: Callable[[str], str]) -> dict[str, float]:
        group = self._questions.questions[code, code]
        rows = {pid: row for row, pid in enumerate(self._questions.paragraphs[code])}
        right = [[rows[pid]] for pid in group.relevant]
        return self.ask(code, self._passages[code], [change(text) for text in group.texts], right)

    def ask(
        self, code: str, passages: Passages, texts: list[str], right: list[list[int]]
    ) -> dict[str, float]:
        pool = passages.ask("one", code, texts, right)
        found = {
            "dense": pool.similarity,
            "lexical": np.where(np.isfinite(pool.similarity), pool.words, -np.inf),
            "fused": fused(pool, self._weights),
        }
        return {way: recall_at(positions(scores, pool.right), 10) for way, scores in found.items()}

    def plain(self, code: str) -> tuple[float, dict[str, float]]:
        """Return what unchanged questions give; measured once."""
        if code not in self._plain:
            asked = (code, code) in self._questions.questions
            recall = self.question_recall(code, str) if asked else {}
            self._plain[code] = self.sentence_accuracy(code, str), recall
        return self._plain[code]

    def measure(self, change: Change) -> dict[str, Any]:
        rows = {}
        for code, spell in change.by_language.items():
            altered = [spell(text) != text for text in self._sentences.texts[code]]
            row: dict[str, Any] = {"altered": round(float(np.mean(altered)), 3)}
            if code != "en":
                row["sentences"] = [self.plain(code)[0], self.sentence_accuracy(code, spell)]
            if (code, code) in self._questions.questions:
                plain, other = self.plain(code)[1], self.question_recall(code, spell)
                row["questions"] = {way: [plain[way], other[way]] for way in plain}
            rows[code] = row
        return rows

    def short_questions(self) -> dict[str, Any]:
        """Ask with the six tokens that say most, of paragraphs cut into passages of at most 200 tokens."""
        rows = {}
        for code, group in self._questions.paragraphs.items():
            questions = self._questions.questions[code, code]
            pieces = [(pid, piece) for pid, text in group.items() for piece in self.cut(text)]
            cut = Passages(self._model, [piece for _, piece in pieces], [code] * len(pieces))
            rows_of: dict[str, list[int]] = {}
            for row, (pid, _) in enumerate(pieces):
                rows_of.setdefault(pid, []).append(row)
            right = [rows_of[pid] for pid in questions.relevant]
            columns = {pid: row for row, pid in enumerate(group)}
            one = [[columns[pid]] for pid in questions.relevant]
            short = [self.shorten(text) for text in questions.texts]
            whole = self._passages[code]
            rows[code] = {
                "whole question, whole passage": self.ask(code, whole, questions.texts, one),
                "whole question, 200 tokens": self.ask(code, cut, questions.texts, right),
                "6 tokens, 200 tokens": self.ask(code, cut, short, right),
            }
        return rows

    def cut(self, text: str) -> list[str]:
        pieces: list[list[str]] = [[]]
        held = 0
        parts = text.split()
        for word, size in zip(parts, self._model.count_tokens(parts), strict=True):
            if held + size > PASSAGE_TOKENS and pieces[-1]:
                pieces.append([])
                held = 0
            pieces[-1].append(word)
            held += size
        return [" ".join(piece) for piece in pieces]

    def shorten(self, text: str) -> str:
        """Keep the rarest words of a question, in their order, up to six tokens."""
        parts = text.split()
        sizes = self._model.count_tokens(parts)
        rarest = sorted(range(len(parts)), key=lambda i: -max(map(weight, words(parts[i])), default=0.0))
        kept: list[int] = []
        held = 0
        for place in rarest:
            if not kept or held + sizes[place] <= QUESTION_TOKENS:
                kept.append(place)
                held += sizes[place]
        return " ".join(parts[place] for place in sorted(kept))


def to_markdown(record: dict[str, Any]) -> str:
    lines = [
        f"# What unusual spelling costs, {record['model']} ({record['fingerprint']})",
        "",
        f"`{record['command']}`, {record['machine']}, seed {SEED}.",
        "As written → changed, means over languages. Sentences: accuracy into English; questions: "
        "recall@10 in their own language.",
        "",
        "| change | languages | sentences altered | sentences | dense | lexical | both |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, rows in record["changes"].items():
        cells = [mean_change([row["sentences"] for row in rows.values() if "sentences" in row])]
        for way in ("dense", "lexical", "fused"):
            cells.append(mean_change([row["questions"][way] for row in rows.values() if "questions" in row]))
        altered = float(np.mean([row["altered"] for row in rows.values()]))
        lines.append(f"| {name} | {' '.join(rows)} | {altered:.2f} | {' | '.join(cells)} |")
    lines += ["", "Per language, where a change costs more than 0.01:", ""]
    lines += ["| change | language | what | as written | changed |", "| --- | --- | --- | ---: | ---: |"]
    for name, rows in record["changes"].items():
        for code, row in rows.items():
            pairs = {"sentences": row.get("sentences")} | row.get("questions", {})
            for what, pair in pairs.items():
                if pair and pair[0] - pair[1] > 0.01:
                    lines.append(f"| {name} | {code} | {what} | {pair[0]:.3f} | {pair[1]:.3f} |")
    lines += [
        "",
        f"Short questions ({QUESTION_TOKENS} tokens), passages of at most {PASSAGE_TOKENS} (recall@10):",
        "",
    ]
    lines += ["| question, passage | dense | lexical | both |", "| --- | ---: | ---: | ---: |"]
    for name in next(iter(record["short"].values())):
        means = [
            np.mean([row[name][way] for row in record["short"].values()])
            for way in ("dense", "lexical", "fused")
        ]
        lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in means)} |")
    return "\n".join(lines) + "\n"


def mean_change(pairs: list[list[float]]) -> str:
    if not pairs:
        return ""
    plain, changed = np.mean(pairs, axis=0)
    return f"{plain:.3f} → {changed:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    model = Embedder.load(arguments.model)
    bench = Bench(
        model, read_parallel(arguments.data / "sib200.jsonl"), read_questions(arguments.data / "mlqa")
    )
    record: dict[str, Any] = {
        "command": "python benchmarks/robustness.py DATA",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "model": model.name,
        "fingerprint": model.fingerprint,
        "changes": {change.name: bench.measure(change) for change in changes()},
        "short": bench.short_questions(),
    }
    text = to_markdown(record)
    sys.stdout.write(text)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "robustness.md").write_text(text, encoding="utf-8")
    (arguments.output / "robustness.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
