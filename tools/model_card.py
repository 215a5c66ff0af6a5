"""Fill the results of lusifer/mini/MODEL_CARD.md from benchmarks/results/retrieval.json, between two marks.

Run it after ``lusifer evaluate retrieval DATA/dev``, so that the card shows what was measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).parents[1]
CARD = ROOT / "lusifer" / "mini" / "MODEL_CARD.md"
RESULTS = ROOT / "benchmarks" / "results" / "retrieval.json"
BEGIN, END = "<!-- results: tools/model_card.py -->", "<!-- end of results -->"


def table(results: dict[str, Any]) -> str:
    """Return both tables, for a run of one system or the first of several."""
    first = results["systems"][0] if "systems" in results else results
    sentences, questions, mixed = first["sentences"], first["questions"], first["mixed"]
    same, cross = questions["same"], questions["cross"]
    rows = [
        ("sentences against English, mean of 13 languages, both directions", f"{sentences['mean']:.3f}"),
        (f"weakest language ({sentences['weakest']})", f"{sentences['minimum']:.3f}"),
        ("all 182 directions", f"{sentences['all_directions']:.3f}"),
        (
            "topics learnt in English, recognised in the others (nearest centroid, 7 topics)",
            f"{mean(sentences['topics'].values()):.3f}",
        ),
        (
            "questions to paragraphs, same language: recall@1 / recall@10",
            f"{same['recall@1']:.3f} / {same['recall@10']:.3f}",
        ),
        (
            "questions to paragraphs, two languages: recall@1 / recall@10",
            f"{cross['recall@1']:.3f} / {cross['recall@10']:.3f}",
        ),
        (
            "one pool of five languages: share of own-language hits over share of own-language answers",
            f"{mixed['bias']:.2f}",
        ),
    ]
    lines = ["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows), ""]
    lines += [
        "| language | English → it | it → English | it → the other 12 | topics |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    accuracy = sentences["accuracy"]
    for code in sentences["against_english"]:
        others = mean(accuracy[code][other] for other in accuracy if other not in (code, "en"))
        lines.append(
            f"| {code} | {accuracy['en'][code]:.3f} | {accuracy[code]['en']:.3f} | {others:.3f} "
            f"| {sentences['topics'][code]:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    text = CARD.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    CARD.write_text(f"{head}{BEGIN}\n{table(results)}\n{END}{tail}", encoding="utf-8")
    print(f"wrote {CARD.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
