"""Indexing into a collection on a Qdrant server, which several data folders may share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import ResponseHandlingException

from indexer.status import take_status
from store.errors import StoreShared
from store.server.index import ServerIndex
from tests.indexer.conftest import World

pytestmark = pytest.mark.slow  # processes, or a model that works for seconds


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # indexes have no effect in memory
        made = QdrantClient(":memory:")
        yield made
        made.close()


@pytest.fixture
def worlds(tmp_path: Path, tokenizer, client: QdrantClient) -> tuple[World, World]:
    """Two data folders whose documents go into the same collection."""
    made = []
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        world = World(root, tokenizer)
        world.location = ServerIndex(client, "documents", world.data)
        made.append(world)
    return made[0], made[1]


def stored(world: World) -> set[str]:
    return {chunk.path for chunk in world.store.scroll()}


def test_data_folders_that_share_a_collection_leave_each_others_documents_alone(worlds) -> None:
    one, two = worlds
    kept = str(one.write("a.txt", "first words"))
    edited, gone = two.write("b.txt", "other words"), two.write("c.txt", "more words")
    assert (one.run().indexed, two.run().indexed) == (1, 2)
    assert (one.run().unchanged, two.run().unchanged) == (1, 2)

    two.write("b.txt", "edited words", age=5)
    gone.unlink()
    report = two.run()

    assert (report.indexed, report.deleted) == (1, 1)
    assert stored(one) == stored(two) == {kept, str(edited)}
    for world in worlds:
        status = take_status(world.location, str(world.data))
        assert (status.documents, status.chunks, status.stored_chunks) == (1, 1, 1)


def test_the_same_file_may_be_indexed_from_two_data_folders(worlds) -> None:
    one, two = worlds
    one.write("a.txt", "the words")
    assert (one.run().indexed, two.run(one.docs).indexed) == (1, 1)

    assert one.store.count() == 2
    assert (one.run().unchanged, two.run(one.docs).unchanged) == (1, 1)
    assert two.indexer.remove([one.docs]) == 1
    assert one.run().unchanged == one.store.count() == 1


@pytest.mark.parametrize("rebuild", [False, True])
def test_what_others_share_is_not_replaced(worlds, rebuild: bool) -> None:
    one, two = worlds
    one.write("a.txt", "first words")
    two.write("b.txt", "other words")
    one.run()
    two.run()
    before = stored(one)
    one.model = "toy" if rebuild else "other"

    with pytest.raises(StoreShared):
        one.run(rebuild=rebuild)
    assert stored(two) == before

    two.indexer.remove([two.docs])
    assert one.run(rebuild=rebuild).indexed == 1
    assert one.run().unchanged == 1


def test_a_collection_that_was_removed_is_filled_again(worlds, client: QdrantClient) -> None:
    world, _ = worlds
    world.write("a.txt", "first words")
    world.run()
    client.delete_collection(world.location.current().name)

    assert world.run().indexed == 1
    assert world.store.count() == 1


def test_status_shows_what_the_data_folder_knows_while_the_server_is_away(
    worlds, client, monkeypatch
) -> None:
    world, _ = worlds
    world.write("a.txt", "first words")
    world.run()

    def refuse(*_arguments: object, **_options: object) -> None:
        raise ResponseHandlingException(ConnectionError("refused"))

    for operation in ("get_aliases", "get_collection", "count", "get_collections"):
        monkeypatch.setattr(client, operation, refuse)
    away = ServerIndex(client, "documents", world.data)

    status = take_status(away, str(world.data))

    assert (status.documents, status.chunks, status.stored_chunks) == (1, 1, None)
    assert "does not answer" in status.problem
