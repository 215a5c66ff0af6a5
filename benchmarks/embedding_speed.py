"""Measure how fast a model loads and embeds, beside a small transformer in the same run.

    python benchmarks/embedding_speed.py DATA [--model PATH] [--beside PATH] [--output FOLDER]

Every system runs in a process of its own, bound to one core and then to two, on the same texts: sentences of
DATA/dev/sib200.jsonl drawn with a fixed seed and joined to the lengths asked for, counted in the model's own
tokens. The comparison is on English, which the other model (``--beside``, a sentence-transformers folder such
as all-MiniLM-L6-v2, run by that library) was made for. In 14 languages the model is also timed "cold", when
it has seen none of the words; an index run lies between cold and warm.
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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from common.languages import CODES
from lusifer import Embedder
from lusifer.checkpoints.own import read_table
from lusifer.embedder import DEFAULT_FOLDER
from lusifer.tokenization import WordTokenizer

LENGTHS = (32, 128, 200)
THREADS = (1, 2)
SEED = 0
#: Texts of a measurement; a transformer takes seconds for a tenth of what a table does.
TEXTS = {"table": 4000, "transformer": 96}


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def best_of(count: int, call: Callable[[], object]) -> float:
    return min(timed(call) for _ in range(count))


def make_texts(model: Embedder, sentences: Sequence[str], length: int, count: int) -> list[str]:
    """Join random sentences and cut them at the word that reaches ``length`` tokens."""
    draw = random.Random(SEED)
    sizes = {word: 0 for text in sentences for word in text.split()}
    sizes.update(zip(sizes, model.count_tokens(list(sizes)), strict=True))
    texts = []
    for _ in range(count):
        words: list[str] = []
        held = 0
        while held < length:
            for word in draw.choice(sentences).split():
                words.append(word)
                held += sizes[word]
                if held >= length:
                    break
        texts.append(" ".join(words))
    return texts


def read_sentences(data: Path, codes: Sequence[str]) -> list[str]:
    lines = (data / "dev" / "sib200.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)[code] for line in lines for code in codes]


def measure_table(model: str | None, data: Path) -> dict[str, Any]:
    """Measure our model: English beside others, 14 languages cold and warm, and the share of tokenising."""
    embedder = Embedder.load(model)
    rows = []
    for length in LENGTHS:
        english = make_texts(embedder, read_sentences(data, ["en"]), length, TEXTS["table"])
        embedder.embed_documents(english)
        seconds = best_of(5, partial(embedder.embed_documents, english))
        many = make_texts(embedder, read_sentences(data, CODES), length, TEXTS["table"])
        fresh = Embedder.load(model)
        cold = timed(partial(fresh.embed_documents, many))
        warm = best_of(5, partial(fresh.embed_documents, many))
        counting = Embedder.load(model)
        count_cold = timed(partial(counting.count_tokens, many))
        count_warm = best_of(5, partial(counting.count_tokens, many))
        rows.append(
            {
                "tokens": length,
                "english": round(len(english) / seconds, 1),
                "cold": round(len(many) / cold, 1),
                "warm": round(len(many) / warm, 1),
                "tokenising_cold": round(min(1.0, count_cold / cold), 3),
                "tokenising_warm": round(min(1.0, count_warm / warm), 3),
            }
        )
    return {"rows": rows}


def measure_transformer(
    beside: str, model: str | None, data: Path, dtype: str, threads: int
) -> dict[str, Any]:
    """Measure a sentence-transformers model on the same English texts, by its own library."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    embedder = Embedder.load(model)
    other = SentenceTransformer(beside, device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})
    rows = []
    for length in LENGTHS:
        texts = make_texts(embedder, read_sentences(data, ["en"]), length, TEXTS["transformer"])
        encode = partial(other.encode, texts, batch_size=32, show_progress_bar=False)
        other.encode(texts[:32], show_progress_bar=False)
        rows.append({"tokens": length, "english": round(len(texts) / best_of(2, encode), 1)})
    return {"rows": rows}


