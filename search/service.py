"""Answer questions: the server's way, with batches and threads, and the command line's, in a row.

Knows the order of the steps and where each runs. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Protocol

from lusifer.detection import detect
from search.batching import MicroBatcher
from search.embedding import Embedding
from search.ranking import Asked, Calibration, Evidence, fusion_for, never_rising, score, weak_below
from search.request import Limits, SearchRequest, check_request
from search.result import (
    HEADING_SEPARATOR,
    DocumentRef,
    Facets,
    Hit,
    Passage,
    QueryLanguage,
    SearchResult,
)
from search.snippets import Candidate, Span, best_sentences, plan_sentences
from store.types import Answer, DocumentHits, Query, ScoredChunk, Store, Vector

# The steps of a search, apart from embedding: what to ask the store, what to embed, how to answer.


@dataclass(frozen=True, slots=True)
class Found:
    """What the store answered.

    Attributes:
        total: documents found.
        documents: those of this page.
        scores: the score of each of them.
        best: the score of the first document of all, which may be on a page before; 0 if there is none.
        facets: counts by language and folder.
        asked: what scores depend on besides the passage.
    """

    total: int
    documents: tuple[DocumentHits, ...]
    scores: tuple[float, ...]
    best: float
    facets: Facets
    asked: Asked

    @property
    def passages(self) -> list[Candidate]:
        """Every passage on the page, without white space around it."""
        chunks = [hit.chunk for document in self.documents for hit in document.chunks]
        return [
            Candidate(chunk.text.strip(), (chunk.title, *chunk.heading.split(HEADING_SEPARATOR)))
            for chunk in chunks
        ]


def question_language(request: SearchRequest) -> QueryLanguage:
    """Tell the language of a question, or believe the sender."""
    if request.query_language:
        return QueryLanguage(code=request.query_language, confidence=1.0)
    detection = detect(request.text)
    return QueryLanguage(code=detection.code, confidence=round(min(1.0, detection.confidence), 3))


def find(
    store: Store,
    request: SearchRequest,
    vector: Vector,
    language: QueryLanguage,
    *,
    candidates: int,
    calibration: Calibration | None,
) -> Found:
    """Ask the store.

    The hits before the page are fetched too, because scores level out from the first hit on.

    Args:
        store: where to look.
        request: the checked request.
        vector: the question's vector, shape (dimensions,).
        language: the language the question is taken to be in.
        candidates: passages that each half of the search contributes.
        calibration: how the model's evidence is fused and scored, if that was measured.
    """
    asked = Asked(language.code, language.confidence)
    query = Query(
        vector,
        request.text,
        request.filter(),
        documents=request.offset + request.limit,
        candidates=candidates,
        language=asked.language,
        fusion=fusion_for(calibration, asked),
    )
    answer = store.search(query)
    asked = replace(asked, nearest=answer.nearest)
    raw = [max(_raw(hit, asked, calibration) for hit in document.chunks) for document in answer.documents]
    scores = never_rising(raw, page=request.limit)
    facets = _facets(store, request, query, answer)
    page = slice(request.offset, request.offset + request.limit)
    best = scores[0] if scores else 0.0
    return Found(answer.total, answer.documents[page], tuple(scores[page]), best, facets, asked)


def _facets(store: Store, request: SearchRequest, query: Query, answer: Answer) -> Facets:
    """Count by language and folder, each without its own filter, so that a choice can be widened."""
    languages, folders = answer.languages, answer.folders
    if request.languages:
        wider = replace(query, filter=request.filter(languages=False), documents=1, chunks_per_document=1)
        languages = store.search(wider).languages
    if request.folder:
        wider = replace(query, filter=request.filter(folder=False), documents=1, chunks_per_document=1)
        folders = store.search(wider).folders
    return Facets(language=_most_first(languages), folder=_most_first(folders))


def _most_first(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def assemble(
    request: SearchRequest,
    language: QueryLanguage,
    found: Found,
    marks: Sequence[Span | None],
    *,
    calibration: Calibration | None,
    took_ms: float,
) -> SearchResult:
    """Make the result object; ``marks`` has one entry for each of ``found.passages``."""
    hits: list[Hit] = []
    rest = list(marks)
    for document, top in zip(found.documents, found.scores, strict=True):
        own, rest = rest[: len(document.chunks)], rest[len(document.chunks) :]
        hits.append(_hit(document, top, own, found.asked, calibration))
    return SearchResult(
        query=request.text,
        language=language,
        total=found.total,
        good_match=found.best >= weak_below(calibration),
        weak_below=weak_below(calibration),
        offset=request.offset,
        limit=request.limit,
        hits=hits,
        facets=found.facets,
        took_ms=round(took_ms, 1),
    )


def _hit(
    document: DocumentHits,
    top: float,
    marks: Sequence[Span | None],
    asked: Asked,
    calibration: Calibration | None,
) -> Hit:
    chunk = document.chunks[0].chunk
    passages = []
    ceiling = top
    for number, (scored, mark) in enumerate(zip(document.chunks, marks, strict=True)):
        ceiling = top if number == 0 else min(ceiling, _raw(scored, asked, calibration))
        passages.append(_passage(scored, ceiling, mark))
    reference = DocumentRef(
        id=document.document_id,
        path=chunk.path,
        title=chunk.title,
        language=chunk.document_language,
        folder=chunk.folder,
        modified=chunk.modified,
    )
    return Hit(document=reference, score=passages[0].score, passages=passages)


def _passage(scored: ScoredChunk, value: float, mark: Span | None) -> Passage:
    chunk = scored.chunk
    text = chunk.text.strip()
    start = chunk.start + len(chunk.text) - len(chunk.text.lstrip())
    return Passage(
        text=text,
        start=start,
        end=start + len(text),
        language=chunk.language,
        score=round(value, 4),
        highlights=[mark] if mark else [],
        position=chunk.position,
        heading=chunk.heading,
        similarity=round(scored.similarity, 4),
    )


def _raw(hit: ScoredChunk, asked: Asked, calibration: Calibration | None) -> float:
    return score(Evidence(hit.similarity, hit.lexical, hit.coverage, hit.chunk.language), asked, calibration)


def calibration_of(model: Embedding) -> Calibration | None:
    """Return how a model's evidence is to be fused and scored; None for a model that was never calibrated.

    Raises:
        ConfigError: the model's calibration cannot be read.
    """
    return Calibration.read(getattr(model, "calibration", None))


def search_once(
    store: Store,
    model: Embedding,
    request: SearchRequest,
    *,
    candidates: int = 200,
    limits: Limits | None = None,
) -> SearchResult:
    """Answer one question, every step in this thread.

    Raises:
        RequestError: the request cannot be answered as it is.
        StoreError: the store cannot be asked.
        ConfigError: the model's calibration cannot be read.
    """
    began = time.perf_counter()
    request = check_request(request, limits or Limits())
    calibration = calibration_of(model)
    language = question_language(request)
    vector = model.embed_query(request.text)[0]
    found = find(store, request, vector, language, candidates=candidates, calibration=calibration)
    plan = plan_sentences(found.passages)
    marks = best_sentences(plan, model.embed_documents(list(plan.texts)), vector)
    took = (time.perf_counter() - began) * 1000
    return assemble(request, language, found, marks, calibration=calibration, took_ms=took)


class Asker(Protocol):
    """Puts a question to the store, opening it if need be."""

    def __call__(self, question: Callable[[Store], Found], /) -> Found: ...


class SearchService:
    """Answers concurrent questions without holding up the event loop.

    Args:
        ask: puts a question to the store; called in a thread.
        model: the index's model.
        executor: one thread, in which the model runs.
        limits: how much may be asked for.
        candidates: passages that each half of a search contributes.
        batch_wait: seconds a question waits for others to be embedded with.
    """

    def __init__(
        self,
        ask: Asker,
        model: Embedding,
        executor: Executor,
        *,
        limits: Limits,
        candidates: int = 200,
        batch_wait: float = 0.002,
    ) -> None:
        self._ask = ask
        self._limits = limits
        self._candidates = candidates
        self._questions = MicroBatcher(model.embed_query, executor, wait=batch_wait, size=64)
        self._sentences = MicroBatcher(model.embed_documents, executor, wait=0)
        self._calibration = calibration_of(model)

    async def search(self, request: SearchRequest) -> SearchResult:
        """Answer one question.

        Raises:
            RequestError: the request cannot be answered as it is.
            StoreError: the store cannot be asked.
        """
        began = time.perf_counter()
        request = check_request(request, self._limits)
        language, vectors = await asyncio.gather(
            asyncio.to_thread(question_language, request), self._questions.embed([request.text])
        )
        vector = vectors[0]
        found = await asyncio.to_thread(
            self._ask,
            lambda store: find(
                store,
                request,
                vector,
                language,
                candidates=self._candidates,
                calibration=self._calibration,
            ),
        )
        plan = plan_sentences(found.passages)
        marks = best_sentences(plan, await self._sentences.embed(list(plan.texts)), vector)
        took = (time.perf_counter() - began) * 1000
        return assemble(request, language, found, marks, calibration=self._calibration, took_ms=took)

    async def close(self) -> None:
        """Finish what was asked for."""
        await self._questions.close()
        await self._sentences.close()
