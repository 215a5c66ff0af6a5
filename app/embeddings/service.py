"""Embed what many clients ask for with one model, fairly and within bounds.

Texts of concurrent requests go to the model together; what may wait is bounded, and who comes beyond that is
told when to try again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.problems import RefusedError
from app.settings import Settings
from lusifer.config import PromptKind
from lusifer.embedder import TextEmbedder
from search.batching import BatchedEmbedder
from search.errors import RequestError
from store.types import Vector

#: Texts in one call of the model; a larger request is cut, so that others get their turn between its parts.
CALL_TEXTS = 256
#: Seconds after which a client that was refused may try again at the latest.
_LONGEST_WAIT = 60


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
    model: TextEmbedder


class EmbeddingService:
    """Answers concurrent requests for vectors.

    Args:
        model: gives the model to use from now on; it may change between requests.
        limits: how much may be asked for.
    """

    def __init__(self, model: Callable[[], BatchedEmbedder], limits: EmbeddingLimits) -> None:
        self._model = model
        self.limits = limits
        self._waiting = 0
        self.began = int(time.time())

    @property
    def model(self) -> TextEmbedder:
        """The model in use."""
        return self._model().model

    async def embed(self, texts: list[str], kind: PromptKind, instruction: str = "") -> Embedded:
        """Embed the texts of one request.

        Raises:
            RequestError: it asks for what the model or the limits do not allow.
            RefusedError: too many texts are waiting already.
        """
        batched = self._model()
        model = batched.model
        self._check(texts, kind, instruction, model)
        if self._waiting + len(texts) > self.limits.waiting:
            seconds = self._waiting * batched.seconds_per_text / 2  # until half of what waits is done
            raise RefusedError(
                "overloaded",
                f"{self._waiting} texts are waiting for the model; no more than {self.limits.waiting} may",
                hint="Try again after the time in the Retry-After header.",
                headers={"Retry-After": str(min(_LONGEST_WAIT, max(1, math.ceil(seconds))))},
            )
        self._waiting += len(texts)
        parts = asyncio.gather(
            *(
                asyncio.wrap_future(batched.submit(texts[start : start + CALL_TEXTS], kind, instruction))
                for start in range(0, len(texts), CALL_TEXTS)
            )
        )
        try:
            counts = await asyncio.to_thread(model.count_tokens, texts)
            vectors = np.concatenate(await parts)
        finally:
            parts.cancel()  # nobody waits for them if the client has left; harmless to those that are done
            self._waiting -= len(texts)
        cut = tuple(number for number, count in enumerate(counts) if count > model.max_tokens)
        tokens = sum(min(count, model.max_tokens) for count in counts)
        return Embedded(vectors, tokens, cut, model)

    def _check(self, texts: list[str], kind: PromptKind, instruction: str, model: TextEmbedder) -> None:
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
