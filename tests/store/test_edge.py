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
from store_corpus import SCHEMA, make_chunks, make_vectors

import store
import store.edge.engine
from store import (
    DiskFull,
    Filter,
    FingerprintMismatch,
    Query,
    Schema,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreMissing,
)
from store.collection import Collection
from store.edge.engine import EdgeEngine
from store.edge.integrity import SAMPLES
from store.edge.stores import Embedded
from store.engine import ALL_POINTS, Probe
from store.locking import FileLock

CHUNKS = make_chunks(60)
VECTORS = make_vectors(len(CHUNKS))


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Embedded]:
    opened = Embedded(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def filled(embedded: Embedded) -> Collection:
    """A store with some chunks, flushed."""
    collection = embedded.open(SCHEMA, create=True)
    for start in range(0, len(CHUNKS), 4):
        collection.upsert(CHUNKS[start : start + 4], VECTORS[start : start + 4])
    collection.flush()
    return collection


def crash_while(data: Path, code: str) -> None:
    """Run code on an open store in another process, which then dies without closing anything."""
    script = f"""
import os, pathlib, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(store.__file__).parent.parent)!r}]
from store_corpus import *
from store.edge.stores import Embedded
s = Embedded(pathlib.Path({str(data)!r})).open(SCHEMA, create=True)
{code}
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == -9, done.stderr


def test_only_one_process_opens_the_files(embedded: Embedded, filled: Collection, tmp_path: Path) -> None:
    """The second open must not reach the engine: though refused there, it would damage the first's files."""
    for _ in range(3):
        with pytest.raises(StoreBusy, match=str(tmp_path)):
            Embedded(tmp_path).open(SCHEMA)
    filled.upsert(make_chunks(1, first=70), make_vectors(3))
    filled.flush()
    embedded.close()
    assert Embedded(tmp_path).open(SCHEMA).count() == len(CHUNKS) + 3


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    crash_while(tmp_path, "s.upsert(make_chunks(3), make_vectors(9))")
    again = Embedded(tmp_path)
    assert again.open(SCHEMA).count() == 9
    again.close()
    lock = FileLock(tmp_path / "owner.lock")
    lock.acquire()
    lock.release()


def test_acknowledged_but_unflushed_chunks_survive_a_crash(tmp_path: Path) -> None:
    crash_while(
        tmp_path,
        "s.upsert(make_chunks(40), make_vectors(120)); s.flush()\n"
        "s.upsert(make_chunks(40, first=40), make_vectors(120)); s.delete_document(f'{3:032x}')\n"
        "s.upsert(make_chunks(10), make_vectors(30, seed=4))",  # samples with other vectors
    )
    again = Embedded(tmp_path)
    assert again.open(SCHEMA).count() == 240 - 3 + 3
    again.open(SCHEMA).flush()
    again.close()
    state = json.loads((tmp_path / "store" / "store.json").read_text())
    assert state["points"] == 240
    assert (tmp_path / "store" / "journal").stat().st_size == 0


def test_process_killed_while_making_a_store_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "store.new" / "shard").mkdir(parents=True)
    (tmp_path / "store.new" / "shard" / "junk").write_text("half")
    with pytest.raises(StoreMissing):
        Embedded(tmp_path).open(SCHEMA)
    embedded = Embedded(tmp_path)
    assert embedded.open(SCHEMA, create=True).count() == 0
    assert not (tmp_path / "store.new").exists()
    embedded.close()


def test_leftovers_of_a_killed_optimiser_are_removed(
    embedded: Embedded, filled: Collection, tmp_path: Path
) -> None:
    embedded.close()
    leftover = tmp_path / "store" / "shard" / "temp_segments" / "segment_builder_x"
    leftover.mkdir(parents=True)
    (leftover / "big").write_bytes(b"x" * 1000)
    again = Embedded(tmp_path)
    assert again.open(SCHEMA).count() == len(CHUNKS)
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
    filled: Collection, embedded: Embedded, tmp_path: Path, pattern: str, how: str, verdict: str
) -> None:
    embedded.close()
    victim = max((tmp_path / "store" / "shard").glob(pattern), key=lambda path: path.stat().st_blocks)
    if how == "removed":
        victim.unlink()
    else:
        victim.write_bytes(bytes(victim.stat().st_size))
    assert _verdict(tmp_path) == verdict


