"""The pages: what they show, in which direction, and that nothing from a document gets out of its text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

if TYPE_CHECKING:
    from tests.app.conftest import ClientMaker
    from tests.doubles import MemoryStore, Sample, WordModel

PAGE = {"accept": "text/html"}


class Page(HTMLParser):
    """Elements of a page with their attributes and the text directly in them."""

    VOID = frozenset({"meta", "link", "input", "rect", "circle", "path", "br", "img"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[int] = []
        self.feed(html)
        assert not self._open, "elements left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in self.VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.elements[self._open.pop()][0] == tag, f"wrong nesting at </{tag}>"

    def handle_data(self, data: str) -> None:
        for index in self._open:
            self.elements[index][2].append(data)

    def all(self, tag: str, **attributes: str) -> list[tuple[dict[str, str | None], str]]:
        """Elements with the attributes; ``class_`` looks for one class."""
        wanted_class = attributes.pop("class_", None)
        return [
            (found, "".join(text))
            for name, found, text in self.elements
            if name == tag
            and all(found.get(key) == value for key, value in attributes.items())
            and (wanted_class is None or wanted_class in (found.get("class") or "").split())
        ]


def page(client: TestClient, address: str, status: int = 200) -> Page:
    answer = client.get(address, headers=PAGE)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Page(answer.text)


def test_the_start_page_asks_and_says_what_is_there(client: TestClient) -> None:
    start = page(client, "/")
    [(box, _)] = start.all("input", id="q")
    assert box["dir"] == "auto"
    assert "autofocus" in box
    text = "".join(text for _, text in start.all("main"))
    assert "14 documents in 8 languages" in text
    assert "한국어" in text


def test_nothing_indexed_says_the_command(make_client: ClientMaker, tmp_path) -> None:
    client = make_client(empty=True)
    for address in ("/", "/?q=bees"):
        [(_, command)] = page(client, address).all("pre")
        assert command == f"lusifer index ~/Documents --data {tmp_path}"


def test_results_are_grouped_with_language_path_score_and_mark(client: TestClient) -> None:
    found = page(client, "/?q=bees+winter")
    titles = [text for _, text in found.all("h2", class_="title")]
    assert len(titles) == len(set(titles)) == 10
    assert titles[0] == "Bees in winter"
    assert found.all("bdi", class_="path")[0][1] == "docs/nature/bees.md"
    label, share, sign = found.all("span", class_="score")[0][1].split()
    assert (label, sign) == ("Match", "%")
    assert 90 < int(share) <= 100
    assert "Bees form a ball in winter and keep warm." in [text for _, text in found.all("mark")]
    [(_, status)] = found.all("p", role="status")
    assert status.startswith("14 documents")


def test_headings_that_are_shown_already_are_not_repeated_in_the_passage(client: TestClient) -> None:
    texts = [text for _, text in page(client, "/?q=bees+winter").all("p", class_="text")]
    assert texts[0] == "It is a cold day. Bees form a ball in winter and keep warm. Snow falls."


def test_the_question_language_is_shown_and_can_be_said(client: TestClient) -> None:
    arabic = page(client, "/?q=" + quote("كيف يعيش النحل في الشتاء"))
    [(badge, endonym)] = [tag for tag in arabic.all("span", class_="tag") if tag[0].get("class") == "tag on"]
    assert (badge["lang"], badge["dir"], endonym) == ("ar", "rtl", "العربية")
    assert arabic.all("input", id="q")[0][0]["lang"] == "ar"
    said = page(client, "/?q=pan&qlang=es")
    assert "as you said" in "".join(text for _, text in said.all("p", class_="asked"))
    assert said.all("option", value="es")[0][0].keys() >= {"selected"}


@pytest.mark.parametrize(("code", "direction"), [("ar", "rtl"), ("fa", "rtl"), ("hi", "ltr"), ("ko", "ltr")])
def test_each_hit_has_its_language_and_direction(client: TestClient, code: str, direction: str) -> None:
    found = page(client, f"/?q=bees+winter&language={code}")
    assert found.all("article", class_="hit")[0][0]["dir"] == direction
    for tag, kind in (("p", "text"), ("span", "tag")):
        elements = [attributes for attributes, _ in found.all(tag, class_=kind, lang=code)]
        assert elements
        assert all(attributes["dir"] == direction for attributes in elements)
    assert all(attributes["dir"] == "ltr" for attributes, _ in found.all("bdi", class_="path"))


def test_facets_are_links_that_switch_a_filter_on_and_off(client: TestClient) -> None:
    free = page(client, "/?q=bees+winter")
    arabic = next(item for item, text in free.all("a", class_="choice") if text.startswith("العربية"))
    kept = page(client, arabic["href"] or "")
    assert [attributes["lang"] for attributes, _ in kept.all("p", class_="text")] == ["ar", "ar"]
    [(chosen, _)] = [item for item in kept.all("a", class_="choice") if "aria-current" in item[0]]
    assert chosen["href"] == "/?q=bees+winter"
    assert len(kept.all("a", class_="choice")) >= 8
    assert kept.all("input", name="language")[0][0]["value"] == "ar"
    assert kept.all("a", class_="clear")[0][0]["href"] == "/?q=bees+winter"


def test_folder_facet(client: TestClient) -> None:
    free = page(client, "/?q=bees+winter")
    sky = next(item for item, text in free.all("a", class_="choice") if text.startswith("sky"))
    kept = page(client, sky["href"] or "")
    assert {text for _, text in kept.all("h2", class_="title")} == {"La luna", "달"}


def test_pages(client: TestClient) -> None:
    first = page(client, "/?q=water")
    [(following, _)] = first.all("a", rel="next")
    second = page(client, following["href"] or "")
    assert len(second.all("article", class_="hit")) == 4
    assert second.all("a", rel="prev")[0][0]["href"] == "/?q=water"
    assert not second.all("a", rel="next")


def test_a_page_beyond_the_end_helps(client: TestClient) -> None:
    beyond = page(client, "/?q=water&page=9")
    assert "No documents found" in beyond.all("p", role="status")[0][1]
    assert "/?q=water" in [attributes["href"] for attributes, _ in beyond.all("a")]


def test_no_hits_helps(client: TestClient) -> None:
    nothing = page(client, "/?q=bees&folder=/nowhere")
    assert "No documents found" in nothing.all("p", role="status")[0][1]
    assert "/?q=bees" in [attributes["href"] for attributes, _ in nothing.all("a")]


def test_far_hits_are_called_so(client: TestClient) -> None:
    assert "Nothing good was found" in client.get("/?q=zzzz+yyyy").text
    assert "Nothing good was found" not in client.get("/?q=bees+winter").text


def test_days_of_change_narrow(client: TestClient) -> None:
    old = page(client, "/?q=bread&until=2020-09-13")
    assert [text for _, text in old.all("h2", class_="title")] == ["El pan"]
    assert old.all("input", name="until")[0][0]["value"] == "2020-09-13"


@pytest.mark.parametrize(
    "address",
    [
        "/?q=bees&language=de",
        "/?q=bees&since=soon",
        "/?q=" + "x" * 1001,
        "/?q=bees&folder=no",
        "/?q=b&page=200",
    ],
)
def test_what_cannot_be_asked_is_explained(client: TestClient, address: str) -> None:
    [(_, alert)] = page(client, address, 422).all("section", role="alert")
    assert len(alert.split()) > 5


@pytest.mark.parametrize("number", ["0", "-1", "x", "1e9", "99999999999"])
def test_odd_page_numbers_are_the_first_page(client: TestClient, number: str) -> None:
    assert page(client, f"/?q=bees&page={number}").all("article", class_="hit")


def test_a_document_shows_its_text_with_the_passage_marked(
    client: TestClient, samples: tuple[Sample, ...]
) -> None:
    hit = page(client, "/?q=bees+winter&language=ar")
    address = hit.all("h2", class_="title") and hit.all("a", lang="ar")[0][0]["href"]
    shown = page(client, address or "")
    assert shown.all("h1")[0][0]["dir"] == "rtl"
    assert [text for _, text in shown.all("mark") if text.startswith("يتجمع")] == [
        "يتجمع النحل في الشتاء على شكل كرة!"
    ]
    [(anchor, _)] = shown.all("p", id="passage")
    assert (anchor["lang"], anchor["dir"]) == ("ar", "rtl")
    body = "".join(text for _, text in shown.all("div", class_="body"))
    assert "".join(body.split()) == "".join("".join(samples[2].passages).split())


def test_a_document_has_headings(client: TestClient, samples: tuple[Sample, ...]) -> None:
    shown = page(client, f"/documents/{samples[0].id}")
    assert [text for _, text in shown.all("h1")] == ["Bees in winter"]
    assert "# Bees" not in "".join(text for _, text in shown.all("main"))


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?passage=1",
        "?passage=99",
        "?passage=x",
        "?start=5&end=9",
        "?start=9&end=5",
        "?start=0&end=99999999",
    ],
)
def test_odd_passages_still_show_the_document(
    client: TestClient, samples: tuple[Sample, ...], query: str
) -> None:
    assert "Honey" in "".join(
        text for _, text in page(client, f"/documents/{samples[0].id}{query}").all("main")
    )


def test_a_long_document_is_shown_in_parts(
    make_client: ClientMaker, store: MemoryStore, model: WordModel, samples
) -> None:
    long = type(samples[0])(
        "/docs/long.txt", "Long", "en", tuple(f"Passage number {n}.\n\n" for n in range(650))
    )
    from_fill = store.upsert
    chunks = _chunks(long)
    from_fill(chunks, model.embed_documents([chunk.text for chunk in chunks]))
    client = make_client()
    shown = page(client, f"/documents/{long.id}?passage=420")
    text = "".join(text for _, text in shown.all("main"))
    assert "Passage number 300." in text
    assert "Passage number 299." not in text
    assert "Passage number 600." not in text
    assert [mark for _, mark in shown.all("mark")] == ["Passage number 420."]
    assert "Page 2 of 3" in text
    assert page(client, f"/documents/{long.id}?part=2").all("div", class_="body")
    page(client, f"/documents/{long.id}?part=3", 404)


def _chunks(sample: Sample):
    import sys

    return sys.modules[type(sample).__module__].chunks_of(sample)


def test_the_list_of_documents(client: TestClient) -> None:
    shelf = page(client, "/documents")
    assert "14 documents" in shelf.all("p", role="status")[0][1]
    assert len(shelf.all("ul", class_="shelf")[0][1].split("\n")) > 14
    korean = page(client, "/documents?language=ko")
    assert "2 documents" in korean.all("p", role="status")[0][1]
    page(client, "/documents?language=xx", 422)


def test_nothing_from_a_document_reaches_a_page_unescaped(
    client: TestClient, samples: tuple[Sample, ...]
) -> None:
    evil = samples[-1]
    addresses = ["/?q=quark", "/documents", f"/documents/{evil.id}?passage=0&start=0&end=20"]
    for address in addresses:
        html = client.get(address, headers=PAGE).text
        shown = Page(html)
        assert "&lt;script&gt;alert(1)" in html
        assert len(shown.all("script")) == 1
        assert not shown.all("img")
        assert not shown.all("b")
        assert all(not name.startswith("on") for _, attributes, _ in shown.elements for name in attributes)


@pytest.mark.parametrize(
    "q",
    [
        '"><script>alert(1)</script>',
        "' onfocus=alert(1) x='",
        "{{ 7 * 7 }}",
        "</title><script>",
        "‮abc",
        "a\x00b",
    ],
)
def test_nothing_from_an_address_reaches_a_page_unescaped(client: TestClient, q: str) -> None:
    encoded = quote(q)
    for address in (
        f"/?q={encoded}",
        f"/?q=bees&language={encoded}",
        f"/?q=bees&folder=/{encoded}",
        f"/{encoded}",
    ):
        answer = client.get(address, headers=PAGE)
        shown = Page(answer.text)
        assert len(shown.all("script")) == 1
        assert "49" not in "".join(text for _, text in shown.all("input"))
        assert all(not name.startswith("on") for _, attributes, _ in shown.elements for name in attributes)


def test_pages_need_nothing_from_elsewhere_and_nothing_inline(
    client: TestClient, samples: tuple[Sample, ...]
) -> None:
    for address in ("/", "/?q=bees", f"/documents/{samples[0].id}", "/documents", "/docs", "/nowhere"):
        html = client.get(address, headers=PAGE).text
        shown = Page(html)
        for _, attributes, _ in shown.elements:
            assert "style" not in attributes
            for name in ("src", "href", "action"):
                assert re.match(r"[/?#]|$", attributes.get(name) or ""), attributes
        assert not shown.all("style")
        assert all(attributes.get("src") and not text for attributes, text in shown.all("script"))


def test_pages_have_landmarks_and_names(client: TestClient, samples: tuple[Sample, ...]) -> None:
    for address in ("/", "/?q=bees", f"/documents/{samples[0].id}", "/documents", "/docs", "/nowhere"):
        shown = page(client, address, 404 if address == "/nowhere" else 200)
        assert len(shown.all("main")) == len(shown.all("h1")) == 1
        assert shown.all("html")[0][0]["lang"] == "en"
        assert shown.all("a", class_="skip")[0][0]["href"] == "#content"
        assert shown.all("main", id="content")
        assert shown.all("title")[0][1].strip()
        assert all(attributes.get("aria-label") for attributes, _ in shown.all("nav"))
        identities = [attributes["id"] for _, attributes, _ in shown.elements if "id" in attributes]
        assert len(identities) == len(set(identities))
        labels = {attributes.get("for") for attributes, _ in shown.all("label")}
        assert not shown.all("input", id="q") or "q" in labels


def test_opensearch_has_the_address_it_was_asked_at(client: TestClient) -> None:
    answer = client.get("/opensearch.xml", headers={"host": "localhost:9000"})
    assert answer.headers["content-type"].startswith("application/opensearchdescription+xml")
    assert 'template="http://localhost:9000/?q={searchTerms}"' in answer.text
    assert 'href="/opensearch.xml"' in client.get("/").text
