"""A small model, a store in memory and a folder of documents: what surrounds the indexer, at no cost."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from indexer.manifest import Manifest
from indexer.pipeline import Indexer, Options
from indexer.report import Report
from indexer.session import Backends
from store.errors import FingerprintMismatch, StoreMissing
from store.types import Chunk, Filter, Schema, Vector

EVERYTHING = Filter()
DATA = Path(__file__).parent / "data"
PARAGRAPHS: dict[str, str] = json.loads((DATA / "paragraphs.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def paragraphs() -> dict[str, str]:
    """One paragraph in each of the 14 languages."""
    return PARAGRAPHS


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A Unigram tokenizer of the shipped model's kind, trained on the paragraphs."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=1500, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(PARAGRAPHS.values(), trainer)
    return made


@dataclass
class ToyEmbedder:
    """Vectors from a hash of the text; remembers what it was asked to embed."""

    tokenizer: Tokenizer
    fingerprint: str = "toy"
    dimensions: int = 8
    max_tokens: int = 64
    texts: list[str] = field(default_factory=list)

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(encoding) for encoding in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def embed_documents(self, texts: list[str]) -> Vector:
        self.texts.extend(texts)
        seeds = [zlib.crc32(text.encode()) for text in texts]
        rows = np.array([np.random.default_rng(seed).normal(size=self.dimensions) for seed in seeds])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class MemoryStore:
    """What a store does, in a dictionary; what is not flushed is lost with ``crash``."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.chunks: dict[str, Chunk] = {}
        self.writes = 0
        self.before_write: Callable[[], None] = lambda: None

    @property
    def schema(self) -> Schema:
        return self._schema

    def upsert(self, chunks: Sequence[Chunk], vectors: Vector) -> None:
        assert vectors.shape == (len(chunks), self._schema.dimensions)
        for chunk in chunks:
            self.before_write()
            self.writes += 1
            self.chunks[chunk.id] = chunk

    def delete_document(self, document_id: str, *, except_version: str | None = None) -> None:
        self.before_write()
        self.writes += 1
        self.chunks = {
            id: chunk
            for id, chunk in self.chunks.items()
            if chunk.document_id != document_id or chunk.version == except_version
        }

    def _found(self, filter: Filter) -> list[Chunk]:
        prefix = filter.path_prefix
        found = [
            chunk
            for chunk in self.chunks.values()
            if prefix is None or chunk.path == prefix or chunk.path.startswith(prefix.rstrip("/") + "/")
        ]
        return sorted(found, key=lambda chunk: (chunk.path, chunk.position))

    def count(self, filter: Filter = EVERYTHING) -> int:
        return len(self._found(filter))

    def scroll(self, filter: Filter = EVERYTHING, *, limit: int = 1000, offset: int = 0) -> list[Chunk]:
        return self._found(filter)[offset : offset + limit]

    def flush(self) -> None:
        self.before_write()

    def close(self) -> None:
        pass


class World:
    """A data folder, a folder of documents, and the means to index the one into the other."""

    def __init__(self, root: Path, tokenizer: Tokenizer) -> None:
        self.data = root / "data"
        self.docs = root / "docs"
        self.docs.mkdir()
        self.tokenizer = tokenizer
        self.model = "toy"
        self.stamp = ""
        self.store: MemoryStore | None = None
        self.staged: MemoryStore | None = None
        self.swept = 0
        self.loaded: list[ToyEmbedder] = []
        self.opened = 0
        self.options = Options(max_bytes=1_000_000)

    def write(self, name: str, content: str | bytes, *, age: float = 60.0) -> Path:
        """Write a document that was changed so many seconds ago."""
        path = self.docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        status = path.stat()
        moment = status.st_mtime_ns - int(age * 1e9)
        os.utime(path, ns=(moment, moment))
        return path

    def open_store(self, schema: Schema | None) -> MemoryStore:
        self.opened += 1
        if self.store is None:
            if schema is None:
                raise StoreMissing("nothing is indexed")
            self.store = MemoryStore(schema)
        if schema is not None and schema != self.store.schema:
            raise FingerprintMismatch("another model")
        return self.store

    def drop_store(self) -> None:
        self.store = self.staged = None

    def stage_store(self, schema: Schema) -> MemoryStore:
        if self.staged is None or self.staged.schema != schema:
            self.staged = MemoryStore(schema)
        return self.staged

    def switch_store(self, schema: Schema) -> None:
        assert self.staged is not None
        assert self.staged.schema == schema
        self.store, self.staged = self.staged, None

    def sweep_store(self) -> None:
        self.swept += 1

    def load_embedder(self) -> ToyEmbedder:
        self.loaded.append(ToyEmbedder(self.tokenizer, fingerprint=self.model))
        return self.loaded[-1]

    @property
    def backends(self) -> Backends:
        return Backends(
            load_embedder=self.load_embedder,
            open_store=self.open_store,
            drop_store=self.drop_store,
            stage_store=self.stage_store,
            switch_store=self.switch_store,
            sweep_store=self.sweep_store,
            stamp_model=lambda: self.model + self.stamp,
            model_name=self.model,
        )

    def indexer(self, manifest: Manifest) -> Indexer:
        return Indexer(manifest, self.backends, self.options)

    def run(self, *paths: Path) -> Report:
        """Index the documents' folder, or the paths given."""
        self.loaded.clear()
        with Manifest.open(self.data) as manifest:
            return self.indexer(manifest).run(paths or [self.docs])

    def records(self) -> dict[str, str]:
        """Return state by file name."""
        with Manifest.open(self.data) as manifest:
            return {Path(record.path).name: record.state for record in manifest.under()}

    def texts(self) -> dict[str, str]:
        """Return the stored documents put together from their chunks, by file name."""
        assert self.store is not None
        parts: dict[str, str] = {}
        for chunk in self.store.scroll(limit=10**6):
            name = Path(chunk.path).name
            assert chunk.start == len(parts.get(name, "")), "chunks must tile the text"
            parts[name] = parts.get(name, "") + chunk.text
        return parts

    @property
    def embedded(self) -> int:
        """How many texts the last run embedded."""
        return sum(len(embedder.texts) for embedder in self.loaded)


@pytest.fixture
def world(tmp_path: Path, tokenizer: Tokenizer) -> Iterator[World]:
    return World(tmp_path, tokenizer)
