"""Collections that follow each other under one name: built beside the current one, switched to at once.

The same story over all locations, then what only one of them can do wrong.
"""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import qdrant_edge
from qdrant_client import QdrantClient, models
from store_corpus import KINDS, SCHEMA, daemon_pid, end_daemon, make_chunks, make_vectors, open_first

import store
from store import (
    CollectionInfo,
    Filter,
    IndexLocation,
    InvalidRequest,
    Query,
    Schema,
    Store,
    StoreDamaged,
    StoreError,
    StoreMissing,
    StoreOutdated,
    StoreShared,
    StoreUnavailable,
    open_location,
)
from store.edge.index import EdgeIndex
from store.points import INDEXES
from store.server import index as server_index
from store.server.engine import ServerEngine
from store.server.index import ServerIndex

# What the in-memory mode says of itself; a server does not.
pytestmark = [
    pytest.mark.slow,  # starts daemons
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]

OLD = replace(SCHEMA, model="small", model_fingerprint="f-1")
NEW, OTHER = Schema(8, "b" * 16, "/models/b"), Schema(4, "c" * 16)


def fill(opened: Store, documents: int, *, first: int = 0) -> None:
    chunks = make_chunks(documents, first=first)
    rows = make_vectors(len(chunks))[:, : opened.schema.dimensions].copy()
    opened.upsert(chunks, rows / (rows**2).sum(axis=1, keepdims=True) ** 0.5)
    opened.flush()


def find(opened: Store) -> int:
    vector = make_vectors(1)[0, : opened.schema.dimensions]
    return opened.search(Query(vector / (vector**2).sum() ** 0.5, "library")).total


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    with_memory = QdrantClient(":memory:")
    yield with_memory
    with_memory.close()


