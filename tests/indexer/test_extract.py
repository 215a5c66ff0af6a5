from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from docx import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from indexer.errors import ExtractionFailed, IndexerError
from indexer.extract import EXTRACTORS, Extracted, Registry, TextBuilder, base
from indexer.extract.pdf import spell_out

REGISTRY = Registry(EXTRACTORS)


def extract(name: str, content: str | bytes) -> Extracted:
    return REGISTRY.extract(Path(name), content.encode() if isinstance(content, str) else content)


def check_headings(extracted: Extracted) -> None:
    for heading in extracted.headings:
        assert extracted.text[heading.offset :].startswith(heading.text)


def outline(extracted: Extracted) -> list[tuple[int, str]]:
    return [(heading.level, heading.text) for heading in extracted.headings]


def make_pdf(*pages: str) -> bytes:
    """Write a PDF by hand: one Helvetica line for each line of a page."""
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    kids = []
    for text in pages:
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n"))
        stream = f"BT /F1 12 Tf 50 700 Td {lines}ET" if text else ""
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {len(objects)} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    return (
        out
        + f"{end}trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF".encode()
    )


def rewrite_pdf(
    content: bytes, *, password: str | None = None, title: str = "", marks: Sequence[str] = ()
) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(content)))
    if title:
        writer.add_metadata({"/Title": title})
    for page, mark in enumerate(marks):
        writer.add_outline_item(title=mark, page_number=page)
    if password is not None:
        writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def make_docx(edit: object = None) -> bytes:
    document = Document()
    if callable(edit):
        edit(document)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def repack(content: bytes, **parts: bytes) -> bytes:
    """Replace parts of a ZIP archive; ``__`` in a name stands for ``/``."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            key = member.filename.replace("/", "__").replace(".", "_")
            new.writestr(member.filename, parts.get(key, old.read(member)))
    return out.getvalue()


class TestText:
    def test_is_taken_as_it_is(self) -> None:
        assert extract("a.txt", "one\r\ntwo\rthree\n\n\n four").text == "one\ntwo\nthree\n\n\n four"

    def test_control_characters_go(self) -> None:
        assert extract("a.txt", "page one\x0cpage\u2028two\x01\ufeff!").text == "page one\npage\ntwo!"

    def test_short_first_line_is_the_title(self) -> None:
        assert extract("a.txt", "\n Sourdough \n\nMix it.").title == "Sourdough"
        assert extract("a.txt", "Just a line\nand another").title == ""

    @pytest.mark.parametrize("name", ["a.TXT", "b.text"])
    def test_accepts_by_suffix(self, name: str) -> None:
        assert REGISTRY.accepts(Path(name))


class TestMarkdown:
    def test_words_stay_and_markup_goes(self) -> None:
        source = """\
