"""Measure how fast a model loads and embeds: texts per second by length, and where the time goes.

Usage: python benchmarks/embedding_speed.py [DATA] [--model PATH] [--output FOLDER]
Texts are sentences of DATA/dev/sib200.jsonl in 14 languages, shuffled with a fixed seed and joined to the
lengths asked for; each text is embedded once by a model that has seen none of its words ("cold"), then again
("warm"). An index run lies between: most words repeat, some are new.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from lusifer import Embedder
from lusifer.languages import CODES

LENGTHS = (32, 128, 200)
SEED = 0
TOKENS = 400_000


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def best_of(count: int, call: Callable[[], object]) -> float:
    return min(timed(call) for _ in range(count))


def join_to(sentences: list[str], sizes: list[int], length: int) -> list[str]:
    """Join sentences to texts of at least ``length`` tokens, ``TOKENS`` tokens in all."""
    texts: list[str] = []
    parts: list[str] = []
    held = total = 0
    for sentence, size in zip(sentences, sizes, strict=True):
        parts.append(sentence)
        held += size
        if held >= length:
            texts.append(" ".join(parts))
            total += held
            parts, held = [], 0
            if total >= TOKENS:
                break
    return texts


def start_seconds(model: str | None) -> dict[str, float]:
    """Return the best of five fresh processes: import, load, first query."""
    script = (
        "import time; a = time.perf_counter(); from lusifer import Embedder; b = time.perf_counter();"
        f"e = Embedder.load({model!r}); c = time.perf_counter();"
        "e.embed_query('first'); d = time.perf_counter();"
        "print(b - a, c - b, d - c)"
    )
    runs = [
        [float(value) for value in subprocess.check_output([sys.executable, "-c", script]).split()]
        for _ in range(5)
    ]
    return {
        name: round(float(value), 4)
        for name, value in zip(("import", "load", "first_query"), np.min(runs, axis=0), strict=True)
    }


def measure(model: str | None, sentences: list[str], length: int) -> dict[str, float]:
    embedder = Embedder.load(model)
    texts = join_to(sentences, embedder.count_tokens(sentences), length)
    embedder = Embedder.load(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cold = timed(lambda: embedder.embed_documents(texts))
        warm = best_of(5, lambda: embedder.embed_documents(texts))
    counts = embedder.count_tokens(texts)
    tokenise = best_of(5, lambda: embedder.count_tokens(texts))
    tokenise_cold = timed(lambda: Embedder.load(model).tokenizer.encode_batch_fast(texts))
    return {
        "tokens_per_text": round(float(np.mean(counts)), 1),
        "texts": len(texts),
        "cold_texts_per_second": round(len(texts) / cold, 1),
        "warm_texts_per_second": round(len(texts) / warm, 1),
        "warm_tokens_per_second": round(sum(counts) / warm),
        "warm_share_tokenising": round(min(1.0, tokenise / warm), 3),
        "cold_share_tokenising": round(min(1.0, tokenise_cold / cold), 3),
    }


def query_milliseconds(model: str | None, sentences: list[str]) -> dict[str, float]:
    embedder = Embedder.load(model)
    times = [timed(partial(embedder.embed_query, text)) * 1000 for text in sentences[:2000]]
    return {
        "p50": round(float(np.percentile(times, 50)), 3),
        "p95": round(float(np.percentile(times, 95)), 3),
    }


def to_markdown(report: dict[str, object], rows: list[dict[str, float]]) -> str:
    lines = ["# Embedding speed", "", f"`{report['command']}`, seed {SEED}, {report['machine']}.", ""]
    lines += [
        f"Model {report['model']}, {report['dimensions']} dimensions. "
        f"Seconds in a fresh process: {report['start']}. Milliseconds for one query: {report['query_ms']}.",
        "",
        f"Load average before the run, by other programs: {report['load_average']:.1f}.",
        "",
        "Cold: no word seen before. Warm: all seen; an index run lies between, nearer to warm.",
        "",
        f"| {' | '.join(rows[0])} |",
        "|" + "---|" * len(rows[0]),
        *(f"| {' | '.join(str(value) for value in row.values())} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    lines = (arguments.data / "dev" / "sib200.jsonl").read_text(encoding="utf-8").splitlines()
    sentences = [json.loads(line)[code] for line in lines for code in CODES]
    random.Random(SEED).shuffle(sentences)
    embedder = Embedder.load(arguments.model)
    load_average = os.getloadavg()[0]
    rows = [measure(arguments.model, sentences, length) for length in LENGTHS]
    report: dict[str, object] = {
        "command": "python benchmarks/embedding_speed.py DATA",
        "machine": f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}",
        "load_average": load_average,
        "model": f"{embedder.name} ({embedder.fingerprint})",
        "dimensions": embedder.dimensions,
        "start": start_seconds(arguments.model),
        "query_ms": query_milliseconds(arguments.model, sentences),
        "results": rows,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "embedding_speed.json").write_text(json.dumps(report, indent=1) + "\n")
    markdown = to_markdown(report, rows)
    (arguments.output / "embedding_speed.md").write_text(markdown, encoding="utf-8")
    print(markdown)


if __name__ == "__main__":
    main()
