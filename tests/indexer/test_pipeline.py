from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from indexer import reader, writer
from indexer.errors import UsageError
from indexer.extract import Registry
from indexer.extract.text import TextExtractor
from indexer.manifest import FILE, Manifest
from indexer.pipeline import Options
from indexer.reader import NO_TEXT
from indexer.session import Session

FORMATS = {
    ".txt": "{title}\n\n{body}\n",
    ".md": "# {title}\n\n{body}\n\n## More\n\n{body}\n",
    ".html": "<html><title>{title}</title><body><h1>{title}</h1><p>{body}</p></body></html>",
}


def fill(world, paragraphs: dict[str, str], number: int) -> list[Path]:
    """Write so many documents of all languages and formats."""
    codes, suffixes = list(paragraphs), list(FORMATS)
    paths = []
    for i in range(number):
        code, suffix = codes[i % len(codes)], suffixes[i % len(suffixes)]
        body = "\n\n".join([f"Number {i}.", *[paragraphs[code]] * (1 + i % 4)])
        content = FORMATS[suffix].format(title=f"Document {i}", body=body)
        paths.append(world.write(f"{code}/{i:03}{suffix}", content))
    return paths


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "EMBED_BATCH", 3)
    monkeypatch.setattr(writer, "COMMIT_CHUNKS", 8)


def test_documents_reach_the_store_whole(world, paragraphs) -> None:
    fill(world, paragraphs, 28)

    report = world.run()

    assert (report.indexed, report.unchanged, report.deleted) == (28, 0, 0)
    assert report.chunks == len(world.store.chunks) == world.embedded > 28
    assert world.texts()["000.txt"] == (world.docs / "en" / "000.txt").read_text()
    chunk = world.store.scroll(limit=1)[0]
    assert chunk.path == f"{world.docs}/ar/007.md"
    assert chunk.folder == f"{world.docs}/ar"
    assert (chunk.title, chunk.heading, chunk.language) == ("Document 7", "Document 7", "ar")
    assert chunk.modified == pytest.approx((world.docs / "ar/007.md").stat().st_mtime)


def test_every_chunk_is_embedded_with_its_context(world) -> None:
    world.write("a.md", "# Title\n\nOpening.\n\n## Part\n\nBody of it.\n\n## Next\n\nMore.\n")

    world.run()

    assert world.loaded[0].texts == [
        "Title\n\nOpening.",
        "Title\nPart\n\nBody of it.",
        "Title\nNext\n\nMore.",
    ]


def test_second_run_touches_nothing(world, paragraphs) -> None:
    fill(world, paragraphs, 300)
    world.write("scan.pdf", "not a pdf")
    world.write("photo.jpg", "x")
    world.run()
    writes = world.store.writes
    before = (world.manifest_folder / FILE).read_bytes()

    report = world.run()

    assert (report.indexed, report.unchanged, report.deleted, report.chunks) == (0, 300, 0, 0)
    assert world.loaded == []
    assert world.store.writes == writes
    assert (world.manifest_folder / FILE).read_bytes() == before
    assert [Path(problem.path).name for problem in report.failed] == ["scan.pdf"]
    assert [Path(problem.path).name for problem in report.skipped] == ["photo.jpg"]


def test_unchanged_files_are_not_even_opened(world, paragraphs, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world, paragraphs, 5)
    world.run()
    monkeypatch.setattr(reader, "read_content", None)

    assert world.run().unchanged == 5


def test_edits_deletions_and_renames_touch_exactly_those(world, paragraphs) -> None:
    paths = fill(world, paragraphs, 300)
    world.run()
    before = {id: chunk for id, chunk in world.store.chunks.items()}
    for path in paths[10:13]:
        world.write(str(path.relative_to(world.docs)), "Edited, and much shorter now.\n", age=5)
    for path in paths[20:22]:
        path.unlink()
    paths[30].rename(paths[30].with_name("renamed.txt"))

    report = world.run()

    assert (report.indexed, report.deleted, report.unchanged) == (4, 3, 294)
    touched = {chunk.path for chunk in world.store.chunks.values() if chunk.id not in before}
    gone = {chunk.path for id, chunk in before.items() if id not in world.store.chunks}
    renamed = str(paths[30].with_name("renamed.txt"))
    assert touched == {*map(str, paths[10:13]), renamed}
    assert gone == {*map(str, paths[10:13]), *map(str, paths[20:22]), str(paths[30])}
    assert len(world.texts()) == 298
    assert world.embedded == sum(chunk.path in touched for chunk in world.store.chunks.values())


