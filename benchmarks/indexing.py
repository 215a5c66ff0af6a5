"""Measure how fast documents are indexed, stage by stage, by the clock and in processor time.

Documents are put together at random (seeded) from the sentences of samples/, in all languages and in three
formats, and indexed into a fresh data folder through the store's daemon, exactly as ``lusifer index``
does. A second run over the same files follows.

    python benchmarks/indexing.py [--documents 1000] [--seed 0] [--model FOLDER] [--texts FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shlex
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from indexer.extract import EXTRACTORS, Registry
from indexer.pipeline import Indexer, Options
from indexer.report import Report
from indexer.settings import ModelChoice, Settings
from indexer.text.chunk import Chunker
from indexer.text.language import LanguageFinder
from indexer.walk import resolve_roots, walk
from lusifer.embedder import TextEmbedder
from store.location import IndexLocation
from store.types import CollectionInfo, Store

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
STAGES = ("read", "detect", "chunk", "embed", "store")
_SENTENCE = re.compile(r"[^\n.!?।۔؟]{15,}[.!?।۔؟]+")


class Clock:
    """Adds up the calling thread's processor time and clock time by stage."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            yield
        finally:
            self.cpu[stage] += time.thread_time() - cpu
            self.wall[stage] += time.perf_counter() - wall

    def watch(self, target: Any, method: str, stage: str) -> None:
        """Measure every call of an object's method."""
        call: Callable[..., Any] = getattr(target, method)

        def measured(*args: Any, **options: Any) -> Any:
            with self.measure(stage):
                return call(*args, **options)

        setattr(target, method, measured)


def read_sentences(folder: Path) -> dict[str, list[str]]:
    """Collect the sentences of a folder's documents by language."""
    registry, languages = Registry(EXTRACTORS), LanguageFinder()
    found: dict[str, list[str]] = defaultdict(list)
    listed = walk(resolve_roots([folder]), accepts=registry.accepts, max_bytes=10**8)
    for source in listed.files:
        text = registry.extract(source.file, source.file.read_bytes()).text
        found[languages.of_document(text).code].extend(_SENTENCE.findall(text))
    return {language: sentences for language, sentences in sorted(found.items()) if len(sentences) > 5}


