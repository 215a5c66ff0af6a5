"""The installed command with a real model folder and the real store behind its daemon."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from common.languages import CODES
from lusifer.checkpoints.own import write_static
from lusifer.config import EncoderConfig, LanguageModelConfig, ModelConfig
from store import IndexLocation, open_location
from store.errors import StoreError
from store.types import Chunk

pytestmark = pytest.mark.e2e

LUSIFER = (sys.executable, "-m", "app.cli")
DIMENSIONS = 16


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of the shipped model's kind, with random weights."""
    folder = tmp_path_factory.mktemp("model")
    size = tokenizer.get_vocab_size()
    config = ModelConfig(
        "toy", EncoderConfig("token_table", size, DIMENSIONS), LanguageModelConfig(DIMENSIONS), max_tokens=128
    )
    table = np.random.default_rng(3).standard_normal((size, DIMENSIONS)).astype(np.float32)
    write_static(folder, table, tokenizer, config)
    return folder


def daemon_of(folder: Path) -> int:
    """Return the process id of a data folder's daemon."""
    return int(json.loads((folder / "daemon.json").read_text())["pid"])


class Command:
    """Runs ``lusifer`` on data folders of a test and ends their daemons afterwards."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root = root
        self.environment = {**os.environ, "LUSIFER_MODEL": str(model)}
        self.folders: set[Path] = set()

    def start(self, *arguments: object, data: str = "data") -> subprocess.Popen[str]:
        folder = self.root / data
        self.folders.add(folder)
        return subprocess.Popen(
            [*LUSIFER, *map(str, arguments), "--data", str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def index(self, *arguments: object, data: str = "data") -> dict:
        process = self.start("index", *arguments, "--json", data=data)
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return json.loads(out)

    def daemon(self, data: str = "data") -> int:
        return daemon_of(self.root / data)

    def location(self, data: str = "data") -> IndexLocation:
        return open_location(self.root / data)

    def content(self, data: str = "data") -> dict[str, Chunk]:
        store = self.location(data).open()
        try:
            chunks, offset = {}, 0
            while page := store.scroll(limit=1000, offset=offset):
                chunks.update((chunk.id, chunk) for chunk in page)
                offset += len(page)
            assert len(chunks) == store.count()
            return chunks
        finally:
            store.close()


@pytest.fixture
def command(tmp_path: Path, model: Path) -> Iterator[Command]:
    made = Command(tmp_path, model)
    yield made
    for folder in made.folders:
        with suppress(OSError, ValueError, KeyError):
            os.kill(daemon_of(folder), signal.SIGTERM)


def write_documents(folder: Path, paragraphs: dict[str, str], number: int, length: int) -> list[Path]:
    codes, paths = list(paragraphs), []
    for i in range(number):
        path = folder / codes[i % len(codes)] / f"{i:03}{('.txt', '.md')[i % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        body = "\n\n".join(f"{j}. {paragraphs[codes[i % len(codes)]]}" for j in range(1 + i % length))
        path.write_text(f"# Document {i}\n\n{body}\n")
        paths.append(path)
    return paths


def without_time(chunks: dict[str, Chunk]) -> dict[str, tuple[object, ...]]:
    return {
        id: (c.document_id, c.position, c.text, c.language, c.path, c.heading) for id, c in chunks.items()
    }


def whole_texts(chunks: dict[str, Chunk]) -> dict[str, str]:
    ordered = sorted(chunks.values(), key=lambda chunk: (chunk.path, chunk.position))
    texts: dict[str, str] = {}
    for chunk in ordered:
        texts[chunk.path] = texts.get(chunk.path, "") + chunk.text
    return texts


def test_three_hundred_files_edited_deleted_and_renamed(command, tmp_path: Path, paragraphs) -> None:
    docs = tmp_path / "docs"
    paths = write_documents(docs, paragraphs, 300, 6)
    first = command.index(docs)
    before = command.content()

    second = command.index(docs)

    assert (first["indexed"], first["chunks"]) == (300, len(before))
    assert (second["indexed"], second["unchanged"], second["chunks"]) == (0, 300, 0)
    for path in paths[:3]:
        path.write_text(path.read_text() + "\nOne more line.\n")
    for path in paths[3:5]:
        path.unlink()
    paths[5].rename(paths[5].with_stem("renamed"))
    third = command.index(docs)
    after = command.content()

    assert (third["indexed"], third["deleted"], third["unchanged"]) == (4, 3, 294)
    changed = {c.path for id, c in {**before, **after}.items() if (id in before) != (id in after)}
    assert changed == {str(path) for path in [*paths[:6], paths[5].with_stem("renamed")]}


def test_an_unchanged_run_imports_no_model_library(command, tmp_path: Path, paragraphs) -> None:
    docs = tmp_path / "docs"
    write_documents(docs, paragraphs, 3, 2)
    command.index(docs)
    script = (
        "import sys; sys.argv = ['lusifer', 'index', sys.argv[1], '--data', sys.argv[2]]\n"
        "from app.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'qdrant_edge', 'qdrant_client', 'pypdf', 'docx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(docs), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        env=command.environment,
        check=True,
    )

    assert found.stdout.splitlines()[-1] == "[]"
    assert "3 unchanged" in found.stdout


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["indexer", "daemon"])
def test_killed_at_random_moments(victim: str, command, tmp_path: Path, paragraphs) -> None:
    docs = tmp_path / "docs"
    write_documents(docs, paragraphs, 98, 60)
    started = time.perf_counter()
    command.index(docs, data="whole")
    duration = time.perf_counter() - started
    expected = without_time(command.content("whole"))

    chance = random.Random(11)
    for _ in range(5):
        process = command.start("index", docs)
        time.sleep(chance.uniform(0.2, 0.8) * duration)
        with suppress(OSError, ValueError, KeyError):
            os.kill(process.pid if victim == "indexer" else command.daemon(), signal.SIGKILL)
        process.communicate(timeout=120)
    command.index(docs)

    assert without_time(command.content()) == expected
    assert command.index(docs)["unchanged"] == 98


def test_interrupting_says_how_to_go_on(command, tmp_path: Path, paragraphs) -> None:
    docs = tmp_path / "docs"
    write_documents(docs, paragraphs, 200, 60)
    process = command.start("index", docs)
    manifest = tmp_path / "data" / "current" / "manifest.sqlite"
    while not manifest.exists():
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)

    assert process.returncode == 130, errors
    assert out == ""
    assert errors.splitlines()[-1] == "interrupted; what was stored is kept, run again to continue"
    assert command.index(docs)["failed"] == []


def test_a_store_that_was_deleted_is_made_again(command, tmp_path: Path, paragraphs) -> None:
    docs = tmp_path / "docs"
    write_documents(docs, paragraphs, 14, 3)
    command.index(docs)
    expected = without_time(command.content())
    os.kill(command.daemon(), signal.SIGKILL)
    shutil.rmtree(tmp_path / "data" / "current" / "store")

    assert command.index(docs)["indexed"] == 14
    assert without_time(command.content()) == expected


def copy_model(model: Path, folder: Path, **changes: object) -> Path:
    """Make another model of one by changing its configuration."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


