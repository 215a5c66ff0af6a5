"""``/docs``, the API's reference, and ``/opensearch.xml``, by which a browser offers this search."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from app.pages.rendering import get_pages
from app.pages.search import PageQuery
from app.security import PUBLIC

router = APIRouter(include_in_schema=False)


@router.get("/docs", name="reference")
def reference(request: Request) -> HTMLResponse:
    """Show the API's OpenAPI document, without scripts."""
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
    return get_pages(request).page(request, "reference.html", values)


def _describe(method: str, path: str, operation: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, dict[str, Any]] = operation["responses"]
    example = responses["200"].get("content", {}).get("application/json", {}).get("example")
    return {
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "description": operation.get("description", ""),
        "parameters": [_parameter(item) for item in operation.get("parameters", ())],
        "answers": [(status, response["description"]) for status, response in responses.items()],
        "example": json.dumps(example, indent=2, ensure_ascii=False) if example and method == "get" else "",
    }


def _parameter(item: dict[str, Any]) -> dict[str, Any]:
    default = item.get("schema", {}).get("default")
    return {
        "name": item["name"],
        "description": item.get("description", ""),
        "required": item.get("required", False),
        "default": "" if default in (None, []) else str(default),
    }


@router.get("/opensearch.xml", name="opensearch", tags=[PUBLIC])
def opensearch(request: Request) -> Response:
    body = get_pages(request).text("opensearch.xml", base=str(request.base_url).rstrip("/"))
    return Response(body, media_type="application/opensearchdescription+xml")
