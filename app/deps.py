"""What routes ask FastAPI for."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from app.resources import Resources


def get_resources(request: Request) -> Resources:
    """The resources the lifespan made."""
    return cast("Resources", request.app.state.resources)


ResourcesDep = Annotated[Resources, Depends(get_resources)]