def test_touched_but_unchanged_files_are_not_embedded(world, paragraphs) -> None:
    path = fill(world, paragraphs, 1)[0]
    world.run()
    os.utime(path, (1_000_000, 1_000_000))

    first, second = world.run(), world.run()

    assert (first.unchanged, first.indexed, second.unchanged) == (1, 0, 1)
    with world.manifest() as manifest:
        assert manifest.under()[0].mtime_ns == 1_000_000 * 10**9


def test_edit_within_the_clock_tick_is_noticed(world) -> None:
    path = world.write("a.txt", "first words", age=0)
    world.run()
    status = path.stat()
    path.write_text("other words")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert world.run().indexed == 1
    assert world.texts()["a.txt"] == "other words"


def test_same_content_twice_is_two_documents(world) -> None:
    world.write("a.txt", "the same")
    world.write("b.txt", "the same")

    assert world.run().indexed == 2
    assert world.texts() == {"a.txt": "the same", "b.txt": "the same"}


def test_only_the_paths_given_are_looked_at(world, paragraphs) -> None:
    fill(world, paragraphs, 28)
    world.run()
    (world.docs / "en" / "000.txt").unlink()
    (world.docs / "es" / "001.md").unlink()

    report = world.run(world.docs / "en")

    assert (report.deleted, report.unchanged) == (1, 1)
    assert "001.md" in world.texts()


def test_a_single_file_can_be_named(world, paragraphs) -> None:
    paths = fill(world, paragraphs, 4)

    assert world.run(paths[2]).indexed == 1
    assert list(world.texts()) == [paths[2].name]


