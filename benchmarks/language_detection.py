"""Measure what the language facts are for: detection, foreign passages, legacy encodings.

Usage: python benchmarks/language_detection.py DATA [--output FOLDER]
DATA holds ``dev/sib200.jsonl``: one object per line with a sentence under each language code. Sentences are
detected whole and cut to their first words. As passages of a document: of those in its language, how many
cost a detection, and of those in another, how many are found?
Encodings: sentences written as files of the time were, and the share of them that is read back right.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import time
import unicodedata
from pathlib import Path

from common.languages import CODES
from indexer.errors import ExtractionFailed
from indexer.text.encoding import decode
from indexer.text.language import LanguageFinder
from lusifer.detection import Detection, detect, detect_any

Sentences = list[dict[str, str]]

LENGTHS: dict[str, int | None] = {"1 word": 1, "2 words": 2, "3 words": 3, "sentence": None}
BINS = (0.0, 0.5, 0.7, 0.9, 0.97, 1.01)
ENCODINGS = {
    "en": ("cp1252", "mac-roman"),
    "es": ("cp1252", "iso8859-15", "cp850", "mac-roman"),
    "fr": ("cp1252", "iso8859-15", "cp850", "mac-roman"),
    "fi": ("cp1252", "iso8859-15", "cp850", "mac-roman"),
    "id": ("cp1252", "mac-roman"),
    "sw": ("cp1252", "mac-roman"),
    "ru": ("cp1251", "koi8-r", "cp866", "iso8859-5", "mac-cyrillic"),
    "ar": ("cp1256", "iso8859-6", "mac-arabic"),
    "fa": ("cp1256",),
    "ko": ("cp949", "johab"),
    "vi": ("cp1258",),
}
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
FILE = 5
SOME = 100


def measure(sentences: Sentences, words: int | None) -> dict[str, object]:
    """Return accuracy per language, how confidence relates to accuracy, and the processor time per text."""
    accuracy: dict[str, float] = {}
    judged: list[tuple[float, bool]] = []
    started = time.process_time()
    for code in CODES:
        texts = [row[code] if words is None else " ".join(row[code].split()[:words]) for row in sentences]
        found = [detect(text) for text in texts]
        accuracy[code] = sum(item.code == code for item in found) / len(found)
        judged += [(item.confidence, item.code == code) for item in found]
    seconds = time.process_time() - started
    reliability = []
    for low, high in itertools.pairwise(BINS):
        inside = [right for confidence, right in judged if low <= confidence < high]
        if inside:
            reliability.append(
                {
                    "confidence": f"{low:.2f}-{min(high, 1.0):.2f}",
                    "texts": len(inside),
                    "right": round(sum(inside) / len(inside), 4),
                }
            )
    return {
        "accuracy": accuracy,
        "mean": sum(accuracy.values()) / len(accuracy),
        "microseconds_per_text": round(seconds / len(judged) * 1e6, 1),
        "reliability": reliability,
    }


def measure_any(sentences: Sentences, words: int | None) -> dict[str, float]:
    """Return how often langdetect itself, which chooses among 55 languages, is right, by language."""
    accuracy = {}
    for code in CODES:
        texts = [row[code] if words is None else " ".join(row[code].split()[:words]) for row in sentences]
        found = [detect_any(text) for text in texts]
        accuracy[code] = sum(item is not None and item.code == code for item in found) / len(found)
    return accuracy


def join(sentences: Sentences, code: str, size: int) -> list[str]:
    """Return stretches of so many sentences of a language."""
    texts = [row[code] for row in sentences]
    return [" ".join(texts[start : start + size]) for start in range(0, len(texts) - size + 1, size)]


def measure_passages(sentences: Sentences) -> dict[str, object]:
    """Return the share of passages found to be foreign, and of own passages detected at all or wrongly."""
    asked = 0

    def count(text: str) -> Detection:
        nonlocal asked
        asked += 1
        return detect(text)

    finder = LanguageFinder(count)
    passages = {code: [row[code] for row in sentences] for code in CODES}
    looked, wrong, found = {}, {}, {}
    for code in CODES:
        document, size = Detection(code, 0.99), len(passages[code])
        asked = 0
        own = [finder.of_passage(text, document).code for text in passages[code]]
        looked[code] = asked / size
        wrong[code] = sum(each != code for each in own) / size
        foreign = [
            finder.of_passage(text, document).code == other
            for other in CODES
            if other != code
            for text in passages[other][::10]
        ]
        found[code] = sum(foreign) / len(foreign)
    return {"passages": size, "found": found, "looked_at": looked, "wrong": wrong}


def write(text: str, encoding: str, language: str) -> tuple[bytes, str]:
    """Return a text as a file of the time, and what is to be read from it."""
    if encoding == "cp1258":
        content = b"".join(map(_write_vietnamese, unicodedata.normalize("NFC", text)))
        return content, unicodedata.normalize("NFC", content.decode("cp1258"))
    if language == "fa" and encoding == "cp1256":
        text = text.replace("ی", "ي")  # Windows-1256 has no Persian yeh; people wrote the Arabic one
    content = text.encode(encoding, "ignore")
    return content, content.decode(encoding)


def _write_vietnamese(letter: str) -> bytes:
    """Encode a letter as Windows does: with its quality mark, then the tone mark."""
    tones = "\u0300\u0301\u0303\u0309\u0323"
    parts = unicodedata.normalize("NFD", letter)
    base = unicodedata.normalize("NFC", "".join(mark for mark in parts if mark not in tones))
    tone = "".join(mark for mark in parts if mark in tones)
    try:
        return letter.encode("cp1258")
    except UnicodeEncodeError:
        return (base + tone).encode("cp1258", "ignore")


def measure_encodings(sentences: Sentences) -> dict[str, dict[str, dict[str, float]]]:
    """Return the share of files read right, by language and encoding, for one sentence and for several."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for name, size in (("one sentence", 1), (f"{FILE} sentences", FILE)):
        for code in CODES:
            texts = join(sentences, code, size)[: 200 if size == 1 else None]
            shares = {}
            for encoding in (*ENCODINGS.get(code, ()), *WIDE):
                files = [write(text, encoding, code) for text in texts]
                shares[encoding] = sum(_read(content) == text for content, text in files) / len(files)
            result.setdefault(name, {})[code] = shares
    return result


