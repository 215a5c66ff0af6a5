"""What can go wrong in the application, as exceptions a person or a client can act on.

Knows messages, remedies and the HTTP status each stands for. Must not know how they are rendered
(``app.problems`` and ``app.cli`` do that).

AppError
├── ConfigurationError    settings that cannot be served, or not safely
├── RequestError          a request its sender has to change; names the parameter and its limit
├── NotFoundError         something that is not in the index
├── ModelNotServedError   another model than the one that is served
├── OverloadedError       too much is waiting already; says when to try again
├── ClientGoneError       nobody waits for the answer any more
├── AccessDeniedError     no API key, or a wrong one
├── HostRefusedError      a Host header this server does not answer to
│   └── HostMissingError  none at all, or no host
├── OriginRefusedError    a request made by a page of another site
└── BodyTooLargeError     a request body above the limit
"""

from __future__ import annotations

from typing import ClassVar


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
