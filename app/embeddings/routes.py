"""``/v1/embeddings``, ``/v1/models`` and the tokenizer: the embedding service over HTTP.

Must not log or keep a text.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Depends, Request, Response

from app.api.models import problems
from app.embeddings.models import (
    EmbeddingsAnswer,
    EmbeddingsRequest,
    EncodingFormat,
    ServedModel,
    ServedModels,
)
from app.embeddings.service import Embedded, EmbeddingService
from app.problems import ClientGoneError, ModelNotServedError, RequestError
from search.embedding import Embedding

T = TypeVar("T")

#: How often to look whether the client is still there, in seconds.
_LOOK_SECONDS = 1.0

router = APIRouter(tags=["embeddings"])


def get_service(request: Request) -> EmbeddingService:
    """The service that the lifespan made."""
    return cast("EmbeddingService", request.app.state.embeddings)


ServiceDep = Annotated[EmbeddingService, Depends(get_service)]


@router.post(
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


@router.get("/models", summary="The model that is served", responses=problems())
async def models(service: ServiceDep) -> ServedModels:
    """Describe the model: enough for a client to use it like one of its own."""
    return ServedModels(data=[_describe(service)])


@router.get("/models/{name:path}", summary="The model, if it has this name", responses=problems(404, 422))
async def model(name: str, service: ServiceDep) -> ServedModel:
    """Describe the model by its name or its fingerprint."""
    _check_model(name, service.model)
    return _describe(service)


@router.get(
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


def _check_model(wanted: str | None, model: Embedding) -> None:
    if wanted is not None and wanted not in (model.name, model.fingerprint):
        raise ModelNotServedError(
            f"The model {wanted[:100]!r} is not served here; {model.name} ({model.fingerprint}) is",
            hint="Ask for that one, or another service.",
        )


def _check_dimensions(wanted: int | None, model: Embedding) -> None:
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
        ClientGoneError: it has left.
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
            if await request.is_disconnected():
                raise ClientGoneError("The client has left before its texts were embedded")
    finally:
        task.cancel()  # harmless to one that is done
    return await task
