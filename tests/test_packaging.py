"""What an installation gives: the base without any library of the extras, and the wheel with one name.

The tests run offline and cannot install anything, so the commands run in processes in which only the
libraries that the base brings can be imported. ``.ci/run`` does the same with a real base install.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow  # builds a wheel, starts commands

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Runs first in every process, the store's daemon too: a module of another distribution is not found.
BLOCKER = """
import os, sys

BLOCKED = frozenset(os.environ["BLOCKED_MODULES"].split())


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocker())
"""


def with_what_they_need(requirements: list[str]) -> set[str]:
    """The names of all distributions that an install of these requirements brings."""
    found: set[str] = set()
    waiting = [(Requirement(line), "") for line in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        for inner in ("", *requirement.extras):
            if (key := f"{name}[{inner}]" if inner else name) in found:
                continue
            found.add(key)
            try:
                waiting += [(Requirement(line), inner) for line in requires(name) or []]
            except PackageNotFoundError:
                continue  # for another platform
    return {name.partition("[")[0] for name in found}


def modules_of_the_extras() -> set[str]:
    """The top-level modules that are installed here and would not be with the base install alone."""
    base = with_what_they_need(PROJECT["dependencies"]) | {"lusifer-search", "pip", "setuptools"}
    return {
        module
        for module, names in packages_distributions().items()
        if not any(canonicalize_name(name) in base for name in names)
    }


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("base")
    (folder / "sitecustomize.py").write_text(BLOCKER, encoding="utf-8")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "BLOCKED_MODULES": " ".join(modules_of_the_extras()),
        "LUSIFER_DATA": str(folder / "data"),
    }


def lusifer(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lusifer_search", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_base_brings_no_library_of_the_extras() -> None:
    base = with_what_they_need(PROJECT["dependencies"])
    assert not base & {"torch", "transformers", "scikit-learn", "mteb", "peft", "accelerate"}
    assert {"torch", "transformers", "mteb", "pytest"} <= modules_of_the_extras()
    assert not {"numpy", "qdrant_client", "docx", "pypdfium2"} & modules_of_the_extras()


@pytest.mark.slow
def test_index_search_status_and_serve_work_without_the_extras(environment: dict[str, str]) -> None:
    indexed = lusifer(environment, "index", "samples/health", "samples/computing")
    assert indexed.returncode == 0, indexed.stderr
    assert " 0 failed" in indexed.stdout

    searched = lusifer(environment, "search", "How should I wash my hands?", "--json")
    assert searched.returncode == 0, searched.stderr
    assert json.loads(searched.stdout)["hits"]

    status = lusifer(environment, "status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["documents"] > 10

    command = [sys.executable, "-m", "lusifer_search", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            address = next(
                found[0] for line in server.stderr if (found := re.search(r"http://[\d.:]+", line))
            )
            transport = httpx.HTTPTransport(retries=8)
            with httpx.Client(base_url=address, transport=transport, timeout=60) as client:
                assert "hand-washing.md" in client.get("/", params={"q": "wash hands"}).text
                assert client.get("/api/v1/search", params={"q": "wash hands"}).json()["hits"]
        finally:
            server.terminate()


@pytest.mark.slow
def test_a_model_with_layers_names_the_extra(environment: dict[str, str]) -> None:
    other = environment["LUSIFER_DATA"] + "-other"
    done = lusifer(
        environment, "index", "samples/health", "--model", "tests/data/golden-tiny/lusifer", "--data", other
    )
    assert done.returncode == 1
    assert "lusifer-search[models]" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_editable_install_is_the_repository_itself(tmp_path: Path) -> None:
    target = ["--target", "wheel:editable", "--directory", str(tmp_path)]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", *target], cwd=ROOT, check=True, capture_output=True
    )
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        files = [name for name in wheel.namelist() if ".dist-info/" not in name]
        assert [Path(name).suffix for name in files] == [".pth"]
        assert wheel.read(files[0]).decode().strip() == str(ROOT)


@pytest.mark.slow
def test_the_wheel_has_one_name_and_all_it_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    site = tmp_path / "site"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    assert sorted(path.name.partition("-")[0] for path in site.iterdir()) == [
        "lusifer_search",
        "lusifer_search",
    ]

    # Another package of the same name, first on the path, is in nobody's way.
    (tmp_path / "theirs" / "app").mkdir(parents=True)
    (tmp_path / "theirs" / "app" / "__init__.py").write_text(
        "raise SystemExit('the wrong app')", encoding="utf-8"
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "theirs"), str(site)]),
        "LUSIFER_DATA": str(tmp_path / "data"),
    }

    def run(script: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-c", f"import lusifer_search\n{script}"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    search = "import sys; sys.argv = ['lusifer', {!r}, {!r}]; lusifer_search.main()"
    assert "1 indexed" in run(search.format("index", str(ROOT / "samples" / "health" / "hand-washing.md")))
    assert "hand-washing.md" in run(search.format("search", "how to wash hands"))
    page = "import app.main, app.pages.rendering as rendering; print(rendering.templates_folder())"
    folder = Path(run(f"import sys; sys.path.insert(0, lusifer_search.HOME); {page}").strip())
    assert folder.is_relative_to(site)
    assert (folder / "search.html").is_file()
