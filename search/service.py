"""Answer a question: the one sequence that the page, the API and the command line all go through.

Language and vector of the question, one query to the store, scores, the sentence to mark in each passage, the
result object. Blocks; the server calls it in a thread for each request.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from lusifer.detection import Detection, detect
from search.ranking import Asked, Calibration, Evidence, fusion_for, never_rising, score, weak_below
from search.request import SearchRequest
from search.result import DocumentRef, Facets, Hit, Passage, SearchResult
from search.snippets import choose_sentences
from store.types import HEADING_SEPARATOR, Answer, Chunk, DocumentHits, Query, ScoredChunk, Store, Vector


class Embeds(Protocol):
    """The two calls that a search makes of a model."""

    def embed_query(self, texts: list[str]) -> Vector:
        """Embed questions, one row each."""

    def embed_documents(self, texts: list[str]) -> Vector:
        """Embed sentences, one row each."""


def search(
    store: Store,
    model: Embeds,
    request: SearchRequest,
    *,
    calibration: Calibration | None = None,
    candidates: int = 200,
) -> SearchResult:
    """Answer one question.

    Args:
        store: where to look.
        model: what made the store's vectors.
        request: the question, as ``check_request`` returned it.
        calibration: how the model's evidence is fused and scored, if that was measured.
        candidates: passages that each half of the search contributes.

    Raises:
        StoreError: the store cannot be asked.
        LusiferError: the model cannot be used.
    """
    began = time.perf_counter()
    language = query_language(request)
    vector = model.embed_query([request.text])[0]
    asked = Asked(language.code, language.confidence)
    # The hits before the page are fetched too: scores level out from the first hit on.
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
    raw = [
        [score(_evidence(hit), asked, calibration) for hit in document.chunks]
        for document in answer.documents
    ]
    scores = never_rising([max(values) for values in raw], page=request.limit)
    page = slice(request.offset, request.offset + request.limit)
    hits = [
        _hit(document, top, values)
        for document, top, values in zip(answer.documents[page], scores[page], raw[page], strict=True)
    ]
    _mark_sentences(hits, model, vector)
    weak = weak_below(calibration)
    return SearchResult(
        query=request.text,
        language=language,
        total=answer.total,
        good_match=bool(scores) and scores[0] >= weak,
        weak_below=weak,
        offset=request.offset,
        limit=request.limit,
        hits=hits,
        facets=_facets(store, request, query, answer),
        took_ms=round((time.perf_counter() - began) * 1000, 1),
    )


def query_language(request: SearchRequest) -> Detection:
    """Detect the language of a question, or believe the sender."""
    if request.query_language:
        return Detection(request.query_language, 1.0)
    found = detect(request.text)
    return Detection(found.code, round(found.confidence, 3))


def document_ref(chunk: Chunk) -> DocumentRef:
    """Describe the document of a chunk."""
    return DocumentRef(
        id=chunk.document_id,
        path=chunk.path,
        title=chunk.title,
        language=chunk.document_language,
        folder=chunk.folder,
        modified=chunk.modified,
    )


def _evidence(hit: ScoredChunk) -> Evidence:
    return Evidence(hit.similarity, hit.lexical, hit.coverage, hit.chunk.language)


def _hit(document: DocumentHits, top: float, scores: Sequence[float]) -> Hit:
    """Show a document; its best passage has the document's score and no other passage a higher one."""
    passages = [
        _passage(hit, top if number == 0 else min(top, *scores[1 : number + 1]))
        for number, hit in enumerate(document.chunks)
    ]
    return Hit(document=document_ref(document.chunks[0].chunk), score=passages[0].score, passages=passages)


def _passage(hit: ScoredChunk, value: float) -> Passage:
    chunk = hit.chunk
    text = chunk.text.strip()
    start = chunk.start + len(chunk.text) - len(chunk.text.lstrip())
    return Passage(
        text=text,
        start=start,
        end=start + len(text),
        language=chunk.language,
        score=round(value, 4),
        highlights=[],
        position=chunk.position,
        heading=chunk.heading,
        similarity=round(hit.similarity, 4),
    )


def _mark_sentences(hits: Sequence[Hit], model: Embeds, vector: Vector) -> None:
    """Mark the sentence closest to the question in every passage."""
    passages = [
        (passage, (hit.document.title, *passage.heading.split(HEADING_SEPARATOR)))
        for hit in hits
        for passage in hit.passages
    ]
    texts = [(passage.text, headings) for passage, headings in passages]
    chosen = choose_sentences(texts, model.embed_documents, vector)
    for (passage, _), span in zip(passages, chosen, strict=True):
        passage.highlights = [span] if span else []


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