@pytest.mark.slow
def test_another_model_takes_over_after_kills(command, tmp_path: Path, paragraphs, model: Path) -> None:
    """Killed on the way, it goes on; whoever searches finds the old index whole, then the new one."""
    docs = tmp_path / "docs"
    write_documents(docs, paragraphs, 42, 6)
    command.index(docs)
    before = command.content()
    other = copy_model(model, tmp_path / "other", max_tokens=64)
    location = command.location()
    former = location.current()
    for number, seconds in enumerate((1.0, 1.5)):
        process = command.start("index", "--model", other)
        time.sleep(seconds)
        if number == 1:
            os.kill(command.daemon(), signal.SIGKILL)
            # The indexer repairs that by itself; whether it was done by then does not matter here.
            time.sleep(0.2)
        process.kill()
        process.communicate()
        if location.current() == former:
            assert command.content() == before
    # On a quick machine the last run may have switched before it was killed; the next one then sweeps.
    switches_now = location.current() == former
    command.index("--model", other)

    new = command.content()
    assert whole_texts(new) == whole_texts(before)
    assert len(new) > len(before), "the other model sees less at a time"
    assert location.current().schema.model == str(other)
    if switches_now:
        assert location.open(former).count() == len(before), "whoever still reads the former index may go on"
    # From now on it is the index's model: naming it again is not needed, and nothing is left of the other.
    del command.environment["LUSIFER_MODEL"]
    again = command.index(docs)
    assert (again["unchanged"], again["chunks"]) == (42, 0)
    folders = [path for path in (tmp_path / "data").iterdir() if path.is_dir() and not path.is_symlink()]
    assert [path.name for path in folders] == [location.current().name]
    with pytest.raises(StoreError):
        location.open(former).count()