@pytest.fixture
def _old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let collections on a server be as old at once as they have to be to be removed."""
    monkeypatch.setattr(server_index, "YOUNG_SECONDS", -1.0)


@pytest.fixture(params=KINDS)
def location(
    request: pytest.FixtureRequest, data: Path, client: QdrantClient, _old: None
) -> Iterator[object]:
    if request.param == "direct":
        index = EdgeIndex(data.with_name("direct"))
        yield index
        index.close()
    else:
        yield open_location(data) if request.param == "daemon" else ServerIndex(client, "documents", data)


def test_a_collection_is_followed_by_another(location: IndexLocation) -> None:
    assert location.current() is None
    with pytest.raises(StoreMissing, match="Nothing is indexed"):
        location.open()
    first = location.build(OLD)
    assert (location.current(), location.unfinished()) == (None, [first])
    location.switch(first)
    assert (location.current(), location.unfinished()) == (first, [])
    assert location.current().schema.model_fingerprint == "f-1"
    old = location.open()
    fill(old, 5)
    assert location.build(OLD) == first == old.info

    second = location.build(NEW)
    new = location.open(second)
    fill(new, 2)
    # Until the switch nothing has changed for anybody, whatever is swept.
    location.sweep()
    assert (find(old), location.current(), old.count()) == (5, first, 15)
    old.delete_document(make_chunks(1)[0].document_id)
    # An interrupted run finds what it made.
    assert location.build(NEW) == second
    assert location.unfinished() == [second]
    fill(location.open(second), 3, first=2)

    location.switch(second)
    location.switch(second)
    assert location.current() == second
    assert location.current().schema.model == "/models/b"
    assert find(location.open()) == find(new) == 5
    # Whoever had the former open goes on with it until it is swept away.
    assert find(old) == 4
    location.sweep()
    location.sweep()
    with pytest.raises(StoreError):
        find(old)
    assert find(location.open()) == 5
    assert not location.manifest_folder(first).exists()
    assert location.manifest_folder(second).exists()


def test_the_folder_of_the_current_manifest_is_known(location: IndexLocation) -> None:
    assert location.current_manifest() is None
    first = location.build(OLD)
    location.switch(first)
    location.build(NEW)

    assert location.current_manifest() == location.manifest_folder(first)


def test_back_to_a_former_model_before_it_is_swept(location: IndexLocation) -> None:
    fill(open_first(location, OLD), 2)
    former = location.current()
    (location.manifest_folder(former) / "manifest.sqlite").write_text("of the former")
    second = location.build(NEW)
    fill(location.open(second), 1)
    location.switch(second)
    back = location.build(OLD)
    assert back == former
    assert (location.manifest_folder(back) / "manifest.sqlite").read_text() == "of the former"
    assert location.open(back).count() == 6
    location.switch(back)
    location.sweep()
    assert location.current() == former
    assert find(location.open()) == 2


def test_only_one_is_built_at_a_time(location: IndexLocation) -> None:
    fill(open_first(location, OLD), 1)
    abandoned, other = location.build(NEW), location.build(OTHER)
    assert location.unfinished() == [other]
    location.sweep()
    with pytest.raises(StoreError):
        location.open(abandoned)
    assert location.open(other).count() == 0


def test_a_rebuild_begins_with_nothing_and_is_gone_on_with(location: IndexLocation) -> None:
    fill(open_first(location, OLD), 3)
    first = location.current()
    second = location.build(OLD, fresh=True)
    assert second.id != first.id
    fill(location.open(second), 1)
    assert location.current() == first
    assert location.build(OLD, fresh=True) == second
    location.switch(second)
    # The former one is no interrupted rebuild.
    third = location.build(OLD, fresh=True)
    assert third.id not in (first.id, second.id)
    assert location.open(third).count() == 0
    location.switch(third)
    location.sweep()
    assert location.current() == third
    for gone in (first, second):
        with pytest.raises(StoreError):
            location.open(gone)


def test_nothing_of_it_is_left(location: IndexLocation) -> None:
    location.delete()
    former = open_first(location, OLD)
    fill(former, 1)
    location.build(NEW)
    location.delete()
    assert (location.current(), location.unfinished()) == (None, [])
    with pytest.raises(StoreError):
        former.count()
    again = open_first(location, OLD)
    assert again.count() == 0
    # Not the one that was there, though called the same.
    assert again.info.name == former.info.name
    assert again.info.id != former.info.id


# In a data folder.


def names(data: Path) -> set[str]:
    return {path.name for path in data.iterdir() if path.is_dir() or path.is_symlink()}


@pytest.mark.slow
def test_the_daemon_may_die_at_any_step(data: Path) -> None:
    location = open_location(data)
    old = open_first(location, OLD)
    fill(old, 3)
    end_daemon(data, signal.SIGKILL)
    built = location.build(NEW)
    new = location.open(built)
    fill(new, 4)
    end_daemon(data, signal.SIGKILL)
    assert location.build(NEW) == built
    assert (old.count(), new.count()) == (9, 12)
    location.switch(built)
    end_daemon(data, signal.SIGKILL)
    assert (find(old), find(new)) == (3, 4)
    assert names(data) == {"current", old.info.name, new.info.name}
    location.sweep()
    end_daemon(data, signal.SIGKILL)
    assert names(data) == {"current", new.info.name}
    assert find(location.open()) == 4
    location.delete()
    assert names(data) == set()


_DIES = """
import os, pathlib, shutil, sys
sys.path[:0] = {path!r}
from store_corpus import *
import store.edge.index as at
from store.edge.engine import EdgeEngine
from store import Schema

def die(*_, **__):
    os.kill(os.getpid(), 9)

