"""The real thing: the shipped model, the embedded store, the samples, the command line, a server process."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
]

#: A question, and the start of the name of a document that answers it in another language.
CROSS_LINGUAL = [
    ("en", "how do I make a strong password?", "안전한-비밀번호"),
    ("sw", "Kwa nini maji ya bahari yanaingia kwenye mashamba ya mpunga?", "xâm-nhập-mặn"),
    ("ar", "كيف أحمي كلمات المرور؟", "안전한-비밀번호"),
]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LUSIFER_")}


def lusifer(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment(), **options
    )


@dataclass(frozen=True)
class Served:
    """A running server, its data folder, and the folder that is indexed."""

    address: str
    data: str
    folder: Path
    log: list[str]

    def search(self, q: str, **parameters: object) -> dict:
        answer = httpx.get(f"{self.address}/api/v1/search", params={"q": q, **parameters}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = str(tmp_path_factory.mktemp("data"))
    folder = tmp_path_factory.mktemp("documents") / "samples"
    shutil.copytree(SAMPLES, folder)
    done = lusifer("index", str(folder), "--data", data, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failed"] == []
    command = [
        sys.executable,
        "-m",
        "app.cli",
        "serve",
        "--data",
        data,
        "--port",
        "0",
        "--log-format",
        "json",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as server:
        log: list[str] = []
        started = threading.Event()

        def read() -> None:
            for line in server.stderr or ():
                log.append(line)
                started.set()
            started.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert started.wait(60)
        found = re.search(r"http://[\d.:]+", log[0])
        assert found, log
        yield Served(found[0], data, folder, log)
        server.terminate()
        assert server.wait(30) in (0, -15)
        reader.join()


def test_is_ready_and_says_what_it_has(served: Served) -> None:
    assert httpx.get(f"{served.address}/readyz", timeout=30).json()["status"] == "ready"
    status = httpx.get(f"{served.address}/api/v1/status", timeout=30).json()
    files = [path for path in served.folder.rglob("*") if path.is_file()]
    assert status["documents"] == len(files)
    assert len(status["languages"]) == 14


@pytest.mark.parametrize(("code", "question", "name"), CROSS_LINGUAL)
def test_finds_the_answer_in_another_language(served: Served, code: str, question: str, name: str) -> None:
    body = served.search(question, limit=3)
    assert body["language"]["code"] == code
    found = [Path(hit["document"]["path"]).name for hit in body["hits"]]
    assert found[0].startswith(name), found
    assert body["hits"][0]["document"]["language"] != code


def test_the_command_line_prints_what_the_api_returns(served: Served) -> None:
    done = lusifer(
        "search", "growing rice", "--data", served.data, "--json", "-l", "bn", "-l", "vi", "-n", "3"
    )
    assert done.returncode == 0, done.stderr
    here, there = json.loads(done.stdout), served.search("growing rice", language=["bn", "vi"], limit=3)
    assert here | {"took_ms": 0} == there | {"took_ms": 0}
    assert there["hits"]


def test_offsets_and_marks_hold_in_every_document(served: Served) -> None:
    seen = set()
    for question in ("water", "how to choose a good one", "ماء", "물", "पानी"):
        for hit in served.search(question, limit=50)["hits"]:
            identity = hit["document"]["id"]
            text = httpx.get(f"{served.address}/api/v1/documents/{identity}", timeout=30).json()["text"]
            seen.add(identity)
            for passage in hit["passages"]:
                assert text[passage["start"] : passage["end"]] == passage["text"]
                [[start, end]] = passage["highlights"]
                assert passage["text"][start:end].strip()
    assert len(seen) > 40


def test_pages_come_from_the_real_store(served: Served) -> None:
    page = httpx.get(f"{served.address}/", params={"q": "قهوة", "language": "ar"}, timeout=30).text
    assert 'dir="rtl"' in page
    assert "<mark>" in page


def test_indexing_while_serving_shows_at_once(served: Served) -> None:
    new = served.folder / "new" / "walrus.md"
    new.parent.mkdir()
    new.write_text(
        "# Walruses\n\nThe walrus rests on drifting ice and eats clams from the sea floor.\n", "utf-8"
    )
    assert lusifer("index", str(served.folder), "--data", served.data).returncode == 0
    body = served.search("what does a walrus eat?")
    assert body["hits"][0]["document"]["path"] == new.as_posix()
    assert body["facets"]["folder"][new.parent.as_posix()] == 1
    new.unlink()
    assert lusifer("index", str(served.folder), "--data", served.data).returncode == 0
    paths = [hit["document"]["path"] for hit in served.search("what does a walrus eat?", limit=50)["hits"]]
    assert new.as_posix() not in paths


def test_the_log_has_routes_and_no_questions(served: Served) -> None:
    served.search("platypus burrow")
    lines = [json.loads(line) for line in served.log]
    assert any(line.get("route") == "/api/v1/search" and line["status"] == 200 for line in lines)
    assert "platypus" not in "".join(served.log)


def test_embeds_lines() -> None:
    text = "a loaf of bread\nرغيف خبز\na football match\n"
    command = [sys.executable, "-m", "app.cli", "embed", "--as", "document"]
    done = subprocess.run(
        command, input=text.encode(), capture_output=True, timeout=120, check=True, env=environment()
    )
    import io

    vectors = np.load(io.BytesIO(done.stdout))
    assert vectors.dtype == np.float32
    assert len(vectors) == 3
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_nothing_indexed_is_explained(tmp_path: Path) -> None:
    done = lusifer("search", "bees", "--data", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "lusifer index" in done.stderr


def test_a_change_of_model_while_serving_fails_no_question(served: Served, tmp_path: Path) -> None:
    """The last test here: from now on the server has another model."""
    other = tmp_path / "other"
    shutil.copytree(ROOT / "lusifer" / "mini", other, copy_function=os.link)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").unlink()
    (other / "config.json").write_text(json.dumps(config | {"max_tokens": 300}))
    before = httpx.get(f"{served.address}/api/v1/status", timeout=30).json()
    answers: list[tuple[int, int]] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=served.address, timeout=30) as client:
            while not stop.wait(0.05):
                answer = client.get("/api/v1/search", params={"q": "rain water"})
                answers.append((answer.status_code, answer.json().get("total", 0)))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        command = [
            sys.executable,
            "-m",
            "app.cli",
            "index",
            "--model",
            str(other),
            "--data",
            served.data,
        ]
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
    finally:
        stop.set()
        asking.join()
    after = httpx.get(f"{served.address}/api/v1/status", timeout=30).json()
    assert {status for status, _ in answers} == {200}
    assert min(total for _, total in answers) > 0
    assert after["model"]["fingerprint"] != before["model"]["fingerprint"]
    assert after["documents"] == before["documents"]
    assert served.search("rain water")["hits"]
    # Searches of the command line take the index's model as well, though no setting names it.
    assert lusifer("search", "rain water", "--data", served.data).returncode == 0
