"""Measure the embedded store through its daemon: inserting, opening, searching, memory.

Synthetic data: unit vectors in clusters (topic, document, chunk), words drawn by Zipf's law, so that both
cost what real ones cost; quality is measured elsewhere. Run from the checkout:

    python -m benchmarks.store_latency --sizes 10000 100000
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from common.files import FileLock
from store import Chunk, Filter, Query, Schema, open_location
from store.daemon.client import RemoteStore
from store.daemon.protocol import DaemonFiles

RESULTS = Path(__file__).parent / "results"
LANGUAGES = ("en", "es", "ru", "fr", "vi", "fa", "id", "ar", "fi", "ko", "hi", "bn", "te", "sw")
WORDS_PER_CHUNK = 110
CHUNKS_PER_DOCUMENT = 10
BATCH = 2000


class Corpus:
    """Chunks and vectors made on the fly, the same for the same seed."""

    def __init__(self, dimensions: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self._words = [
            "".join(self._random.choice(list(letters), self._random.integers(2, 10))) for _ in range(60_000)
        ]
        self._topics = self._random.standard_normal((200, dimensions)).astype(np.float32)
        self._dimensions = dimensions

    def vectors(self, count: int) -> np.ndarray:
        """Make unit vectors, shape (count, dimensions), ten in a row close together."""
        documents = -(-count // CHUNKS_PER_DOCUMENT)
        centres = self._topics[self._random.integers(0, 200, documents)] + 0.8 * self._noise(documents)
        chunks = np.repeat(centres, CHUNKS_PER_DOCUMENT, axis=0)[:count] + 0.6 * self._noise(count)
        return chunks / np.linalg.norm(chunks, axis=1, keepdims=True)

    def _noise(self, count: int) -> np.ndarray:
        return self._random.standard_normal((count, self._dimensions)).astype(np.float32)

    def text(self, words: int) -> str:
        ranks = self._random.zipf(1.15, words) % len(self._words)
        return " ".join(self._words[rank] for rank in ranks)

    def chunk(self, number: int) -> Chunk:
        document, position = divmod(number, CHUNKS_PER_DOCUMENT)
        language = LANGUAGES[document % 14]
        folder = f"/home/user/papers/{document % 20:02d}"
        return Chunk(
            id=str(uuid.UUID(int=self._random.integers(0, 2**63).item() << 64 | number)),
            document_id=f"{document:032x}",
            version="1",
            position=position,
            start=0,
            end=1,
            text=self.text(WORDS_PER_CHUNK),
            heading="",
            language=language,
            path=f"{folder}/document-{document}.txt",
            folder=folder,
            title=f"document {document}",
            document_language=language,
            modified=1.7e9 + document,
        )


def percentiles(call: Callable[[int], object], times: int) -> dict[str, float]:
    """Call with 0, 1, 2, … and report milliseconds."""
    taken = []
    for number in range(times):
        started = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - started) * 1000)
    return {f"p{share}": round(float(np.percentile(taken, share)), 2) for share in (50, 95)}


def memory(pid: int) -> dict[str, int]:
    """Read a process's resident memory in MB, all of it and without mapped files."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(fields[name].split()[0]) // 1024 for name in ("VmRSS", "RssAnon")}


def fill(store: RemoteStore, corpus: Corpus, size: int) -> dict[str, float]:
    """Insert chunks; making them is not counted, analysing their texts is."""
    inserting = 0.0
    for start in range(0, size, BATCH):
        numbers = range(start, min(start + BATCH, size))
        chunks, vectors = [corpus.chunk(number) for number in numbers], corpus.vectors(len(numbers))
        started = time.perf_counter()
        store.upsert(chunks, vectors)
        inserting += time.perf_counter() - started
    started = time.perf_counter()
    store.flush()
    return {
        "insert_chunks_per_second": round(size / inserting),
        "last_flush_seconds": round(time.perf_counter() - started, 2),
    }