def test_rebuild_with_another_model(command, tmp_path: Path, paragraphs, model: Path) -> None:
    docs = tmp_path / "docs"
    write_documents(docs, paragraphs, 14, 3)
    command.index(docs)
    other = copy_model(model, tmp_path / "other", max_tokens=64)

    assert command.index("--model", other, "--rebuild")["indexed"] == 14
    assert command.index(docs, "--model", other)["unchanged"] == 14


def test_a_damaged_store_is_refused_then_rebuilt_and_kept_aside(command, tmp_path: Path, paragraphs) -> None:
    docs, data = tmp_path / "docs", tmp_path / "data"
    write_documents(docs, paragraphs, 14, 3)
    command.index(docs)
    expected = without_time(command.content())
    os.kill(command.daemon(), signal.SIGKILL)
    damaged = command.location().current().name
    (data / damaged / "store" / "store.json").write_text("{")

    process = command.start("index", docs)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: " in errors
    assert command.index(docs, "--rebuild")["indexed"] == 14

    assert without_time(command.content()) == expected
    assert command.index(docs)["unchanged"] == 14
    kept = [path for path in data.glob(f"{damaged}.damaged-*")]
    assert [(path / "store" / "store.json").read_text() for path in kept] == ["{"]


def test_an_index_of_a_former_version_is_replaced_when_its_documents_are_indexed(
    command, tmp_path: Path, paragraphs
) -> None:
    docs, data = tmp_path / "docs", tmp_path / "data"
    write_documents(docs, paragraphs, 3, 2)
    (data / "store" / "shard").mkdir(parents=True)
    schema = {"dimensions": 16, "fingerprint": "70f4a903d8e0d2ba", "model": ""}
    former = {"schema": schema, "engine": "qdrant-edge-py 0.9.0", "points": 0, "samples": {}, "format": 1}
    (data / "store" / "store.json").write_text(json.dumps(former))
    (data / "manifest.sqlite").write_bytes(b"of a former version")

    for arguments in (["index"], ["status"]):
        process = command.start(*arguments)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "former version" in errors
    assert (data / "store").exists()
    assert command.index(docs)["indexed"] == 3
    assert not (data / "store").exists()
    assert not (data / "manifest.sqlite").exists()


def test_the_samples_with_the_shipped_model(command, tmp_path: Path) -> None:
    del command.environment["LUSIFER_MODEL"]
    samples = Path(__file__).parents[2] / "samples"

    found = command.index(samples)
    chunks = command.content().values()

    assert (found["failed"], found["skipped"]) == ([], [])
    assert found["indexed"] == len({chunk.document_id for chunk in chunks}) >= 70
    assert {chunk.document_language for chunk in chunks} == set(CODES)
    assert all(chunk.title and chunk.text.strip() for chunk in chunks)
    assert {Path(chunk.path).suffix for chunk in chunks} == {".txt", ".md", ".html", ".pdf", ".docx"}


@pytest.mark.parametrize("harm", ["store.json is gone", "current dangles", "current is gone"])
def test_a_rebuild_of_a_harmed_index_knows_what_was_indexed(
    command: Command, paragraphs, tmp_path: Path, harm: str
) -> None:
    write_documents(tmp_path / "one", paragraphs, 3, 1)
    write_documents(tmp_path / "two", paragraphs, 2, 1)
    command.index(tmp_path / "one", tmp_path / "two")
    os.kill(command.daemon(), signal.SIGTERM)
    link = tmp_path / "data" / "current"
    if harm == "store.json is gone":
        (link.resolve() / "store" / "store.json").unlink()
    else:
        link.unlink()
    if harm == "current dangles":
        link.symlink_to("0123456789abcdef")

    assert command.index("--rebuild", tmp_path / "one")["indexed"] == 5
    assert len({chunk.document_id for chunk in command.content().values()}) == 5
    assert command.index()["unchanged"] == 5
