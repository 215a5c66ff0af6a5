"""Doubles that tests share: a small model, a store and an index location in memory, and documents."""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from lusifer.config import EncoderConfig, LanguageModelConfig, ModelConfig
from store.errors import StoreDamaged, StoreMissing
from store.location import CollectionInfo
from store.types import (
    NEAREST,
    Answer,
    Chunk,
    DocumentHits,
    FacetField,
    Filter,
    Query,
    Schema,
    ScoredChunk,
    Vector,
)

DIMENSIONS = 64
EVERYTHING = Filter()

#: Words of several languages that mean the same to the model below.
CONCEPTS = {
    "bee": "bee bees beehive mehiläinen mehiläiset نحل النحل زنبور زنبورها मधुमक्खी मधुमक्खियाँ 벌 벌은 abeja",
    "winter": "winter talvi talvella talven الشتاء زمستان सर्दी सर्दियों 겨울 겨울에 invierno",
    "bread": "bread leipä خبز الخبز نان रोटी 빵 빵을 pan mkate",
    "moon": "moon kuu القمر ماه चाँद 달 달은 luna mwezi",
    "fever": "fever kuume حمى الحمى تب बुखार 열 열이 fiebre homa",
}
_MEANING = {word: concept for concept, words in CONCEPTS.items() for word in words.split()}


class WordModel:
    """Averages one fixed random vector for each word; words of one concept share theirs."""

    name = "words"
    dimensions = DIMENSIONS
    max_tokens = 512
    fingerprint = "words-1"
    config = ModelConfig(
        "words", EncoderConfig("token_table", 4, DIMENSIONS), LanguageModelConfig(DIMENSIONS), max_tokens=512
    )
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))

    def __init__(self) -> None:
        self.calls: list[int] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def embed_documents(self, texts: Sequence[str], instruction: str = "") -> Vector:
        return self._embed(list(texts))

    def embed_query(self, texts: str | Sequence[str], instruction: str = "") -> Vector:
        return self._embed([texts] if isinstance(texts, str) else list(texts))

    def _embed(self, texts: list[str]) -> Vector:
        self.calls.append(len(texts))
        rows = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"[^\s.,:;!?।؟۔،<>()\"'&]+", text.lower()):
                meaning = _MEANING.get(word)
                row += (4.0 if meaning else 1.0) * _word_vector(meaning or word)
            row /= np.linalg.norm(row) or 1.0
        return rows


def _word_vector(word: str) -> Vector:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)


@dataclass
class MemoryStore:
    """The store's interface over a dictionary, exact and slow."""

    schema: Schema
    rows: dict[str, tuple[Chunk, Vector]] = field(default_factory=dict)
    queries: list[Query] = field(default_factory=list)
    closed: bool = False
    writes: int = 0
    #: Called before each write: raises to let a process die there.
    before_write: Callable[[], None] = lambda: None
    name: str = "memory"
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def info(self) -> CollectionInfo:
        return CollectionInfo(self.name, self.id, self.schema)

    @property
    def chunks(self) -> dict[str, Chunk]:
        return {id: chunk for id, (chunk, _) in self.rows.items()}

    def upsert(self, chunks: Sequence[Chunk], vectors: Vector) -> None:
        assert vectors.shape == (len(chunks), self.schema.dimensions)
        for chunk, row in zip(chunks, vectors, strict=True):
            self.before_write()
            self.writes += 1
            self.rows[chunk.id] = (chunk, row)

    def delete_document(self, document_id: str, *, except_version: str | None = None) -> None:
        self.before_write()
        self.writes += 1
        gone = [
            key
            for key, (chunk, _) in self.rows.items()
            if chunk.document_id == document_id and chunk.version != except_version
        ]
        for key in gone:
            del self.rows[key]

    def search(self, query: Query) -> Answer:
        self.queries.append(query)
        words = set(query.text.lower().split())
        scored = []
        for chunk, row in self.rows.values():
            if _matches(chunk, query.filter):
                similarity = float(row @ query.vector)
                lexical = float(len(words & set(chunk.text.lower().split())))
                covered = lexical / max(len(words), 1)
                score = similarity + 0.05 * lexical
                scored.append(ScoredChunk(chunk, score, similarity, lexical, covered))
        scored.sort(key=lambda hit: (-hit.score, hit.chunk.path, hit.chunk.position))
        groups: dict[str, list[ScoredChunk]] = {}
        for hit in scored[: query.candidates]:
            groups.setdefault(hit.chunk.document_id, []).append(hit)
        documents = [
            DocumentHits(key, tuple(hits[: query.chunks_per_document])) for key, hits in groups.items()
        ]
        return Answer(
            documents=tuple(documents[query.offset : query.offset + query.documents]),
            total=len(documents),
            languages=dict(Counter(document.chunks[0].chunk.language for document in documents)),
            folders=dict(Counter(document.chunks[0].chunk.folder for document in documents)),
            nearest=tuple(sorted((hit.similarity for hit in scored), reverse=True)[:NEAREST]),
        )

    def facet(self, field: FacetField, filter: Filter = EVERYTHING) -> dict[str, int]:
        return dict(Counter(getattr(chunk, field) for chunk in self._chunks(filter)).most_common())

    def count(self, filter: Filter = EVERYTHING) -> int:
        return len(self._chunks(filter))

    def scroll(self, filter: Filter = EVERYTHING, *, limit: int = 1000, offset: int = 0) -> list[Chunk]:
        ordered = sorted(self._chunks(filter), key=lambda chunk: (chunk.path, chunk.position))
        return ordered[offset : offset + limit]

    def versions(self, filter: Filter = EVERYTHING) -> dict[tuple[str, str], int]:
        return dict(Counter((chunk.document_id, chunk.version) for chunk in self._chunks(filter)))

    def export(self, *, batch: int = 1000) -> Iterator[tuple[list[Chunk], Vector]]:
        rows = list(self.rows.values())
        for first in range(0, len(rows), batch):
            part = rows[first : first + batch]
            yield [chunk for chunk, _ in part], np.stack([row for _, row in part])

    def flush(self) -> None:
        self.before_write()

    def close(self) -> None:
        self.closed = True

    def _chunks(self, filter: Filter) -> list[Chunk]:
        return [chunk for chunk, _ in self.rows.values() if _matches(chunk, filter)]