def end_daemon(data: Path, pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    lock = FileLock(DaemonFiles(data).lock)
    lock.acquire(seconds=60)
    lock.release()


def measure(size: int, dimensions: int, seed: int, queries: int) -> dict[str, object]:
    """Measure one size in a data folder of its own."""
    corpus = Corpus(dimensions, seed)
    data = Path(tempfile.mkdtemp(prefix="lusifer-bench-"))
    schema = Schema(dimensions, "benchmark")
    location = open_location(data)
    location.switch(location.build(schema))
    store = location.open()
    assert isinstance(store, RemoteStore)
    try:
        result: dict[str, object] = {"chunks": size, **fill(store, corpus, size)}
        result["memory_after_insert_mb"] = memory(store.daemon.pid)
        store.close()
        end_daemon(data, store.daemon.pid)
        started = time.perf_counter()
        store = location.open()
        assert isinstance(store, RemoteStore)
        vectors, texts = corpus.vectors(queries), [corpus.text(6) for _ in range(queries)]
        store.search(Query(vectors[0], texts[0]))
        result["start_daemon_open_and_first_search_seconds"] = round(time.perf_counter() - started, 2)
        filters = {
            "hybrid": Filter(),
            "hybrid, 3 of 14 languages": Filter(languages=("ko", "hi", "fi")),
            "hybrid, 1 of 20 folders": Filter(path_prefix="/home/user/papers/07"),
        }
        search: dict[str, dict[str, float]] = {}
        for name, wanted in filters.items():
            search[name] = percentiles(
                lambda n, w=wanted: store.search(Query(vectors[n], texts[n], w)), queries
            )
        search["dense only"] = percentiles(lambda n: store.search(Query(vectors[n], "")), queries)
        search["hybrid while another client writes"] = while_writing(store, data, corpus, vectors, texts)
        search["count, 3 of 14 languages"] = percentiles(
            lambda _: store.count(Filter(languages=("ko", "hi", "fi"))), 30
        )
        search["facet by language"] = percentiles(lambda _: store.facet("language"), 30)
        result["milliseconds"] = search
        result["memory_after_search_mb"] = memory(store.daemon.pid)
        result["disk_mb"] = (
            sum(path.stat().st_blocks * 512 for path in data.rglob("*") if path.is_file()) // 2**20
        )
        return result
    finally:
        store.close()
        end_daemon(data, store.daemon.pid)
        shutil.rmtree(data)


def while_writing(
    store: RemoteStore, data: Path, corpus: Corpus, vectors: np.ndarray, texts: list[str]
) -> dict[str, float]:
    """Search while a process of its own rewrites some chunks over and over."""
    chunks, rows = [corpus.chunk(10_000_000 + number) for number in range(1000)], corpus.vectors(1000)
    child = os.fork()
    if child == 0:
        other = open_location(data).open(store.info)
        while True:
            other.upsert(chunks, rows)
    try:
        time.sleep(1.0)
        return percentiles(lambda n: store.search(Query(vectors[n], texts[n])), len(texts))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def machine() -> dict[str, object]:
    """Describe what it ran on, its load included: other work on the machine makes figures worse."""
    return {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "qdrant-edge-py": version("qdrant-edge-py"),
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def as_markdown(report: dict[str, object]) -> str:
    """Write the report as tables."""
    results: list[dict[str, object]] = report["results"]  # type: ignore[assignment]
    head = [f"{result['chunks']:,} chunks" for result in results]
    lines = ["# Embedded store through its daemon", "", f"`{report['command']}`", ""]
    lines += [
        f"Seed {report['seed']}, {report['dimensions']} dimensions. Machine: {json.dumps(report['machine'])}",
        "",
    ]
    lines += ["| | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    for name in results[0]:
        if name not in ("chunks", "milliseconds"):
            cells = [str(result[name]).replace("'", "").strip("{}") for result in results]
            lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    for name in results[0]["milliseconds"]:  # type: ignore[attr-defined]
        times = [result["milliseconds"][name] for result in results]  # type: ignore[index]
        lines.append(f"| {name}, ms p50/p95 | " + " | ".join(f"{t['p50']}/{t['p95']}" for t in times) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    before = machine()
    results = [measure(size, options.dimensions, options.seed, options.queries) for size in options.sizes]
    report: dict[str, object] = {
        "command": f"python -m benchmarks.store_latency {' '.join(sys.argv[1:])}".strip(),
        "seed": options.seed,
        "dimensions": options.dimensions,
        "machine": before | {"load_average_at_the_end": [round(load, 1) for load in os.getloadavg()]},
        "results": results,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "store_latency.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "store_latency.md").write_text(as_markdown(report))
    print(as_markdown(report))


if __name__ == "__main__":
    main()
