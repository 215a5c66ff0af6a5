"""What the repository promises about itself: boundaries, sizes, documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from typer.main import get_command

from app.cli.main import cli
from tools import house, settings_doc

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [module.path for module in house.modules()]


def test_imports_keep_the_contracts() -> None:
    """The layers of docs/architecture.md; `lint-imports` shows what breaks them."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_no_import_circle() -> None:
    assert house.circle() == []


def test_the_house_has_few_rooms_of_a_readable_size() -> None:
    sizes = [module.lines for module in house.modules()]
    assert len(sizes) <= 150
    assert median(sizes) >= 110
    assert max(sizes) <= 500


def test_every_module_says_what_it_is_for() -> None:
    assert house.without_docstring() == []


def test_no_unfinished_places() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError|pragma: no cover")
    for path in MODULES:
        assert not marks.search(path.read_text(encoding="utf-8")), path


def test_settings_page_is_current() -> None:
    assert settings_doc.PATH.read_text(encoding="utf-8") == settings_doc.render(), (
        "run python tools/settings_doc.py"
    )


def test_readme_is_short_and_names_real_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    commands = set(get_command(cli).list_commands(None))  # type: ignore[attr-defined, arg-type]
    named = re.findall(r"^lusifer ([a-z-]+)", text, re.MULTILINE)
    assert len(set(named)) >= 5
    assert set(named) <= commands


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages_name_real_files_and_targets(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(((?!http|#)[^)#]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    paths = re.findall(r"`((?:[\w-]+/)+[\w.-]+\.(?:py|md|toml|json|yaml|html|txt|svg))`", text)
    folders = (ROOT, ROOT / "samples")
    assert [path for path in paths if not any((folder / path).exists() for folder in folders)] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets


def test_decisions_have_lines_that_a_person_can_read() -> None:
    lines = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 110 and not line.startswith("|")] == []


def test_the_shipped_weights_are_small_enough() -> None:
    sizes = house.weights()
    assert "lusifer/mini" in sizes
    assert sum(sizes.values()) <= 100e6
    assert not list(ROOT.glob("lusifer/**/*.bin"))
    assert not list(ROOT.glob("lusifer/**/*.pt"))
