"""``/v1/embeddings``, ``/v1/models`` and the tokenizer: the embedding service over HTTP.

``POST /v1/embeddings`` as OpenAI's clients speak it, and what our own client needs beside it. No text is
logged or kept.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Coroutine
from typing import Annotated, Any, Literal, TypeVar, cast

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.api.openapi import KEY, problems
from app.embeddings.service import Embedded, EmbeddingService
from app.problems import RefusedError
from app.security import PUBLIC
from lusifer.embedder import TextEmbedder
from search.errors import RequestError

T = TypeVar("T")

#: How often to look whether the client is still there, in seconds.
_LOOK_SECONDS = 1.0

embeddings_router = APIRouter(prefix="/v1", tags=["embeddings"], dependencies=list(KEY))
#: Health of the service where it is served alone.
alone_router = APIRouter(tags=["health", PUBLIC])

InputType = Literal["query", "document"]
EncodingFormat = Literal["float", "base64"]


class EmbeddingsRequest(BaseModel):
    """Texts to embed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"input": ["how do bees survive the winter?"], "input_type": "query"}]
        },
    )

    input: str | list[str] = Field(description="A text, or several.")
    model: str | None = Field(
        None, description="Name or fingerprint of the model; refused if another is served. Any if left out."
    )
    input_type: InputType = Field(
        "document", description="What the texts are: questions and passages may be embedded differently."
    )
    instruction: str = Field("", description="What the model is to do, for models whose prompt takes one.")
    encoding_format: EncodingFormat = Field(
        "float", description="Vectors as lists of numbers, or as base64 of little-endian float32."
    )
    dimensions: int | None = Field(
        None, description="Length of the vectors: the model's own only, it cannot be shortened."
    )
    user: str | None = Field(None, description="Accepted for compatibility, and neither used nor logged.")

    @field_validator("input", mode="before")
    @classmethod
    def _refuse_tokens(cls, value: object) -> object:
        """Say why token ids, which OpenAI's service accepts, are refused here.

        Raises:
            ValueError: the input is not text.
        """
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, int | list) for item in items):
            raise ValueError("token ids are not accepted, they depend on the tokenizer; send texts")
        if not all(isinstance(item, str) for item in items):
            raise ValueError("must be a text or a list of texts")
        if not items:
            raise ValueError("holds no text")
        return value

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


class EmbeddingItem(BaseModel):
    """The vector of one text."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(description="Number of the text, from 0.")
    embedding: list[float] | str = Field(description="Of length 1; in the form that was asked for.")


class Usage(BaseModel):
    """Tokens the model read, prompts not counted."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str = Field(description="The model's name.")
    fingerprint: str = Field(
        description="What made the vectors; those of different fingerprints must not mix."
    )
    truncated: list[int] = Field(description="Numbers of the texts whose ends the model did not see.")
    usage: Usage


class ServedModel(BaseModel):
    """The model, with what a client needs to use it like one of its own."""

    id: str = Field(description="The model's name.")
    object: Literal["model"] = "model"
    created: int = Field(description="When the service began, in seconds since the epoch.")
    owned_by: str = "lusifer-search"
    fingerprint: str = Field(description="What makes the vectors.")
    dimensions: int
    max_tokens: int = Field(description="Longer texts are cut at the end.")
    max_inputs: int = Field(description="Most texts in a request.")
    max_characters: int = Field(description="Longest text, in characters.")
    max_body_bytes: int = Field(description="Longest request body.")
    tokenizer: str = Field(description="Where its tokenizer.json is.")
    config: dict[str, Any] = Field(description="The model's configuration, as in its config.json.")


class ServedModels(BaseModel):
    """The models served: one."""

    object: Literal["list"] = "list"
    data: list[ServedModel]


class Ready(BaseModel):
    """Texts can be embedded."""

    status: Literal["ready"] = "ready"


async def get_service(request: Request) -> EmbeddingService:
    """The service that the lifespan made."""
    return cast("EmbeddingService", request.app.state.embeddings)


ServiceDep = Annotated[EmbeddingService, Depends(get_service)]


