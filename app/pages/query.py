"""What the address of the search page says, and addresses made from it.

Lenient where a person edits an address by hand, strict where the search service is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from search.errors import RequestError
from search.request import SearchRequest

PAGE_SIZE = 10


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
