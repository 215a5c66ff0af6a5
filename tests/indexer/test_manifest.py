from __future__ import annotations

import sqlite3
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.errors import IndexerError, ManifestDamaged
from indexer.manifest import FILE, Manifest, Record

names = st.text(st.characters(exclude_categories=("Cs",)), max_size=10)
records = st.builds(
    Record,
    id=st.text(string.hexdigits, min_size=4, max_size=4),
    path=names.map("/docs/".__add__),
    size=st.integers(0, 2**60),
    mtime_ns=st.integers(-(2**62), 2**62),
    version=names,
    state=st.sampled_from(["indexed", "pending", "skipped", "failed"]),
    reason=names,
    retry=st.booleans(),
    title=names,
    chunks=st.integers(0, 10**9),
)


@pytest.fixture
def manifest(tmp_path: Path):
    with Manifest.open(tmp_path) as opened:
        yield opened


@settings(max_examples=50, deadline=None)
@given(saved=st.lists(records, max_size=8, unique_by=lambda record: record.id))
def test_records_come_back_as_they_were(
    saved: list[Record], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    with Manifest.open(folder) as manifest:
        manifest.save(saved)
    with Manifest.open(folder) as manifest:
        assert manifest.under() == sorted(saved, key=lambda record: (record.path.encode(), record.id))


def test_a_folder_is_not_its_neighbours(manifest: Manifest) -> None:
    paths = ["/a/b", "/a/b/c", "/a/b/d/e", "/a/bc", "/a/b.txt", "/a/b-x/y", "/a"]
    manifest.save(Record(str(number), path) for number, path in enumerate(paths))

    assert [record.path for record in manifest.under("/a/b")] == ["/a/b", "/a/b/c", "/a/b/d/e"]
    assert len(manifest.under("/")) == len(paths)


def test_doubt_makes_indexed_documents_pending(manifest: Manifest) -> None:
    manifest.save(
        [
            Record("1", "/a", state="indexed"),
            Record("2", "/b", state="indexed"),
            Record("3", "/c", state="failed"),
        ]
    )

    manifest.doubt(["1", "3"])
    assert [record.state for record in manifest.under()] == ["pending", "indexed", "failed"]
    manifest.doubt()
    assert [record.state for record in manifest.under()] == ["pending", "pending", "failed"]


def test_roots_are_added_set_and_forgotten(manifest: Manifest) -> None:
    manifest.add_roots(["/b", "/a", "/a"])
    assert manifest.roots() == ["/a", "/b"]
    manifest.forget_root("/a")
    assert manifest.roots() == ["/b"]
    manifest.set_roots(["/c", "/d", "/c"])
    assert manifest.roots() == ["/c", "/d"]


def test_facts_are_kept(tmp_path: Path) -> None:
    with Manifest.open(tmp_path) as manifest:
        manifest.set_facts(stamp="s", collection="c")
        manifest.set_facts(stamp="t")
    with Manifest.open(tmp_path) as manifest:
        assert manifest.facts() == {"stamp": "t", "collection": "c"}


def test_a_change_that_fails_leaves_nothing_behind(manifest: Manifest) -> None:
    manifest.save([Record("1", "/a")])

    with pytest.raises(ManifestDamaged):
        manifest.save([Record("2", "/b"), Record("3", "/c", state="unheard of")])  # type: ignore[arg-type]
    assert [record.id for record in manifest.under()] == ["1"]


@pytest.mark.parametrize(
    "content",
    [b"not a database at all, but long enough to be looked at" * 5, b"SQLite format 3\x00" + bytes(500)],
)
def test_damage_is_named_with_its_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)

    with pytest.raises(ManifestDamaged, match="manifest") as caught:
        Manifest.open(tmp_path)
    assert "--rebuild" in caught.value.hint


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE documents SET path = CAST(x'2fff00fe' AS TEXT)",
        "UPDATE documents SET path = x'2f61'",
        "UPDATE documents SET chunks = 'many'",
        "DROP TABLE documents",
    ],
)
def test_content_that_is_no_document_is_damage(manifest: Manifest, tmp_path: Path, harm: str) -> None:
    manifest.save([Record("1", "/a")])
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute(harm)
    connection.commit()
    connection.close()

    with pytest.raises(ManifestDamaged, match="manifest"):
        manifest.under()


def test_an_empty_file_is_damage(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()

    with pytest.raises(ManifestDamaged, match="it is empty"):
        Manifest.open(tmp_path)
    assert (tmp_path / FILE).stat().st_size == 0


def test_foreign_tables_are_not_taken_for_a_manifest(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("CREATE TABLE documents (id TEXT)")
    connection.commit()
    connection.close()

    with pytest.raises(IndexerError, match="manifest"):
        Manifest.open(tmp_path)


def test_delete_removes_all_its_files(tmp_path: Path) -> None:
    Manifest.open(tmp_path).close()

    Manifest.delete(tmp_path)

    assert list(tmp_path.iterdir()) == []
    assert not Manifest.exists(tmp_path)