def _verdict(data: Path) -> str:
    """Open a store that may be damaged; what opens must be complete as far as it was sampled."""
    embedded = Embedded(data)
    try:
        collection = embedded.open(SCHEMA)
        count, hits = collection.count(), collection.search(Query(VECTORS[5], CHUNKS[5].text)).documents
    except StoreDamaged as error:
        return "damaged" if "--rebuild" in error.hint else "no hint"
    finally:
        with suppress(StoreDamaged):
            embedded.close()
    best = hits[0].chunks[0]
    complete = count == len(CHUNKS) and best.chunk == CHUNKS[5] and best.similarity > 0.9999
    return "sound" if complete else "silently wrong"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 99}', "\x00" * 50])
def test_unreadable_store_json_is_damage(
    filled: Collection, embedded: Embedded, tmp_path: Path, content: str
) -> None:
    embedded.close()
    (tmp_path / "store" / "store.json").write_text(content)
    with pytest.raises(StoreDamaged, match=str(tmp_path)):
        Embedded(tmp_path).open(SCHEMA)


def test_missing_store_json_is_damage(filled: Collection, embedded: Embedded, tmp_path: Path) -> None:
    embedded.close()
    (tmp_path / "store" / "store.json").unlink()
    with pytest.raises(StoreDamaged, match="json is missing"):
        Embedded(tmp_path).open(SCHEMA, create=True)


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
    filled: Collection, embedded: Embedded, tmp_path: Path, change, reason: str
) -> None:
    embedded.close()
    path = tmp_path / "store" / "store.json"
    state = json.loads(path.read_text())
    assert state["points"] == len(CHUNKS)
    assert len(state["samples"]) == SAMPLES
    change(state)
    path.write_text(json.dumps(state))
    with pytest.raises(StoreDamaged, match=reason):
        Embedded(tmp_path).open(SCHEMA)


def test_chunks_lost_after_a_crash_are_noticed(tmp_path: Path) -> None:
    crash_while(
        tmp_path, "s.upsert(make_chunks(40), make_vectors(120)); s.flush(); s.delete_document(f'{3:032x}')"
    )
    state = json.loads((tmp_path / "store" / "store.json").read_text())
    state["points"] += 4  # more than the journal says was removed
    (tmp_path / "store" / "store.json").write_text(json.dumps(state))
    with pytest.raises(StoreDamaged, match="117 chunks where 124"):
        Embedded(tmp_path).open(SCHEMA)


def test_rebuild_moves_a_damaged_store_aside(filled: Collection, embedded: Embedded, tmp_path: Path) -> None:
    embedded.close()
    (tmp_path / "store" / "store.json").write_text("{")
    fresh = embedded.reset(SCHEMA)
    assert fresh.count() == 0
    (aside,) = tmp_path.glob("store.damaged-*")
    assert (aside / "shard").exists()
    embedded.close()
    (tmp_path / "store" / "store.json").write_text("{")
    assert embedded.reset(SCHEMA, keep_damaged=False).count() == 0
    assert len(list(tmp_path.glob("store.*"))) == 1


def test_schema_is_kept_and_compared(embedded: Embedded, filled: Collection, tmp_path: Path) -> None:
    embedded.close()
    assert embedded.open(None).schema == SCHEMA
    for other in (Schema(SCHEMA.dimensions, "other"), Schema(7, SCHEMA.fingerprint)):
        with pytest.raises(FingerprintMismatch):
            embedded.open(other)
    assert embedded.open(SCHEMA, create=True).count() == len(CHUNKS)