def _read(content: bytes) -> str | None:
    try:
        return decode(content).text
    except ExtractionFailed:
        return None


def to_markdown(report: dict[str, object]) -> str:
    """Return the tables as Markdown."""
    results: dict[str, dict[str, object]] = report["results"]  # type: ignore[assignment]
    lines = ["# Language detection", "", f"`{report['command']}` on {report['machine']}.", ""]
    lines += [
        f"{report['sentences']} parallel sentences, cut to their first words. Share detected right:",
        "",
    ]
    lines += [f"| text | {' | '.join(CODES)} | mean | µs |", "|---" * (len(CODES) + 3) + "|"]
    for name, result in results.items():
        accuracy = result["accuracy"]
        assert isinstance(accuracy, dict)
        cells = " | ".join(f"{accuracy[code]:.3f}" for code in CODES)
        lines.append(f"| {name} | {cells} | {result['mean']:.3f} | {result['microseconds_per_text']} |")
    lines += ["", "Is the confidence honest? Share right among texts of each confidence:", ""]
    lines += ["| text | confidence | texts | right |", "|---|---|---|---|"]
    for name, result in results.items():
        reliability = result["reliability"]
        assert isinstance(reliability, list)
        lines += [f"| {name} | {r['confidence']} | {r['texts']} | {r['right']:.3f} |" for r in reliability]
    others: dict[str, dict[str, float]] = report["langdetect"]  # type: ignore[assignment]
    lines += ["", f"langdetect itself, among its 55 languages, on {SOME} sentences:", ""]
    lines += [f"| text | {' | '.join(CODES)} | mean |", "|---" * (len(CODES) + 2) + "|"]
    for name, row in others.items():
        cells = " | ".join(f"{row[code]:.3f}" for code in CODES)
        lines.append(f"| {name} | {cells} | {sum(row.values()) / len(row):.3f} |")
    passages: dict[str, dict[str, float]] = report["passages"]  # type: ignore[assignment]
    lines += ["", "Sentences as passages, by the language of their document:", ""]
    lines += [f"| share | {' | '.join(CODES)} |", "|---" * (len(CODES) + 1) + "|"]
    for name, row in (
        ("foreign passages found", passages["found"]),
        ("own passages detected, which costs time", passages["looked_at"]),
        ("own passages taken for foreign", passages["wrong"]),
    ):
        lines.append(f"| {name} | {' | '.join(f'{row[code]:.3f}' for code in CODES)} |")
    encodings: dict[str, dict[str, dict[str, float]]] = report["encodings"]  # type: ignore[assignment]
    lines += ["", "Files read back right, by encoding:", "", "| language | encoding | "]
    lines[-1] += " | ".join(encodings) + " |"
    lines.append("|---" * (len(encodings) + 2) + "|")
    first = next(iter(encodings.values()))
    for code, shares in first.items():
        for encoding in shares:
            cells = " | ".join(f"{group[code][encoding]:.3f}" for group in encodings.values())
            lines.append(f"| {code} | {encoding} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    lines = (arguments.data / "dev" / "sib200.jsonl").read_text(encoding="utf-8").splitlines()
    sentences = [json.loads(line) for line in lines]
    detect("warm up"), detect("گرم")
    report: dict[str, object] = {
        "command": "python benchmarks/language_detection.py DATA",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "sentences": len(sentences),
        "results": {name: measure(sentences, words) for name, words in LENGTHS.items()},
        "langdetect": {name: measure_any(sentences[:SOME], words) for name, words in LENGTHS.items()},
        "passages": measure_passages(sentences),
        "encodings": measure_encodings(sentences),
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "language_detection.json").write_text(json.dumps(report, indent=1) + "\n")
    markdown = to_markdown(report)
    (arguments.output / "language_detection.md").write_text(markdown, encoding="utf-8")
    print(markdown)


if __name__ == "__main__":
    main()