def _matches(chunk: Chunk, filter: Filter) -> bool:
    prefix = filter.path_prefix
    return (
        (not filter.languages or chunk.language in filter.languages)
        and (prefix is None or chunk.path == prefix or chunk.path.startswith(prefix.rstrip("/") + "/"))
        and (not filter.document_ids or chunk.document_id in filter.document_ids)
        and (filter.modified_from is None or chunk.modified >= filter.modified_from)
        and (filter.modified_to is None or chunk.modified <= filter.modified_to)
        and (not filter.first_chunks or chunk.position == 0)
    )


class MemoryLocation:
    """An index location in memory: collections by name, one of them current; counts what it is asked.

    Args:
        folder: where manifests go.
    """

    owner = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stores: dict[str, MemoryStore] = {}
        self.infos: dict[str, CollectionInfo] = {}
        self.current_name: str | None = None
        self.building_name: str | None = None
        #: Names of collections that cannot be read.
        self.damaged: set[str] = set()
        self.opened = 0
        self.swept = 0

    def current(self) -> CollectionInfo | None:
        if self.current_name in self.damaged:
            raise StoreDamaged(f"{self.current_name} cannot be read")
        return None if self.current_name is None else self.infos[self.current_name]

    def remembered(self) -> CollectionInfo | None:
        return self.current()

    def current_manifest(self) -> Path | None:
        return None if self.current_name is None else self.folder / self.current_name

    def open(self, info: CollectionInfo | None = None) -> MemoryStore:
        self.opened += 1
        info = info or self.current()
        if info is None or info.name not in self.stores:
            raise StoreMissing(f"Nothing is indexed at {self.folder}", hint="Index some documents first.")
        return self.stores[info.name]

    def build(self, schema: Schema, *, fresh: bool = False) -> CollectionInfo:
        if not fresh and (current := self.current()) is not None and current.schema == schema:
            return current
        if self.building_name is not None and self.infos[self.building_name].schema == schema:
            return self.infos[self.building_name]
        names = (f"{schema.fingerprint}-{number}" for number in itertools.count())
        name = self.building_name = next(name for name in names if name not in self.infos)
        self.stores[name] = MemoryStore(schema, name=name)
        self.infos[name] = self.stores[name].info
        return self.infos[name]

    def switch(self, info: CollectionInfo) -> None:
        self.current_name = info.name
        if self.building_name == info.name:
            self.building_name = None

    def unfinished(self) -> list[CollectionInfo]:
        return [] if self.building_name is None else [self.infos[self.building_name]]

    def sweep(self) -> None:
        self.swept += 1
        for name in self.infos.keys() - {self.current_name, self.building_name}:
            del self.infos[name], self.stores[name]
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def delete(self) -> None:
        self.infos.clear()
        self.stores.clear()
        self.current_name = self.building_name = None

    def manifest_folder(self, info: CollectionInfo) -> Path:
        return self.folder / info.name


