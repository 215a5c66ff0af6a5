"""Embed what many clients ask for with one model, fairly and within bounds.

Texts of concurrent requests go to the model together; what may wait is bounded, and who comes beyond that is
told when to try again. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from app.problems import OverloadedError, RequestError
from app.settings import Settings
from search.batching import MicroBatcher
from search.embedding import Embedding
from store.types import Vector

#: Texts in one call of the model; a larger request is cut, so that others get their turn between its parts.
CALL_TEXTS = 256
#: How much the latest call counts in the estimate of the time a text takes.
_SMOOTHING = 0.2
_LONGEST_WAIT = 60

Kind = Literal["query", "document"]


@dataclass(frozen=True, slots=True)
class EmbeddingLimits:
    """How much may be asked for.

    Attributes:
        inputs: texts in a request.
        characters: of a text.
        waiting: texts that may wait for the model, of all requests together.
        body_bytes: of a request's body.
    """

    inputs: int = 512
    characters: int = 100_000
    waiting: int = 4096
    body_bytes: int = 16 * 2**20

    @classmethod
    def of(cls, settings: Settings) -> EmbeddingLimits:
        """Return the limits that the settings name."""
        return cls(
            inputs=settings.embeddings_max_inputs,
            characters=settings.embeddings_max_characters,
            waiting=settings.embeddings_queue,
            body_bytes=settings.embeddings_max_body_bytes,
        )


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a request is answered with.

    Attributes:
        vectors: shape (number of texts, dimensions), unit rows.
        tokens: of all texts together, as far as the model read them.
        truncated: numbers of the texts that are longer than the model reads.
        model: what made the vectors.
    """

    vectors: Vector
    tokens: int
    truncated: tuple[int, ...]
    model: Embedding


@dataclass(slots=True)
class _Lane:
    """A batcher for texts that the model treats alike, and how many requests use it."""

    batcher: MicroBatcher
    users: int = 0


class EmbeddingService:
    """Answers concurrent requests for vectors.

    Args:
        model: gives the model to use from now on; it may change between requests.
        executor: one thread, in which the model runs.
        limits: how much may be asked for.
        wait: seconds a text waits for others to be embedded with.
    """

    def __init__(
        self,
        model: Callable[[], Embedding],
        executor: Executor,
        limits: EmbeddingLimits,
        *,
        wait: float = 0.002,
    ) -> None:
        self._model = model
        self._executor = executor
        self.limits = limits
        self._wait = wait
        self._lanes: dict[tuple[str, Kind, str], _Lane] = {}
        self._waiting = 0
        self._seconds_per_text = 0.01
        self.began = int(time.time())

    @property
    def model(self) -> Embedding:
        """The model in use."""
        return self._model()

    async def embed(self, texts: list[str], kind: Kind, instruction: str = "") -> Embedded:
        """Embed the texts of one request.

        Raises:
            RequestError: it asks for what the model or the limits do not allow.
            OverloadedError: too many texts are waiting already.
        """
        model = self.model
        self._check(texts, kind, instruction, model)
        if self._waiting + len(texts) > self.limits.waiting:
            raise OverloadedError(
                f"{self._waiting} texts are waiting for the model; no more than {self.limits.waiting} may",
                hint="Try again after the time in the Retry-After header.",
                seconds=self._estimate(),
            )
        self._waiting += len(texts)
        try:
            vectors, counts = await asyncio.gather(
                self._run(model, texts, kind, instruction), asyncio.to_thread(model.count_tokens, texts)
            )
        finally:
            self._waiting -= len(texts)
        cut = tuple(number for number, count in enumerate(counts) if count > model.max_tokens)
        return Embedded(vectors, sum(min(count, model.max_tokens) for count in counts), cut, model)

    async def close(self) -> None:
        """Finish what was asked for."""
        await asyncio.gather(*(lane.batcher.close() for lane in list(self._lanes.values())))

    def _check(self, texts: list[str], kind: Kind, instruction: str, model: Embedding) -> None:
        if len(texts) > self.limits.inputs:
            raise RequestError(
                f"The request has {len(texts)} texts; the limit is {self.limits.inputs}",
                parameter="input",
                limit=self.limits.inputs,
                hint="Send them in several requests.",
            )
        for number, text in enumerate(texts):
            if len(text) > self.limits.characters:
                raise RequestError(
                    f"Text {number} has {len(text)} characters; the limit is {self.limits.characters}",
                    parameter="input",
                    limit=self.limits.characters,
                    hint=f"Cut it: the model reads {model.max_tokens} tokens only.",
                )
        if instruction and not model.config.prompts.takes_instruction(kind):
            raise RequestError(
                f"The {kind} prompt of {model.name} takes no instruction",
                parameter="instruction",
                hint="Leave it out.",
            )
        if len(instruction) > self.limits.characters:
            raise RequestError(
                "The instruction is too long", parameter="instruction", limit=self.limits.characters
            )

    async def _run(self, model: Embedding, texts: list[str], kind: Kind, instruction: str) -> Vector:
        key = (model.fingerprint, kind, instruction)
        lane = self._lanes.setdefault(key, _Lane(self._batcher(model, kind, instruction)))
        lane.users += 1
        try:
            parts = [
                lane.batcher.embed(texts[start : start + CALL_TEXTS])
                for start in range(0, len(texts), CALL_TEXTS)
            ]
            return np.concatenate(await asyncio.gather(*parts))
        finally:
            lane.users -= 1
            if not lane.users:
                self._lanes.pop(key, None)

    def _batcher(self, model: Embedding, kind: Kind, instruction: str) -> MicroBatcher:
        embed = model.embed_query if kind == "query" else model.embed_documents
        timed = partial(self._timed, partial(embed, instruction=instruction) if instruction else embed)
        return MicroBatcher(timed, self._executor, wait=self._wait, size=CALL_TEXTS)

    def _timed(self, embed: Callable[[list[str]], Vector], texts: list[str]) -> Vector:
        began = time.perf_counter()
        vectors = embed(texts)
        seconds = (time.perf_counter() - began) / max(1, len(texts))
        self._seconds_per_text += _SMOOTHING * (seconds - self._seconds_per_text)
        return vectors

    def _estimate(self) -> int:
        """Guess in how many whole seconds half of what waits will be done."""
        return min(_LONGEST_WAIT, max(1, math.ceil(self._waiting * self._seconds_per_text / 2)))
