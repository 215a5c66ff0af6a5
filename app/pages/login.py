"""``/login`` and ``/logout``: show the API key once, keep a session cookie."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.pages.rendering import get_pages
from app.security import COOKIE, PUBLIC, Access

router = APIRouter(include_in_schema=False)

#: Seconds that a wrong key costs, so that guessing is slow.
PENALTY = 0.5


@router.get("/login", name="login_form", tags=[PUBLIC])
async def login_form(request: Request) -> Response:
    wanted = _local(request.query_params.get("next", "/"))
    access: Access = request.app.state.access
    if not access.required:
        return RedirectResponse(wanted, status_code=303)
    return _form(request, wanted, failed=False)


@router.post("/login", tags=[PUBLIC])
async def login(request: Request) -> Response:
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    wanted = _local(fields.get("next", ["/"])[0])
    access: Access = request.app.state.access
    if not access.is_key(fields.get("key", [""])[0]):
        await asyncio.sleep(PENALTY)
        return _form(request, wanted, failed=True)
    response = RedirectResponse(wanted, status_code=303)
    response.set_cookie(
        COOKIE,
        access.new_session(),
        max_age=access.session_seconds,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout")
async def logout() -> Response:
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _form(request: Request, wanted: str, *, failed: bool) -> HTMLResponse:
    status = 401 if failed else 200
    return get_pages(request).page(request, "login.html", {"wanted": wanted, "failed": failed}, status)


def _local(address: str) -> str:
    """An address on this server; anything that could lead elsewhere becomes the start page."""
    safe = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if safe else "/"
