"""The embedded engine's dangers: locks, damage, full disks, panics, leftovers of a crash."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import qdrant_edge
from store_corpus import SCHEMA, make_chunks, make_vectors, open_first

import store
import store.edge.engine
from common.files import FileLock
from store import (
    DiskFull,
    Filter,
    Query,
    StoreBusy,
    StoreDamaged,
    StoreError,
)
from store.collection import Collection
from store.edge.engine import EdgeEngine
from store.edge.index import EdgeIndex
from store.edge.integrity import SAMPLES
from store.engine import ALL_POINTS, Condition, Probe
from store.lexical import term_index
from store.points import INDEXES

pytestmark = pytest.mark.slow  # damages real engines; the congruence suite stays in the fast lane

CHUNKS = make_chunks(60)
VECTORS = make_vectors(len(CHUNKS))


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EdgeIndex]:
    opened = EdgeIndex(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def filled(embedded: EdgeIndex) -> Collection:
    """A collection with some chunks, flushed."""
    return fill(open_first(embedded))


def fill(collection: Collection) -> Collection:
    for start in range(0, len(CHUNKS), 4):
        collection.upsert(CHUNKS[start : start + 4], VECTORS[start : start + 4])
    collection.flush()
    return collection


def folder_of(data: Path) -> Path:
    """Return where the current collection's files are."""
    return (data / "current").resolve() / "store"


def reopen(data: Path) -> Collection:
    """Open the current collection as another process would."""
    return EdgeIndex(data).open()


def crash_while(data: Path, code: str) -> None:
    """Run code on an open store in another process, which then dies without closing anything."""
    script = f"""
import os, pathlib, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(store.__file__).parent.parent)!r}]
from store_corpus import *
from store.edge.index import EdgeIndex
s = open_first(EdgeIndex(pathlib.Path({str(data)!r})))
{code}
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == -9, done.stderr


def test_only_one_process_opens_the_files(embedded: EdgeIndex, filled: Collection, tmp_path: Path) -> None:
    """The second open must not reach the engine: though refused there, it would damage the first's files."""
    for _ in range(3):
        with pytest.raises(StoreBusy, match=str(tmp_path)):
            reopen(tmp_path)
    filled.upsert(make_chunks(1, first=70), make_vectors(3))
    filled.flush()
    embedded.close()
    assert reopen(tmp_path).count() == len(CHUNKS) + 3


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    crash_while(tmp_path, "s.upsert(make_chunks(3), make_vectors(9))")
    again = EdgeIndex(tmp_path)
    assert again.open().count() == 9
    again.close()
    lock = FileLock(tmp_path / "daemon.lock")
    lock.acquire()
    lock.release()


def test_acknowledged_but_unflushed_chunks_survive_a_crash(tmp_path: Path) -> None:
    crash_while(
        tmp_path,
        "s.upsert(make_chunks(40), make_vectors(120)); s.flush()\n"
        "s.upsert(make_chunks(40, first=40), make_vectors(120)); s.delete_document(f'{3:032x}')\n"
        "s.upsert(make_chunks(10), make_vectors(30, seed=4))",  # samples with other vectors
    )
    again = EdgeIndex(tmp_path)
    assert again.open().count() == 240 - 3 + 3
    again.open().flush()
    again.close()
    state = json.loads((folder_of(tmp_path) / "store.json").read_text())
    assert state["points"] == 240
    assert reopen(tmp_path).count() == 240


def test_leftovers_of_a_killed_optimiser_are_removed(
    embedded: EdgeIndex, filled: Collection, tmp_path: Path
) -> None:
    embedded.close()
    leftover = folder_of(tmp_path) / "shard" / "temp_segments" / "segment_builder_x"
    leftover.mkdir(parents=True)
    (leftover / "big").write_bytes(b"x" * 1000)
    again = EdgeIndex(tmp_path)
    assert again.open().count() == len(CHUNKS)
    assert not leftover.exists()
    again.close()


@pytest.mark.parametrize(
    ("pattern", "how", "verdict"),
    [
        ("**/chunk_0.mmap", "blank", "damaged"),  # opens as zero vectors
        ("**/chunk_0.mmap", "removed", "damaged"),  # opens as zero vectors
        ("**/mutable_id_tracker.mappings", "removed", "damaged"),  # opens empty
        ("**/version.info", "removed", "damaged"),  # opens without the segment
        ("**/segment.json", "blank", "damaged"),
        ("**/payload_storage/page_0.dat", "blank", "damaged"),
        ("wal/open-*", "blank", "damaged"),
        ("**/tracker_journal.dat", "removed", "sound"),
    ],
)
def test_damaged_files_never_pass_for_a_sound_store(
    filled: Collection, embedded: EdgeIndex, tmp_path: Path, pattern: str, how: str, verdict: str
) -> None:
    embedded.close()
    victim = max((folder_of(tmp_path) / "shard").glob(pattern), key=lambda path: path.stat().st_blocks)
    if how == "removed":
        victim.unlink()
    else:
        victim.write_bytes(bytes(victim.stat().st_size))
    assert _verdict(tmp_path) == verdict


