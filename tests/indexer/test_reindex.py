"""A change of model or a rebuild: another collection beside the present one, interruptions, the switch."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from common.settings import SettingsError
from indexer import writer
from indexer.errors import IndexerError, ManifestDamaged, UsageError
from indexer.manifest import FILE, Manifest
from indexer.pipeline import Options
from indexer.settings import Settings
from indexer.status import take_status
from store.errors import FingerprintMismatch, StoreDamaged, StoreOutdated

pytestmark = pytest.mark.slow  # runs change the model again and again


def fill(world, paragraphs: dict[str, str], number: int = 28) -> list[Path]:
    codes = list(paragraphs)
    return [
        world.write(f"{codes[i % 14]}/{i}.txt", f"{i}. {paragraphs[codes[i % 14]]}") for i in range(number)
    ]


def roots(world) -> list[str]:
    with world.manifest() as manifest:
        return manifest.roots()


def building(world):
    """Return the store of the collection that is being built."""
    return world.location.open(world.location.unfinished()[0])


def interrupt_before_switch(world, monkeypatch: pytest.MonkeyPatch, **options: bool) -> None:
    """Run, and be interrupted when another collection is complete."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(world.location, "switch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            world.run(**options)


def test_another_model_indexes_everything_again_and_takes_over(world, paragraphs) -> None:
    fill(world, paragraphs)
    world.write("bad.docx", b"PK nonsense")
    world.run()
    old, texts, writes = world.store, world.texts(), world.store.writes
    world.model = "other"

    report = world.run()

    assert (report.indexed, report.deleted, len(report.failed)) == (28, 0, 1)
    assert world.store is not old
    assert (world.store.schema.model, world.store.schema.model_fingerprint) == ("other", "other")
    assert world.texts() == texts
    assert old.writes == writes, "the former index is left as it was"
    assert world.location.unfinished() == []
    assert (world.run().unchanged, world.embedded, len(world.loaded)) == (28, 0, 0)


def test_the_former_index_is_kept_until_the_next_successful_run(world, paragraphs) -> None:
    fill(world, paragraphs, 3)
    world.run()
    former = world.location.current()
    world.model = "other"

    world.run()
    assert world.location.open(former).count() > 0
    world.run()
    assert list(world.location.infos) == [world.location.current().name]


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
@pytest.mark.parametrize("rebuild", [False, True])
def test_an_interrupted_change_goes_on_and_is_not_seen(
    world, paragraphs, monkeypatch, step: int, rebuild: bool
) -> None:
    monkeypatch.setattr(writer, "COMMIT_CHUNKS", 4)
    fill(world, paragraphs)
    world.run()
    old, before = world.store, dict(world.store.chunks)
    world.model = "toy" if rebuild else "other"
    build = world.location.build

    def build_and_fail(schema, **options):
        info, done = build(schema, **options), 0

        def fail() -> None:
            nonlocal done
            done += 1
            if done > step:
                raise OSError("interrupted")

        world.location.open(info).before_write = fail
        return info

    with monkeypatch.context() as patch:
        patch.setattr(world.location, "build", build_and_fail)
        with pytest.raises(OSError, match="interrupted"):
            world.run(rebuild=rebuild)
    assert world.store is old
    assert old.chunks == before
    # Meanwhile the former model's runs go on as ever.
    world.model = "toy"
    world.write("new.txt", "new words")
    assert (world.run().indexed, world.store) == (1, old)

    world.model = "toy" if rebuild else "other"
    kept = len({chunk.document_id for chunk in building(world).chunks.values()})
    building(world).before_write = lambda: None
    report = world.run(rebuild=rebuild)
    assert report.indexed + report.unchanged == 29
    assert report.unchanged >= kept - 8  # two batches of at least one chunk each are done again
    assert world.store is not old
    assert world.store.schema.model == world.model
    assert len(world.texts()) == 29


def test_a_complete_index_that_was_not_switched_to_is_not_made_again(world, paragraphs, monkeypatch) -> None:
    fill(world, paragraphs, 5)
    world.run()
    world.model = "other"
    interrupt_before_switch(world, monkeypatch)
    assert world.store.schema.model == "toy"

    assert (world.run().unchanged, world.embedded, world.store.schema.model) == (5, 0, "other")


def test_a_third_model_begins_again(world, paragraphs, monkeypatch) -> None:
    fill(world, paragraphs, 5)
    world.run()
    world.model = "other"
    interrupt_before_switch(world, monkeypatch)
    world.model = "third"

    assert (world.run().indexed, world.store.schema.model) == (5, "third")
    assert world.run().unchanged == 5


def test_a_collection_that_was_made_again_is_not_taken_for_the_one_before(world, paragraphs) -> None:
    """As after another store was used in between, or a copy of the manifest was put back."""
    fill(world, paragraphs, 5)
    world.run()
    folder = world.manifest_folder
    content = (folder / FILE).read_bytes()
    world.lose_everything()
    world.write("new.txt", "another text")
    world.run()
    assert world.manifest_folder == folder
    Manifest.delete(folder)
    (folder / FILE).write_bytes(content)

    assert world.run().indexed == 6
    assert world.texts()["new.txt"] == "another text"


