"""Say what went wrong: as application/problem+json (RFC 9457) to programs, as a page to browsers.

Knows every kind of error that reaches HTTP. Must not let a traceback, a question or a key out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lusifer.errors import LusiferError
from store.errors import StoreError, StoreMissing

# What can go wrong in the application, as exceptions a person or a client can act on.


class AppError(Exception):
    """A problem with a remedy: ``message`` says what happened to which object, ``hint`` what to do.

    Attributes:
        code: short name of the kind of problem, stable for clients.
        status: the HTTP status it is answered with.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class ConfigurationError(AppError):
    """Settings that cannot be served, or not safely."""

    code = "configuration"


class RequestError(AppError):
    """A request its sender has to change.

    Attributes:
        parameter: name of the parameter at fault.
        limit: the bound that was passed, if there is one.
    """

    code = "invalid-request"
    status = 422

    def __init__(self, message: str, *, parameter: str, hint: str = "", limit: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.parameter = parameter
        self.limit = limit


class NotFoundError(AppError):
    """Something that is not in the index."""

    code = "not-found"
    status = 404


class ModelNotServedError(AppError):
    """Vectors of another model than the one that is served."""

    code = "model-not-served"
    status = 404


class OverloadedError(AppError):
    """Too much is waiting already.

    Attributes:
        seconds: when to try again.
    """

    code = "overloaded"
    status = 429

    def __init__(self, message: str, *, hint: str = "", seconds: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds


class ClientGoneError(AppError):
    """Nobody waits for the answer any more."""

    code = "client-gone"
    status = 408


class AccessDeniedError(AppError):
    """No API key, or a wrong one."""

    code = "access-denied"
    status = 401


class HostRefusedError(AppError):
    """A Host header this server does not answer to."""

    code = "host-refused"
    status = 421


class HostMissingError(HostRefusedError):
    """A Host header that is absent or no host at all."""

    code = "host-malformed"
    status = 400


class OriginRefusedError(AppError):
    """A request made by a page of another site."""

    code = "origin-refused"
    status = 403


class BodyTooLargeError(AppError):
    """A request body above the limit."""

    code = "body-too-large"
    status = 413


MEDIA_TYPE = "application/problem+json"

#: Below it OpenAI's clients ask, who look for an ``error`` member.
_OPENAI_PATH = "/v1/"

#: Id of the request that is being answered, or ``-``.
request_id: ContextVar[str] = ContextVar("request_id", default="-")

_PROGRAM_PATHS = ("/api/", "/v1/", "/healthz", "/readyz", "/openapi.json", "/static/")


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
    if isinstance(error, RequestError):
        entry: dict[str, Any] = {"parameter": error.parameter, "message": error.message}
        if error.limit is not None:
            entry["limit"] = error.limit
        return Problem(error.code, error.status, error.message, error.hint, [entry])
    if isinstance(error, AppError):
        return Problem(error.code, error.status, error.message, error.hint, headers=_headers(error))
    if isinstance(error, StoreMissing):
        return Problem("nothing-indexed", 503, error.message, error.hint)
    if isinstance(error, StoreError):
        return Problem("store", 503, error.message, error.hint)
    if isinstance(error, LusiferError):
        return Problem("model", 503, error.message, error.hint)
    if isinstance(error, HTTPException):
        return Problem("http", error.status_code, str(error.detail), headers=dict(error.headers or {}))
    if isinstance(error, RequestValidationError):
        return _describe_validation(error)
    return Problem.internal()


def _headers(error: AppError) -> dict[str, str]:
    if isinstance(error, AccessDeniedError):
        return {"WWW-Authenticate": 'Bearer realm="lusifer-search"'}
    if isinstance(error, OverloadedError):
        return {"Retry-After": str(error.seconds)}
    return {}


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
    path = request.scope["path"]
    if getattr(request.app.state, "pages", None) is None:
        return False
    return "text/html" in request.headers.get("accept", "") and not path.startswith(_PROGRAM_PATHS)


async def answer_error(request: Request, error: Exception) -> Response:
    """Exception handler of the application."""
    return respond(request, describe(error))


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every expected kind of error with a problem."""
    for kind in (AppError, StoreError, LusiferError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer_error)