class TestProblems:
    def test_failures_do_not_stop_the_run(self, world) -> None:
        world.write("bad.docx", b"PK nonsense")
        world.write("good.txt", "fine")
        world.write("scan.pdf", b"%PDF-1.4")

        report = world.run()

        assert report.indexed == 1
        assert [Path(problem.path).name for problem in report.failed] == ["bad.docx", "scan.pdf"]
        assert all(problem.reason for problem in report.failed)

    def test_blank_files_are_skipped(self, world) -> None:
        world.write("blank.txt", " \n\t\n")

        assert [(p.reason, Path(p.path).name) for p in world.run().skipped] == [(NO_TEXT, "blank.txt")]
        assert [(p.reason, Path(p.path).name) for p in world.run().skipped] == [(NO_TEXT, "blank.txt")]

    @pytest.mark.parametrize(
        ("content", "state"), [(b"\x00\x01\x02\x03" * 50, "failed"), (b"  ", "skipped"), (b"", "skipped")]
    )
    def test_documents_that_turn_bad_leave_the_index(self, world, content: bytes, state: str) -> None:
        world.write("a.txt", "good words")
        world.write("b.txt", "others")
        world.run()
        world.write("a.txt", content, age=5)

        report = world.run()

        assert (report.indexed, report.unchanged) == (0, 1)
        assert list(world.texts()) == ["b.txt"]
        assert world.records() == {"a.txt": state, "b.txt": "indexed"}

    def test_bad_documents_that_turn_good_join_it(self, world) -> None:
        world.write("a.txt", b"\x00\x01\x02\x03" * 50)
        world.run()
        world.write("a.txt", "good words", age=5)

        assert world.run().indexed == 1
        assert world.run().failed == []

    def test_unreadable_files_are_tried_again(self, world, monkeypatch: pytest.MonkeyPatch) -> None:
        world.write("a.txt", "good words")
        read_bytes = Path.read_bytes

        def refuse(path: Path) -> bytes:
            if path.name == "a.txt":
                raise PermissionError(13, "Permission denied")
            return read_bytes(path)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", refuse)
            assert [problem.reason for problem in world.run().failed] == ["cannot be read: permission denied"]

        assert world.run().indexed == 1

    def test_documents_in_a_folder_that_cannot_be_listed_are_kept(
        self, world, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.write("closed/a.txt", "kept words")
        world.write("b.txt", "other words")
        world.run()
        scandir = os.scandir

        def refuse(path: str) -> object:
            if str(path).endswith("closed"):
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", refuse)
            report = world.run()

        assert (report.deleted, report.unchanged, len(report.failed)) == (0, 2, 1)
        assert set(world.texts()) == {"a.txt", "b.txt"}
        assert world.run().failed == []

    def test_file_types_that_are_no_longer_read_leave_the_index(self, world) -> None:
        world.write("a.md", "words")
        world.write("b.txt", "words")
        world.run()
        world.options = Options(registry=Registry([TextExtractor()]))

        report = world.run()

        assert [problem.reason for problem in report.skipped] == ["unsupported type .md"]
        assert list(world.texts()) == ["b.txt"]

    def test_odd_names(self, world) -> None:
        raw = os.fsdecode(os.fsencode(world.docs) + b"/\xff\xe9.txt")
        Path(raw).write_text("words under an odd name")
        world.write("new\nline.txt", "more words")

        assert world.run().indexed == 2
        assert set(world.texts()) == {"\\xff\\xe9.txt", "new\nline.txt"}
        assert world.run().unchanged + world.run().unchanged == 4

    def test_missing_path_is_a_usage_error(self, world) -> None:
        with pytest.raises(UsageError, match="lusifer remove"):
            world.run(world.docs / "nothing")


@pytest.mark.slow
class TestInterruption:
    @pytest.mark.parametrize("seed", range(12))
    def test_any_moment(self, world, paragraphs, seed: int, small_batches: None) -> None:
        paths = fill(world, paragraphs, 40)
        world.run()
        expected_start = dict(world.store.chunks)
        for i, path in enumerate(paths[:20]):
            if i % 4 == 0:
                path.unlink()
            else:
                world.write(str(path.relative_to(world.docs)), f"Edited {i}. " * (1 + i), age=5)
        self.interrupt(world, random.Random(seed))

        report = world.run()
        again = world.run()

        assert world.store.chunks.keys() != expected_start.keys()
        self.check(world)
        assert again.indexed == again.deleted == 0
        assert report.indexed + report.unchanged == again.unchanged == 35

    @pytest.mark.parametrize("seed", range(6))
    def test_first_run(self, world, paragraphs, seed: int, small_batches: None) -> None:
        paths = fill(world, paragraphs, 40)
        self.interrupt(world, random.Random(seed))
        paths[0].unlink()
        world.write("more.txt", "one more")

        world.run()

        self.check(world)
        assert world.run().unchanged == 40

    def test_repeatedly(self, world, paragraphs, small_batches: None) -> None:
        fill(world, paragraphs, 60)
        for seed in range(8):
            self.interrupt(world, random.Random(seed))

        world.run()

        self.check(world)

    def interrupt(self, world, chance: random.Random) -> None:
        """Run, and be interrupted at some write to the store."""
        if world.location.current() is None:
            world.location.switch(world.location.build(schema_of(world)))
        left = [chance.randrange(1, 90)]

        def count_down() -> None:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

        world.store.before_write = count_down
        with pytest.raises(KeyboardInterrupt):
            self.run_on(world)
        world.store.before_write = lambda: None

    def run_on(self, world) -> None:
        """Run again and again, with something new to do each time."""
        for number in range(100):
            world.run()
            world.write("en/014.html", f"<p>Keep going {number}")

    def check(self, world) -> None:
        """Compare with an index made in one go."""
        expected = set(world.store.chunks)
        texts = world.texts()
        world.lose_everything()
        kept = world.run()
        assert set(world.store.chunks) == expected
        assert world.texts() == texts
        assert kept.indexed == len(texts)


def schema_of(world):
    return Session(world.choose_model("")).schema


class TestDisagreement:
    def test_store_that_vanished_is_filled_again(self, world, paragraphs) -> None:
        fill(world, paragraphs, 10)
        world.run()
        world.lose_store()

        assert world.run().indexed == 10
        assert len(world.texts()) == 10

    def test_vanished_store_leaves_no_document_behind_as_indexed(self, world, paragraphs) -> None:
        fill(world, paragraphs, 28)
        world.run()
        world.lose_store()

        assert world.run(world.docs / "en").indexed == 2
        assert sum(state == "pending" for state in world.records().values()) == 26
        assert world.run().indexed == 26

    def test_lost_chunks_are_made_again(self, world, paragraphs) -> None:
        fill(world, paragraphs, 10)
        world.run()
        expected = set(world.store.chunks)
        lost = random.Random(3).sample(sorted(expected), 4)
        damaged = {world.store.rows.pop(id)[0].path for id in lost}

        assert world.run().indexed == len(damaged)
        assert set(world.store.chunks) == expected

    def test_lost_manifest_leaves_no_orphans(self, world, paragraphs) -> None:
        paths = fill(world, paragraphs, 10)
        world.run()
        Manifest.delete(world.manifest_folder)
        paths[0].unlink()
        world.write(str(paths[1].relative_to(world.docs)), "Edited.", age=5)

        assert world.run().indexed == 9
        assert len(world.texts()) == 9
        assert world.texts()[paths[1].name].strip() == "Edited."

    def test_orphans_elsewhere_are_left_alone(self, world, paragraphs) -> None:
        fill(world, paragraphs, 28)
        world.run()
        Manifest.delete(world.manifest_folder)

        world.run(world.docs / "en")

        assert len(world.texts()) == 28


class TestModel:
    def test_rebuild_makes_the_index_with_it(self, world, paragraphs) -> None:
        fill(world, paragraphs, 5)
        world.run()
        world.model = "other"

        assert world.run(rebuild=True).indexed == 5
        assert world.run().unchanged == 5
        assert len(world.texts()) == 5

    def test_rebuild_of_a_missing_path_throws_nothing_away(self, world, paragraphs) -> None:
        fill(world, paragraphs, 5)
        world.run()

        with pytest.raises(UsageError):
            world.run(world.docs / "gone", rebuild=True)
        assert len(world.texts()) == 5

    def test_a_reinstalled_model_is_compared_once(self, world, paragraphs) -> None:
        fill(world, paragraphs, 5)
        world.run()
        world.stamp = "reinstalled"

        assert (world.run().unchanged, len(world.loaded), world.embedded) == (5, 1, 0)
        assert (world.run().unchanged, len(world.loaded)) == (5, 0)


def test_remove_takes_documents_out_whether_or_not_they_exist(world, paragraphs) -> None:
    paths = fill(world, paragraphs, 28)
    world.run()
    paths[0].unlink()

    assert world.indexer.remove([world.docs / "en"]) == 2
    with pytest.raises(UsageError, match="nothing at"):
        world.indexer.remove([world.docs / "en"])
    assert len(world.texts()) == 26
    assert world.run().indexed == 1


def test_mixed_languages_are_told_apart(world, paragraphs) -> None:
    world.write("a.txt", "\n\n".join([*[paragraphs["en"]] * 5, paragraphs["ru"], paragraphs["fi"]]))

    world.run()

    chunks = world.store.scroll()
    assert {chunk.document_language for chunk in chunks} == {"en"}
    assert {chunk.language for chunk in chunks} == {"en", "ru", "fi"}


def test_memory_is_bounded_by_batches(world, paragraphs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "EMBED_BATCH", 16)
    world.write("long.txt", "\n\n".join([*paragraphs.values()] * 40))
    sizes: list[int] = []
    load = world.load_embedder

    def load_recording(fingerprint: str):
        embedder = load(fingerprint)
        embed = embedder.embed_documents

        def record(texts: list[str]):
            sizes.append(len(texts))
            return embed(texts)

        embedder.embed_documents = record
        return embedder

    monkeypatch.setattr(world, "load_embedder", load_recording)
    world.run()

    assert len(sizes) > 10
    assert max(sizes) == 16
