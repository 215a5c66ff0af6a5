"""Render templates. Everything is escaped; an undefined name is an error.

Must not know what the pages are about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from app.problems import Problem, request_id
from app.version import program_version
from app.web.files import asset_version, templates_folder
from app.web.languages import direction_of, language_of
from lusifer.languages import LANGUAGES


class Pages:
    """The templates, loaded once for an application."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(templates_folder()),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            assets=asset_version(), version=program_version(), languages=tuple(LANGUAGES.values())
        )
        self._environment.filters.update(direction=direction_of, language=language_of, count=count)

    def text(self, template: str, **values: Any) -> str:
        """Fill in a template."""
        return self._environment.get_template(template).render(**values)

    def page(
        self, request: Request, template: str, values: Mapping[str, Any], status: int = 200
    ) -> HTMLResponse:
        """Answer with a page."""
        signed_in = request.app.state.access.required
        return HTMLResponse(self.text(template, signed_in=signed_in, **values), status)

    def problem(self, request: Request, problem: Problem) -> HTMLResponse:
        """Answer with a page that says what went wrong."""
        values = {"problem": problem, "request_id": request_id.get()}
        return self.page(request, "problem.html", values, problem.status)


def count(number: int, one: str, many: str) -> str:
    """A number with its noun: 1 document, 2,300 documents."""
    return f"{number:,} {one if number == 1 else many}"