@dataclass(frozen=True)
class Sample:
    """A document: its passages joined are its text."""

    path: str
    title: str
    language: str
    passages: tuple[str, ...]
    modified: float = 1_750_000_000.0

    @property
    def id(self) -> str:
        return hashlib.md5(self.path.encode(), usedforsecurity=False).hexdigest()


EVIL_PATH = '/docs/web/<img src=x onerror="alert(2)">.html'
SAMPLES = (
    Sample(
        "/docs/nature/bees.md",
        "Bees in winter",
        "en",
        (
            "# Bees in winter\n\nIt is a cold day. Bees form a ball in winter and keep warm. Snow falls.\n\n",
            "The beehive is opened in spring. Honey is what they live on.\n",
        ),
    ),
    Sample(
        "/docs/nature/mehilaiset.txt",
        "Mehiläiset",
        "fi",
        ("Sää on kylmä. Mehiläiset ovat talvella pallossa.",),
    ),
    Sample(
        "/docs/nature/nahl.html",
        "النحل في الشتاء",
        "ar",
        (
            "الطقس بارد اليوم. يتجمع النحل في الشتاء على شكل كرة! هل ينام؟ لا.\n\n",
            "العسل غذاء مفيد. يفتح الفلاح الخلية في الربيع.",
        ),
    ),
    Sample("/docs/nature/zanbur.txt", "زنبورها", "fa", ("هوا سرد است. زنبورها در زمستان گرم می‌مانند.",)),
    Sample("/docs/nature/madhumakkhi.txt", "मधुमक्खियाँ", "hi", ("आज ठंड है। मधुमक्खियाँ सर्दियों में साथ रहती हैं।",)),
    Sample("/docs/nature/beol.txt", "벌의 겨울", "ko", ("날씨가 춥다. 벌은 겨울에 서로 모인다.",)),
    Sample(
        "/docs/food/bread.md", "Baking bread", "en", ("Mix flour and water. Bake the bread for an hour.",)
    ),
    Sample("/docs/food/mkate.txt", "Mkate", "sw", ("Changanya unga na maji. Oka mkate kwa saa moja.",)),
    Sample(
        "/docs/food/pan.txt",
        "El pan",
        "es",
        ("Mezcla harina y agua. Hornea el pan una hora.",),
        1_600_000_000.0,
    ),
    Sample("/docs/sky/luna.txt", "La luna", "es", ("La luna gira alrededor de la Tierra.",)),
    Sample("/docs/sky/dal.txt", "달", "ko", ("달은 지구를 돈다.",)),
    Sample("/docs/health/homa.txt", "Homa", "sw", ("Kunywa maji mengi wakati wa homa.",)),
    Sample("/docs/health/fever.txt", "Fever", "en", ("Drink water. With a high fever, call a doctor.",)),
    Sample(
        EVIL_PATH,
        "<script>alert(1)</script>",
        "en",
        ('Quark <script>alert("3")</script> & <b>bold</b> "quoted" text about quark.',),
    ),
)


def chunks_of(sample: Sample) -> list[Chunk]:
    chunks = []
    offset = 0
    for position, text in enumerate(sample.passages):
        chunks.append(
            Chunk(
                id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{sample.path}#{position}")),
                document_id=sample.id,
                version="1",
                position=position,
                start=offset,
                end=offset + len(text),
                text=text,
                heading=sample.title,
                language=sample.language,
                path=sample.path,
                folder=sample.path.rpartition("/")[0],
                title=sample.title,
                document_language=sample.language,
                modified=sample.modified,
            )
        )
        offset += len(text)
    return chunks


def schema_of(model: WordModel) -> Schema:
    """What collections of a model have in common, as the indexer says."""
    return Schema(model.dimensions, f"{model.fingerprint}-chunks", model.name, model.fingerprint)


def fill(store: MemoryStore, model: WordModel, samples: Sequence[Sample] = SAMPLES) -> MemoryStore:
    for sample in samples:
        chunks = chunks_of(sample)
        store.upsert(chunks, model.embed_documents([chunk.text for chunk in chunks]))
    return store


def indexed(folder: Path, model: WordModel) -> MemoryLocation:
    """Make an index of the samples with a model."""
    location = MemoryLocation(folder)
    info = location.build(schema_of(model))
    fill(location.stores[info.name], model)
    location.switch(info)
    return location
