"""Every operation over every kind of store, and the same answers from all of them.

``direct`` is the embedded engine in this process, ``daemon`` the same through its daemon, ``server``
qdrant-client's in-memory mode in place of a server.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient
from store_corpus import (
    CODES,
    DIMENSIONS,
    KINDS,
    SCHEMA,
    TEXTS,
    end_daemon,
    make_chunks,
    make_vectors,
    open_first,
)

from store import Answer, Chunk, Filter, InvalidRequest, Query, Store, open_location
from store.edge.index import EdgeIndex
from store.fusion import FusionParameters
from store.server.index import ServerIndex
from store.types import NEAREST

# What the in-memory mode says of itself; a server does not.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]

CHUNKS = make_chunks(42)
VECTORS = make_vectors(len(CHUNKS))
Stores = dict[str, Store]


@pytest.fixture(scope="module")
def stores(workspace: Path) -> Iterator[Stores]:
    """One store of each kind with the same chunks, some of them replaced and deleted on the way."""
    folder = workspace / "congruence"
    embedded = EdgeIndex(folder / "direct")
    opened: Stores = {
        "direct": open_first(embedded),
        "daemon": open_first(open_location(folder / "daemon")),
        "server": open_first(ServerIndex(QdrantClient(":memory:"), "documents", folder / "server")),
    }
    gone = make_chunks(5, first=900)
    for store in opened.values():
        store.upsert(gone, make_vectors(len(gone), seed=9))
        store.upsert(CHUNKS[:30], make_vectors(30, seed=5))
        store.upsert(CHUNKS, VECTORS)
        for document in {chunk.document_id for chunk in gone}:
            store.delete_document(document)
        store.flush()
    yield opened
    embedded.close()
    opened["daemon"].close()
    opened["server"].close()
    end_daemon(folder / "daemon")


FILTERS = {
    "nothing": Filter(),
    "one language": Filter(languages=("ko",)),
    "three languages": Filter(languages=("ar", "fi", "en")),
    "no such language": Filter(languages=("xx",)),
    "folder": Filter(path_prefix="/library"),
    "folder with slash": Filter(path_prefix="/library/"),
    "folder whose name begins another's": Filter(path_prefix="/library/law"),
    "one file": Filter(path_prefix="/library/document-0004.txt"),
    "half a name": Filter(path_prefix="/lib"),
    "root": Filter(path_prefix="/"),
    "documents": Filter(document_ids=(CHUNKS[0].document_id, CHUNKS[9].document_id, "f" * 32)),
    "from": Filter(modified_from=CHUNKS[30].modified),
    "to": Filter(modified_to=CHUNKS[30].modified),
    "between": Filter(modified_from=CHUNKS[30].modified, modified_to=CHUNKS[60].modified),
    "first chunks": Filter(first_chunks=True),
    "all at once": Filter(
        languages=CODES,
        path_prefix="/library/law",
        document_ids=tuple(chunk.document_id for chunk in CHUNKS[::2]),
        modified_from=CHUNKS[3].modified,
        modified_to=CHUNKS[90].modified,
        first_chunks=True,
    ),
}


def matches(chunk: Chunk, wanted: Filter) -> bool:
    """Say what a filter means, independently of any engine."""
    prefix = wanted.path_prefix
    return all(
        (
            not wanted.languages or chunk.language in wanted.languages,
            prefix is None
            or chunk.path == prefix.rstrip("/")
            or chunk.path.startswith(prefix.rstrip("/") + "/"),
            not wanted.document_ids or chunk.document_id in wanted.document_ids,
            wanted.modified_from is None or chunk.modified >= wanted.modified_from,
            wanted.modified_to is None or chunk.modified <= wanted.modified_to,
            not wanted.first_chunks or chunk.position == 0,
        )
    )


def in_order(chunks: list[Chunk]) -> list[Chunk]:
    return sorted(chunks, key=lambda chunk: (chunk.path, chunk.position))


def assert_same(one: Answer, other: Answer) -> None:
    """Compare answers: the same hits in the same order, scores to within float32."""
    assert one.total == other.total
    assert one.languages == other.languages
    assert one.folders == other.folders
    assert one.nearest == pytest.approx(other.nearest, abs=1e-4)
    assert [hit.document_id for hit in one.documents] == [hit.document_id for hit in other.documents]
    for left, right in zip(one.documents, other.documents, strict=True):
        assert [scored.chunk for scored in left.chunks] == [scored.chunk for scored in right.chunks]
        for value in ("score", "similarity", "lexical", "coverage"):
            scores = [[getattr(scored, value) for scored in hit.chunks] for hit in (left, right)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILTERS)
def test_count_scroll_and_facets_follow_the_filter(stores: Stores, kind: str, name: str) -> None:
    store, wanted = stores[kind], FILTERS[name]
    expected = [chunk for chunk in CHUNKS if matches(chunk, wanted)]
    assert store.count(wanted) == len(expected)
    assert store.scroll(wanted) == in_order(expected)
    assert store.versions(wanted) == Counter((chunk.document_id, chunk.version) for chunk in expected)
    for field in ("language", "document_language", "folder"):
        counts = store.facet(field, wanted)  # type: ignore[arg-type]
        values = [getattr(chunk, field) for chunk in expected]
        assert counts == {value: values.count(value) for value in values}
        assert list(counts.items()) == sorted(counts.items(), key=lambda item: (-item[1], item[0]))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("text", ["", TEXTS["fi"], "library Bibliothek 서울 nine 12", "сорок два zzzz"])
def test_searches_agree(stores: Stores, name: str, text: str) -> None:
    query = Query(make_vectors(1, seed=77)[0], text, FILTERS[name])
    answers = {kind: store.search(query) for kind, store in stores.items()}
    for kind in KINDS[1:]:
        assert_same(answers["direct"], answers[kind])
    found = answers["direct"]
    expected = {chunk.document_id for chunk in CHUNKS if matches(chunk, FILTERS[name])}
    assert found.total == len(expected)
    assert all(matches(scored.chunk, FILTERS[name]) for hit in found.documents for scored in hit.chunks)


@pytest.mark.parametrize("seed", range(8))
def test_searches_agree_with_few_candidates_and_pages(stores: Stores, seed: int) -> None:
    text = CHUNKS[seed * 13].text
    for query in (
        Query(make_vectors(1, seed=seed)[0], text, candidates=10),
        Query(make_vectors(1, seed=seed)[0], text, documents=4, offset=3, chunks_per_document=1),
    ):
        answers = [store.search(query) for store in stores.values()]
        assert_same(answers[0], answers[1])
        assert_same(answers[0], answers[2])


@pytest.mark.parametrize("kind", KINDS)
def test_similarity_and_lexical_score_are_known_for_every_hit(stores: Stores, kind: str) -> None:
    vector = make_vectors(1, seed=3)[0]
    answer = stores[kind].search(Query(vector, TEXTS["sw"], documents=100, candidates=12))
    rows = {chunk.id: row for row, chunk in enumerate(CHUNKS)}
    hits = [scored for document in answer.documents for scored in document.chunks]
    for scored in hits:
        assert scored.similarity == pytest.approx(float(VECTORS[rows[scored.chunk.id]] @ vector), abs=1e-5)
        if scored.chunk.document_language == "sw":
            assert scored.lexical > 5
    # Some were found by their words alone, some by their vectors alone.
    nearest = {CHUNKS[row].id for row in np.argsort(-(VECTORS @ vector))[:12]}
    found = {scored.chunk.id for scored in hits}
    assert found - nearest
    assert any(scored.lexical < 1 for scored in hits)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_of_double_precision_are_taken(stores: Stores, kind: str) -> None:
    vector = make_vectors(1, seed=3)[0]
    answers = [stores[kind].search(Query(given, "library")) for given in (vector, vector.astype(np.float64))]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("kind", KINDS)
def test_words_decide_between_equal_vectors(make_store: Callable[[str], Store], kind: str) -> None:
    store = make_store(kind)
    chunks = make_chunks(14, 1)
    store.upsert(chunks, np.repeat(make_vectors(1), 14, axis=0))
    for number, code in enumerate(CODES):
        answer = store.search(Query(make_vectors(1)[0], TEXTS[code]))
        assert answer.documents[0].chunks[0].chunk.id == chunks[number].id


@pytest.mark.parametrize("kind", KINDS)
def test_a_question_may_bring_its_language_and_weights(stores: Stores, kind: str) -> None:
    vector = make_vectors(1, seed=6)[0]
    plain = Query(vector, TEXTS["fi"], documents=100, chunks_per_document=9)
    heavy = FusionParameters(lexical_weight=0.5, own_weight=0.5, own_handicap=0.6, full_coverage=0.0)
    asked = dataclasses.replace(plain, language="fi", fusion=heavy)
    light = dataclasses.replace(asked, fusion=dataclasses.replace(heavy, own_handicap=0.0))
    low, high = (
        {one.chunk.id: one for hit in stores[kind].search(query).documents for one in hit.chunks}
        for query in (asked, light)
    )
    assert set(low) == set(high)
    for name, one in high.items():
        lowered = 0.6 / 1.5 if one.chunk.language == "fi" else 0.0
        assert low[name].score == pytest.approx(one.score - lowered, abs=2e-5)
    answer = stores[kind].search(plain)
    cosines = np.sort(VECTORS @ vector)[::-1]
    assert answer.nearest == pytest.approx(cosines[: len(answer.nearest)].tolist(), abs=1e-4)
    assert len(answer.nearest) == NEAREST


@pytest.mark.parametrize("kind", KINDS)
def test_pages_join_to_the_whole(stores: Stores, kind: str) -> None:
    vector = make_vectors(1, seed=4)[0]
    whole = stores[kind].search(Query(vector, "library", documents=100))
    pages = [
        stores[kind].search(Query(vector, "library", documents=5, offset=start)) for start in range(0, 45, 5)
    ]
    assert [hit for page in pages for hit in page.documents] == list(whole.documents)
    assert {page.total for page in pages} == {len(whole.documents)} == {42}
    assert all(page.languages == whole.languages and page.folders == whole.folders for page in pages)
    assert sum(whole.languages.values()) == sum(whole.folders.values()) == 42


@pytest.mark.parametrize("kind", KINDS)
def test_scroll_pages(stores: Stores, kind: str) -> None:
    store = stores[kind]
    pages = [chunk for start in range(0, 130, 11) for chunk in store.scroll(limit=11, offset=start)]
    assert pages == in_order(CHUNKS)
    assert store.scroll(limit=0) == []


@pytest.mark.parametrize("kind", KINDS)
def test_export_gives_every_chunk_once_with_its_vector(stores: Stores, kind: str) -> None:
    batches = list(stores[kind].export(batch=25))
    chunks = [chunk for batch, _ in batches for chunk in batch]
    vectors = np.vstack([batch for _, batch in batches])
    assert max(len(batch) for batch, _ in batches) <= 25
    assert in_order(chunks) == in_order(CHUNKS)
    rows = {chunk.id: row for row, chunk in enumerate(CHUNKS)}
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, VECTORS[[rows[chunk.id] for chunk in chunks]], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_life_of_a_document(make_store: Callable[[str], Store], kind: str) -> None:
    store = make_store(kind)
    old, new = make_chunks(2, 4), make_chunks(2, 3, version="v2")
    store.upsert(old, make_vectors(8))
    store.upsert(old, make_vectors(8))
    assert store.count() == 8
    store.upsert(new, make_vectors(6))
    assert store.count() == 14
    first = old[0].document_id
    store.delete_document(first, except_version="v2")
    assert {chunk.version for chunk in store.scroll(Filter(document_ids=(first,)))} == {"v2"}
    assert store.count() == 10
    store.delete_document(first)
    store.delete_document(first)
    store.delete_document("0" * 31 + "f")
    assert store.count() == 7
    moved = [dataclasses.replace(chunk, path="/elsewhere/x.txt", folder="/elsewhere") for chunk in new[3:]]
    store.upsert(moved, make_vectors(3))
    assert store.facet("folder") == {"/library/law": 4, "/elsewhere": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_store_answers(make_store: Callable[[str], Store], kind: str) -> None:
    store = make_store(kind)
    answer = store.search(Query(make_vectors(1)[0], "anything 서울"))
    assert answer == Answer((), 0, {}, {})
    assert store.count() == 0
    assert store.facet("language") == {}
    assert store.scroll() == []
    assert list(store.export()) == []
    store.upsert([], np.zeros((0, DIMENSIONS), np.float32))
    store.flush()
    assert store.schema == store.info.schema == SCHEMA


@pytest.mark.parametrize("kind", KINDS)
def test_text_survives_unchanged(make_store: Callable[[str], Store], kind: str) -> None:
    text = " \r\n\tخانه‌ها \u200d🙂 e\u0301 \x00\x01 क़ \U0001f468\u200d\U0001f469 \u2028 end "
    chunk = dataclasses.replace(
        make_chunks(1, 1)[0], text=text, heading="A › B", path="/a b/ü#?.txt", title=""
    )
    wordless = dataclasses.replace(chunk, id=str(uuid.uuid4()), position=1, text="…!", heading="", title="")
    store = make_store(kind)
    store.upsert([chunk, wordless], make_vectors(2))
    assert store.scroll() == [chunk, wordless]
    assert store.count(Filter(path_prefix="/a b")) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_many_chunks_go_in_batches(make_store: Callable[[str], Store], kind: str) -> None:
    chunks = make_chunks(300, 2)
    store = make_store(kind)
    store.upsert(chunks, make_vectors(600))
    assert store.count() == 600
    assert len(store.scroll(limit=1000)) == 600


ROWS = make_vectors(3)
BAD_UPSERTS = {
    "too few vectors": (make_chunks(1), ROWS[:2], "shape"),
    "other dimensions": (make_chunks(1), np.ones((3, 5), np.float32), "shape"),
    "not unit": (make_chunks(1), ROWS * 2, "length"),
    "not a number": (make_chunks(1), ROWS * np.float32("nan"), "length"),
    "no uuid": ([dataclasses.replace(make_chunks(1, 1)[0], id="x")], ROWS[:1], "UUID"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BAD_UPSERTS)
def test_bad_chunks_are_refused(stores: Stores, kind: str, name: str) -> None:
    chunks, vectors, word = BAD_UPSERTS[name]
    with pytest.raises(InvalidRequest, match=word) as caught:
        stores[kind].upsert(chunks, vectors)
    assert caught.value.hint
    assert stores[kind].count() == len(CHUNKS)


BAD_QUERIES = {
    "other dimensions": Query(np.ones(3, np.float32), ""),
    "a matrix": Query(make_vectors(1), ""),
    "not unit": Query(make_vectors(1)[0] * 3, ""),
    "no documents": Query(make_vectors(1)[0], "", documents=0),
    "negative offset": Query(make_vectors(1)[0], "", offset=-1),
    "no chunks": Query(make_vectors(1)[0], "", chunks_per_document=0),
    "no candidates": Query(make_vectors(1)[0], "", candidates=0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BAD_QUERIES)
def test_bad_questions_are_refused(stores: Stores, kind: str, name: str) -> None:
    with pytest.raises(InvalidRequest):
        stores[kind].search(BAD_QUERIES[name])


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_facets_and_negative_limits_are_refused(stores: Stores, kind: str) -> None:
    with pytest.raises(InvalidRequest, match="title"):
        stores[kind].facet("title")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest):
        stores[kind].scroll(limit=-1)
    with pytest.raises(InvalidRequest):
        stores[kind].scroll(offset=-1)
