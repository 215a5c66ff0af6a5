"""``/api/v1/status``: what is indexed, by which model, and what is wrong if nothing can be found."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from app.api.models import ModelInfo, Status, Trouble, problems
from app.state import Resources, ResourcesDep
from app.version import program_version
from search.documents import take_inventory
from store.errors import StoreError, StoreMissing

router = APIRouter(tags=["status"])


@router.get("/status", summary="What is indexed", responses=problems())
async def status(resources: ResourcesDep) -> Status:
    return await asyncio.to_thread(_status, resources)


def _status(resources: Resources) -> Status:
    model = resources.model
    status = Status(
        version=program_version(),
        state="ready",
        documents=0,
        chunks=0,
        languages={},
        fingerprint=None,
        store="server" if resources.settings.qdrant_url else "embedded",
        model=ModelInfo(
            name=model.name,
            fingerprint=model.fingerprint,
            dimensions=model.dimensions,
            max_tokens=model.max_tokens,
        ),
    )
    try:
        inventory = resources.index.ask(take_inventory)
    except StoreError as error:
        state = "empty" if isinstance(error, StoreMissing) else "unavailable"
        return status.model_copy(
            update={"state": state, "trouble": Trouble(message=error.message, hint=error.hint)}
        )
    return status.model_copy(
        update={
            "state": "ready" if inventory.documents else "empty",
            "documents": inventory.documents,
            "chunks": inventory.chunks,
            "languages": inventory.languages,
            "fingerprint": inventory.fingerprint,
        }
    )