def _verdict(data: Path) -> str:
    """Open a store that may be damaged; what opens must be complete as far as it was sampled."""
    embedded = EdgeIndex(data)
    try:
        collection = embedded.open()
        count, hits = collection.count(), collection.search(Query(VECTORS[5], CHUNKS[5].text)).documents
    except StoreDamaged as error:
        return "damaged" if "kept" in error.hint else "no hint"
    finally:
        with suppress(StoreDamaged):
            embedded.close()
    best = hits[0].chunks[0]
    complete = count == len(CHUNKS) and best.chunk == CHUNKS[5] and best.similarity > 0.9999
    return "sound" if complete else "silently wrong"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 1}', '{"format": 99}', "\x00" * 50, "[" * 200_000]
)
def test_unreadable_store_json_is_damage(
    filled: Collection, embedded: EdgeIndex, tmp_path: Path, content: str
) -> None:
    embedded.close()
    (folder_of(tmp_path) / "store.json").write_text(content)
    with pytest.raises(StoreDamaged, match=str(tmp_path)):
        reopen(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.update(points=state["points"] + 1), "181 were written"),
        (lambda state: state.update(points=state["points"] - 1), "179 were written"),
        (lambda state: next(iter(state["samples"].values())).update(signature=9.0), "vector"),
        (lambda state: next(iter(state["samples"].values())).update(payload="00"), "passage"),
        (
            lambda state: state["samples"].update(
                {"0" * 8 + "-0000-0000-0000-" + "0" * 12: {"signature": 0, "payload": ""}}
            ),
            "1 chunks are missing",
        ),
    ],
)
def test_differences_from_what_was_written_are_damage(
    filled: Collection, embedded: EdgeIndex, tmp_path: Path, change, reason: str
) -> None:
    embedded.close()
    path = folder_of(tmp_path) / "store.json"
    state = json.loads(path.read_text())
    assert state["points"] == len(CHUNKS)
    assert len(state["samples"]) == SAMPLES
    change(state)
    path.write_text(json.dumps(state))
    with pytest.raises(StoreDamaged, match=reason):
        reopen(tmp_path)


def test_what_a_crash_left_is_not_compared_with_older_numbers(tmp_path: Path) -> None:
    crash_while(
        tmp_path, "s.upsert(make_chunks(40), make_vectors(120)); s.flush(); s.delete_document(f'{3:032x}')"
    )
    again = EdgeIndex(tmp_path)
    assert again.open().count() == 117
    again.close()
    # From the next flush on it is compared again.
    state = json.loads((folder_of(tmp_path) / "store.json").read_text())
    assert state["points"] == 117
    state["points"] += 4
    (folder_of(tmp_path) / "store.json").write_text(json.dumps(state))
    with pytest.raises(StoreDamaged, match="117 chunks where 121"):
        reopen(tmp_path)


def test_a_missing_store_json_is_damage(filled: Collection, embedded: EdgeIndex, tmp_path: Path) -> None:
    embedded.close()
    (folder_of(tmp_path) / "store.json").unlink()
    with pytest.raises(StoreDamaged, match="json is missing"):
        EdgeIndex(tmp_path).build(SCHEMA)


