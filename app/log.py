"""Log lines as text or JSON, with request ids, and one access line for each request.

Lines carry the route, the status and the time, and no query string, question, document or key: nothing that
people search for or store is written at INFO.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from datetime import UTC, datetime
from types import TracebackType

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import Problem, request_id, respond
from app.settings import LogFormat

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_EXTRA_FIELDS = ("method", "route", "status", "ms", "error")

access_log = logging.getLogger("lusifer.access")
error_log = logging.getLogger("lusifer.error")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(),
        }
        line |= {name: getattr(record, name) for name in _EXTRA_FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Lines for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(request_id)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id.get()[:12]
        return super().format(record)


def configure_logging(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Send the log of this process to standard error; the server's own access log is replaced by ours."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("lusifer").setLevel(level)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True


class RequestLog:
    """ASGI middleware: gives each request an id, answers what nothing else could, writes the access line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if _ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex
        token = request_id.set(identity)
        began = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = identity
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            # The traceback names lines of code; the message of the exception could quote a question, so it is
            # left out.
            error_log.error("unexpected %s", type(error).__name__, exc_info=_without_message(error))
            if status == 0:
                response = respond(Request(scope), Problem.internal())
                await response(scope, receive, send_with_id)
        finally:
            _write_access_line(scope, status, (time.perf_counter() - began) * 1000)
            request_id.reset(token)


def _without_message(error: Exception) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    return (RuntimeError, RuntimeError(type(error).__name__), error.__traceback__)


def _write_access_line(scope: Scope, status: int, ms: float) -> None:
    route = _route(scope)
    fields = {"method": scope["method"], "route": route, "status": status, "ms": round(ms, 1)}
    access_log.info("%s %s %s %.1f ms", scope["method"], route, status, ms, extra=fields)


def _route(scope: Scope) -> str:
    """The address with names in place of what varies; ``-`` if no route answered: it could say anything."""
    if "endpoint" not in scope:
        return "-"
    path: str = scope["path"]
    for name, value in scope.get("path_params", {}).items():
        path = path.replace(str(value), f"{{{name}}}")
    return path
