"""The embedding service alone: a model and ``/v1``, without index, store or pages.

For a machine with an accelerator that serves many indexers and applications.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Literal

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from app.api.reference import DescribedApp
from app.auth import Access
from app.embeddings import serving_router
from app.embeddings.service import EmbeddingLimits, EmbeddingService
from app.log import RequestLog
from app.problems import add_problem_handlers
from app.security import BrowserHeaders, Guard, check_binding
from app.settings import Settings
from app.version import program_version
from search.embedding import Embedding

_DESCRIPTION = """Vectors of one model, for indexers and applications elsewhere.

`POST /v1/embeddings` is OpenAI's, with `input_type` and `instruction` beside it. Errors are
`application/problem+json` (RFC 9457). Where the server has an API key, send it as
`Authorization: Bearer KEY`.
"""

health = APIRouter(tags=["health"])


class Ready(BaseModel):
    """Texts can be embedded."""

    status: Literal["ready"] = "ready"


@health.get("/healthz", summary="Does the process answer?")
@health.get("/readyz", summary="Can texts be embedded?")
async def ready() -> Ready:
    """Answer: the model was loaded before anything was served."""
    return Ready()


def create_embedding_app(settings: Settings, model: Embedding) -> FastAPI:
    """Make the application that serves one model.

    Raises:
        ConfigurationError: the settings would let others in without a key.
    """
    check_binding(settings)
    access = Access(settings.api_key, settings.session_hours * 3600)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        executor = ThreadPoolExecutor(1, thread_name_prefix="embed")
        wait = settings.batch_wait_ms / 1000
        service = EmbeddingService(lambda: model, executor, EmbeddingLimits.of(settings), wait=wait)
        app.state.embeddings = service
        # The first call is slow on an accelerator; nobody should wait for it.
        await asyncio.get_running_loop().run_in_executor(executor, model.embed_documents, ["warm up"])
        try:
            yield
        finally:
            await service.close()
            executor.shutdown()

    app = DescribedApp(
        title="lusifer-search embeddings",
        version=program_version(),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    add_problem_handlers(app)
    app.include_router(serving_router)
    app.include_router(health)
    app.add_middleware(Guard, settings=settings, access=access)
    app.add_middleware(RequestLog)
    app.add_middleware(BrowserHeaders)
    return app
