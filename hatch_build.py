"""How a wheel is laid out: the packages become folders of ``lusifer_search`` (see that module).

An editable install maps nothing: it puts the repository itself on the path.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("app", "common", "indexer", "lusifer", "search", "store")


class Layout(BuildHookInterface):
    """Says which file of the repository goes where in a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        build_data["force_include"] |= {
            "lusifer_search.py": "lusifer_search/__init__.py",
            "templates": "lusifer_search/app/templates",
            **{package: f"lusifer_search/{package}" for package in PACKAGES},
        }
