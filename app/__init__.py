"""Search out: the web application, its JSON API and pages, and the `lusifer` command line."""

from __future__ import annotations

from importlib.metadata import version


def program_version() -> str:
    """Return the version in the package's metadata."""
    return version("lusifer-search")
