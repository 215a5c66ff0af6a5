"""What the repository promises about itself: boundaries, sizes, documentation."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest
from typer.main import get_command

from app.cli.main import cli

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "indexer", "lusifer", "search", "store")
MAY_IMPORT = {
    "app": {"app", "indexer", "lusifer", "search", "store"},
    "search": {"app", "indexer", "lusifer", "search", "store"},
    "indexer": {"indexer", "lusifer", "store"},
    "lusifer": {"lusifer"},
    "store": {"store"},
}
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """The top-level packages a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_point_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        wrong = (imports(path) & set(PACKAGES)) - MAY_IMPORT[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_modules_are_small_and_say_what_they_do() -> None:
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        assert len(source.splitlines()) <= 500, path
        if source.strip():
            assert ast.get_docstring(ast.parse(source)), f"{path} has no docstring"


def test_no_unfinished_places() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError|pragma: no cover")
    for path in MODULES:
        assert not marks.search(path.read_text(encoding="utf-8")), path


def test_settings_page_is_current() -> None:
    spec = importlib.util.spec_from_file_location("settings_doc", ROOT / "tools" / "settings_doc.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PATH.read_text(encoding="utf-8") == module.render(), "run python tools/settings_doc.py"


def test_readme_is_short_and_names_real_commands_and_files() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    commands = set(get_command(cli).list_commands(None))  # type: ignore[attr-defined, arg-type]
    for name in re.findall(r"^lusifer (\w+)", text, re.MULTILINE):
        assert name in commands
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", text):
        assert (ROOT / target).is_file(), target


def test_the_shipped_model_is_small_enough() -> None:
    size = sum(path.stat().st_size for path in (ROOT / "lusifer" / "mini").iterdir())
    assert 20e6 < size <= 60e6
    assert not list(ROOT.glob("lusifer/**/*.bin"))
    assert not list(ROOT.glob("lusifer/**/*.pt"))
