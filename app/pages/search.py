"""``GET /``: the search page: what its address says, and a result as it shows it.

Lenient where a person edits an address by hand, strict where the search is.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.datastructures import QueryParams
from starlette.responses import HTMLResponse

from app.pages.rendering import common_root, get_pages, language_of, short_path
from app.problems import Problem, describe
from app.state import StateDep
from common.languages import Language
from search.documents import Inventory, take_inventory
from search.errors import RequestError
from search.request import SearchRequest
from search.result import Hit, Passage, SearchResult
from search.snippets import Excerpt, excerpt_passage
from store.errors import StoreError, StoreMissing
from store.types import HEADING_SEPARATOR

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 10

#: Characters shown of a document's best passage, and of its other ones.
_FIRST_BUDGET, _OTHER_BUDGET = 420, 220
_MOST_FOLDERS = 12


@dataclass(frozen=True, slots=True)
class PageQuery:
    """A search page's address.

    Attributes:
        q: the question.
        languages: languages to keep.
        folder: folder to keep.
        since: earliest day of change, ``YYYY-MM-DD`` or empty.
        until: latest day of change.
        qlang: language of the question; empty to detect it.
        page: number of the page, from 1.
    """

    q: str = ""
    languages: tuple[str, ...] = ()
    folder: str = ""
    since: str = ""
    until: str = ""
    qlang: str = ""
    page: int = 1

    @classmethod
    def read(cls, parameters: QueryParams) -> PageQuery:
        """Read an address."""
        page = parameters.get("page", "1")
        return cls(
            q=parameters.get("q", "").strip(),
            languages=tuple(dict.fromkeys(code for code in parameters.getlist("language") if code)),
            folder=parameters.get("folder", "").strip(),
            since=parameters.get("since", "").strip(),
            until=parameters.get("until", "").strip(),
            qlang=parameters.get("qlang", "").strip(),
            page=max(1, int(page)) if page.isdecimal() and len(page) < 6 else 1,
        )

    @property
    def filtered(self) -> bool:
        """Whether anything but the question narrows the answer."""
        return bool(self.languages or self.folder or self.since or self.until)

    def address(self, **changes: object) -> str:
        """The address of this page with some parts changed; it starts at the first page again."""
        changed = replace(self, **{"page": 1, **changes})  # type: ignore[arg-type]
        pairs = [("q", changed.q)]
        pairs += [("language", code) for code in changed.languages]
        pairs += [
            (name, value)
            for name, value in (
                ("folder", changed.folder),
                ("since", changed.since),
                ("until", changed.until),
                ("qlang", changed.qlang),
                ("page", str(changed.page) if changed.page > 1 else ""),
            )
            if value
        ]
        return f"/?{urlencode(pairs)}"

    def toggled(self, code: str) -> str:
        """The address with a language added, or removed if it is there."""
        kept = tuple(other for other in self.languages if other != code)
        return self.address(languages=kept if code in self.languages else (*kept, code))

    def as_request(self) -> SearchRequest:
        """The question to the search service.

        Raises:
            RequestError: a day is no day.
        """
        return SearchRequest(
            text=self.q,
            languages=self.languages,
            folder=self.folder or None,
            modified_from=_day(self.since, "since"),
            modified_to=_day(self.until, "until", days=1),
            limit=PAGE_SIZE,
            offset=(self.page - 1) * PAGE_SIZE,
            query_language=self.qlang or None,
        )


def _day(text: str, parameter: str, *, days: int = 0) -> float | None:
    """Start of a day in UTC, or the last moment before the start of a later one."""
    if not text:
        return None
    try:
        start = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise RequestError(
            "The day has to look like 2026-01-31", parameter=parameter, hint="Or leave it empty."
        ) from None
    return (start + timedelta(days=days)).timestamp() - (0.001 if days else 0.0)


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