Some *words* and **more**, `code`, a [link](https://x.y "t"), ![a picture](p.png) and <b>html</b>.

> quoted
> lines

- one
- two
  1. nested

| A | B |
|---|---|
| 1 | *2* |

```python
x = "kept *as is*"
```

<div><!-- gone -->block</div>

***
Hard\\
break &amp; entity
"""
        assert extract("a.md", source).text.split("\n\n") == [
            "Some words and more, code, a link, a picture and html.",
            "quoted\nlines",
            "one\ntwo\nnested",
            "A\tB\t\n1\t2\t",
            'x = "kept *as is*"',
            "block",
            "Hard\nbreak & entity",
            "",
        ]

    def test_headings_of_both_kinds(self) -> None:
        extracted = extract("a.md", "# One *two*\n\ntext\n\nThree\n-----\n\n###### Six ######\n#no\n")

        assert outline(extracted) == [(1, "One two"), (2, "Three"), (6, "Six")]
        assert extracted.title == "One two"
        check_headings(extracted)

    def test_front_matter_gives_title_and_language(self) -> None:
        extracted = extract("a.markdown", '---\ntitle: "The Title"\ntags: [a]\nlang: sw\n---\n# Other\ntext')

        assert (extracted.title, extracted.language) == ("The Title", "sw")
        assert "tags" not in extracted.text

    def test_rule_at_the_top_is_no_front_matter(self) -> None:
        assert extract("a.md", "---\n\ntext without end").text.strip() == "text without end"

    def test_deep_nesting_does_not_hurt(self) -> None:
        assert "after" in extract("a.md", ">" * 5000 + " x\n\n" + "[" * 5000 + "\n\nafter").text


class TestHtml:
    PAGE = """<!doctype html><html lang="fr-CA"><head><title> Le
      titre </title><meta charset="utf-8"><style>p{}</style></head>
      <body><nav>menu</nav><header>En-tête</header><h1>Grand <em>titre</em></h1>
      <p>Bon<b>jour</b>   le&nbsp;monde &amp; <i>tous</i>.<br>Ligne</p><div>a<div>b</div>c</div>
      <ul><li>un<li>deux</ul><pre>  code\n    x</pre>
      <table><tr><th>A<th>B<tr><td>1<td>2</table><script>evil()</script><noscript>no</noscript>
      <h2></h2><h3>Fin</h3><textarea>form</textarea><p>dernier"""

    def test_reads_what_a_reader_would(self) -> None:
        extracted = extract("a.html", self.PAGE)

        assert extracted.text.split("\n\n") == [
            "En-tête",
            "Grand titre",
            "Bonjour le\u00a0monde & tous.\nLigne",
            "a\nb\nc",
            "un\ndeux",
            "  code\n    x",
            "A\tB\n1\t2",
            "Fin",
            "dernier",
            "",
        ]
        assert (extracted.title, extracted.language) == ("Le titre", "fr-CA")
        assert outline(extracted) == [(1, "Grand titre"), (3, "Fin")]
        check_headings(extracted)

    def test_first_heading_is_the_title_of_a_page_without(self) -> None:
        assert extract("a.htm", "<h2>Zwei</h2><h1>Eins</h1>").title == "Eins"

    @pytest.mark.parametrize(
        "head",
        ['<meta charset="koi8-r">', "<META http-equiv=Content-Type content='text/html; charset=KOI8-R'>"],
    )
    def test_declared_encoding(self, head: str) -> None:
        page = f"<html><head>{head}<title>Да</title></head><body>ящ</body>".encode("koi8-r")

        assert (extract("a.html", page).title, extract("a.html", page).text) == ("Да", "ящ\n\n")

    def test_latin_1_means_windows_1252(self) -> None:
        assert extract("a.html", '<meta charset="iso-8859-1"><p>“é”'.encode("cp1252")).text == "“é”\n\n"

    @pytest.mark.parametrize(
        "source", ["", "<", "no tags", "<frameset></frameset>", "<p", "<!--", "\x00<p>x"]
    )
    def test_malformed_pages(self, source: str) -> None:
        extracted = extract("a.html", source) if "\x00" not in source else Extracted("")

        assert "<p" not in extracted.text

    def test_deep_nesting_does_not_exhaust_the_stack(self) -> None:
        assert extract("a.html", "<div>" * 30_000 + "deep").text == "deep\n\n"


class TestPdf:
    def test_pages_and_text(self) -> None:
        extracted = extract("a.pdf", make_pdf("First page\nsecond line", "", "Third page"))

        assert extracted.text == "First page\nsecond line\n\nThird page\n\n"

    def test_words_hyphenated_at_line_ends_are_joined(self) -> None:
        assert (
            extract("a.pdf", make_pdf("A hyphen-\nated word, e-mail")).text.strip()
            == "A hyphenated word, e-mail"
        )

    def test_title_and_bookmarks(self) -> None:
        extracted = extract(
            "a.pdf", rewrite_pdf(make_pdf("One", "Two"), title="The\nTitle", marks=["Ch 1", "Ch 2"])
        )

        assert extracted.title == "The Title"
        assert [(h.level, h.text, h.offset) for h in extracted.headings] == [
            (1, "Ch 1", extracted.text.index("One")),
            (1, "Ch 2", extracted.text.index("Two")),
        ]

    def test_bookmarks_stand_where_their_titles_do(self) -> None:
        content = make_pdf("Preface\nwords\nPart  one\nmore words\nPart two\nlast words")
        writer = PdfWriter(clone_from=PdfReader(io.BytesIO(content)))
        above = writer.add_outline_item(title="Elsewhere", page_number=0)
        for title in ("Part One", "Part two"):
            writer.add_outline_item(title=title, page_number=0, parent=above)
        out = io.BytesIO()
        writer.write(out)

        extracted = extract("a.pdf", out.getvalue())

        assert [(h.level, h.text, extracted.text[h.offset :].split("\n")[0]) for h in extracted.headings] == [
            (1, "Elsewhere", "Preface"),
            (2, "Part One", "Part  one"),
            (2, "Part two", "Part two"),
        ]

    def test_scan_is_told_from_malformed(self) -> None:
        with pytest.raises(ExtractionFailed, match="no text layer: probably a scan; run OCR"):
            extract("a.pdf", make_pdf("", ""))

    def test_password_is_the_reason(self) -> None:
        with pytest.raises(ExtractionFailed, match="encrypted: save it without a password"):
            extract("a.pdf", rewrite_pdf(make_pdf("Secret"), password="secret"))

    def test_empty_password_opens(self) -> None:
        assert "Open" in extract("a.pdf", rewrite_pdf(make_pdf("Open"), password="")).text

    @pytest.mark.parametrize(
        "content",
        [b"not a pdf", b"%PDF-1.4", make_pdf("Lost")[:80], b"%PDF-1.7\n%%EOF", b"\x00" * 100],
        ids=["text", "header", "cut", "bare", "zeros"],
    )
    def test_malformed_files(self, content: bytes) -> None:
        with pytest.raises(ExtractionFailed, match="malformed PDF: "):
            extract("a.pdf", content)

    def test_second_reader_helps_where_the_first_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "pypdf.PdfReader.__init__", lambda *_, **__: (_ for _ in ()).throw(ValueError("x"))
        )

        assert extract("a.pdf", make_pdf("Saved")).text.strip() == "Saved"

    @settings(max_examples=40, deadline=None)
    @given(st.data())
    def test_damage_anywhere_is_text_or_a_reason(self, data: st.DataObject) -> None:
        content = bytearray(make_pdf("Some words", "more words"))
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        try:
            extracted = extract("a.pdf", bytes(content))
        except ExtractionFailed:
            return
        assert extracted.text.strip()


class TestDocx:
    def test_headings_paragraphs_and_tables_in_order(self) -> None:
        def edit(document: Document) -> None:
            document.add_heading("Report", 0)
            document.add_paragraph("Opening.")
            document.add_heading("Part", 1)
            table = document.add_table(rows=2, cols=3)
            for number, cell in enumerate(cell for row in table.rows for cell in row.cells):
                cell.text = f"c{number}"
            table.cell(0, 0).merge(table.cell(0, 1))
            document.add_heading("Detail", 2)
            document.add_paragraph("Closing.")

        extracted = extract("a.docx", make_docx(edit))

        assert (
            extracted.text == "Report\n\nOpening.\n\nPart\n\nc0 c1\tc2\nc3\tc4\tc5\n\nDetail\n\nClosing.\n\n"
        )
        assert outline(extracted) == [(1, "Report"), (1, "Part"), (2, "Detail")]
        assert extracted.title == "Report"
        check_headings(extracted)

    def test_title_of_the_properties_wins(self) -> None:
        def edit(document: Document) -> None:
            document.core_properties.title = "Named"
            document.core_properties.language = "ar-EG"
            document.add_heading("Heading", 1)

        extracted = extract("a.docx", make_docx(edit))

        assert (extracted.title, extracted.language) == ("Named", "ar-EG")

    def test_footnotes(self) -> None:
        namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
        note = "<w:footnote><w:p><w:r><w:t>A note.</w:t></w:r></w:p></w:footnote>"
        notes = f'<w:footnotes xmlns:w="{namespace}">{note}</w:footnotes>'

        def edit(document: Document) -> None:
            document.add_paragraph("Body.")
            part = Part(
                PackURI("/word/footnotes.xml"), "application/xml", notes.encode(), document.part.package
            )
            document.part.relate_to(part, RELATIONSHIP_TYPE.FOOTNOTES)

        assert extract("a.docx", make_docx(edit)).text == "Body.\n\nA note.\n\n"

    def test_lock_files_of_word_are_not_documents(self) -> None:
        assert not REGISTRY.accepts(Path("~$report.docx"))

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "damaged"),
            (b"PK\x03\x04 nonsense", "damaged"),
            (make_docx()[:2000], "damaged"),
            (b"\xd0\xcf\x11\xe0" + bytes(100), "old .doc format"),
            (repack(make_docx(), word__document_xml=b"<w:broken"), "malformed"),
            (repack(make_docx(), _Content_Types__xml=b"<x/>", word__document_xml=b""), "malformed"),
        ],
        ids=["empty", "nonsense", "cut", "doc", "xml", "hollow"],
    )
    def test_malformed_files(self, content: bytes, reason: str) -> None:
        with pytest.raises(ExtractionFailed, match=reason):
            extract("a.docx", content)

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_entities_are_refused(self, encoding: str) -> None:
        entities = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
        laughs = f'<?xml version="1.0" encoding="{encoding}"?>{entities}<l>&b;</l>'

        with pytest.raises(ExtractionFailed, match="XML entities"):
            extract("a.docx", repack(make_docx(), word__document_xml=laughs.encode(encoding)))

    def test_bombs_are_refused_before_they_go_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(base, "MAX_UNPACKED", 10 << 20)
        bomb = repack(make_docx(), word__document_xml=bytes(11 << 20))
        assert len(bomb) < 100_000

        with pytest.raises(ExtractionFailed, match="would unpack to"):
            extract("a.docx", bomb)


class Shouting:
    """A plug-in that reads .shout files and takes .txt over."""

    def accepts(self, path: Path) -> bool:
        return path.suffix in (".shout", ".txt")

    def extract(self, path: Path, content: bytes) -> Extracted:
        if path.suffix == ".shout":
            raise ZeroDivisionError("loud\nnoise")
        return Extracted(text=content.decode().upper())


class TestRegistry:
    def install(self, monkeypatch: pytest.MonkeyPatch, loaded: object) -> None:
        class Point(EntryPoint):
            def load(self) -> object:
                if isinstance(loaded, Exception):
                    raise loaded
                return loaded

        point = Point("shout", "package:Shouting", base.PLUGINS)
        monkeypatch.setattr(base, "entry_points", lambda group: [point] if group == base.PLUGINS else [])

    def test_plugins_come_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.install(monkeypatch, Shouting)

        assert Registry.with_plugins(EXTRACTORS).extract(Path("a.txt"), b"quiet").text == "QUIET"
        assert Registry.with_plugins(EXTRACTORS).extract(Path("a.md"), b"quiet").text.strip() == "quiet"

    def test_any_exception_of_an_extractor_is_a_reason(self) -> None:
        with pytest.raises(ExtractionFailed, match="malformed: loud noise"):
            Registry([Shouting()]).extract(Path("a.shout"), b"")

    @pytest.mark.parametrize("loaded", [ImportError("gone"), object])
    def test_broken_plugins_are_named(self, monkeypatch: pytest.MonkeyPatch, loaded: object) -> None:
        self.install(monkeypatch, loaded)

        with pytest.raises(IndexerError, match="'shout'") as caught:
            Registry.with_plugins(EXTRACTORS)
        assert "package" in caught.value.hint

    def test_unsupported_types(self) -> None:
        assert not REGISTRY.accepts(Path("a.jpg"))
        with pytest.raises(ExtractionFailed, match=r"unsupported type \.jpg"):
            extract("a.jpg", b"")


@given(st.lists(st.tuples(st.text(max_size=20), st.none() | st.integers(1, 6)), max_size=12))
def test_builder_keeps_offsets_right(parts: list[tuple[str, int | None]]) -> None:
    builder = TextBuilder()
    for text, level in parts:
        if level:
            builder.add_heading(text, level)
        else:
            builder.add(text)

    extracted = builder.build()

    check_headings(extracted)
    assert len(extracted.text) == builder.length
    assert "\r" not in extracted.text
    extracted.text.encode("utf-8")


def test_pdf_letters_as_drawn_become_letters() -> None:
    assert spell_out("ﻣﺮض اﻟﺴﻜﺮي، 1500 ﻣﻞ") == "مرض السكري، 1500 مل"
    assert spell_out("ﻻ") == "لا"
    assert spell_out("½ naïve ﬁn ②") == "½ naïve ﬁn ②", "other characters are the author's"
