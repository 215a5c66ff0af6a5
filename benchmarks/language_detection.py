"""Measure language detection on parallel sentences, whole and cut to their first words.

Usage: python benchmarks/language_detection.py DATA [--output FOLDER]
DATA holds ``dev/sib200.jsonl``: one object per line with a sentence under each language code.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import time
from pathlib import Path

from lusifer.detection import detect
from lusifer.languages import CODES

LENGTHS: dict[str, int | None] = {"1 word": 1, "2 words": 2, "3 words": 3, "sentence": None}
BINS = (0.0, 0.5, 0.7, 0.9, 0.97, 1.01)


def measure(sentences: list[dict[str, str]], words: int | None) -> dict[str, object]:
    """Return accuracy per language, how confidence relates to accuracy, and the time per text."""
    accuracy: dict[str, float] = {}
    judged: list[tuple[float, bool]] = []
    started = time.perf_counter()
    for code in CODES:
        texts = [row[code] if words is None else " ".join(row[code].split()[:words]) for row in sentences]
        found = [detect(text) for text in texts]
        accuracy[code] = sum(item.code == code for item in found) / len(found)
        judged += [(item.confidence, item.code == code) for item in found]
    seconds = time.perf_counter() - started
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


def to_markdown(report: dict[str, object], results: dict[str, dict[str, object]]) -> str:
    """Return the tables as Markdown."""
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
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    lines = (arguments.data / "dev" / "sib200.jsonl").read_text(encoding="utf-8").splitlines()
    sentences = [json.loads(line) for line in lines]
    detect("warm up"), detect("گرم")
    results = {name: measure(sentences, words) for name, words in LENGTHS.items()}
    report: dict[str, object] = {
        "command": "python benchmarks/language_detection.py DATA",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "sentences": len(sentences),
        "results": results,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "language_detection.json").write_text(json.dumps(report, indent=1) + "\n")
    markdown = to_markdown(report, results)
    (arguments.output / "language_detection.md").write_text(markdown, encoding="utf-8")
    print(markdown)


if __name__ == "__main__":
    main()
