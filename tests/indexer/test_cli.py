from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from common.errors import HintedError
from common.files import FileLock
from common.settings import SettingsError, load_settings
from indexer import cli, report
from indexer.errors import AlreadyRunning, IndexerError, ManifestDamaged, UsageError
from indexer.manifest import FILE
from indexer.settings import Settings
from store.errors import DiskFull, StoreMissing

CONTRACT = {"indexed", "unchanged", "deleted", "skipped", "failed", "chunks", "seconds"}


@pytest.fixture
def lusifer(world, monkeypatch: pytest.MonkeyPatch):
    """Run a command on the world's data folder."""
    application = typer.Typer()
    for command in (cli.index, cli.status, cli.remove):
        application.command()(command)
    monkeypatch.setattr(Settings, "location", lambda settings: world.location)
    monkeypatch.setattr(
        Settings, "choose_model", lambda settings, made_with="": world.choose_model(made_with)
    )

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(application, [*map(str, arguments), "--data", str(world.data)])

    return run


def read_json(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def test_json_is_the_contract(world, lusifer) -> None:
    world.write("a.txt", "good words")
    world.write("bad.docx", b"PK nonsense")
    world.write("photo.jpg", b"x")

    found = read_json(lusifer("index", world.docs, "--json"))

    assert found.keys() == CONTRACT
    assert (found["indexed"], found["unchanged"], found["deleted"], found["chunks"]) == (1, 0, 0, 1)
    assert found["skipped"] == [{"path": f"{world.docs}/photo.jpg", "reason": "unsupported type .jpg"}]
    assert [problem.keys() for problem in found["failed"]] == [{"path", "reason"}]
    assert found["failed"][0]["path"] == f"{world.docs}/bad.docx"
    assert isinstance(found["seconds"], float)


def test_text_names_failed_files_and_counts_skipped_ones(world, lusifer) -> None:
    world.write("a.txt", "good words")
    world.write("bad.docx", b"PK nonsense")
    world.write("one.jpg", b"x")
    world.write("two.jpg", b"x")

    result = lusifer("index", world.docs)

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "Skipped       2: unsupported type .jpg"
    assert lines[1].startswith(f"Failed        {world.docs}/bad.docx: damaged")
    assert lines[2].startswith("1 indexed, 0 unchanged, 0 deleted, 2 skipped, 1 failed; 1 chunks in ")


def test_without_paths_the_earlier_ones_are_meant(world, lusifer) -> None:
    world.write("in/a.txt", "words")
    world.write("out/b.txt", "words")
    lusifer("index", world.docs / "in")
    lusifer("index", world.docs / "out")
    world.write("in/c.txt", "more words")

    assert read_json(lusifer("index", "--json"))["indexed"] == 1

    (world.docs / "out" / "b.txt").unlink()
    (world.docs / "out").rmdir()
    found = read_json(lusifer("index", "--json"))
    assert found["deleted"] == 0
    assert "lusifer remove" in found["skipped"][0]["reason"]
    assert read_json(lusifer("remove", world.docs / "out", "--json")) == {"removed": 1}
    assert read_json(lusifer("index", "--json"))["skipped"] == []


@pytest.mark.parametrize("arguments", [["--rebuild"], ["in"], []])
def test_a_new_index_covers_all_earlier_paths(world, lusifer, arguments: list[str], monkeypatch) -> None:
    world.write("in/a.txt", "words")
    world.write("out/b.txt", "words")
    lusifer("index", world.docs / "in")
    lusifer("index", world.docs / "out")
    world.model = "other"
    monkeypatch.chdir(world.docs)

    assert read_json(lusifer("index", *arguments, "--json"))["indexed"] == 2
    assert read_json(lusifer("index", "--json"))["unchanged"] == 2


def test_a_change_of_model_is_said_and_shown(world, lusifer, monkeypatch) -> None:
    world.write("a.txt", "words")
    lusifer("index", world.docs)
    world.model = "other"
    with monkeypatch.context() as patch:
        patch.setattr(world.location, "switch", lambda _: 1 / 0)
        assert "building the index again with other" in lusifer("index").stderr

    lines = lusifer("status").stdout.splitlines()
    assert "Next model    other, 1 documents so far: lusifer index --model other completes it" in lines
    assert json.loads(lusifer("status", "--json").stdout)["successor_documents"] == 1
    lusifer("index")
    assert "Next model" not in lusifer("status").stdout


def test_a_rebuild_that_was_interrupted_is_shown(world, lusifer, monkeypatch) -> None:
    world.write("a.txt", "words")
    lusifer("index", world.docs)
    with monkeypatch.context() as patch:
        patch.setattr(world.location, "switch", lambda _: 1 / 0)
        lusifer("index", "--rebuild")

    shown = lusifer("status").stdout
    assert "Rebuild       unfinished, 1 documents so far: lusifer index --rebuild completes it" in shown
    assert "Next model" not in shown
    assert json.loads(lusifer("status", "--json").stdout)["rebuilding"] is True
    lusifer("index", "--rebuild")
    assert "Rebuild" not in lusifer("status").stdout


def test_status_in_json(world, lusifer, paragraphs) -> None:
    world.write("a.txt", paragraphs["ko"])
    world.write("b.txt", paragraphs["ko"])
    world.write("c.txt", paragraphs["te"])
    world.write("bad.docx", b"PK nonsense")
    world.write("photo.jpg", b"x")
    lusifer("index", world.docs)

    found = read_json(lusifer("status", "--json"))

    assert found["languages"] == {"ko": 2, "te": 1}
    assert found["documents"] == 3
    assert found["chunks"] == found["stored_chunks"] == len(world.store.chunks)
    assert found["fingerprint"] == world.store.schema.fingerprint
    assert found["roots"] == [str(world.docs)]
    assert [Path(problem["path"]).name for problem in found["failed"]] == ["bad.docx"]
    assert [Path(problem["path"]).name for problem in found["skipped"]] == ["photo.jpg"]


def test_status_in_words(world, lusifer, paragraphs) -> None:
    world.write("a.txt", paragraphs["ko"])
    world.write("scan.pdf", b"%PDF-1.4")
    lusifer("index", world.docs)
    fine = lusifer("status").stdout
    world.store.rows.popitem()
    short = lusifer("status").stdout

    assert "Documents     1 in 1 chunks" in fine or "Documents     1 in 2 chunks" in fine
    assert "1  Korean (ko)" in fine
    assert "scan.pdf: malformed PDF" in fine
    assert "Store" not in fine
    assert "run lusifer index again to repair it" in short


def test_status_of_an_interrupted_run(world, lusifer, paragraphs) -> None:
    world.write("a.txt", paragraphs["ko"])
    lusifer("index", world.docs)
    with world.manifest() as manifest:
        manifest.doubt()

    assert "Pending       1 documents of an interrupted run" in lusifer("status").stdout


def test_status_survives_a_broken_store(world, lusifer, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("a.txt", "words")
    lusifer("index", world.docs)

    def refuse(info: object) -> object:
        raise DiskFull("the disk is full", hint="make room")

    monkeypatch.setattr(world.location, "open", refuse)

    assert "Store         the disk is full. make room" in lusifer("status").stdout
    assert read_json(lusifer("status", "--json"))["stored_chunks"] is None


class TestErrors:
    def check(self, result: Result, kind: type[HintedError], *parts: str) -> None:
        error = result.exception
        assert type(error) is kind
        assert error.hint
        assert all(part in str(error) for part in parts)
        assert result.stdout == ""

    def test_missing_path(self, world, lusifer) -> None:
        self.check(
            lusifer("index", world.docs / "gone"), UsageError, "there is no file or folder", "lusifer remove"
        )

    def test_nothing_named(self, lusifer) -> None:
        self.check(lusifer("index"), UsageError, "nothing to index")

    def test_status_before_anything(self, world, lusifer) -> None:
        self.check(lusifer("status"), StoreMissing, "Nothing is indexed")
        assert not world.data.exists()

    def test_remove_before_anything(self, lusifer) -> None:
        self.check(lusifer("remove", "/x"), StoreMissing, "Nothing is indexed")

    def test_remove_of_what_is_not_indexed(self, world, lusifer) -> None:
        world.write("a.txt", "words")
        lusifer("index", world.docs)

        self.check(lusifer("remove", "/x"), UsageError, "nothing at /x is in the index")

    def test_full_disk(self, world, lusifer, monkeypatch: pytest.MonkeyPatch) -> None:
        world.write("a.txt", "words")

        def refuse(info: object) -> object:
            raise DiskFull("the disk is full", hint="make room")

        monkeypatch.setattr(world.location, "open", refuse)
        self.check(lusifer("index", world.docs), DiskFull, "the disk is full", "make room")

    def test_second_indexer(self, world, lusifer) -> None:
        world.write("a.txt", "words")
        world.data.mkdir()
        lock = FileLock(world.data / "indexer.lock")
        lock.acquire()
        self.check(lusifer("index", world.docs), AlreadyRunning, f"another indexer (process {os.getpid()})")
        lock.release()
        assert lusifer("index", world.docs).exit_code == 0

    def test_damaged_manifest(self, world, lusifer) -> None:
        world.write("a.txt", "words")
        lusifer("index", world.docs)
        (world.manifest_folder / FILE).write_bytes(b"SQLite format 3\x00" + b"garbage" * 1000)

        self.check(lusifer("index", world.docs), ManifestDamaged, "manifest", "damaged", "--rebuild")
        self.check(lusifer("status"), ManifestDamaged, "--rebuild")
        assert read_json(lusifer("index", world.docs, "--rebuild", "--json"))["indexed"] == 1

    def test_manifest_of_a_later_version(self, world, lusifer) -> None:
        import sqlite3

        world.write("a.txt", "words")
        lusifer("index", world.docs)
        connection = sqlite3.connect(world.manifest_folder / FILE)
        connection.execute("PRAGMA user_version = 99")
        connection.close()

        self.check(lusifer("index", world.docs), ManifestDamaged, "version 99")

    def test_data_folder_that_cannot_be_made(self, world, lusifer) -> None:
        world.write("a.txt", "words")
        world.data.write_text("a file, not a folder")

        self.check(lusifer("index", world.docs), IndexerError, "cannot be written", "--data")

    def test_bad_setting(self, world, lusifer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LUSIFER_MAX_FILE_MEGABYTES", "-1")

        self.check(lusifer("index", world.docs), SettingsError, "LUSIFER_MAX_FILE_MEGABYTES")

    def test_interruption(self, world, lusifer) -> None:
        world.write("a.txt", "words")
        lusifer("index", world.docs)
        world.write("a.txt", "other words", age=5)

        def interrupt() -> None:
            raise KeyboardInterrupt

        world.store.before_write = interrupt
        result = lusifer("index", world.docs, "--json")

        assert result.exit_code == 130
        assert result.stdout == ""
        assert "run again to continue" in result.stderr

    def test_names_cannot_write_to_the_terminal(self, world, lusifer) -> None:
        world.write("\x1b[31mred\n.docx", b"PK nonsense")

        result = lusifer("index", world.docs)

        assert "\x1b" not in result.stdout
        assert "\\x1b[31mred\\n.docx" in result.stdout


class TestProgress:
    def test_lines_where_there_is_no_terminal(self, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(report, "_INTERVAL", 0.0)
        with report.show_progress(quiet=False) as observer:
            observer.planned(2, 100)
            observer.stored(1500)
            observer.read(50)

        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("1/2 files, 1,500 chunks, ")

    def test_nothing_for_programs(self, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(report, "_INTERVAL", 0.0)
        with report.show_progress(quiet=True) as observer:
            observer.planned(1, 10)
            observer.stored(1)
            observer.read(10)

        assert capsys.readouterr() == ("", "")

    def test_a_bar_on_a_terminal(self, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "120")
        with report.show_progress(quiet=True) as observer:
            observer.planned(4, 100)
            observer.stored(10)
            observer.read(25)

        captured = capsys.readouterr()
        assert captured.out == ""
        assert "25%" in captured.err
        assert "1/4 files" in captured.err
        assert "chunks/s" in captured.err


def test_settings_are_all_described_and_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(field.description for field in Settings.model_fields.values())
    monkeypatch.setenv("LUSIFER_COLLECTION", "papers")
    monkeypatch.setenv("LUSIFER_QDRANT_API_KEY", "secret-key")
    monkeypatch.setenv("LUSIFER_QDRANT_URL", "")
    settings = load_settings(Settings, data=Path("relative"))

    assert (settings.collection, settings.qdrant_url) == ("papers", None)
    assert "secret-key" not in repr(settings)
    assert settings.data == Path("relative").resolve()