def test_what_left_since_does_not_come_back(world, paragraphs, monkeypatch, tmp_path: Path) -> None:
    paths = fill(world, paragraphs, 5)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "more.txt").write_text("more words")
    world.run(world.docs, elsewhere)
    world.model = "other"
    interrupt_before_switch(world, monkeypatch)
    assert len({chunk.path for chunk in building(world).chunks.values()}) == 6
    paths[0].unlink()
    world.indexer.remove([elsewhere])

    world.run()

    assert set(world.texts()) == {path.name for path in paths[1:]}
    assert set(world.records()) == {path.name for path in paths[1:]}
    assert roots(world) == [str(world.docs)]


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


def test_a_rebuild_says_what_it_leaves_out(world, paragraphs, tmp_path: Path) -> None:
    fill(world, paragraphs, 2)
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "more.txt").write_text("more words")
    world.run(world.docs, disk)
    disk.rename(tmp_path / "unplugged")

    report = world.run(rebuild=True)

    assert (report.indexed, [problem.path for problem in report.skipped]) == (2, [str(disk)])
    (tmp_path / "unplugged").rename(disk)
    assert world.indexer.run().indexed == 1


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
    fill(world, paragraphs, 3)
    world.write("xx/photo.jpg", "x")
    world.run()
    world.model = "other"
    scandir = os.scandir

    def refuse(closed: str):
        def scan(path: str) -> object:
            if str(path).endswith(closed):
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        return scan

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse("/en"))
        with pytest.raises(UsageError, match="permission denied"):
            world.run()
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse("/xx"))
        assert world.run().indexed == 3


def test_a_rebuild_takes_the_place_of_a_change_that_was_begun(world, paragraphs, monkeypatch) -> None:
    fill(world, paragraphs, 5)
    world.run()
    world.model = "other"
    interrupt_before_switch(world, monkeypatch)

    world.model = "toy"
    assert world.run(rebuild=True).indexed == 5
    world.run()
    assert [info.schema.model for info in world.location.infos.values()] == ["toy"]


def test_a_rebuild_is_searched_when_it_is_complete(world, paragraphs, monkeypatch) -> None:
    fill(world, paragraphs, 5)
    world.run()
    old = world.store
    interrupt_before_switch(world, monkeypatch, rebuild=True)
    assert world.store is old

    assert (world.run(rebuild=True).unchanged, world.embedded) == (5, 0)
    assert world.store is not old
    assert world.run().unchanged == 5


def test_a_damaged_manifest_of_the_next_index_is_begun_again(world, paragraphs, monkeypatch) -> None:
    fill(world, paragraphs, 5)
    world.run()
    world.model = "other"
    interrupt_before_switch(world, monkeypatch)
    folder = world.location.manifest_folder(world.location.unfinished()[0])
    (folder / FILE).write_bytes(b"not a database" * 500)

    assert world.run().indexed == 5
    assert len(world.texts()) == 5


def test_a_damaged_manifest_is_no_obstacle_to_a_rebuild(world, paragraphs) -> None:
    fill(world, paragraphs, 5)
    world.run()
    (world.manifest_folder / FILE).write_bytes(b"not a database" * 500)

    with pytest.raises(ManifestDamaged):
        world.run()
    with pytest.raises(UsageError, match="nothing to index"):
        world.indexer.run(rebuild=True)
    assert world.run(rebuild=True).indexed == 5
    assert world.run().unchanged == 5


@pytest.mark.parametrize("content", [b"", b"not a database" * 500])
def test_a_damaged_manifest_is_kept_aside_by_a_rebuild(world, paragraphs, content: bytes) -> None:
    fill(world, paragraphs, 5)
    world.run()
    folder = world.manifest_folder
    Manifest.delete(folder)
    (folder / FILE).write_bytes(content)

    for ask in (world.run, lambda: take_status(world.location, "data")):
        with pytest.raises(ManifestDamaged) as caught:
            ask()
        assert "lusifer index --rebuild PATH" in caught.value.hint
    assert world.run(rebuild=True).indexed == 5
    world.run()
    (kept,) = world.data.glob(f"{folder.name}.{FILE}.damaged-*")
    assert kept.read_bytes() == content
    assert take_status(world.location, "data").documents == 5


@pytest.mark.parametrize("table", ["roots", "documents"])
def test_text_that_cannot_be_decoded_is_damage_that_a_rebuild_mends(world, paragraphs, table: str) -> None:
    fill(world, paragraphs, 5)
    world.run()
    with closing(sqlite3.connect(world.manifest_folder / FILE)) as connection, connection:
        row = f"SELECT path FROM {table} LIMIT 1"
        connection.execute(f"UPDATE {table} SET path = CAST(x'2fff00fe' AS TEXT) WHERE path = ({row})")
    with pytest.raises(ManifestDamaged):
        take_status(world.location, "data")

    assert world.run(rebuild=True).indexed == 5
    assert world.run().unchanged == 5