def measure_number_formats(model: str | None, data: Path) -> dict[str, Any]:
    """Measure the sum of token rows alone, in several number formats, for texts of 128 tokens."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    embedder = Embedder.load(model)
    texts = make_texts(embedder, read_sentences(data, CODES), 128, 1000)
    table = read_table(Path(model) if model else DEFAULT_FOLDER)
    ids = WordTokenizer(embedder.tokenizer)(texts)
    reference = np.stack([table[one].sum(0) for one in ids])
    scale = np.maximum(np.abs(table).max(1), 1e-9) / 127
    small = np.rint(table / scale[:, None]).astype(np.int8)
    flat = torch.from_numpy(np.concatenate(ids).astype(np.int64))
    starts = torch.from_numpy(np.cumsum([0, *map(len, ids)])[:-1])
    tensors = {"float32": torch.from_numpy(table), "bfloat16": torch.from_numpy(table).bfloat16()}

    def by_numpy(rows: np.ndarray, factors: np.ndarray) -> np.ndarray:
        return np.stack([factors.take(one) @ rows.take(one, axis=0).astype(np.float32) for one in ids])

    def by_torch(kind: str) -> np.ndarray:
        with torch.inference_mode():
            return functional.embedding_bag(flat, tensors[kind], starts, mode="sum").float().numpy()

    ones = np.ones(len(table), np.float32)
    ways: dict[str, tuple[Callable[[], np.ndarray], int]] = {
        "int8, numpy": (partial(by_numpy, small, scale.astype(np.float32)), small.nbytes),
        "float16, numpy": (partial(by_numpy, table.astype(np.float16), ones), table.nbytes // 2),
        "float32, numpy": (partial(by_numpy, table, ones), table.nbytes),
        "float32, torch": (partial(by_torch, "float32"), table.nbytes),
        "bfloat16, torch": (partial(by_torch, "bfloat16"), table.nbytes // 2),
    }
    rows = []
    for name, (call, size) in ways.items():
        call()
        rows.append(
            {
                "format": name,
                "megabytes": round(size / 1e6, 1),
                "texts_per_second": round(len(texts) / best_of(5, call), 1),
                "least_cosine": round(least_cosine(call(), reference), 5),
            }
        )
    return {"rows": rows}


def least_cosine(found: np.ndarray, reference: np.ndarray) -> float:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
    return float(((found * reference).sum(1) / lengths).min())


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
    names = ("import", "load", "first_query")
    return {name: round(float(value), 4) for name, value in zip(names, np.min(runs, axis=0), strict=True)}


def query_milliseconds(model: str | None, sentences: list[str]) -> dict[str, float]:
    embedder = Embedder.load(model)
    times = [timed(partial(embedder.embed_query, text)) * 1000 for text in sentences[:2000]]
    return {name: round(float(np.percentile(times, int(name[1:]))), 3) for name in ("p50", "p95")}


def in_process(job: dict[str, Any], threads: int) -> dict[str, Any]:
    """Run a measurement in a process bound to so many cores."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads)) | {"TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(
        [sys.executable, __file__, "--job", json.dumps(job | {"threads": threads})],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        preexec_fn=partial(os.sched_setaffinity, 0, cores),
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    model, data = job["model"], Path(job["data"])
    if job["what"] == "table":
        return measure_table(model, data)
    if job["what"] == "formats":
        return measure_number_formats(model, data)
    return measure_transformer(job["beside"], model, data, job["dtype"], job["threads"])


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure every system on one core and on two."""
    common = {"model": arguments.model, "data": str(arguments.data.resolve())}
    systems: dict[str, dict[str, Any]] = {"table": {"what": "table"}}
    if arguments.beside:
        for dtype in ("float32", "bfloat16"):
            other = {"what": "transformer", "beside": arguments.beside, "dtype": dtype}
            systems[f"{Path(arguments.beside).resolve().name}, {dtype}"] = other
    return {
        f"{name}/{threads}": in_process(common | job, threads)
        for name, job in systems.items()
        for threads in THREADS
        if threads <= len(os.sched_getaffinity(0))
    } | {"formats": in_process(common | {"what": "formats"}, 1)}


def to_markdown(report: dict[str, Any]) -> str:
    lines = [
        "# Embedding speed",
        "",
        f"`{report['command']}`, seed {SEED}, {report['machine']}. Load average by other programs "
        f"before the run: {report['load_average']:.1f}"
        + (" (busy: compare ratios only)." if report["load_average"] > 0.3 else "."),
        "",
        f"Model {report['model']}, {report['dimensions']} dimensions. Seconds in a fresh process: "
        f"{report['start']}. Milliseconds for one query: {report['query_ms']}.",
        "",
        "## English texts per second, by tokens",
        "",
        f"| system | cores | {' | '.join(map(str, LENGTHS))} |",
        "| --- | ---: |" + " ---: |" * len(LENGTHS),
    ]
    measured = {name: value["rows"] for name, value in report["results"].items() if name != "formats"}
    for name, rows in measured.items():
        system, cores = name.rsplit("/", 1)
        shown = report["model"].split(" ")[0] if system == "table" else system
        cells = " | ".join(f"{row['english']:,.0f}" for row in rows)
        lines.append(f"| {shown} | {cores} | {cells} |")
    for name, rows in measured.items():
        cores = name.rsplit("/", 1)[1]
        if not name.startswith("table/"):
            ratios = [
                own["english"] / other["english"]
                for own, other in zip(measured[f"table/{cores}"], rows, strict=True)
            ]
            lines.append(
                f"| times {name.rsplit('/', 1)[0]} | {cores} | {' | '.join(f'{r:.0f}' for r in ratios)} |"
            )
    lines += [
        "",
        "## Texts of 14 languages per second",
        "",
        "Cold: no word seen before. Warm: all seen.",
        "",
        "| cores | tokens | cold | warm | share of tokenising, cold | warm |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, rows in measured.items():
        if name.startswith("table/"):
            lines += [
                f"| {name.rsplit('/', 1)[1]} | {row['tokens']} | {row['cold']:,.0f} | {row['warm']:,.0f} "
                f"| {row['tokenising_cold']:.2f} | {row['tokenising_warm']:.2f} |"
                for row in rows
            ]
    lines += [
        "",
        "## Summing token rows alone, 128 tokens, one core",
        "",
        "| rows | MB | texts per second | least cosine to the exact sum |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['format']} | {row['megabytes']} | {row['texts_per_second']:,.0f} "
        f"| {row['least_cosine']:.5f} |"
        for row in report["results"]["formats"]["rows"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--beside", help="sentence-transformers folder to compare with")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.job:
        print(json.dumps(run_job(json.loads(arguments.job))))
        return
    if arguments.data is None:
        parser.error("say where DATA is")
    embedder = Embedder.load(arguments.model)
    load_average = os.getloadavg()[0]
    report: dict[str, Any] = {
        "command": "python benchmarks/embedding_speed.py DATA"
        + (f" --beside {Path(arguments.beside).resolve().name}" if arguments.beside else ""),
        "machine": f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}",
        "load_average": load_average,
        "model": f"{embedder.name} ({embedder.fingerprint})",
        "dimensions": embedder.dimensions,
        "start": start_seconds(arguments.model),
        "query_ms": query_milliseconds(arguments.model, read_sentences(arguments.data, CODES)),
        "results": compare(arguments),
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "embedding_speed.json").write_text(json.dumps(report, indent=1) + "\n")
    markdown = to_markdown(report)
    (arguments.output / "embedding_speed.md").write_text(markdown, encoding="utf-8")
    print(markdown)


if __name__ == "__main__":
    main()
