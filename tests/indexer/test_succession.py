"""A change of model: another index beside the present one, whatever interrupts it, and the switch."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from indexer import reindex, writer
from indexer.errors import UsageError
from indexer.manifest import STAGED, Manifest
from indexer.model import model_reference
from indexer.settings import Settings


def fill(world, paragraphs: dict[str, str], number: int = 28) -> list[Path]:
    codes = list(paragraphs)
    return [
        world.write(f"{codes[i % 14]}/{i}.txt", f"{i}. {paragraphs[codes[i % 14]]}") for i in range(number)
    ]


def facts(world) -> dict[str, str]:
    with Manifest.open(world.data) as manifest:
        return manifest.facts()


def roots(world) -> list[str]:
    with Manifest.open(world.data) as manifest:
        return manifest.roots()


def test_another_model_makes_the_index_anew_and_takes_over(world, paragraphs) -> None:
    fill(world, paragraphs)
    world.write("bad.docx", b"PK nonsense")
    world.run()
    old, texts, writes = world.store, world.texts(), world.store.writes
    world.model = "other"

    report = world.run()

    assert (report.indexed, report.deleted, len(report.failed)) == (28, 0, 1)
    assert world.store is not old
    assert world.store.schema.model == facts(world)["model"] == "other"
    assert world.texts() == texts
    assert old.writes == writes, "the former index is left as it was"
    assert not Manifest.exists(world.data, STAGED)
    assert (world.run().unchanged, world.embedded, len(world.loaded)) == (28, 0, 0)


def test_all_that_was_indexed_is_indexed_again_whatever_is_named(world, paragraphs, tmp_path: Path) -> None:
    fill(world, paragraphs, 5)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "more.txt").write_text("more words")
    world.run()
    world.model = "other"

    assert world.run(elsewhere).indexed == 6

    assert len(world.texts()) == 6
    assert roots(world) == sorted([str(world.docs), str(elsewhere)])


@pytest.mark.parametrize("step", [1, 7, 20, 33, 50])
def test_an_interrupted_change_goes_on_and_is_not_seen(world, paragraphs, monkeypatch, step: int) -> None:
    monkeypatch.setattr(writer, "COMMIT_CHUNKS", 4)
    fill(world, paragraphs)
    world.run()
    old, before = world.store, dict(world.store.chunks)
    world.model = "other"
    stage = world.stage_store

    def stage_and_fail(schema):
        store, done = stage(schema), 0

        def fail() -> None:
            nonlocal done
            done += 1
            if done > step:
                raise OSError("interrupted")

        store.before_write = fail
        return store

    with monkeypatch.context() as patch:
        patch.setattr(world, "stage_store", stage_and_fail)
        with pytest.raises(OSError, match="interrupted"):
            world.run()
    assert world.store is old
    assert old.chunks == before
    # Meanwhile the former model's runs go on as ever.
    world.model = "toy"
    world.write("new.txt", "new words")
    assert (world.run().indexed, world.store) == (1, old)
    assert world.staged is not None

    world.model = "other"
    kept = len({chunk.document_id for chunk in world.staged.chunks.values()})
    world.staged.before_write = lambda: None
    report = world.run()
    assert report.indexed + report.unchanged == 29
    assert report.unchanged >= kept - 8  # two batches of at least one chunk each are done again
    assert world.store.schema.model == "other"
    assert len(world.texts()) == 29


def test_a_third_model_begins_anew(world, paragraphs, monkeypatch) -> None:
    fill(world, paragraphs, 5)
    world.run()
    world.model = "other"
    with monkeypatch.context() as patch:
        patch.setattr(world, "switch_store", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.run()
    world.model = "third"

    assert (world.run().indexed, world.store.schema.model) == (5, "third")
    assert world.run().unchanged == 5


def test_a_kill_between_the_two_switches_is_mended(world, paragraphs, monkeypatch) -> None:
    fill(world, paragraphs, 5)
    world.run()
    world.model = "other"
    with monkeypatch.context() as patch:
        patch.setattr(reindex, "_take_over", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.run()
    assert world.store.schema.model == "other"
    assert facts(world)["model"] == "toy"

    assert (world.run().unchanged, world.embedded, facts(world)["model"]) == (5, 0, "other")


def test_a_record_of_another_store_is_not_believed(world, paragraphs) -> None:
    """As when another program switched the collection, or a backup of the record was put back."""
    fill(world, paragraphs, 5)
    world.run()
    shutil.copy(world.data / "manifest.sqlite", world.data / "backup")
    world.model = "other"
    world.run()
    (world.data / "backup").replace(world.data / "manifest.sqlite")
    world.model = "toy"

    assert world.run().indexed == 5
    assert world.store.schema.model == "toy"


def test_what_left_since_does_not_come_back(world, paragraphs, monkeypatch, tmp_path: Path) -> None:
    paths = fill(world, paragraphs, 5)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "more.txt").write_text("more words")
    world.run(world.docs, elsewhere)
    world.model = "other"
    with monkeypatch.context() as patch:
        patch.setattr(world, "switch_store", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.run()
    assert len({chunk.path for chunk in world.staged.chunks.values()}) == 6
    paths[0].unlink()
    with Manifest.open(world.data) as manifest:
        world.indexer(manifest).remove(elsewhere)

    world.run()

    assert set(world.texts()) == {path.name for path in paths[1:]}
    assert set(world.records()) == {path.name for path in paths[1:]}


def test_documents_whose_files_are_away_are_not_lost(world, paragraphs, tmp_path: Path) -> None:
    fill(world, paragraphs, 5)
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "more.txt").write_text("more words")
    world.run(world.docs, disk)
    old = world.store
    disk.rename(tmp_path / "unplugged")
    world.model = "other"

    with pytest.raises(UsageError, match=r"while .*/disk is gone") as caught:
        world.run()
    assert "lusifer remove" in caught.value.hint
    assert world.store is old
    (tmp_path / "unplugged").rename(disk)
    assert world.run().indexed == 6


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may read anything")
def test_documents_in_a_folder_that_cannot_be_read_are_not_lost(world, paragraphs) -> None:
    fill(world, paragraphs, 5)
    world.run()
    folder = next(path for path in world.docs.iterdir() if path.is_dir())
    folder.chmod(0)
    world.model = "other"
    try:
        with pytest.raises(UsageError, match="cannot be read"):
            world.run()
    finally:
        folder.chmod(0o700)


def test_a_folder_that_cannot_be_read_holds_a_change_up(world, paragraphs, monkeypatch) -> None:
    from indexer.walk import Rejected, Walk

    fill(world, paragraphs, 3)
    world.run()
    rejected = Rejected(world.docs / "en", str(world.docs / "en"), "permission denied", unreadable=True)
    with Manifest.open(world.data) as manifest:
        with pytest.raises(UsageError, match="permission denied"):
            reindex.check_nothing_is_lost(manifest, Walk(rejected=[rejected]))
        other = Rejected(world.docs / "xx", str(world.docs / "xx"), "permission denied", unreadable=True)
        reindex.check_nothing_is_lost(manifest, Walk(rejected=[other]))


def test_rebuilding_forgets_a_change_that_was_begun(world, paragraphs, monkeypatch) -> None:
    fill(world, paragraphs, 5)
    world.run()
    world.model = "other"
    with monkeypatch.context() as patch:
        patch.setattr(world, "switch_store", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.run()
    with Manifest.open(world.data) as manifest:
        assert world.indexer(manifest).rebuild([world.docs]).indexed == 5
    assert (Manifest.exists(world.data, STAGED), world.staged) == (False, None)


def test_a_damaged_record_of_the_next_index_is_begun_anew(world, paragraphs, monkeypatch) -> None:
    fill(world, paragraphs, 5)
    world.run()
    (world.data / STAGED).write_bytes(b"not a database" * 500)
    world.model = "other"
    assert world.run().indexed == 5
    assert len(world.texts()) == 5


def test_the_index_keeps_its_model_where_none_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("LUSIFER_MODEL", raising=False)
    monkeypatch.delenv("LUSIFER_EMBEDDINGS_URL", raising=False)
    folder = tmp_path / "model"
    folder.mkdir()
    assert model_reference(Settings(), "/models/large") == "/models/large"
    assert model_reference(Settings()) == ""
    assert model_reference(Settings(model="lusifer-mini"), "/models/large") == ""
    assert model_reference(Settings(model=str(folder)), "/models/large") == str(folder)
    assert model_reference(Settings(model="org/name"), "") == "org/name"
    monkeypatch.chdir(tmp_path)
    assert model_reference(Settings(model="model"), "") == str(folder)
    assert model_reference(Settings(embeddings_url="http://gpu:1"), "/models/large") == "http://gpu:1"
