"""Render templates. Everything is escaped; an undefined name is an error."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from app import program_version
from app.problems import Problem, request_id
from common.languages import LANGUAGES, Language

_APP = Path(__file__).parent.parent
STATIC = _APP / "static"


def language_of(code: str) -> Language:
    """The language of a code; a code that is none of ours stands for itself."""
    return LANGUAGES.get(code) or Language(code, code, code, "Zyyy")


def direction_of(code: str) -> Literal["ltr", "rtl"]:
    """The writing direction of a language."""
    return language_of(code).direction


def templates_folder() -> Path:
    """The templates: inside the package once installed, beside it in a checkout."""
    installed = _APP / "templates"
    return installed if installed.is_dir() else _APP.parent / "templates"


def asset_version() -> str:
    """A short hash of the static files: in their addresses, so that browsers may keep them for long."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


class StaticFolder(StaticFiles):
    """The style sheet, the script and the icon."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


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


def get_pages(request: Request) -> Pages:
    """Return the templates of the application that answers."""
    return cast("Pages", request.app.state.pages)


def count(number: int, one: str, many: str) -> str:
    """A number with its noun: 1 document, 2,300 documents."""
    return f"{number:,} {one if number == 1 else many}"


def common_root(folders: list[str], *, above: bool = True) -> str:
    """The folder that all the others lie in; one level up, so that its name is still shown, if ``above``."""
    if not folders:
        return ""
    common = posixpath.commonpath(folders)
    return posixpath.dirname(common) if above or common in folders else common


def short_path(path: str, root: str) -> str:
    """A path without the part that all results share."""
    prefix = root.rstrip("/") + "/"
    return path[len(prefix) :] if root and path.startswith(prefix) and len(path) > len(prefix) else path
