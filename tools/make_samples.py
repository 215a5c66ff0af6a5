"""Build the .docx and .pdf sample documents from their Markdown sources.

Reads ``tools/sample_sources/<language>/<topic>/<name>.<docx|pdf>.md`` and writes
``samples/<topic>/<name>.<docx|pdf>``. Needs python-docx, markdown-it-py and, for the PDF
files, WeasyPrint with Pango, Noto and Nanum fonts. WeasyPrint was chosen because its text layer keeps Arabic
script in reading order, which browsers' does not. Dates and identifiers are fixed, so that the same tools
give the same bytes.
Run it from the repository root: ``python tools/make_samples.py [part of a path ...]``.
"""

import html
import re
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from docx import Document
from markdown_it import MarkdownIt

from common.languages import LANGUAGES

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "tools" / "sample_sources"
EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
FONTS = {"ar": "'Noto Naskh Arabic'", "fa": "'Noto Naskh Arabic'", "ko": "NanumGothic"}
"""One font per document: with a second one for the full stops, lines of Arabic script come out reordered."""


def write_docx(text: str, language: str, target: Path) -> None:
    """Write Markdown headings, paragraphs and flat lists as a Word document."""
    document = Document()
    document.core_properties.author = "lusifer-search"
    document.core_properties.comments = ""
    document.core_properties.language = language
    document.core_properties.created = document.core_properties.modified = EPOCH
    for line in filter(None, text.splitlines()):
        if heading := re.match(r"(#+) (.+)", line):
            document.add_heading(heading[2], level=len(heading[1]))
        elif bullet := re.match(r"- (.+)", line):
            document.add_paragraph(bullet[1], style="List Bullet")
        elif number := re.match(r"\d+\. (.+)", line):
            document.add_paragraph(number[1], style="List Number")
        else:
            document.add_paragraph(line)
    document.save(str(target))
    _fix_zip_dates(target)


def _fix_zip_dates(target: Path) -> None:
    """Rewrite the archive with one date for all members; python-docx stamps the time of writing."""
    with zipfile.ZipFile(target) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in members:
            if not name.startswith("docProps/thumbnail"):
                if name == "_rels/.rels":
                    data = re.sub(rb"<Relationship [^>]*thumbnail[^>]*/>", b"", data)
                info = zipfile.ZipInfo(name, EPOCH.timetuple()[:6])
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, data)


def write_pdf(text: str, language: str, target: Path) -> None:
    """Print Markdown as a PDF with a text layer in reading order; headings become bookmarks."""
    from weasyprint import HTML

    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    direction = LANGUAGES[language].direction
    font = FONTS.get(language, "'Noto Sans'")
    style = f"@page {{ size: A4; margin: 2cm }} body {{ font: 11pt {font} }} li {{ list-style: inside }}"
    page = (
        f'<!DOCTYPE html><html lang="{language}" dir="{direction}"><head><meta charset="utf-8">'
        f"<title>{html.escape(title[1] if title else target.stem)}</title><style>{style}</style></head>"
        f"<body>{MarkdownIt().render(text)}</body></html>"
    )
    HTML(string=page).write_pdf(target, pdf_identifier=b"lusifer-search")


def main(wanted: list[str]) -> None:
    """Build every document, or those whose path contains one of the given words."""
    for source in sorted(SOURCES.rglob("*.md")):
        language, *folders, name = source.relative_to(SOURCES).parts
        target = ROOT.joinpath("samples", *folders, name.removesuffix(".md"))
        if wanted and not any(word in str(target) for word in wanted):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        write = write_docx if target.suffix == ".docx" else write_pdf
        write(source.read_text(encoding="utf-8"), language, target)
        sys.stdout.write(f"{target.relative_to(ROOT)} ({target.stat().st_size} bytes)\n")


if __name__ == "__main__":
    main(sys.argv[1:])
