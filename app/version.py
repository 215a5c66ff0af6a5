"""The version of the installed program."""

from __future__ import annotations

from importlib.metadata import version


def program_version() -> str:
    """Version as in the package's metadata."""
    return version("lusifer-search")
