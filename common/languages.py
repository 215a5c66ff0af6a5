"""What is known of the fourteen languages and their scripts: the one table that all packages read.

Written by hand, here: names, scripts, letters, common words, old encodings, spellings. Counted from text, in
``language_counts.json``: how often characters and terms occur.

To add a language, write its entry in ``LANGUAGES`` (its script in ``SCRIPTS`` and its encodings in
``ENCODINGS`` where they are new), then let ``python tools/language_tables.py DATA`` count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

COUNTS = Path(__file__).with_name("language_counts.json")


@dataclass(frozen=True, slots=True)
class Script:
    """A writing system; characters are given as in a character class, with ranges (``a-z``).

    Attributes:
        letters: the letters it is recognised by.
        forms: letters of old standards, which NFKC replaces.
        marks: signs that stand with letters, such as vowels.
        zeros: where its decimal digits begin.
        direction: writing direction.
    """

    letters: str
    forms: str = ""
    marks: str = ""
    zeros: str = ""
    direction: Literal["ltr", "rtl"] = "ltr"

    @property
    def signs(self) -> str:
        """Everything that is written in this script alone: letters, marks and digits."""
        digits = "".join(f"{zero}-{chr(ord(zero) + 9)}" for zero in self.zeros)
        return self.letters + self.forms + self.marks + digits


#: By ISO 15924 code. Latin first: it is what others mix in.
SCRIPTS: dict[str, Script] = {
    "Latn": Script("A-Za-zÀ-ÖØ-öø-ɏ\u1e00-\u1eff"),
    "Arab": Script(
        "\u0620-\u064a\u066e-\u06d3\u06fa-\u06ff\u0750-\u077f",
        forms="\ufb50-\ufdff\ufe70-\ufefe",
        marks="\u0610-\u061a\u064b-\u065f\u06d6-\u06ed",
        zeros="\u0660\u06f0",
        direction="rtl",
    ),
    "Cyrl": Script("\u0400-\u052f"),
    "Hang": Script("\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"),
    "Deva": Script(
        "\u0904-\u0939\u0958-\u0961\u0970-\u097f",
        marks="\u0900-\u0903\u093a-\u0957\u0962\u0963",
        zeros="\u0966",
    ),
    "Beng": Script(
        "\u0985-\u09b9\u09ce\u09dc-\u09e1\u09f0\u09f1",
        marks="\u0981-\u0983\u09bc-\u09cd\u09d7\u09e2\u09e3",
        zeros="\u09e6",
    ),
    "Telu": Script(
        "\u0c05-\u0c39\u0c58-\u0c61",
        marks="\u0c00-\u0c04\u0c3c-\u0c56\u0c62\u0c63",
        zeros="\u0c66",
    ),
}

#: One sign of each script.
SIGNS: dict[str, re.Pattern[str]] = {
    name: re.compile(f"[{script.signs}]") for name, script in SCRIPTS.items()
}


@dataclass(frozen=True, slots=True)
class Language:
    """One supported language.

    Attributes:
        code: ISO 639-1 code.
        name: English name.
        endonym: the language's name in itself.
        script: ISO 15924 code of the script it is written in.
        iso3: ISO 639-3 code.
        encodings: what its text was written in before Unicode.
        letters: letters that, among the languages of its script, point to it, and what each is worth in nats.
        words: its commonest words, lower case; needed where a script has several languages.
        elisions: what is written before an apostrophe and is a word of its own (``l'eau``).
        direction: the script's writing direction.
    """

    code: str
    name: str
    endonym: str
    script: str
    iso3: str = ""
    encodings: tuple[str, ...] = ()
    letters: tuple[tuple[str, float], ...] = ()
    words: str = field(default="", repr=False)
    elisions: str = ""
    direction: Literal["ltr", "rtl"] = field(init=False, default="ltr")

    def __post_init__(self) -> None:
        if (script := SCRIPTS.get(self.script)) is not None:
            object.__setattr__(self, "direction", script.direction)


#: Encodings from before Unicode, commonest first, and the log likelihood ratio a reading must win by over
#: those above: an encoding of old machines needs evidence, a tie goes to the common one.
ENCODINGS: dict[str, float] = {
    "cp1252": 0.0,
    "cp1251": 0.0,
    "cp1256": 0.0,
    "cp949": 0.0,
    "cp1258": 0.0,
    "koi8-r": 0.0,
    "iso8859-15": 0.5,
    "iso8859-6": 0.5,
    "iso8859-5": 0.5,
    "cp866": 0.5,
    "mac-cyrillic": 2.0,
    "mac-arabic": 2.0,
    "mac-farsi": 2.0,
    "johab": 2.0,
    "cp850": 3.0,
    "mac-roman": 3.0,
}
_WESTERN = ("cp1252", "iso8859-15", "cp850", "mac-roman")

_LANGUAGES = (
    Language(
        "en", "English", "English", "Latn", "eng",
        encodings=_WESTERN,
        words="""
            the of and to in is that for it with as was on are by this be from at or an have not which has
            but they his you were their one all can more will there been who what when where why how does do
            did would could should about into than other its our your my we he she them these those some if
            out up so no any only most over between after before because while many much also may very such
            using make get find best without during against under through difference meaning year time
            people new first""",
    ),
    Language(
        "es", "Spanish", "Español", "Latn", "spa",
        encodings=_WESTERN,
        letters=(("ñ¿¡", 6.0), ("áíóú", 1.0)),
        words="""
            de la que el en y los del se las por un para con una su al lo como más pero sus le ya este sí
            porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante
            todos uno les ni contra otros ese eso ante ellos esto mí antes algunos qué unos yo otro otras
            otra él tanto esa estos mucho nada muchos cuál cómo dónde cuándo quién cuánto cuántos es son fue
            era ser está están han había puede hacer años según cada mejor el año mundo vida ciudad""",
    ),
    Language(
        "ru", "Russian", "Русский", "Cyrl", "rus",
        encodings=("cp1251", "koi8-r", "iso8859-5", "cp866", "mac-cyrillic"),
    ),
    Language(
        "fr", "French", "Français", "Latn", "fra",
        encodings=_WESTERN,
        letters=(("çœëîûæ", 4.0), ("èêàâôùïé", 1.0)),
        elisions="l d j m t s n c qu jusqu lorsqu puisqu quoiqu",
        words="""
            de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il sont avec
            cette ses aux ou mais son nous comme leur elle ont été être fait aussi sa deux même ces entre si
            tout peut sans après vous je tu ils elles on y dont où quand comment pourquoi quel quelle quels
            quelles combien très depuis chez vers était avait lors sous encore car donc alors moins bien
            leurs ainsi selon faire année années monde ville vie eau c'est qu'est l'eau""",
    ),
    Language(
        "vi", "Vietnamese", "Tiếng Việt", "Latn", "vie",
        encodings=("cp1258",),
        letters=(("ăđơư", 8.0), ("".join(map(chr, range(0x1EA0, 0x1EFA))), 8.0)),
        words="""
            và của là có trong được cho các không một với người những để này khi đã từ đến về tại cũng ra
            như hay vào nhiều năm trên hơn làm sẽ phải còn bị thì sau nào gì ở đó đây nhưng hoặc vì nếu theo
            bằng rất sự việc thế ai tôi bạn chúng họ con anh em ông bà đâu sao mấy bao nhiêu toi la gi cua
            va khong nguoi""",
    ),
    Language(
        "fa", "Persian", "فارسی", "Arab", "fas",
        encodings=("cp1256", "mac-farsi"),
        # Old encodings put Arabic letters into Persian text, so those prove little.
        letters=(("پچژگ", 6.0), ("کی", 4.0), ("\u200c", 4.0), ("۴۵۶", 2.0)),
        words="""
            و در به از که این را با است برای آن یک خود تا کرد بر هم نیز گفت می شود شد ما اما یا شده باید هر
            آنها بود او دیگر چه چرا چگونه کجا کی چند کدام چیست کیست نیست هست من تو شما ایشان ها های ترین تر
            پس اگر همه هیچ بین سال روز کند کنند دارد دارند شهر""",
    ),
    Language(
        "id", "Indonesian", "Bahasa Indonesia", "Latn", "ind",
        encodings=_WESTERN,
        words="""
            yang dan di untuk dengan ini dari dalam pada tidak itu adalah ke akan oleh juga atau sebagai
            telah ada karena bisa mereka dapat kita saya lebih anda kami bahwa sudah saat tahun orang banyak
            seperti hanya masih para menjadi setelah antara serta namun tetapi jika hal secara agar apa
            siapa mana kapan mengapa bagaimana berapa kenapa cara apakah dia ia nya bagi atas sangat hari
            belum lain satu dua terhadap tentang sejak hingga sehingga beberapa seorang tersebut merupakan
            memiliki air kota""",
    ),
    Language(
        "ar", "Arabic", "العربية", "Arab", "ara",
        encodings=("cp1256", "iso8859-6", "mac-arabic"),
        letters=(("ة", 5.0), ("ىإ", 3.0), ("أ", 2.0), ("يك", 1.5), ("ٌٍ", 2.0), ("ً", 0.5)),
        words="""
            في من على إلى الى أن ان عن مع هذا هذه التي الذي الذين ما لا لم لن كان كانت قد كل بعد قبل بين ذلك
            تلك هو هي هم نحن أنا أنت ثم أو او حتى إذا اذا عند منذ غير كما لكن حيث وقد ولا وفي ومن وهو وهي هل
            ماذا لماذا كيف أين اين متى كم أي اي فيه فيها عليه عليها إن وكان عام يوم مدينة به بها له لها""",
    ),
    Language(
        "fi", "Finnish", "Suomi", "Latn", "fin",
        encodings=_WESTERN,
        letters=(("äö", 3.0),),
        words="""
            ja on ei että se oli hän en ovat joka mutta kun myös tai sen olla ole mitä niin kuin hänen vain
            jos voi sitä minä sinä me te he ne tämä tämän nyt jo siitä ollut mikä missä milloin miksi miten
            kuka kuinka mistä mihin monta paljon ennen jälkeen kanssa mukaan sekä vaan eli kaikki koko
            vuonna vuoden olivat kuten yli alle sitten vielä voidaan voivat hyvin aina muun muassa jotka
            jossa tätä niitä niiden joiden kuitenkin ihmiset vesi kaupunki""",
    ),
    Language(
        "ko", "Korean", "한국어", "Hang", "kor",
        encodings=("cp949", "johab"),
    ),
    Language("hi", "Hindi", "हिन्दी", "Deva", "hin"),
    Language("bn", "Bengali", "বাংলা", "Beng", "ben"),
    Language("te", "Telugu", "తెలుగు", "Telu", "tel"),
    Language(
        "sw", "Swahili", "Kiswahili", "Latn", "swa",
        encodings=_WESTERN,
        words="""
            na ya wa kwa ni katika za la kuwa cha vya hii hiyo huo huu hizi hizo hao wao yake wake lake zake
            vyake kama pia sana au lakini hata baada kabla ili watu mtu mwaka miaka wakati kila zaidi moja
            mbili tatu nchi mji yao wetu yetu yangu wangu yako wako nini nani wapi lini gani vipi je kwanini
            jinsi ambayo ambao ambaye ambazo ambacho huku hivyo hiki hicho hapa hapo pale ndani nje juu
            chini bila mpaka hadi tangu kutoka kuhusu ana anaweza wana alikuwa walikuwa ilikuwa siku maji
            habari ndiyo hapana si""",
    ),
)  # fmt: skip

