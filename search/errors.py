"""What can be wrong with a question, as exceptions that are shown to the person who asked.

SearchError
├── RequestError   the request has to be changed
└── NotFoundError  the index holds no such document
"""

from __future__ import annotations

from common.errors import HintedError


class SearchError(HintedError):
    """A question that cannot be answered."""


class RequestError(SearchError):
    """A request its sender has to change.

    Attributes:
        parameter: name of the parameter at fault.
        limit: the bound that was passed, if there is one.
    """

    def __init__(self, message: str, *, parameter: str, hint: str = "", limit: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.parameter = parameter
        self.limit = limit


class NotFoundError(SearchError):
    """The index holds no such document."""
