"""Health for machines: ``/healthz`` (the process answers) and ``/readyz`` (searches can be answered).

Open to everyone, so they tell nothing about what is indexed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.state import ResourcesDep
from store.errors import FingerprintMismatch, StoreError, StoreMissing

router = APIRouter(tags=["health"])
log = logging.getLogger("lusifer.health")

StoreState = Literal["ok", "nothing indexed", "made by another model", "unavailable"]


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether searches can be answered, and if not, which part is missing."""

    status: Literal["ready", "not ready"]
    model: Literal["ok"] = "ok"
    store: StoreState


@router.get("/healthz", summary="Does the process answer?")
async def healthz() -> Health:
    return Health()


@router.get(
    "/readyz",
    summary="Can searches be answered?",
    responses={503: {"model": Readiness, "description": "Not now: see `store`."}},
)
async def readyz(resources: ResourcesDep, response: Response) -> Readiness:
    state = await asyncio.to_thread(_store_state, resources)
    if state != "ok":
        response.status_code = 503
    return Readiness(status="ready" if state == "ok" else "not ready", store=state)


def _store_state(resources: ResourcesDep) -> StoreState:
    try:
        resources.index.ask(lambda store: store.count())
    except StoreMissing:
        return "nothing indexed"
    except FingerprintMismatch:
        return "made by another model"
    except StoreError as error:
        log.warning("not ready: %s", type(error).__name__)
        return "unavailable"
    return "ok"
