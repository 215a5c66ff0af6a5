"""The style sheet, the script and the icon: small, self-contained, kept by browsers."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from app.pages.rendering import STATIC, templates_folder


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def colours() -> dict[str, dict[str, str]]:
    css = (STATIC / "style.css").read_text("utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return dict(
        zip(("light", "dark"), (dict(re.findall(r"--([\w-]+): (#\w{6})", b)) for b in blocks), strict=True)
    )


def test_one_small_style_sheet_and_one_small_script() -> None:
    assert (STATIC / "style.css").stat().st_size < 15_000
    assert (STATIC / "search.js").stat().st_size < 2_000
    assert {path.suffix for path in STATIC.iterdir()} == {".css", ".js", ".svg"}


def test_nothing_is_fetched_from_elsewhere() -> None:
    css = (STATIC / "style.css").read_text("utf-8")
    assert "@import" not in css
    assert "url(" not in css


def test_no_physical_directions() -> None:
    css = (STATIC / "style.css").read_text("utf-8")
    assert not re.search(
        r"\b(margin|padding|border)-(left|right)\b|text-align: (left|right)|\b(left|right):", css
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "raised", "quiet", "tint", "tint-soft"])
def test_text_contrast_is_aa(scheme: str, ground: str) -> None:
    palette = colours()[scheme]
    for ink in ("ink", "accent", "soft"):
        if (ink, ground) not in {("soft", "tint"), ("accent", "tint")}:  # never set on it
            assert contrast(palette[ink], palette[ground]) >= 4.5, (scheme, ink, ground)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_controls_contrast_is_aa(scheme: str) -> None:
    palette = colours()[scheme]
    assert contrast(palette["on-accent"], palette["accent"]) >= 4.5
    assert contrast(palette["bad"], palette["paper"]) >= 4.5
    for control in ("edge", "accent"):
        assert contrast(palette[control], palette["paper"]) >= 3
        assert contrast(palette[control], palette["raised"]) >= 3


def test_is_kept_by_browsers_until_it_changes(client: TestClient) -> None:
    html = client.get("/").text
    [address] = re.findall(r'href="(/static/style.css\?v=\w+)"', html)
    answer = client.get(address)
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/css")


@pytest.mark.parametrize(
    "path", ["/static/../main.py", "/static/%2e%2e/main.py", "/static/", "/static/nope.css"]
)
def test_only_static_files_are_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_templates_are_found() -> None:
    assert (templates_folder() / "base.html").is_file()