def write_documents(folder: Path, sentences: dict[str, list[str]], number: int, seed: int) -> int:
    """Write documents and return their size in bytes."""
    chance, codes, size = random.Random(seed), list(sentences), 0
    for index in range(number):
        pool = sentences[codes[index % len(codes)]]
        paragraphs = [" ".join(chance.choices(pool, k=5)).strip() for _ in range(chance.randint(3, 25))]
        suffix = (".txt", ".md", ".html")[index // len(codes) % 3]
        content = FORMATS[suffix](f"Document {index}", paragraphs).encode()
        path = folder / f"{index % 50:02}" / f"{index:06}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        size += len(content)
    return size


FORMATS: dict[str, Callable[[str, list[str]], str]] = {
    ".txt": lambda title, body: "\n\n".join([title, *body]),
    ".md": lambda title, body: "\n\n".join([f"# {title}", *(f"## Part\n\n*{text}*" for text in body)]),
    ".html": lambda title, body: f"<title>{title}</title><h1>{title}</h1>" + "".join(f"<p>{t}" for t in body),
}


class MeasuredModel:
    """A model whose embedding is measured."""

    def __init__(self, model: ModelChoice, clock: Clock) -> None:
        self.reference = model.reference
        self._model = model
        self._loaded = model.load()
        clock.watch(self._loaded, "embed_documents", "embed")

    def load(self) -> TextEmbedder:
        return self._loaded

    def stamp(self) -> str:
        return self._model.stamp()


def index(docs: Path, data: Path, model: str | None, clock: Clock) -> tuple[Report, float]:
    """Index once with every stage measured; return the report and the processor time."""
    settings = Settings(data=data, model=model)
    measured = MeasuredModel(settings.choose_model(), clock)
    location: IndexLocation = settings.location()
    open_store = location.open

    def open_measured(info: CollectionInfo | None = None) -> Store:
        store = open_store(info)
        clock.watch(store, "upsert", "store")
        clock.watch(store, "flush", "store")
        return store

    location.open = open_measured  # type: ignore[method-assign]
    registry = Registry(EXTRACTORS)
    clock.watch(registry, "extract", "read")
    languages = LanguageFinder()
    for method in ("of_document", "of_passage"):
        clock.watch(languages, method, "detect")
    split = Chunker.split
    Chunker.split = _measured_split(split, clock)  # type: ignore[method-assign]
    cpu = time.process_time()
    try:
        options = Options(registry=registry, languages=languages)
        report = Indexer(location, lambda _: measured, options).run([docs])
    finally:
        Chunker.split = split  # type: ignore[method-assign]
    return report, time.process_time() - cpu


def _measured_split(split: Callable[..., Any], clock: Clock) -> Any:
    def measured(chunker: Chunker, *args: Any) -> Any:
        with clock.measure("chunk"):
            return split(chunker, *args)

    return measured


def measure(documents: int, seed: int, model: str | None, texts: Path) -> dict[str, Any]:
    """Run the benchmark and return its result."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        docs, data = Path(folder, "docs"), Path(folder, "data")
        size = write_documents(docs, read_sentences(texts), documents, seed)
        clock = Clock()
        report, cpu = index(docs, data, model, clock)
        again, again_cpu = index(docs, data, model, Clock())
    clock.cpu["other"] = cpu - sum(clock.cpu.values())
    return {
        "benchmark": "indexing",
        "command": shlex.join(["python", "benchmarks/indexing.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        "seed": seed,
        "documents": documents,
        "megabytes": round(size / 1e6, 2),
        "chunks": report.chunks,
        "seconds": round(report.seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "chunks_per_second": round(report.chunks / report.seconds),
        "chunks_per_cpu_second": round(report.chunks / cpu),
        "stages": {
            stage: {
                "seconds": round(clock.wall[stage], 2) if stage in STAGES else None,
                "cpu_seconds": round(clock.cpu[stage], 2),
                "chunks_per_cpu_second": round(report.chunks / max(clock.cpu[stage], 1e-9)),
            }
            for stage in (*STAGES, "other")
        },
        "unchanged_run": {
            "seconds": round(again.seconds, 3),
            "cpu_seconds": round(again_cpu, 3),
            "embedded": again.chunks,
        },
    }


def to_markdown(result: dict[str, Any]) -> str:
    """Return the result as a page."""
    rows = [
        f"| {stage} | {row['seconds'] or ''} | {row['cpu_seconds']} | {row['chunks_per_cpu_second']:,} |"
        for stage, row in result["stages"].items()
    ]
    again = result["unchanged_run"]
    return "\n".join(
        [
            "# Indexing speed",
            "",
            f"`{result['command']}` (seed {result['seed']}) on {result['machine']}, "
            f"load average {result['load']}.",
            "",
            f"{result['documents']:,} documents, {result['megabytes']} MB, {result['chunks']:,} chunks: "
            f"{result['seconds']} s by the clock ({result['chunks_per_second']:,} chunks/s), "
            f"{result['cpu_seconds']} s of processor time ({result['chunks_per_cpu_second']:,} chunks/s). "
            f"A second run, nothing changed: {again['seconds']} s, {again['embedded']} chunks embedded.",
            "",
            "| stage | seconds | processor seconds | chunks per processor second |",
            "|---|---:|---:|---:|",
            *rows,
            "",
            "Processor time is the indexer's; *other* holds the tokenizer's own threads. The store's daemon",
            "works beside it.",
            "Writing goes on while the next documents are read, so the seconds of the stages overlap.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="folder of a model; the shipped one if not given")
    parser.add_argument(
        "--texts", type=Path, default=ROOT / "samples", help="documents to take sentences from"
    )
    options = parser.parse_args()
    result = measure(options.documents, options.seed, options.model, options.texts)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "indexing.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "indexing.md").write_text(to_markdown(result), encoding="utf-8")
    print(to_markdown(result))


if __name__ == "__main__":
    main()
