"""The pages in a real browser: with and without JavaScript, on a phone, from right to left, in the dark."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn

from app.main import create_app
from app.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.e2e

ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium found: install the package chromium to run the browser tests")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def address(make_index, tmp_path: Path) -> Iterator[str]:
    """A server with the documents of the doubles."""
    settings = Settings(data=tmp_path)
    app = create_app(settings, make_index(settings))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator:
    """Open pages that fail the test when the browser complains or asks another server for anything."""
    complaints: list[str] = []
    contexts = []

    def open_one(path: str = "/", **options: object) -> Page:
        context = browser.new_context(base_url=address, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith(address) else complaints.append(request.url),
        )
        page.goto(path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


def width_overflow(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.parametrize("scripts", [True, False])
def test_search_narrow_read_and_come_back(open_page, scripts: bool) -> None:
    page = open_page(java_script_enabled=scripts)
    page.get_by_role("searchbox").fill("bees in winter")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=bees**")
    assert page.get_by_role("status").inner_text().startswith("14 documents")
    page.get_by_role("navigation", name="Filters").get_by_role("link", name="العربية").click()
    page.wait_for_url("**language=ar")
    assert page.get_by_role("article").count() == 1
    page.get_by_role("heading", level=2).get_by_role("link").click()
    page.wait_for_url("**/documents/**")
    marked = page.locator("#passage mark", has_text="يتجمع")
    assert marked.is_visible()
    box = marked.bounding_box()
    assert box is not None
    assert 0 <= box["y"] <= page.viewport_size["height"]
    page.get_by_role("link", name="Back to the results").click()
    page.wait_for_url("**/?q=bees**")
    page.get_by_role("searchbox").fill("bread")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**q=bread**")


def test_the_slash_key_goes_to_the_question(open_page) -> None:
    page = open_page("/?q=bees")
    assert page.evaluate("document.activeElement.id") != "q"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("a/b")
    assert page.get_by_role("searchbox").input_value() == "a/b"


def test_tab_reaches_the_content_first_and_focus_is_seen(open_page) -> None:
    from playwright.sync_api import expect

    page = open_page("/?q=bees")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    assert skip.evaluate("element => element === document.activeElement")
    expect(skip).to_be_in_viewport()  # it slides in; a polled script would need eval, which the page forbids
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


@pytest.mark.parametrize(
    "path", ["/", "/?q=bees+winter", "/?q=quark", "/?q=bees&language=ar", "/documents", "/docs"]
)
def test_nothing_is_wider_than_a_phone(open_page, path: str) -> None:
    page = open_page(path, viewport=PHONE)
    assert width_overflow(page) <= 0
    page.locator("details summary").first.click() if page.locator("details").count() else None
    assert width_overflow(page) <= 0


def test_a_document_fits_a_phone(open_page, samples) -> None:
    page = open_page(f"/documents/{samples[-1].id}", viewport=PHONE)
    assert width_overflow(page) <= 0


def test_arabic_stands_on_the_right(open_page) -> None:
    page = open_page("/?q=bees+winter&language=ar")
    title = page.locator("h2.title a")
    hit = page.locator("article.hit")
    [title_box, hit_box] = [title.bounding_box(), hit.bounding_box()]
    assert title_box["x"] + title_box["width"] == pytest.approx(hit_box["x"] + hit_box["width"], abs=2)
    assert page.locator("p.text").first.evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert page.locator("bdi.path").evaluate("e => getComputedStyle(e).direction") == "ltr"


def test_a_mark_does_not_move_a_letter(open_page) -> None:
    """The same text with and without the mark is equally wide: letters keep their joins."""
    page = open_page("/?q=bees+winter&language=ar")
    widths = page.evaluate(
        """() => {
            const text = document.querySelector("p.text");
            const measure = (html) => {
                const line = document.createElement("p");
                line.className = "text"; line.lang = "ar"; line.dir = "rtl";
                line.append(...html);
                text.parentElement.append(line);
                const range = document.createRange();
                range.selectNodeContents(line);
                const width = range.getBoundingClientRect().width;
                line.remove();
                return width;
            };
            const mark = document.createElement("mark");
            mark.textContent = "يتجمع النحل";
            return [measure(["في ", mark, " الشتاء"]), measure(["في يتجمع النحل الشتاء"])];
        }"""
    )
    assert widths[0] == pytest.approx(widths[1], abs=0.6)


def test_dark_and_light_differ(open_page) -> None:
    colours = [
        open_page("/?q=bees", color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert colours == ["rgb(252, 251, 248)", "rgb(20, 23, 26)"]


def test_scripts_in_documents_do_not_run(open_page, samples) -> None:
    page = open_page("/?q=quark")
    page.on("dialog", lambda dialog: pytest.fail("a script of a document ran"))
    page.goto(f"/documents/{samples[-1].id}")
    assert page.get_by_role("heading", level=1).inner_text() == "<script>alert(1)</script>"


def test_motion_is_reduced_where_asked(open_page) -> None:
    durations = [
        open_page("/", reduced_motion=motion)
        .locator(".skip")
        .evaluate("e => getComputedStyle(e).transitionDuration")
        for motion in ("reduce", "no-preference")
    ]
    assert durations == ["0s", "0.15s"]
