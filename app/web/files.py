"""Where templates and static files lie, in a checkout and in an installed package."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

_APP = Path(__file__).parent.parent
STATIC = _APP / "static"


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
