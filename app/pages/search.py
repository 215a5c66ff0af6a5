"""``GET /``: the search page, and a result as it shows it: hits, facets, filters, pages."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from app.pages.query import PAGE_SIZE, PageQuery
from app.pages.rendering import common_root, get_pages, language_of, short_path
from app.problems import Problem, describe
from app.state import StateDep
from common.languages import Language
from search.documents import Inventory, take_inventory
from search.errors import RequestError
from search.result import Hit, Passage, SearchResult
from search.snippets import Excerpt, excerpt_passage
from store.errors import StoreError, StoreMissing
from store.types import HEADING_SEPARATOR

router = APIRouter(include_in_schema=False)

#: Characters shown of a document's best passage, and of its other ones.
_FIRST_BUDGET, _OTHER_BUDGET = 420, 220
_MOST_FOLDERS = 12


@dataclass(frozen=True, slots=True)
class PassageView:
    excerpt: Excerpt
    language: Language
    heading: str
    percent: int
    address: str


@dataclass(frozen=True, slots=True)
class HitView:
    title: str
    path: str
    full_path: str
    language: Language
    percent: int
    weak: bool
    address: str
    passages: tuple[PassageView, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a facet or filter: its label, its count, the address that switches it."""

    label: str
    count: int
    address: str
    chosen: bool
    language: Language | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class ResultsView:
    """All that the list of results shows."""

    hits: tuple[HitView, ...]
    total: int
    weak: bool
    query_language: Language
    confidence: int
    detected: bool
    languages: tuple[Choice, ...]
    folders: tuple[Choice, ...]
    page: int
    pages: int
    previous: str
    next: str
    took_ms: float


@router.get("/", name="home")
def home(request: Request, state: StateDep) -> HTMLResponse:
    """Show what is indexed, or what answers the question in the address."""
    query = PageQuery.read(request.query_params)
    limits = state.index.limits
    results: ResultsView | None = None
    inventory: Inventory | None = None
    problem: Problem | None = None
    try:
        if query.q:
            result = state.index.search(query.as_request())
            results = view_results(result, query, most_pages=limits.offset // PAGE_SIZE + 1)
        else:
            inventory = state.index.ask(take_inventory)
        nothing_indexed = inventory is not None and not inventory.documents
    except StoreMissing:
        nothing_indexed = True
    except (RequestError, StoreError) as error:
        nothing_indexed, problem = False, describe(error)
    values = {
        "query": query,
        "results": results,
        "inventory": inventory,
        "problem": problem,
        "nothing_indexed": nothing_indexed,
        "data": shlex.quote(str(state.settings.data)),
        "max_query": limits.query_characters,
    }
    return get_pages(request).page(request, "search.html", values, problem.status if problem else 200)


def view_results(result: SearchResult, query: PageQuery, *, most_pages: int) -> ResultsView:
    """Prepare a result for the page."""
    root = common_root([*result.facets.folder])
    hits = tuple(_view_hit(hit, root, query.q, result.weak_below) for hit in result.hits)
    pages = max(1, min(most_pages, math.ceil(result.total / PAGE_SIZE)))
    return ResultsView(
        hits=hits,
        total=result.total,
        weak=bool(hits) and not result.good_match,
        query_language=language_of(result.language.code),
        confidence=round(result.language.confidence * 100),
        detected=not query.qlang,
        languages=_language_choices(result.facets.language, query),
        folders=_folder_choices(result.facets.folder, query),
        page=query.page,
        pages=pages,
        previous=query.address(page=query.page - 1) if query.page > 1 else "",
        next=query.address(page=query.page + 1) if query.page < pages else "",
        took_ms=result.took_ms,
    )


def _view_hit(hit: Hit, root: str, q: str, weak_below: float) -> HitView:
    document = hit.document
    passages = tuple(
        _view_passage(passage, document.id, document.title, q, _OTHER_BUDGET if number else _FIRST_BUDGET)
        for number, passage in enumerate(hit.passages)
    )
    return HitView(
        title=document.title,
        path=short_path(document.path, root),
        full_path=document.path,
        language=language_of(document.language),
        percent=round(hit.score * 100),
        weak=hit.score < weak_below,
        address=passages[0].address,
        passages=passages,
    )


def _view_passage(passage: Passage, document_id: str, title: str, q: str, budget: int) -> PassageView:
    parameters: dict[str, object] = {"passage": passage.position}
    if passage.highlights:
        start, end = passage.highlights[0]
        parameters |= {"start": passage.start + start, "end": passage.start + end}
    address = f"/documents/{document_id}?{urlencode({**parameters, 'q': q})}#passage"
    heading = passage.heading.removeprefix(title).removeprefix(HEADING_SEPARATOR)
    shown = excerpt_passage(passage, title, budget)
    return PassageView(shown, language_of(passage.language), heading, round(passage.score * 100), address)


def _language_choices(counts: dict[str, int], query: PageQuery) -> tuple[Choice, ...]:
    codes = [*counts, *(code for code in query.languages if code not in counts)]
    return tuple(
        Choice(
            label=language_of(code).endonym,
            count=counts.get(code, 0),
            address=query.toggled(code),
            chosen=code in query.languages,
            language=language_of(code),
            title=language_of(code).name,
        )
        for code in codes
    )


def _folder_choices(counts: dict[str, int], query: PageQuery) -> tuple[Choice, ...]:
    """Folders with the documents in them and below, as choosing one finds them."""
    below = {
        folder: sum(n for other, n in counts.items() if other == folder or other.startswith(f"{folder}/"))
        for folder in [*counts, *([query.folder] if query.folder else [])]
    }
    if len(below) < 2 and not query.folder:
        return ()
    root = common_root([*below], above=False)
    shown = sorted(below, key=lambda folder: (folder != query.folder, -below[folder], folder))[:_MOST_FOLDERS]
    return tuple(
        Choice(
            label=short_path(folder, root),
            count=below[folder],
            address=query.address(folder="" if folder == query.folder else folder),
            chosen=folder == query.folder,
            title=folder,
        )
        for folder in shown
    )
