"""Put the web applications together: the search, and the embedding service alone.

No globals: applications with different settings can live in one process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.types import Lifespan

from app import program_version
from app.api.openapi import DescribedApp
from app.api.routes import api_router, health_router
from app.embeddings.routes import alone_router, embeddings_router
from app.embeddings.service import EmbeddingLimits, EmbeddingService
from app.log import RequestLog
from app.pages import ROUTERS
from app.pages.rendering import Pages, StaticFolder
from app.problems import add_problem_handlers, program_names
from app.security import Access, BrowserHeaders, Guard, check_binding, public_paths
from app.settings import Settings
from app.state import AppState
from lusifer.embedder import TextEmbedder
from search.batching import BatchedEmbedder
from search.index import SearchIndex

SEARCH = """Search documents in fourteen languages by meaning: ask in one, find passages in all.

Errors are `application/problem+json` (RFC 9457) with a `hint` that says what to do. Where the server has an
API key, send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`.
"""
EMBEDDINGS = """Vectors of one model, for indexers and applications elsewhere.

`POST /v1/embeddings` is OpenAI's, with `input_type` and `instruction` beside it. Errors are
`application/problem+json` (RFC 9457). Where the server has an API key, send it as
`Authorization: Bearer KEY`.
"""


def create_app(settings: Settings, index: SearchIndex | None = None) -> FastAPI:
    """Make the search application.

    Args:
        settings: how to serve.
        index: what is searched; the one the settings name if not given. The application closes it.

    Raises:
        SettingsError: the settings would let others in without a key.
    """
    check_binding(settings)
    index = index or settings.search_index()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state = AppState.of(settings, index)
        app.state.app, app.state.embeddings = state, state.embeddings
        await asyncio.to_thread(index.load_model)
        warming = asyncio.create_task(asyncio.to_thread(state.warm_up))
        try:
            yield
        finally:
            await asyncio.gather(warming, return_exceptions=True)
            await asyncio.to_thread(index.close)

    routers = [api_router, embeddings_router, health_router, *ROUTERS]
    app = _assemble("lusifer-search", SEARCH, settings, lifespan, routers)
    app.state.pages = Pages()
    app.mount("/static", StaticFolder(), name="static")
    return app


def create_embedding_app(settings: Settings, model: TextEmbedder) -> FastAPI:
    """Make the application that serves one model, without index, store or pages.

    For a machine with an accelerator that serves many indexers and applications.

    Raises:
        SettingsError: the settings would let others in without a key.
    """
    check_binding(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ThreadPoolExecutor(1, thread_name_prefix="embed") as executor:
            batched = BatchedEmbedder(model, executor, wait=settings.batch_wait_ms / 1000)
            app.state.embeddings = EmbeddingService(lambda: batched, EmbeddingLimits.of(settings))
            # The first call is slow on an accelerator; nobody should wait for it.
            await asyncio.to_thread(batched.embed_documents, ["warm up"])
            yield

    routers = [embeddings_router, alone_router]
    return _assemble("lusifer-search embeddings", EMBEDDINGS, settings, lifespan, routers)


def _assemble(
    title: str, description: str, settings: Settings, lifespan: Lifespan[FastAPI], routers: list[APIRouter]
) -> FastAPI:
    access = Access(settings.api_key, settings.session_hours * 3600)
    app = DescribedApp(
        title=title,
        version=program_version(),
        description=description,
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from other servers
        redoc_url=None,
    )
    app.state.access = access
    app.state.program_names = program_names(routers)
    add_problem_handlers(app)
    for router in routers:
        app.include_router(router)
    app.add_middleware(Guard, settings=settings, access=access, public=public_paths(routers))
    app.add_middleware(RequestLog)
    app.add_middleware(BrowserHeaders)
    return app