def full(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(store.edge.engine.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_a_full_disk_is_noticed_before_writing(filled: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    full(monkeypatch, 100 * 2**20)
    with pytest.raises(DiskFull, match="100 MiB free") as caught:
        filled.upsert(make_chunks(1, first=80), make_vectors(3))
    assert "--data" in caught.value.hint
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
        Embedded(tmp_path).open(SCHEMA, create=True)
    assert not (tmp_path / "store").exists()


class Panic(BaseException):
    """Like the engine's panics, which are no ``Exception``."""


class Failing:
    """A shard of which one method fails."""

    def __init__(self, shard: object, method: str, error: BaseException) -> None:
        self._shard, self._method, self._error = shard, method, error

    def __getattr__(self, name: str):
        if name == self._method:
            raise self._error
        return getattr(self._shard, name)


def break_engine(collection: Collection, method: str, error: BaseException) -> EdgeEngine:
    engine = collection._engine
    assert isinstance(engine, EdgeEngine)
    engine._shard = Failing(engine._shard, method, error)  # type: ignore[assignment]
    return engine


def test_panics_become_errors(filled: Collection) -> None:
    break_engine(filled, "query_batch", Panic("index out of bounds: the len is 0"))
    with pytest.raises(StoreDamaged, match="index out of bounds"):
        filled.search(Query(VECTORS[0], ""))
    assert filled.count() == len(CHUNKS), "a failed question leaves the store usable"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_interrupts_pass(filled: Collection, error: BaseException) -> None:
    break_engine(filled, "query_batch", error)
    with pytest.raises(type(error)):
        filled.search(Query(VECTORS[0], ""))


@pytest.mark.parametrize("method", ["flush", "update"])
def test_failed_writes_and_flushes_are_fatal(
    embedded: Embedded, filled: Collection, tmp_path: Path, method: str
) -> None:
    engine = break_engine(filled, method, RuntimeError("tracker_journal.dat is shorter than expected"))

    def write_and_flush() -> None:
        filled.upsert(make_chunks(1, first=80), make_vectors(3))
        filled.flush()

    with pytest.raises(StoreDamaged, match="tracker_journal"):
        write_and_flush()
    engine._shard = engine._shard._shard  # type: ignore[attr-defined]
    for use in (filled.flush, filled.count, lambda: filled.search(Query(VECTORS[0], ""))):
        with pytest.raises(StoreDamaged, match="tracker_journal"):
            use()
    embedded.discard()
    assert embedded.open(SCHEMA).count() in (len(CHUNKS), len(CHUNKS) + 3)


def test_no_space_left_in_the_engine_is_a_full_disk(filled: Collection) -> None:
    break_engine(filled, "update", RuntimeError("IO Error: No space left on device (os error 28)"))
    with pytest.raises(DiskFull):
        filled.upsert(make_chunks(1, first=80), make_vectors(3))


def test_long_runs_of_writes_are_flushed_by_themselves(
    filled: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.edge, "FLUSH_POINTS", 100)
    filled.upsert(make_chunks(100, first=100), make_vectors(300))
    assert json.loads((tmp_path / "store" / "store.json").read_text())["points"] >= len(CHUNKS) + 256


def test_searches_are_exact_until_too_many_match(filled: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = filled._engine
    assert isinstance(engine, EdgeEngine)
    some = Filter(languages=("ko",))

    def params(filter: Filter | None) -> qdrant_edge.SearchParams:
        condition = ALL_POINTS if filter is None else store.engine.Condition(filter)
        return engine._params(Probe(VECTORS[0], 5, condition))

    assert params(None).exact
    monkeypatch.setattr(store.edge, "EXACT_MATCHES", filled.count(some) + 1)
    assert not params(None).exact
    assert params(None).hnsw_ef == 256
    assert params(some).exact


def test_everything_a_filter_asks_for_is_indexed(filled: Collection) -> None:
    engine = filled._engine
    assert isinstance(engine, EdgeEngine)
    indexed = engine._shard.info().payload_schema
    wanted = {
        "document_id",
        "version",
        "path",
        "folder",
        "language",
        "document_language",
        "position",
        "modified",
    }
    assert set(indexed) == wanted
    assert indexed["path"].params.prefix


def test_idf_counts_living_chunks_only(filled: Collection, embedded: Embedded) -> None:
    before = filled._engine.idf([store.lexical.analyser.term_index("maktaba")])
    filled.upsert(CHUNKS, VECTORS)
    assert filled._engine.idf([store.lexical.analyser.term_index("maktaba")]) == pytest.approx(before)
    for chunk in CHUNKS[: len(CHUNKS) // 2]:
        if chunk.document_language != "sw":
            filled.delete_document(chunk.document_id)
    after = filled._engine.idf(
        [store.lexical.analyser.term_index("maktaba"), store.lexical.analyser.term_index("zzz")]
    )
    assert before[0] is not None
    assert after[0] is not None
    assert after[0] < before[0]
    assert after[1] is None
    embedded.discard()
    loaded = embedded.open(SCHEMA)._engine.idf([store.lexical.analyser.term_index("maktaba")])
    assert loaded == pytest.approx(after[:1])


def test_closing_twice_is_harmless_and_use_afterwards_is_refused(
    embedded: Embedded, filled: Collection
) -> None:
    filled.close()
    filled.close()
    with pytest.raises(StoreError, match="closed"):
        filled.count()
    embedded.discard()
    assert embedded.open(SCHEMA).count() == len(CHUNKS)
