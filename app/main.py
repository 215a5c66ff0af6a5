"""Put the web application together: ``create_app`` and the lifespan that owns model and store.

No globals: two applications with different settings can live in one process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import Lifespan

from app.api import api_router
from app.api.health import router as health_router
from app.api.reference import DescribedApp
from app.auth import Access
from app.embeddings import serving_router
from app.log import RequestLog
from app.pages import web_router
from app.pages.rendering import Pages, StaticFolder
from app.problems import add_problem_handlers
from app.security import BrowserHeaders, Guard, check_binding
from app.settings import Settings
from app.state import Resources
from app.version import program_version
from search.index import IndexDoors, ModelLoader, load_index_model

DESCRIPTION = """Search documents in fourteen languages by meaning: ask in one, find passages in all.

Errors are `application/problem+json` (RFC 9457) with a `hint` that says what to do. Where the server has an
API key, send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`.
"""


def create_app(
    settings: Settings, *, load: ModelLoader = load_index_model, doors: IndexDoors | None = None
) -> FastAPI:
    """Make the application.

    Args:
        settings: how to serve.
        load: loads the model, in a thread, when the application starts.
        doors: how to open the index and to follow it, in threads; the way the settings say if not given.

    Raises:
        ConfigurationError: the settings would let others in without a key.
    """
    check_binding(settings)
    access = Access(settings.api_key, settings.session_hours * 3600)

    app = DescribedApp(
        title="lusifer-search",
        version=program_version(),
        description=DESCRIPTION,
        lifespan=_lifespan(settings, access, load, doors or IndexDoors()),
        docs_url=None,  # these pages load scripts from other servers
        redoc_url=None,
    )
    app.state.access = access
    app.state.pages = Pages()
    add_problem_handlers(app)
    app.include_router(api_router)
    app.include_router(serving_router)
    app.include_router(health_router)
    app.include_router(web_router)
    app.mount("/static", StaticFolder(), name="static")
    app.add_middleware(Guard, settings=settings, access=access)
    app.add_middleware(RequestLog)
    app.add_middleware(BrowserHeaders)
    return app


def _lifespan(settings: Settings, access: Access, load: ModelLoader, doors: IndexDoors) -> Lifespan[FastAPI]:
    """Own model and store from the application's start to its end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        model = await asyncio.to_thread(load, settings)
        resources = Resources.open(settings, access, model, doors)
        app.state.resources = resources
        app.state.embeddings = resources.embeddings
        warming = asyncio.create_task(asyncio.to_thread(resources.warm_up))
        watching = asyncio.create_task(resources.index.watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(warming, watching, return_exceptions=True)
            await resources.close()

    return lifespan