def test_a_path_too_long_for_a_manifest_is_named_before_anything_is_searched(world) -> None:
    world.write("a.txt", "words")
    world.location.folder = world.data.joinpath(*("x" * 200 for _ in range(4)))

    with pytest.raises(IndexerError, match="too long") as caught:
        world.run()
    assert "--data" in caught.value.hint
    assert world.location.current() is None


def test_a_store_too_damaged_to_tell_what_it_is_does_not_hinder_a_rebuild(world, paragraphs) -> None:
    fill(world, paragraphs, 5)
    world.run()
    world.location.damaged.add(world.location.current_name)

    with pytest.raises(StoreDamaged):
        world.run()
    assert world.run(rebuild=True).indexed == 5
    assert world.run().unchanged == 5


def test_a_rebuild_of_a_damaged_store_keeps_all_that_was_indexed(world, paragraphs, tmp_path: Path) -> None:
    fill(world, paragraphs, 5)
    elsewhere = [tmp_path / "one", tmp_path / "two", tmp_path / "three"]
    for folder in elsewhere:
        folder.mkdir()
        (folder / f"{folder.name}.txt").write_text("more words")
    world.run(world.docs, *elsewhere[:2])
    elsewhere[1].rename(tmp_path / "unplugged")
    world.location.damaged.add(world.location.current_name)

    report = world.indexer.run([elsewhere[2]], rebuild=True)

    assert (report.indexed, [problem.path for problem in report.skipped]) == (7, [str(elsewhere[1])])
    assert roots(world) == sorted(map(str, [world.docs, *elsewhere]))
    world.location.damaged.add(world.location.current_name)
    assert world.indexer.run(rebuild=True).indexed == 7


def test_an_index_of_a_former_version_is_named_as_that(world, paragraphs, monkeypatch) -> None:
    fill(world, paragraphs, 2)

    def refuse() -> None:
        raise StoreOutdated("made by a former version", hint="index the documents again")

    with monkeypatch.context() as patch:
        patch.setattr(world.location, "open", refuse)
        with pytest.raises(StoreOutdated):
            world.indexer.run()
    assert world.run().indexed == 2


def test_what_a_former_version_indexed_is_said(world, paragraphs, tmp_path: Path, monkeypatch) -> None:
    fill(world, paragraphs, 2)
    world.options = Options(exclude=world.data)
    former = [str(world.docs), str(tmp_path / "other papers")]
    with Manifest.open(world.data) as manifest:
        manifest.add_roots(former)

    def refuse() -> None:
        raise StoreOutdated("made by a former version", hint="index the documents again")

    with monkeypatch.context() as patch:
        patch.setattr(world.location, "open", refuse)
        with pytest.raises(StoreOutdated, match=f"from {former[0]}, {former[1]}") as caught:
            world.indexer.run()
    assert caught.value.hint.endswith(f"lusifer index {former[0]} '{former[1]}'")
    report = world.run()
    assert [problem.path for problem in report.skipped] == former[1:]
    assert f"lusifer index '{former[1]}'" in report.skipped[0].reason
    Manifest.delete(world.data)
    assert world.run().skipped == []


def test_a_model_that_changed_without_a_sign_is_refused_once(world, paragraphs) -> None:
    """As when a hub id names other weights than before."""
    fill(world, paragraphs, 2)
    world.run()
    load = world.load_embedder
    world.load_embedder = lambda _: load("changed")
    world.write("new.txt", "new words")

    with pytest.raises(FingerprintMismatch):
        world.run()
    assert world.run().indexed == 3
    assert world.store.schema.model_fingerprint == "changed"


def test_the_index_keeps_its_model_where_none_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("LUSIFER_MODEL", raising=False)
    monkeypatch.delenv("LUSIFER_EMBEDDINGS_URL", raising=False)
    folder = tmp_path / "model"
    folder.mkdir()
    assert Settings().model_reference("/models/large") == "/models/large"
    assert Settings().model_reference() == ""
    assert Settings(model="lusifer-mini").model_reference("/models/large") == ""
    assert Settings(model=str(folder)).model_reference("/models/large") == str(folder)
    assert Settings(model="org/name").model_reference() == "org/name"
    monkeypatch.chdir(tmp_path)
    assert Settings(model="model").model_reference() == str(folder)
    assert Settings(embeddings_url="http://gpu:1").model_reference("/models/large") == "http://gpu:1"
    assert Settings(embeddings_url="http://gpu:1", model="large").service_options().expected == "large"
    assert Settings(model="http://gpu:1").service_options().expected is None
    with pytest.raises(SettingsError, match="two services"):
        Settings(model="http://a:1", embeddings_url="http://b:1").model_reference()
