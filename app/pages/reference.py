"""``/opensearch.xml``: lets a browser offer this search in its address bar."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from app.pages.query import PageQuery
from app.pages.rendering import Pages

# ``GET /docs``: the API's reference, made from its OpenAPI document on the server, without scripts.


router = APIRouter()


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    description: str
    required: bool
    default: str


@dataclass(frozen=True, slots=True)
class Operation:
    """A route with all that a caller has to know."""

    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[Parameter, ...]
    answers: tuple[tuple[str, str], ...]
    example: str


@router.get("/docs", name="reference")
async def reference(request: Request) -> HTMLResponse:
    document = request.app.openapi()
    values = {
        "query": PageQuery(),
        "operations": [
            _describe(method, path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ],
        "base": str(request.base_url).rstrip("/"),
    }
    pages: Pages = request.app.state.pages
    return pages.page(request, "reference.html", values)


def _describe(method: str, path: str, operation: dict[str, Any]) -> Operation:
    responses: dict[str, dict[str, Any]] = operation["responses"]
    example = responses["200"].get("content", {}).get("application/json", {}).get("example")
    return Operation(
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        parameters=tuple(_parameter(item) for item in operation.get("parameters", ())),
        answers=tuple((status, response["description"]) for status, response in responses.items()),
        example=json.dumps(example, indent=2, ensure_ascii=False) if example and method == "get" else "",
    )


def _parameter(item: dict[str, Any]) -> Parameter:
    default = item.get("schema", {}).get("default")
    return Parameter(
        name=item["name"],
        description=item.get("description", ""),
        required=item.get("required", False),
        default="" if default in (None, []) else str(default),
    )


@router.get("/opensearch.xml", name="opensearch")
async def opensearch(request: Request) -> Response:
    pages: Pages = request.app.state.pages
    body = pages.text("opensearch.xml", base=str(request.base_url).rstrip("/"))
    return Response(body, media_type="application/opensearchdescription+xml")