LANGUAGES: dict[str, Language] = {language.code: language for language in _LANGUAGES}
CODES: tuple[str, ...] = tuple(LANGUAGES)


class Spelling(NamedTuple):
    """Letters that a searcher cannot tell apart.

    Attributes:
        analyser: the one that stands for them all in the index.
        tokenizer: the one that stands for them in lusifer-mini's tokenizer.
        swapped: those that one keyboard has for another's.
        rare: those of other languages and of careful writing; only the analyser joins them.
    """

    analyser: str
    tokenizer: str
    swapped: str = ""
    rare: str = ""


SPELLINGS = (
    Spelling("ا", "ا", "أإآٱ"),
    Spelling("ي", "ی", "يىی", "ۍېےئۓ"),
    Spelling("ك", "ک", "كک", "ڪ"),
    Spelling("ه", "ه", "ة", "ۀەہۂۃھ"),
    Spelling("و", "و", "", "ؤ"),
    Spelling("е", "е", "ё"),
    Spelling("न", "न", "", "ऩ"),
    Spelling("र", "र", "", "ऱ"),
    Spelling("ळ", "ळ", "", "ऴ"),
    Spelling("ं", "ं", "", "ँ"),
)

#: Marks that writers leave out or add at will: Arabic vowel signs and tatweel, the Hindi nukta.
OPTIONAL_MARKS = "\u0610-\u061a\u0640\u064b-\u065f\u0670\u093c"

#: Where the decimal digits of the scripts begin.
ZEROS = "".join(script.zeros for script in SCRIPTS.values())


def expand(characters: str) -> Iterator[str]:
    """Yield what a character class holds, its ranges written out."""
    rest = iter(characters)
    last = ""
    for character in rest:
        if character == "-" and last:
            yield from map(chr, range(ord(last) + 1, ord(next(rest)) + 1))
            last = ""
        else:
            yield character
            last = character


@dataclass(frozen=True, slots=True)
class Counts:
    """What text in one language is made of.

    Attributes:
        characters: natural logarithm of each character's share.
        terms: share of running text of the commonest terms, as ``store.lexical`` makes terms.
    """

    characters: dict[str, float]
    terms: dict[str, float]


@cache
def load_counts() -> dict[str, Counts]:
    """Read what was counted, by language code."""
    tables = json.loads(COUNTS.read_text(encoding="utf-8"))
    return {code: Counts(**table) for code, table in tables.items()}
