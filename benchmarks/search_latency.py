"""Measure /api/v1/search over HTTP: p50 and p95 at several index sizes, with one client and with eight.

Usage: python benchmarks/search_latency.py [--chunks 10000 --chunks 100000] [--model PATH] [--output FOLDER]

Chunks are sentences of samples/ put together anew with a fixed seed, four to a chunk and ten chunks to a
document, embedded by the model and stored by the daemon as the indexer does. Questions are pieces of
sentences, each asked once, so that nothing is answered from a cache. The server is a process of its own,
and each size has a store of its own. Memory is the resident set; start-up runs from the command to the
first ready answer of /readyz.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil

from indexer.session import Session
from indexer.settings import Settings
from indexer.text.encoding import decode
from lusifer import Embedder
from lusifer.detection import detect
from search.snippets import split_sentences
from store import Chunk, open_location

ROOT = Path(__file__).parent.parent
SEED = 0
SENTENCES, CHUNKS = 4, 10  # to a chunk, to a document
BATCH = 1000
CLIENTS = (1, 8)
#: Documents that are indexed while questions are asked.
INDEXED_DOCUMENTS = 400


def read_sentences() -> dict[str, list[str]]:
    """Sentences of the text files among the samples, by language."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "samples").rglob("*")):
        if path.suffix in {".md", ".txt"}:
            text = decode(path.read_bytes()).text
            spans = [text[start:end] for start, end in split_sentences(text)]
            found.setdefault(detect(text).code, []).extend(s for s in spans if len(s) > 20)
    return found


def make_chunks(count: int, sentences: dict[str, list[str]]) -> Iterator[Chunk]:
    draw = random.Random(SEED)
    codes = sorted(sentences)
    for number in range(count):
        document, position = divmod(number, CHUNKS)
        code = codes[document % len(codes)]
        # A number of its own keeps chunks from being equal, as they are not in a real collection.
        text = " ".join([*draw.choices(sentences[code], k=SENTENCES), f"({draw.randrange(10**6)})\n\n"])
        folder = f"/benchmark/{document % 40}"
        yield Chunk(
            id=str(uuid.UUID(int=number)),
            document_id=hashlib.sha256(str(document).encode()).hexdigest()[:32],
            version="1",
            position=position,
            start=position * 1000,
            end=position * 1000 + len(text),
            text=text,
            heading="",
            language=code,
            path=f"{folder}/{document}.txt",
            folder=folder,
            title=f"Document {document}",
            document_language=code,
            modified=1.7e9 + document,
        )


def fill(data: Path, model: Embedder, name: str | None, count: int, sentences: dict[str, list[str]]) -> float:
    """Store ``count`` chunks; return the seconds it took, embedding included."""
    began = time.perf_counter()
    location = open_location(data)
    collection = location.build(Session(Settings(model=name).choose_model()).schema)
    location.switch(collection)
    store = location.open(collection)
    batch: list[Chunk] = []
    for chunk in make_chunks(count, sentences):
        batch.append(chunk)
        if len(batch) == BATCH:
            store.upsert(batch, model.embed_documents([chunk.text for chunk in batch]))
            batch.clear()
    if batch:
        store.upsert(batch, model.embed_documents([chunk.text for chunk in batch]))
    store.flush()
    assert store.count() == count
    store.close()
    return time.perf_counter() - began


def make_questions(sentences: dict[str, list[str]]) -> Iterator[str]:
    draw = random.Random(SEED + 1)
    codes = sorted(sentences)
    while True:
        words = draw.choice(sentences[draw.choice(codes)]).split()
        first = draw.randrange(max(1, len(words) - 6))
        yield " ".join(words[first : first + draw.randint(3, 8)])


@contextmanager
def serve(data: Path, model: str | None) -> Iterator[tuple[str, subprocess.Popen[str], float]]:
    """Run the server; yield its address, its process, and the seconds until it was ready."""
    command = [sys.executable, "-m", "app.cli", "serve", "--data", str(data), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "LUSIFER_API_KEY"}
    began = time.perf_counter()
    with (
        subprocess.Popen(
            [*command, *(["--model", model] if model else [])],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        ) as server,
        ThreadPoolExecutor(1) as drain,
    ):
        assert server.stderr is not None
        address = next(match[0] for line in server.stderr if (match := re.search(r"http://\S+", line)))
        drain.submit(lambda: sum(1 for _ in server.stderr or ()))
        try:
            while True:
                try:
                    if httpx.get(f"{address}/readyz", timeout=60).status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.02)
            yield address, server, time.perf_counter() - began
        finally:
            server.terminate()


def ask(address: str, questions: list[str]) -> list[float]:
    """Ask one after the other on one connection; return milliseconds."""
    times = []
    with httpx.Client(base_url=address, timeout=60) as client:
        for question in questions:
            began = time.perf_counter()
            answer = client.get("/api/v1/search", params={"q": question, "limit": 10})
            times.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 200, answer.text
            assert answer.json()["hits"]
    return times


