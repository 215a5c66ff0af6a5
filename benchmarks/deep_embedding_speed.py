"""Measure how fast lusifer-small embeds with ONNX Runtime in 8 bits, beside torch in float32 in the same run.

    python benchmarks/deep_embedding_speed.py DATA [--threads N] [--output FOLDER]

Passages are paragraphs of DATA/mlqa (five languages, a fixed sample), questions those of DATA/mlqa of about
twelve words. Both backends run the same weights on the same texts in processes of their own, turn by turn,
and the best of several rounds counts, so that other work on the machine harms both alike. A fresh process
that imports, loads and answers one question is timed as a whole; torch is not imported there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

PASSAGES, QUESTIONS, ROUNDS = 128, 60, 4
QUESTION = "How much water does a family of five need for one week?"
LANGUAGES = ("en", "es", "ar", "hi", "vi")


def read_texts(data: Path) -> tuple[list[str], list[str]]:
    """Return passages of all languages in turn, and questions of ten to fourteen words."""
    pools = []
    for code in LANGUAGES:
        lines = (data / "mlqa" / f"dev.paragraphs.{code}.jsonl").read_text(encoding="utf-8").splitlines()
        pools.append([json.loads(line)["text"][:900] for line in lines])
    passages = [pool[place] for place in range(PASSAGES) for pool in pools][:PASSAGES]
    lines = (data / "mlqa" / "dev.q-en.c-en.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line)["question"] for line in lines]
    return passages, [text for text in asked if 10 <= len(text.split()) <= 14][:QUESTIONS]


def timed(call: Any) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def serve(backend: str, data: Path, threads: int) -> None:
    """Answer each line on standard input with a measurement: one process for each backend."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    passages, questions = read_texts(data)
    if backend == "torch":
        import torch

        from lusifer import Embedder

        torch.set_num_threads(threads)
        model = Embedder.load("lusifer-small", dtype="float32")
    else:
        import lusifer.static as onnx
        from lusifer import Embedder

        onnx.physical_cores = lambda: threads
        model = Embedder.load("lusifer-small")
    model.embed_documents(passages[:16])
    for _ in sys.stdin:
        seconds = timed(partial(model.embed_documents, passages))
        single = [timed(partial(model.embed_query, text)) for text in questions]
        row = {
            "passages": len(passages) / seconds,
            "question_ms": 1000 * min(single),
            "median_ms": 1000 * median(single),
        }
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


def measure(data: Path, threads: int) -> dict[str, dict[str, float]]:
    """Run both backends turn by turn; return the best of the rounds of each."""
    workers = {
        backend: subprocess.Popen(
            [sys.executable, __file__, str(data), "--serve", backend, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for backend in ("torch", "onnx")
    }
    rows: dict[str, list[dict[str, float]]] = {backend: [] for backend in workers}
    for _ in range(ROUNDS):
        for backend, worker in workers.items():
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
            rows[backend].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate("")
    return {
        backend: {
            "passages_per_second": round(max(row["passages"] for row in found), 1),
            "question_ms": round(min(row["question_ms"] for row in found), 2),
            "question_median_ms": round(min(row["median_ms"] for row in found), 2),
        }
        for backend, found in rows.items()
    }


def cold_start() -> dict[str, float]:
    """Time a fresh process that answers one question, and loading alone inside it."""
    code = (
        "import time; started = time.perf_counter()\n"
        "from lusifer import Embedder\n"
        f"Embedder.load('lusifer-small').embed_query({QUESTION!r})\n"
        "import sys; assert 'torch' not in sys.modules\n"
        "print(time.perf_counter() - started)"
    )
    inner, outer = [], []
    for _ in range(7):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        outer.append(time.perf_counter() - started)
        inner.append(float(done.stdout))
    return {"process_seconds": round(min(outer), 3), "import_load_answer_seconds": round(min(inner), 3)}


def processor() -> dict[str, Any]:
    """Return the processor's name and whether it has VNNI."""
    cpu = Path("/proc/cpuinfo")
    text = cpu.read_text(encoding="utf-8") if cpu.is_file() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    special = [flag for flag in ("avx512_vnni", "avx_vnni", "amx_int8") if flag in text]
    return {"processor": names[0] if names else platform.processor(), "special": special}


def to_markdown(result: dict[str, Any]) -> str:
    """Return the table of a result."""
    lines = [
        "# Deep embedding speed",
        "",
        f"`{result['command']}` on {result['processor']}",
        f"({', '.join(result['special']) or 'no VNNI'}), {result['date']}.",
        f"{result['passages']} paragraphs in five"
        f" languages, {result['questions']} questions of about twelve words.",
        "",
        "| threads | torch float32, passages/s | int8, passages/s | times | one question, torch | int8 |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for threads, row in result["threads"].items():
        torch, onnx = row["torch"], row["onnx"]
        times = onnx["passages_per_second"] / torch["passages_per_second"]
        lines.append(
            f"| {threads} | {torch['passages_per_second']} | {onnx['passages_per_second']} | {times:.1f} "
            f"| {torch['question_median_ms']} ms | {onnx['question_median_ms']} ms |"
        )
    cold = result["cold"]
    lines += [
        "",
        f"A fresh process, from its start to the first answer: {cold['process_seconds']} s "
        f"(import, load and answer {cold['import_load_answer_seconds']} s), without torch.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--threads", type=int, default=0, help="0: one and two")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--serve", choices=("torch", "onnx"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.data, given.threads)
        return
    counts = [given.threads] if given.threads else [1, 2]
    passages, questions = read_texts(given.data)
    result = {
        "command": "python benchmarks/deep_embedding_speed.py DATA",
        "date": time.strftime("%Y-%m-%d"),
        **processor(),
        "passages": len(passages),
        "questions": len(questions),
        "threads": {str(count): measure(given.data, count) for count in counts},
        "cold": cold_start(),
    }
    given.output.mkdir(parents=True, exist_ok=True)
    target = given.output / "deep_embedding_speed"
    target.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    target.with_suffix(".md").write_text(to_markdown(result), encoding="utf-8")
    print(to_markdown(result))


if __name__ == "__main__":
    main()
