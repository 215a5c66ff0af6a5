"""Measure the house: modules and lines of each package, import circles, the size of the shipped weights.

    python tools/house.py

Tests are not counted. ``tests/test_repository.py`` holds the limits.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

import grimp

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("app", "common", "indexer", "lusifer", "search", "store")


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: its path, and its lines."""

    path: Path
    lines: int

    @property
    def package(self) -> str:
        return self.path.relative_to(ROOT).parts[0]


def modules(packages: tuple[str, ...] = PACKAGES) -> list[Module]:
    """All source files of the packages that say something; an empty ``__init__.py`` is no module to read."""
    paths = (path for package in packages for path in sorted((ROOT / package).rglob("*.py")))
    counted = (Module(path, len(path.read_text(encoding="utf-8").splitlines())) for path in paths)
    return [module for module in counted if module.lines]


def without_docstring() -> list[Path]:
    """The modules that do not say what they are for."""
    return [
        module.path
        for module in modules()
        if not ast.get_docstring(ast.parse(module.path.read_text(encoding="utf-8")))
    ]


def circle() -> list[str]:
    """An import circle, as the modules along it; empty if there is none.

    A lazy import inside a function counts, an import for types alone does not. Importing a module imports the
    packages above it as well.
    """
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    imported: dict[str, set[str]] = {}
    for name in graph.modules:
        direct = graph.find_modules_directly_imported_by(name)
        above = {package for target in direct for package in _packages_above(target)}
        imported[name] = direct | (above - {name, *_packages_above(name)})
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _packages_above(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def weights() -> dict[str, int]:
    """The bytes of each model that is shipped, by its folder."""
    files = [path for suffix in ("safetensors", "onnx") for path in (ROOT / "lusifer").rglob(f"*.{suffix}")]
    folders = sorted({path.parent for path in files})
    return {
        str(folder.relative_to(ROOT)): sum(path.stat().st_size for path in folder.iterdir())
        for folder in folders
    }


def _row(name: str, members: list[Module]) -> str:
    sizes = [module.lines for module in members]
    return f"| {name} | {len(sizes)} | {sum(sizes):,} | {median(sizes):g} | {max(sizes)} |"


def main() -> None:
    every = modules()
    print("| package | modules | lines | median | longest |\n| --- | ---: | ---: | ---: | ---: |")
    for package in PACKAGES:
        print(_row(package, [module for module in every if module.package == package]))
    print(_row("together", every))
    print("\nimport circle: " + (" <- ".join(circle()) or "none"))
    for folder, size in weights().items():
        print(f"{folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