def measure(address: str, questions: Iterator[str], clients: int, requests: int) -> dict[str, float]:
    shares = [[next(questions) for _ in range(requests // clients)] for _ in range(clients)]
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        times = [value for part in pool.map(lambda share: ask(address, share), shares) for value in part]
    elapsed = time.perf_counter() - began
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    figures = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "per_second": len(times) / elapsed}
    return {"clients": clients, "requests": len(times), **{k: round(float(v), 1) for k, v in figures.items()}}


def write_documents(folder: Path, sentences: dict[str, list[str]]) -> None:
    """Write text files for an indexer to be busy with."""
    draw = random.Random(SEED + 2)
    folder.mkdir()
    for number in range(INDEXED_DOCUMENTS):
        own = sentences[draw.choice(sorted(sentences))]
        text = " ".join(draw.choice(own) for _ in range(80))
        (folder / f"{number:04}.txt").write_text(f"{number}\n\n{text}\n", encoding="utf-8")


def measure_while_indexing(
    data: Path, name: str | None, address: str, questions: Iterator[str], sentences: dict[str, list[str]]
) -> dict[str, float]:
    """Ask one question after the other as long as ``lusifer index`` runs on the same data folder."""
    write_documents(data / "documents", sentences)
    command = [
        sys.executable,
        "-m",
        "app.cli",
        "index",
        str(data / "documents"),
        "--data",
        str(data / "index"),
    ]
    times: list[float] = []
    with subprocess.Popen(
        [*command, "--json", *(["--model", name] if name else [])], stdout=subprocess.PIPE, text=True
    ) as indexer:
        while indexer.poll() is None:
            times += ask(address, [next(questions) for _ in range(5)])
        report = json.loads(indexer.stdout.read() if indexer.stdout else "")
    assert report["indexed"] == INDEXED_DOCUMENTS
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    figures = {
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "indexed_chunks_per_second": report["chunks"] / report["seconds"],
    }
    return {"clients": 1, "requests": len(times), **{k: round(float(v), 1) for k, v in figures.items()}}


def resident_mb(data: Path, server: subprocess.Popen[str]) -> dict[str, int]:
    def megabytes(process: psutil.Process) -> int:
        return round(process.memory_info().rss / 1e6)

    owners = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "store.daemon.server" in (process.info["cmdline"] or []) and str(data) in process.info["cmdline"]
    ]
    return {"server_mb": megabytes(psutil.Process(server.pid)), "owner_mb": sum(map(megabytes, owners))}


def run(count: int, model: Embedder, name: str | None, requests: int) -> dict[str, object]:
    sentences = read_sentences()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data = Path(folder).resolve() / "index"
        data.mkdir()
        seconds = fill(data, model, name, count, sentences)
        print(f"{count} chunks stored in {seconds:.0f} s", file=sys.stderr)
        with serve(data, name) as (address, server, startup):
            questions = make_questions(sentences)
            ask(address, [next(questions) for _ in range(50)])
            latency = [measure(address, questions, clients, requests) for clients in CLIENTS]
            memory = resident_mb(data, server)
            indexing = measure_while_indexing(data.parent, name, address, questions, sentences)
    return {
        "chunks": count,
        "documents": -(-count // CHUNKS),
        "fill_seconds": round(seconds, 1),
        "startup_seconds": round(startup, 2),
        **memory,
        "latency": latency,
        "while_indexing": indexing,
    }


def describe(results: list[dict], head: dict[str, object]) -> str:
    lines = [
        "# Search latency",
        "",
        f"`{head['command']}` on {head['machine']}, Python {head['python']}, model {head['model']}, "
        f"seed {SEED}; load average before the run {head['load']}.",
        "",
        "| chunks | clients | p50 ms | p95 ms | p99 ms | answers/s | server MB | owner MB | start-up s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for row in result["latency"]:
            cells = [row[name] for name in ("clients", "p50_ms", "p95_ms", "p99_ms", "per_second")]
            cells += [result[name] for name in ("server_mb", "owner_mb", "startup_seconds")]
            lines.append(f"| {result['chunks']:,} | " + " | ".join(map(str, cells)) + " |")
    lines.append("")
    for result in results:
        busy = result["while_indexing"]
        lines.append(
            f"While `lusifer index` adds documents to the {result['chunks']:,} chunks "
            f"({busy['indexed_chunks_per_second']} chunks/s): p50 {busy['p50_ms']} ms, "
            f"p95 {busy['p95_ms']} ms, {busy['requests']} questions, all answered."
        )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, action="append")
    parser.add_argument("--model")
    parser.add_argument("--requests", type=int, default=400, help="for each number of clients")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    model = Embedder.load(arguments.model)
    head = {
        "command": "python benchmarks/" + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "model": f"{model.name} ({model.fingerprint})",
        "seed": SEED,
        "load": " ".join(f"{value:.1f}" for value in os.getloadavg()),
    }
    counts = arguments.chunks or [10_000, 100_000]
    results = [run(count, model, arguments.model, arguments.requests) for count in counts]
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "search_latency.json").write_text(
        json.dumps({**head, "results": results}, indent=2) + "\n"
    )
    report = describe(results, head)
    (arguments.output / "search_latency.md").write_text(report)
    print(report)


if __name__ == "__main__":
    main()