index = at.EdgeIndex(pathlib.Path({data!r}))
NEW = Schema(8, "b" * 16)
{code}
"""

STEPS = {
    "build: before anything is made": "EdgeEngine.create = die; index.build(NEW)",
    "build: half made": "at.EdgeEngine.load = die; index.build(NEW)",
    "build: made, not marked": "pathlib.Path.touch = die; index.build(NEW)",
    "build: marked": "index.build(NEW); die()",
    "switch: before the link": "i = index.build(NEW); at.point_link = die; index.switch(i)",
    "switch: link made": "i = index.build(NEW); link = at.point_link\n"
    "at.point_link = lambda *a: (link(*a), die()); index.switch(i)",
    "sweep: before": "index.switch(index.build(NEW)); shutil.rmtree = die; index.sweep()",
    "sweep: half removed": "index.switch(index.build(NEW)); real = shutil.rmtree\n"
    "shutil.rmtree = lambda path, **o: (real(path / 'store', ignore_errors=True), die()); index.sweep()",
    "delete: half removed": "real = shutil.rmtree\n"
    "shutil.rmtree = lambda path, **o: (real(path / 'store', ignore_errors=True), die()); index.delete()",
}


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_one_or_the_other(tmp_path: Path, step: str) -> None:
    index = EdgeIndex(tmp_path)
    fill(open_first(index, OLD), 2)
    old = index.current()
    index.close()
    path = [str(Path(__file__).parent), str(Path(store.__file__).parent.parent)]
    code = _DIES.format(path=path, data=str(tmp_path), code=STEPS[step])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == -9, done.stderr

    found = index.current()
    if step.startswith("delete"):
        assert found is None
    elif step.startswith("build") or step == "switch: before the link":
        assert found == old
        assert find(index.open()) == 2
    else:
        assert found.schema == NEW
    # Whatever it was, the same again ends well, and nothing is left over.
    built = index.build(NEW)
    fill(index.open(built), 1)
    index.switch(built)
    index.sweep()
    assert names(tmp_path) == {"current", built.name}
    assert (index.unfinished(), find(index.open())) == ([], 1)
    index.close()


def test_what_killed_processes_leave_is_swept(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path)
    current = open_first(index, OLD).info
    for name in ("d" * 16, "e" * 16 + "-2.removed", "f" * 16 + ".damaged-20250101-000000", "notes"):
        (tmp_path / name / "store.new").mkdir(parents=True)
    (tmp_path / ("d" * 16) / "building").touch()
    (tmp_path / ("e" * 16 + "-2.removed") / "removing").touch()
    index.sweep()
    assert names(tmp_path) == {"current", current.name, "f" * 16 + ".damaged-20250101-000000", "notes"}
    index.close()


@pytest.mark.parametrize("victim", ["store.json", "shard"])
def test_a_rebuild_keeps_the_damaged_files(data: Path, victim: str) -> None:
    location = open_location(data)
    fill(open_first(location, OLD), 3)
    damaged = location.current()
    end_daemon(data)
    folder = data / damaged.name / "store"
    if victim == "store.json":
        (folder / "store.json").write_text("{")
    else:
        for path in folder.glob("shard/**/segment.json"):
            path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(StoreDamaged, match=str(data)) as caught:
        location.open()
    assert "kept" in caught.value.hint
    location.sweep()
    built = location.build(OLD, fresh=True)
    assert folder.exists(), "nothing is taken away before there is something else"
    fill(location.open(built), 2)
    location.switch(built)
    location.sweep()
    assert find(location.open()) == 2
    (kept,) = data.glob("*.damaged-*")
    assert kept.name.startswith(damaged.name)
    assert list(kept.glob("store/shard/**/segment.json"))
    assert location.build(OLD, fresh=True).name not in (damaged.name, built.name, kept.name)


def test_a_rebuild_keeps_what_nobody_managed_to_open(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path)
    fill(open_first(index, OLD), 1)
    lost = index.current()
    index.close()
    shutil.rmtree(tmp_path / lost.name / "store" / "shard")
    (tmp_path / lost.name / "manifest.sqlite").write_text("what was indexed")
    index.switch(index.build(OLD, fresh=True))
    index.sweep()
    (kept,) = tmp_path.glob("*.damaged-*")
    assert kept.name.startswith(lost.name)
    assert (kept / "manifest.sqlite").read_text() == "what was indexed"
    assert find(index.open()) == 0
    index.close()


def test_a_rebuild_keeps_what_failed_while_it_was_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = EdgeIndex(tmp_path)
    fill(open_first(index, OLD), 1)
    failed = index.current()
    shard = qdrant_edge.EdgeShard

    class Failing:
        """A shard whose searches fail."""

        load = staticmethod(lambda path: Failing(shard.load(path)))

        def __init__(self, real: object) -> None:
            self.real = real

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

        def query_batch(self, _: object) -> None:
            raise RuntimeError("a page that is none")

    index.close()
    with monkeypatch.context() as patched:
        patched.setattr(qdrant_edge, "EdgeShard", Failing)
        with pytest.raises(StoreDamaged, match="a page that is none"):
            find(index.open())
        index.discard()
    # It opens well again, which proves nothing.
    assert find(index.open()) == 1
    index.switch(index.build(OLD, fresh=True))
    index.sweep()
    (kept,) = tmp_path.glob("*.damaged-*")
    assert kept.name.startswith(failed.name)
    index.close()


def test_a_damaged_unfinished_collection_is_made_again(data: Path) -> None:
    location = open_location(data)
    open_first(location, OLD)
    built = location.build(NEW)
    fill(location.open(built), 1)
    end_daemon(data)
    for path in (data / built.name / "store").glob("shard/**/segment.json"):
        path.write_text("")
    again = location.build(NEW)
    assert again.id != built.id
    assert location.open(again).count() == 0
    assert len(list(data.glob("*.damaged-*"))) == 1


def test_what_is_current_is_read_without_opening_anything(data: Path) -> None:
    location = open_location(data)
    open_first(location, OLD).close()
    end_daemon(data)
    assert location.current().schema == OLD
    assert location.current().schema.model == "small"
    assert location.unfinished() == []
    location.sweep()
    assert daemon_pid(data) is None


def test_a_data_folder_whose_name_is_too_long_is_named(tmp_path: Path) -> None:
    location = open_location(tmp_path / ("x" * 300))
    for use in (
        location.current,
        location.remembered,
        location.open,
        location.unfinished,
        location.sweep,
        location.delete,
        lambda: location.build(OLD),
    ):
        with pytest.raises(StoreUnavailable, match="xxx"):
            use()


def test_what_may_not_be_read_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = open_location(data)
    open_first(location, OLD).close()
    real = Path.stat

    def refuse(path: Path, **options: bool) -> object:
        if path.name == "store.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(StoreUnavailable, match=f"{data}.*Permission denied"):
        location.current()
    with pytest.raises(StoreUnavailable, match=f"{data}.*Permission denied"):
        location.open()


@pytest.mark.parametrize("target", ["gone", "../elsewhere", "b" * 16])
def test_a_link_to_nothing_is_no_index(tmp_path: Path, target: str) -> None:
    (tmp_path / "current").symlink_to(target)
    location = open_location(tmp_path)
    assert location.current() is None
    with pytest.raises(StoreMissing):
        location.open()


FORMER = {
    "schema": {"dimensions": 4, "fingerprint": "x"},
    "engine": "",
    "points": 0,
    "samples": {},
    "format": 1,
}
#: What somebody else may keep in a data folder, and what stands in each file.
OTHERS = (
    "20240115/photo.jpg",
    "deadbeef/store/shard/notes.txt",
    "deadbeef/store/store.json",
    "cafecafe/building/site.txt",
    "abcdef12/building",
    "abcdef12/plan.txt",
    "0123456789ab.removed/store.new/letter.txt",
    "owner.json",
    "owner.log",
    "manifest.sqlite",
    "stores.json",
    "store/shard/shelf.txt",
    "store/store.json",
    "store-2/store.json",
)


@pytest.mark.parametrize("finish", ["sweep", "delete"])
def test_what_somebody_else_keeps_in_the_data_folder_stays(tmp_path: Path, finish: str) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    for name in OTHERS:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text('{"format": 1}' if name.endswith("json") else name)
    (elsewhere / "store").mkdir(parents=True)
    (elsewhere / "building").touch()
    (data / ("f" * 16)).symlink_to(elsewhere)
    (data / "empty123").mkdir()
    # Where the collection would be made.
    (data / NEW.fingerprint / "store.new").mkdir(parents=True)
    (data / NEW.fingerprint / "store.new" / "mine.txt").write_text("mine")
    before = {path for path in data.rglob("*") if path.is_file()}
    index = EdgeIndex(data)
    with pytest.raises(StoreMissing, match="Nothing is indexed"):
        index.open()
    open_first(index, OLD)
    built = index.build(NEW)
    assert built.name == f"{NEW.fingerprint}-2"
    index.switch(built)
    getattr(index, finish)()
    assert before <= set(data.rglob("*"))
    assert (data / ("f" * 16)).is_symlink()
    assert {path.name for path in elsewhere.iterdir()} == {"store", "building"}
    assert ("current" in names(data)) == (finish == "sweep")
    index.close()


def test_a_copy_of_a_collection_under_another_name_stays(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path)
    fill(open_first(index, OLD), 1)
    index.flush()
    shutil.copytree(tmp_path / index.current().name, tmp_path / "20240115")
    index.switch(index.build(NEW))
    index.sweep()
    assert names(tmp_path) == {"current", "20240115", index.current().name}
    index.close()


def test_a_data_folder_that_was_copied_with_its_links_followed(tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path / "data")
    fill(open_first(index, OLD), 2)
    index.close()
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    assert not (tmp_path / "copy" / "current").is_symlink()
    copied = EdgeIndex(tmp_path / "copy")
    assert copied.current() == index.current()
    assert find(copied.open()) == 2
    assert copied.build(OLD) == copied.current()
    for change in (lambda: copied.switch(copied.build(NEW)), copied.delete):
        with pytest.raises(StoreUnavailable, match="links followed"):
            change()
    assert find(copied.open()) == 2
    copied.close()


def test_an_index_of_a_former_version_is_told_and_replaced(data: Path) -> None:
    for name in ("store", "store-2"):
        (data / name / "shard").mkdir(parents=True)
        (data / name / "store.json").write_text(json.dumps(FORMER))
    (data / "stores.json").write_text('{"current": "store", "staged": null, "retired": ["store-2"]}')
    for name in ("manifest.sqlite", "owner.lock", "owner.key", "indexer.lock"):
        (data / name).write_text("")
    (data / "storehouse").mkdir()
    location = open_location(data)
    assert location.current() is None
    with pytest.raises(StoreOutdated, match="former version") as caught:
        location.open()
    assert "Index the documents again" in caught.value.hint
    location.sweep()
    assert (data / "store").exists(), "nothing is taken away before there is something else"
    opened = open_first(location, OLD)
    assert (data / "store").exists()
    location.sweep()
    assert names(data) == {"current", opened.info.name, "storehouse"}
    assert not list(data.glob("owner.*")) + list(data.glob("manifest.*")) + list(data.glob("stores.json"))
    assert (data / "indexer.lock").exists()


# On a server.


def state(client: QdrantClient) -> tuple[set[str], dict[str, str]]:
    aliases = {one.alias_name: one.collection_name for one in client.get_aliases().aliases}
    return {one.name for one in client.get_collections().collections}, aliases


@pytest.fixture
def folder_of(tmp_path: Path, client: QdrantClient) -> Callable[[str], ServerIndex]:
    """Give what a data folder of some name sees of the collection ``docs``."""
    return lambda name: ServerIndex(client, "docs", tmp_path / name)


def test_names_on_a_server(client: QdrantClient, folder_of: Callable[[str], ServerIndex]) -> None:
    location = folder_of("a")
    open_first(location, NEW)
    assert state(client) == ({f"docs--{'b' * 16}"}, {"docs": f"docs--{'b' * 16}"})
    location.switch(location.build(NEW, fresh=True))
    assert state(client)[1] == {"docs": f"docs--{'b' * 16}-2"}


@pytest.mark.usefixtures("_old")
def test_collections_of_others_are_left_alone(
    client: QdrantClient, folder_of: Callable[[str], ServerIndex]
) -> None:
    foreign = {"docs--7", f"docs--{'a' * 16}", "docs--archive"}
    for name in foreign:
        client.create_collection(name, models.VectorParams(size=3, distance=models.Distance.DOT))
    location = folder_of("a")
    open_first(location, OLD)
    location.switch(location.build(NEW))
    location.sweep()
    assert state(client)[0] == {*foreign, f"docs--{'b' * 16}"}
    location.delete()
    assert state(client) == (foreign, {})
    client.create_collection("docs", models.VectorParams(size=3, distance=models.Distance.DOT))
    for use in (location.open, lambda: location.build(OLD)):
        with pytest.raises(StoreDamaged, match="not made by this program"):
            use()


def former(client: QdrantClient, name: str) -> None:
    """Make a collection as a former version did."""
    vectors = {"dense": models.VectorParams(size=24, distance=models.Distance.COSINE)}
    made = {"lusifer": {"dimensions": 24, "fingerprint": "model-a", "model": ""}}
    client.create_collection(name, vectors, metadata=made)


@pytest.mark.usefixtures("_old")
def test_collections_of_a_former_version_are_told_and_replaced(
    client: QdrantClient, folder_of: Callable[[str], ServerIndex]
) -> None:
    for name in ("docs--1", "docs--2", "other--1"):
        former(client, name)
    alias = models.CreateAlias(collection_name="docs--2", alias_name="docs")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    location = folder_of("a")
    assert location.current() is None
    with pytest.raises(StoreOutdated, match="former version"):
        location.open()
    built = location.build(NEW)
    location.sweep()
    assert state(client) == ({"docs--1", "docs--2", "other--1", built.name}, {"docs": "docs--2"})
    location.switch(built)
    assert find(location.open()) == 0
    location.sweep()
    assert state(client) == ({"other--1", built.name}, {"docs": built.name})


def test_a_former_versions_collection_that_is_no_alias_keeps_its_name(
    client: QdrantClient, folder_of: Callable[[str], ServerIndex]
) -> None:
    former(client, "docs")
    for use in (folder_of("a").open, lambda: folder_of("a").build(NEW)):
        with pytest.raises(StoreOutdated, match="former version"):
            use()


def test_what_was_killed_before_its_indexes_gets_them(
    client: QdrantClient, folder_of: Callable[[str], ServerIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed: list[str] = []
    monkeypatch.setattr(client, "create_payload_index", lambda _, field, __: indexed.append(field))
    ServerEngine.create(client, f"docs--{'b' * 16}", NEW, ":memory:")
    built = folder_of("a").build(NEW)
    assert built.name == f"docs--{'b' * 16}"
    assert set(indexed) == set(INDEXES)


def test_two_programs_at_once_make_one_collection(
    client: QdrantClient, folder_of: Callable[[str], ServerIndex]
) -> None:
    """Both find nothing; whoever is second to make it is told so, and joins."""
    both = threading.Barrier(2)
    opened: list[Store] = []

    class Racing(ServerIndex):
        def _make(self, schema: Schema, *, another: bool) -> CollectionInfo:
            both.wait(10)
            with lock:  # the in-memory client is not made for threads, a server is
                return super()._make(schema, another=another)

    lock = threading.Lock()
    data = folder_of("x").manifest_folder(CollectionInfo("", "", OLD)).parents[2]

    def work(name: str) -> None:
        opened.append(open_first(Racing(client, "docs", data / name), NEW))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ("a", "b")))
    fill(opened[0], 2)
    fill(opened[1], 3, first=10)
    assert opened[0].info == opened[1].info
    assert state(client) == ({f"docs--{'b' * 16}"}, {"docs": f"docs--{'b' * 16}"})
    assert folder_of("a").open().count() == 15


@pytest.mark.usefixtures("_old")
def test_owners_share_a_collection(client: QdrantClient, folder_of: Callable[[str], ServerIndex]) -> None:
    mine, other = folder_of("a"), folder_of("b")
    assert mine.owner != other.owner
    assert mine.owner == folder_of("a").owner
    fill(open_first(mine, NEW), 2)
    fill(open_first(other, NEW), 3, first=10)
    assert mine.open().count() == 15
    assert mine.open().count(Filter(owner=mine.owner)) == 6
    assert len(other.open().versions(Filter(owner=other.owner))) == 3
    # Neither removes what is the other's.
    theirs = make_chunks(1, first=10)[0].document_id
    mine.open().delete_document(theirs)
    assert other.open().count(Filter(document_ids=(theirs,))) == 3
    for use in (
        lambda: mine.build(OLD),
        lambda: other.build(NEW, fresh=True),
        mine.delete,
    ):
        with pytest.raises(StoreShared, match="other data folders") as caught:
            use()
        assert caught.value.hint
    # When the other has taken its own away it can be replaced.
    for number in range(10, 13):
        other.open().delete_document(f"{number:032x}")
    mine.switch(mine.build(OLD))
    assert mine.current().schema == OLD


@pytest.mark.usefixtures("_old")
def test_nobody_switches_away_from_what_another_began_to_use(
    client: QdrantClient, folder_of: Callable[[str], ServerIndex]
) -> None:
    mine, other = folder_of("a"), folder_of("b")
    built = mine.build(OLD)
    fill(open_first(other, NEW), 1, first=10)
    fill(mine.open(built), 1)
    with pytest.raises(StoreShared):
        mine.switch(built)
    other.sweep()
    assert other.current().schema == NEW
    assert mine.open(built).count() == 3, "nobody sweeps what holds another's documents"


def test_nobody_sweeps_what_is_young(client: QdrantClient, folder_of: Callable[[str], ServerIndex]) -> None:
    mine, other = folder_of("a"), folder_of("b")
    open_first(mine, NEW)
    built = other.build(OLD)
    mine.sweep()
    assert other.open(built).count() == 0


@pytest.mark.usefixtures("_old")
def test_a_restored_snapshot_is_adopted(
    client: QdrantClient, folder_of: Callable[[str], ServerIndex]
) -> None:
    location = folder_of("a")
    fill(open_first(location, NEW), 2)
    restored = location.current()
    alias = models.DeleteAlias(alias_name="docs")
    client.update_collection_aliases([models.DeleteAliasOperation(delete_alias=alias)])
    again = folder_of("a")
    assert again.current() is None
    again.sweep()
    assert again.build(OLD).schema == OLD
    assert again.current() == restored
    assert find(again.open()) == 2


def test_an_alias_that_another_program_moves_is_followed(
    client: QdrantClient, folder_of: Callable[[str], ServerIndex]
) -> None:
    searching, indexing = folder_of("a"), folder_of("b")
    open_first(indexing, NEW)
    assert searching.current().schema == NEW
    indexing.switch(indexing.build(OLD))
    assert searching.current().schema == OLD
    assert not (searching.manifest_folder(searching.current()).parents[1] / "owner-id").exists()


@pytest.mark.parametrize("name", ["a/b", "a:b", "..", "", "x" * 200, "문서" * 31, "a\nb", "\ud800"])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="name of a collection"):
        open_location(tmp_path, url="http://localhost:6333", collection=name)


def test_an_owner_has_one_id(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(store.owner_id, [tmp_path / "data"] * 30))
    assert len(found) == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["owner-id"]
