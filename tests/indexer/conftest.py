"""A small model, a store in memory and a folder of documents: what surrounds the indexer, at no cost."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from indexer.manifest import Manifest
from indexer.pipeline import Indexer, Options
from indexer.report import Report
from store.types import Vector
from tests.doubles import MemoryLocation, MemoryStore

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


@dataclass(frozen=True)
class ToyModel:
    """A model that is not loaded yet."""

    world: World
    reference: str

    def load(self) -> ToyEmbedder:
        return self.world.load_embedder(self.reference)

    def stamp(self) -> str:
        return self.reference + self.world.stamp


class World:
    """A data folder, a folder of documents, and the means to index the one into the other."""

    def __init__(self, root: Path, tokenizer: Tokenizer) -> None:
        self.data = root / "data"
        self.docs = root / "docs"
        self.docs.mkdir()
        self.tokenizer = tokenizer
        self.model = "toy"
        self.stamp = ""
        self.location = MemoryLocation(self.data)
        self.loaded: list[ToyEmbedder] = []
        self.options = Options(max_bytes=1_000_000)

    @property
    def store(self) -> MemoryStore:
        """What is searched now."""
        return self.location.open()

    @property
    def manifest_folder(self) -> Path:
        """Where the manifest of what is searched is."""
        current = self.location.current()
        assert current is not None
        return self.location.manifest_folder(current)

    def manifest(self) -> Manifest:
        """Open the manifest of what is searched."""
        return Manifest.open(self.manifest_folder)

    def write(self, name: str, content: str | bytes, *, age: float = 60.0) -> Path:
        """Write a document that was changed so many seconds ago."""
        path = self.docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        status = path.stat()
        moment = status.st_mtime_ns - int(age * 1e9)
        os.utime(path, ns=(moment, moment))
        return path

    def choose_model(self, made_with: str) -> ToyModel:
        return ToyModel(self, self.model)

    def load_embedder(self, fingerprint: str) -> ToyEmbedder:
        self.loaded.append(ToyEmbedder(self.tokenizer, fingerprint=fingerprint))
        return self.loaded[-1]

    @property
    def indexer(self) -> Indexer:
        return Indexer(self.location, self.choose_model, self.options)

    def run(self, *paths: Path, rebuild: bool = False) -> Report:
        """Index the documents' folder, or the paths given."""
        self.loaded.clear()
        return self.indexer.run(paths or [self.docs], rebuild=rebuild)

    def lose_store(self) -> None:
        """Lose all collections; what the data folder says of them stays."""
        self.location.delete()

    def lose_everything(self) -> None:
        """Lose all collections and manifests."""
        self.location.delete()
        shutil.rmtree(self.data, ignore_errors=True)

    def records(self) -> dict[str, str]:
        """Return state by file name."""
        with self.manifest() as manifest:
            return {Path(record.path).name: record.state for record in manifest.under()}

    def texts(self) -> dict[str, str]:
        """Return the stored documents put together from their chunks, by file name."""
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
def world(tmp_path: Path, tokenizer: Tokenizer) -> World:
    return World(tmp_path, tokenizer)
