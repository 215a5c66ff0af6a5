"""Say what went wrong: as application/problem+json (RFC 9457) to programs, as a page to browsers.

No traceback, question or key gets out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.cli.hints import remedy
from common.errors import HintedError
from lusifer.errors import LusiferError
from search.errors import NotFoundError, RequestError
from store.errors import StoreError, StoreMissing

#: HTTP status of each kind of refusal.
REFUSALS = {
    "host-malformed": 400,
    "access-denied": 401,
    "origin-refused": 403,
    "model-not-served": 404,
    "client-gone": 408,
    "body-too-large": 413,
    "host-refused": 421,
    "overloaded": 429,
}


class RefusedError(HintedError):
    """A request that is not answered.

    Attributes:
        code: short name of the kind of refusal, one of ``REFUSALS``; stable for clients.
        headers: headers of the answer.
    """

    def __init__(
        self, code: str, message: str, *, hint: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.headers = headers or {}


#: Code and HTTP status of each kind of error; the first that fits.
_KINDS: tuple[tuple[type[HintedError], str, int], ...] = (
    (RequestError, "invalid-request", 422),
    (NotFoundError, "not-found", 404),
    (StoreMissing, "nothing-indexed", 503),
    (StoreError, "store", 503),
    (LusiferError, "model", 503),
    (HintedError, "internal", 500),
)

MEDIA_TYPE = "application/problem+json"

#: Below it OpenAI's clients ask, who look for an ``error`` member.
_OPENAI_PATH = "/v1/"

#: Id of the request that is being answered, or ``-``.
request_id: ContextVar[str] = ContextVar("request_id", default="-")


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, ready to be told.

    Attributes:
        code: short stable name of its kind.
        status: HTTP status.
        detail: what happened, to which object.
        hint: what to do about it.
        errors: one entry for each parameter at fault.
        headers: headers of the answer.
    """

    code: str
    status: int
    detail: str
    hint: str = ""
    errors: Sequence[Mapping[str, Any]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return HTTPStatus(self.status).phrase

    @classmethod
    def internal(cls) -> Problem:
        return cls(
            "internal",
            500,
            "Something went wrong in the server",
            "The server's log has the details under the request id of this answer.",
        )

    def as_json(self) -> dict[str, Any]:
        """The members of RFC 9457, and ours: hint, errors, request_id."""
        members: dict[str, Any] = {
            "type": f"urn:lusifer-search:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id.get(),
        }
        if self.hint:
            members["hint"] = self.hint
        if self.errors:
            members["errors"] = [dict(error) for error in self.errors]
        return members


def describe(error: Exception) -> Problem:
    """Turn an exception that says what happened into a problem."""
    if isinstance(error, RefusedError):
        return Problem(error.code, REFUSALS[error.code], error.message, error.hint, headers=error.headers)
    if isinstance(error, HintedError):
        code, status = next((code, status) for kind, code, status in _KINDS if isinstance(error, kind))
        return Problem(code, status, error.message, remedy(error), _parameters(error))
    if isinstance(error, HTTPException):
        return Problem("http", error.status_code, str(error.detail), headers=dict(error.headers or {}))
    if isinstance(error, RequestValidationError):
        return _describe_validation(error)
    return Problem.internal()


def _parameters(error: HintedError) -> list[dict[str, Any]]:
    if not isinstance(error, RequestError):
        return []
    limit = {} if error.limit is None else {"limit": error.limit}
    return [{"parameter": error.parameter, "message": error.message, **limit}]


def _describe_validation(error: RequestValidationError) -> Problem:
    entries = []
    for item in error.errors():
        parameter = ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0])
        # The value is left out: it can be a question, and answers may be logged on the way.
        entries.append({"parameter": parameter, "message": item["msg"]})
    detail = "; ".join(f"{entry['parameter']}: {entry['message']}" for entry in entries)
    hint = "See /openapi.json for the parameters and their limits."
    return Problem("invalid-request", 422, detail, hint, entries)


def respond(request: Request, problem: Problem) -> Response:
    """Answer with a problem in the form the sender understands."""
    if wants_page(request):
        response: Response = request.app.state.pages.problem(request, problem)
    else:
        members = problem.as_json()
        if request.scope["path"].startswith(_OPENAI_PATH):
            members["error"] = {"message": problem.detail, "type": problem.code, "param": None, "code": None}
        response = JSONResponse(members, problem.status, media_type=MEDIA_TYPE)
    response.headers.update(problem.headers)
    return response


def wants_page(request: Request) -> bool:
    """Tell a browser that looks at pages, where there are any, from a program."""
    state = request.app.state
    if getattr(state, "pages", None) is None:
        return False
    is_program = _first_name(request.scope["path"]) in state.program_names
    return "text/html" in request.headers.get("accept", "") and not is_program


def program_names(routers: Iterable[APIRouter]) -> frozenset[str]:
    """Return how addresses begin that programs ask: those in the OpenAPI document, and files."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return frozenset(_first_name(route.path) for route in routes if route.include_in_schema) | {
        "openapi.json",
        "static",
    }


def _first_name(path: str) -> str:
    return path.removeprefix("/").partition("/")[0]


async def answer_error(request: Request, error: Exception) -> Response:
    """Exception handler of the application."""
    return respond(request, describe(error))


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every expected kind of error with a problem."""
    for kind in (HintedError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer_error)