@embeddings_router.post(
    "/embeddings",
    summary="Embed texts",
    response_model=EmbeddingsAnswer,
    responses=problems(404, 413, 422, 429, 503),
)
async def embeddings(body: EmbeddingsRequest, service: ServiceDep, request: Request) -> Response:
    """Return the vector of each text; OpenAI's clients can be used as they are."""
    _check_model(body.model, service.model)
    _check_dimensions(body.dimensions, service.model)
    found = await _unless_gone(request, service.embed(body.texts, body.input_type, body.instruction))
    # Written by hand and in a thread: millions of numbers would hold up all other requests.
    content = await asyncio.to_thread(render, found, body.encoding_format)
    return Response(content, media_type="application/json")


@embeddings_router.get("/models", summary="The model that is served", responses=problems())
async def models(service: ServiceDep) -> ServedModels:
    """Describe the model: enough for a client to use it like one of its own."""
    return ServedModels(data=[_describe(service)])


@embeddings_router.get(
    "/models/{name:path}", summary="The model, if it has this name", responses=problems(404, 422)
)
async def model(name: str, service: ServiceDep) -> ServedModel:
    """Describe the model by its name or its fingerprint."""
    _check_model(name, service.model)
    return _describe(service)


@embeddings_router.get(
    "/tokenizers/{fingerprint}",
    summary="The model's tokenizer",
    responses={200: {"content": {"application/json": {}}}, **problems(404, 422)},
)
async def tokenizer(fingerprint: str, service: ServiceDep) -> Response:
    """Return the ``tokenizer.json`` of the model with this fingerprint, which never changes."""
    _check_model(fingerprint, service.model)
    content = await asyncio.to_thread(service.model.tokenizer.to_str)
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return Response(content, media_type="application/json", headers=headers)


@alone_router.get("/healthz", summary="Does the process answer?")
@alone_router.get("/readyz", summary="Can texts be embedded?")
async def ready() -> Ready:
    """Answer: the model was loaded before anything was served."""
    return Ready()


def render(found: Embedded, form: EncodingFormat) -> bytes:
    """Write the answer."""
    vectors = found.vectors.astype("<f4", copy=False)
    written: list[Any] = (
        vectors.tolist()
        if form == "float"
        else [base64.b64encode(row.tobytes()).decode("ascii") for row in vectors]
    )
    answer = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(written)
        ],
        "model": found.model.name,
        "fingerprint": found.model.fingerprint,
        "truncated": list(found.truncated),
        "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
    }
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def _describe(service: EmbeddingService) -> ServedModel:
    model, limits = service.model, service.limits
    return ServedModel(
        id=model.name,
        created=service.began,
        fingerprint=model.fingerprint,
        dimensions=model.dimensions,
        max_tokens=model.max_tokens,
        max_inputs=limits.inputs,
        max_characters=limits.characters,
        max_body_bytes=limits.body_bytes,
        tokenizer=f"/v1/tokenizers/{model.fingerprint}",
        config=model.config.to_dict(),
    )


def _check_model(wanted: str | None, model: TextEmbedder) -> None:
    if wanted is not None and wanted not in (model.name, model.fingerprint):
        raise RefusedError(
            "model-not-served",
            f"The model {wanted[:100]!r} is not served here; {model.name} ({model.fingerprint}) is",
            hint="Ask for that one, or another service.",
        )


def _check_dimensions(wanted: int | None, model: TextEmbedder) -> None:
    if wanted is not None and wanted != model.dimensions:
        raise RequestError(
            f"Vectors of {model.name} have {model.dimensions} dimensions and cannot be shortened to {wanted}",
            parameter="dimensions",
            limit=model.dimensions,
            hint="Leave it out.",
        )


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do what a client asked for, or drop it when the client has left: it may be back with the same.

    Raises:
        RefusedError: it has left.
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
            if await request.is_disconnected():
                raise RefusedError("client-gone", "The client has left before its texts were embedded")
    finally:
        task.cancel()  # harmless to one that is done
    return await task