def full(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(store.edge.engine.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_a_full_disk_is_noticed_before_writing(filled: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    full(monkeypatch, 100 * 2**20)
    with pytest.raises(DiskFull, match="100 MiB free") as caught:
        filled.upsert(make_chunks(1, first=80), make_vectors(3))
    assert "another disk" in caught.value.hint
    assert filled.count() == len(CHUNKS)
    filled.delete_document(CHUNKS[0].document_id)  # makes room
    filled.flush()
    full(monkeypatch, 10 * 2**20)
    with pytest.raises(DiskFull):
        filled.delete_document(CHUNKS[3].document_id)
    assert filled.search(Query(VECTORS[4], "")).total > 0
    monkeypatch.undo()
    filled.upsert(make_chunks(1, first=80), make_vectors(3))
    assert filled.count() == len(CHUNKS)


def test_no_store_is_made_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full(monkeypatch, 0)
    with pytest.raises(DiskFull):
        EdgeIndex(tmp_path).build(SCHEMA)
    assert EdgeIndex(tmp_path).unfinished() == []


class Panic(BaseException):
    """Like the engine's panics, which are no ``Exception``."""


class FragileShard:
    """A shard of which one method may fail."""

    def __init__(self, shard: object) -> None:
        self.shard = shard
        self.failing: tuple[str, BaseException] | None = None

    def __getattr__(self, name: str):
        if self.failing is not None and name == self.failing[0]:
            raise self.failing[1]
        return getattr(self.shard, name)


@pytest.fixture
def shards(monkeypatch: pytest.MonkeyPatch) -> list[FragileShard]:
    """The shards that are loaded from now on, as they are loaded."""
    loaded: list[FragileShard] = []

    def load(path: str) -> FragileShard:
        loaded.append(FragileShard(real.load(path)))
        return loaded[-1]

    real = qdrant_edge.EdgeShard
    monkeypatch.setattr(qdrant_edge, "EdgeShard", SimpleNamespace(create=real.create, load=load))
    return loaded


def break_engine(shards: list[FragileShard], method: str, error: BaseException) -> None:
    shards[-1].failing = method, error


def test_panics_become_errors(shards: list[FragileShard], filled: Collection) -> None:
    break_engine(shards, "query_batch", Panic("index out of bounds: the len is 0"))
    with pytest.raises(StoreDamaged, match="index out of bounds"):
        filled.search(Query(VECTORS[0], ""))
    assert filled.count() == len(CHUNKS), "a failed question leaves the store usable"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_interrupts_pass(shards: list[FragileShard], filled: Collection, error: BaseException) -> None:
    break_engine(shards, "query_batch", error)
    with pytest.raises(type(error)):
        filled.search(Query(VECTORS[0], ""))


@pytest.mark.parametrize("method", ["flush", "update"])
def test_failed_writes_and_flushes_are_fatal(
    shards: list[FragileShard], embedded: EdgeIndex, filled: Collection, method: str
) -> None:
    break_engine(shards, method, RuntimeError("tracker_journal.dat is shorter than expected"))

    def write_and_flush() -> None:
        filled.upsert(make_chunks(1, first=80), make_vectors(3))
        filled.flush()

    with pytest.raises(StoreDamaged, match="tracker_journal"):
        write_and_flush()
    shards[-1].failing = None
    for use in (filled.flush, filled.count, lambda: filled.search(Query(VECTORS[0], ""))):
        with pytest.raises(StoreDamaged, match="tracker_journal"):
            use()
    embedded.discard()
    assert embedded.open().count() in (len(CHUNKS), len(CHUNKS) + 3)


def test_no_space_left_in_the_engine_is_a_full_disk(shards: list[FragileShard], filled: Collection) -> None:
    break_engine(shards, "update", RuntimeError("IO Error: No space left on device (os error 28)"))
    with pytest.raises(DiskFull):
        filled.upsert(make_chunks(1, first=80), make_vectors(3))


def test_long_runs_of_writes_are_flushed_by_themselves(
    filled: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.edge.engine, "FLUSH_POINTS", 100)
    filled.upsert(make_chunks(100, first=100), make_vectors(300))
    assert json.loads((folder_of(tmp_path) / "store.json").read_text())["points"] >= len(CHUNKS) + 256


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EdgeEngine]:
    """An engine with some chunks."""
    made = EdgeEngine.create(tmp_path / "made" / "store", SCHEMA)
    fill(Collection(made))
    yield made
    made.close()


def test_searches_are_exact_until_too_many_match(engine: EdgeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    korean = Condition(Filter(languages=("ko",)))

    def params(condition: Condition) -> qdrant_edge.SearchParams:
        return engine.search_params(Probe(VECTORS[0], 5, condition))

    assert params(ALL_POINTS).exact
    monkeypatch.setattr(store.edge.engine, "EXACT_MATCHES", engine.count(korean) + 1)
    assert not params(ALL_POINTS).exact
    assert params(ALL_POINTS).hnsw_ef == 256
    assert params(korean).exact


def test_everything_a_filter_asks_for_is_indexed(shards: list[FragileShard], filled: Collection) -> None:
    assert filled.count() == len(CHUNKS)
    indexed = shards[-1].info().payload_schema
    assert set(indexed) == set(INDEXES)
    assert indexed["path"].params.prefix


def test_idf_counts_living_chunks_only(engine: EdgeEngine, tmp_path: Path) -> None:
    maktaba, unknown = term_index("maktaba"), term_index("zzz")
    collection = Collection(engine)
    before = engine.idf([maktaba])
    collection.upsert(CHUNKS, VECTORS)
    assert engine.idf([maktaba]) == pytest.approx(before)
    for chunk in CHUNKS[: len(CHUNKS) // 2]:
        if chunk.document_language != "sw":
            collection.delete_document(chunk.document_id)
    after = engine.idf([maktaba, unknown])
    assert before[0] is not None
    assert after[0] is not None
    assert after[0] < before[0]
    assert after[1] is None
    engine.close()
    loaded = EdgeEngine.load(tmp_path / "made" / "store")
    assert loaded.idf([maktaba]) == pytest.approx(after[:1])
    loaded.close()


def test_closing_twice_is_harmless_and_use_afterwards_is_refused(
    embedded: EdgeIndex, filled: Collection
) -> None:
    filled.close()
    filled.close()
    with pytest.raises(StoreError, match="closed"):
        filled.count()
    embedded.discard()
    assert embedded.open().count() == len(CHUNKS)
