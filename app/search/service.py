"""Answer questions: the server's way, with batches and threads, and the command line's, in a row.

Knows the order of the steps and where each runs. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol

from app.batching import MicroBatcher
from app.embedding import Embedding
from app.search.calibrate import Calibration
from app.search.highlight import best_sentences, plan_sentences
from app.search.pipeline import Found, assemble, find, question_language
from app.search.request import Limits, SearchRequest, check_request
from app.search.results import SearchResult
from store.base import Store


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
