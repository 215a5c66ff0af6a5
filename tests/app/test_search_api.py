"""The search contract: one object, its limits, its filters, its paging."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from search import service
from search.request import SearchRequest

if TYPE_CHECKING:
    from tests.app.conftest import ClientMaker
    from tests.doubles import MemoryStore, WordModel

URL = "/api/v1/search"


def search(client: TestClient, **parameters: object) -> dict:
    answer = client.get(URL, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_answers_with_the_contract_object(client: TestClient) -> None:
    body = search(client, q="how do bees live in winter?", limit=5)
    assert body["query"] == "how do bees live in winter?"
    assert body["language"]["code"] == "en"
    assert 0 < body["language"]["confidence"] <= 1
    assert body["total"] == 14
    assert len(body["hits"]) == 5
    assert body["took_ms"] > 0
    assert set(body["facets"]) == {"language", "folder"}
    for hit in body["hits"]:
        assert {"id", "path", "title", "language"} <= set(hit["document"])
        assert hit["score"] == max(passage["score"] for passage in hit["passages"])
        for passage in hit["passages"]:
            assert {"text", "start", "end", "language", "score", "highlights"} <= set(passage)


def test_finds_documents_of_other_languages(client: TestClient) -> None:
    found = {hit["document"]["language"] for hit in search(client, q="bees winter", limit=6)["hits"]}
    assert found == {"en", "fi", "ar", "fa", "hi", "ko"}


def test_scores_are_within_bounds_and_never_rise(client: TestClient) -> None:
    for q in ("bees winter", "water", "quark", "bread an hour"):
        hits = search(client, q=q, limit=50)["hits"]
        scores = [hit["score"] for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        for hit in hits:
            inner = [passage["score"] for passage in hit["passages"]]
            assert inner == sorted(inner, reverse=True)


def test_offsets_point_into_the_document_and_highlights_into_the_passage(client: TestClient) -> None:
    for hit in search(client, q="bees winter", limit=50)["hits"]:
        text = client.get(f"/api/v1/documents/{hit['document']['id']}").json()["text"]
        for passage in hit["passages"]:
            assert text[passage["start"] : passage["end"]] == passage["text"]
            assert passage["text"] == passage["text"].strip()
            [[start, end]] = passage["highlights"]
            assert 0 <= start < end <= len(passage["text"])
            before, after = passage["text"][:start], passage["text"][end:]
            assert not before or before[-1].isspace()
            assert not after or after[0].isspace()


def test_marks_the_sentence_that_answers_in_arabic(client: TestClient) -> None:
    [hit] = search(client, q="bees in winter", language="ar")["hits"]
    passage = hit["passages"][0]
    start, end = passage["highlights"][0]
    assert passage["text"][start:end] == "يتجمع النحل في الشتاء على شكل كرة!"


def test_post_gives_the_same_answer_as_get(client: TestClient) -> None:
    got = search(client, q="bread", limit=3, language=["en", "es"])
    posted = client.post(URL, json={"q": "bread", "limit": 3, "language": ["en", "es"]}).json()
    assert posted | {"took_ms": 0} == got | {"took_ms": 0}


def test_the_command_line_makes_the_same_object(
    client: TestClient, store: MemoryStore, model: WordModel
) -> None:
    for request in (
        SearchRequest("bees in winter", limit=4),
        SearchRequest("hour", languages=("sw",), limit=50),
        SearchRequest("water", folder="/docs/health", offset=1, limit=1),
    ):
        here = service.search(store, model, request).model_dump(mode="json")
        there = search(
            client,
            q=request.text,
            language=list(request.languages),
            folder=request.folder or "",
            offset=request.offset,
            limit=request.limit,
        )
        assert here | {"took_ms": 0} == there | {"took_ms": 0}


def test_language_filter_keeps_and_its_facet_does_not_narrow(client: TestClient) -> None:
    free = search(client, q="bees winter")
    kept = search(client, q="bees winter", language=["ar", "fa"])
    assert {hit["document"]["language"] for hit in kept["hits"]} == {"ar", "fa"}
    assert kept["total"] == 2
    assert kept["facets"]["language"] == free["facets"]["language"]
    assert sum(kept["facets"]["folder"].values()) == 2


def test_folder_filter_keeps_what_is_below_and_its_facet_does_not_narrow(client: TestClient) -> None:
    free = search(client, q="bees winter")
    kept = search(client, q="bees winter", folder="/docs/sky/")
    assert {hit["document"]["folder"] for hit in kept["hits"]} == {"/docs/sky"}
    assert kept["facets"]["folder"] == free["facets"]["folder"]
    assert sum(kept["facets"]["language"].values()) == 2
    assert search(client, q="bees", folder="/docs/sk")["total"] == 0


def test_time_filter(client: TestClient) -> None:
    old = search(client, q="bread", modified_to="2021-01-01")
    assert [hit["document"]["path"] for hit in old["hits"]] == ["/docs/food/pan.txt"]
    assert search(client, q="bread", modified_from="2021-01-01T00:00:00Z")["total"] == 13


def test_facets_sum_to_the_total(client: TestClient) -> None:
    body = search(client, q="moon", limit=1)
    assert sum(body["facets"]["language"].values()) == body["total"] == 14
    assert sum(body["facets"]["folder"].values()) == body["total"]


def test_pages_join_to_the_whole_without_gaps_or_repeats(client: TestClient) -> None:
    whole = [(hit["document"]["id"]) for hit in search(client, q="water", limit=50)["hits"]]
    pages = [search(client, q="water", limit=4, offset=offset) for offset in range(0, 16, 4)]
    assert [hit["document"]["id"] for page in pages for hit in page["hits"]] == whole
    assert {page["total"] for page in pages} == {14}
    scores = [hit["score"] for page in pages for hit in page["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_a_page_beyond_the_end_is_empty(client: TestClient) -> None:
    body = search(client, q="water", offset=500)
    assert body["hits"] == []
    assert body["total"] == 14


def test_the_sender_may_say_the_language(client: TestClient) -> None:
    assert search(client, q="pan", query_language="es")["language"] == {"code": "es", "confidence": 1.0}


@pytest.mark.parametrize(
    ("parameters", "parameter", "limit"),
    [
        ({"q": ""}, "q", None),
        ({"q": " \u0007 "}, "q", None),
        ({"q": "x" * 1001}, "q", 1000),
        ({"q": "bees", "limit": 0}, "limit", 1),
        ({"q": "bees", "limit": 51}, "limit", 50),
        ({"q": "bees", "offset": -1}, "offset", 0),
        ({"q": "bees", "offset": 1001}, "offset", 1000),
        ({"q": "bees", "language": "de"}, "language", None),
        ({"q": "bees", "query_language": "xx"}, "language", None),
        ({"q": "bees", "folder": "relative"}, "folder", None),
        ({"q": "bees", "modified_from": "2024-01-02", "modified_to": "2024-01-01"}, "modified_from", None),
    ],
)
def test_refuses_with_the_parameter_and_its_limit(
    client: TestClient, parameters: dict[str, object], parameter: str, limit: int | None
) -> None:
    for answer in (client.get(URL, params=parameters), client.post(URL, json=_listed(parameters))):
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        [error] = answer.json()["errors"]
        assert error["parameter"] == parameter
        assert error.get("limit") == limit
        if limit is not None:
            assert str(limit) in answer.json()["detail"]


def _listed(parameters: dict[str, object]) -> dict[str, object]:
    return {key: [value] if key == "language" else value for key, value in parameters.items()}


@pytest.mark.parametrize(
    "parameters",
    [{}, {"q": "bees", "limit": "many"}, {"q": "bees", "langage": "en"}, {"q": "b", "modified_to": "soon"}],
)
def test_refuses_what_has_the_wrong_shape(client: TestClient, parameters: dict[str, str]) -> None:
    answer = client.get(URL, params=parameters)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"]


def test_an_unknown_language_is_told_the_fourteen(client: TestClient) -> None:
    hint = client.get(URL, params={"q": "bees", "language": "de"}).json()["hint"]
    for code in ["en", "es", "ru", "fr", "vi", "fa", "id", "ar", "fi", "ko", "hi", "bn", "te", "sw"]:
        assert code in hint


def test_limits_are_settings(make_client: ClientMaker) -> None:
    client = make_client(max_limit=2, max_query_characters=5)
    assert client.get(URL, params={"q": "bees", "limit": 3}).json()["errors"][0]["limit"] == 2
    assert client.get(URL, params={"q": "winter"}).json()["errors"][0]["limit"] == 5


def test_nothing_indexed_is_a_problem_with_a_remedy(make_client: ClientMaker) -> None:
    answer = make_client(empty=True).get(URL, params={"q": "bees"})
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("nothing-indexed")
    assert "lusifer index" in answer.json()["hint"]


def test_concurrent_answers_equal_single_ones(client: TestClient, model: WordModel) -> None:
    questions = ["bees winter", "bread", "luna", "homa", "quark", "water", "달", "النحل"]
    single = [search(client, q=q) | {"took_ms": 0} for q in questions]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda q: search(client, q=q) | {"took_ms": 0}, questions * 3))
    assert together == single * 3


def test_embeds_the_question_off_the_event_loop(client: TestClient, monkeypatch, model: WordModel) -> None:
    loops: list[bool] = []
    embed = model.embed_query

    def watched(texts: list[str]) -> object:
        try:
            asyncio.get_running_loop()
            loops.append(True)
        except RuntimeError:
            loops.append(False)
        return embed(texts)

    monkeypatch.setattr(model, "embed_query", watched)
    search(client, q="bees")
    assert set(loops) == {False}
