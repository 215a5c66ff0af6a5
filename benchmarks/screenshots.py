"""Take the screenshots in docs/images: index the samples, serve them, photograph the pages with Chromium.

python benchmarks/screenshots.py [--documents samples] [--output docs/images] [--model FOLDER]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parent.parent
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
DESKTOP = {"width": 1280, "height": 1040}
PHONE = {"width": 390, "height": 844}


@dataclass(frozen=True)
class Shot:
    """One picture: its file, the address, the size of the window, and options of the browser."""

    name: str
    path: str
    viewport: dict[str, int] = field(default_factory=lambda: DESKTOP)
    options: dict[str, Any] = field(default_factory=dict)
    follow: bool = False


def shots() -> list[Shot]:
    ask = "/?q=" + quote("how do I remember what I study?")
    arabic = "/?q=" + quote("كيف أتذكر ما أدرسه؟")
    return [
        Shot("search", ask),
        Shot("dark", ask, options={"color_scheme": "dark"}),
        Shot("phone", ask, PHONE, {"device_scale_factor": 2, "is_mobile": True}),
        Shot("arabic", arabic),
        Shot("start", "/"),
        Shot("document", ask, follow=True),
    ]


@contextmanager
def serve(documents: Path, model: str | None) -> Iterator[str]:
    """Index a folder into a data folder of its own, and serve it."""
    lusifer = [sys.executable, "-m", "app.cli"]
    extra = ["--model", model] if model else []
    with tempfile.TemporaryDirectory() as data:
        subprocess.run([*lusifer, "index", str(documents), "--data", data, *extra], check=True)
        command = [*lusifer, "serve", "--data", data, "--port", "0", *extra]
        environment = {name: value for name, value in os.environ.items() if name != "LUSIFER_API_KEY"}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
            assert server.stderr is not None
            try:
                yield next(match[0] for line in server.stderr if (match := re.search(r"http://\S+", line)))
            finally:
                server.terminate()


def take(browser: Browser, address: str, shot: Shot, output: Path) -> Path:
    context = browser.new_context(base_url=address, viewport=shot.viewport, **shot.options)
    page = context.new_page()
    page.goto(shot.path)
    if shot.follow:
        page.locator("h2.title a").first.click()
        page.wait_for_load_state()
        page.locator("#passage").wait_for()
    target = output / f"{shot.name}.png"
    page.screenshot(path=target)
    context.close()
    return target


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=Path, default=ROOT / "samples")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--model")
    parser.add_argument("--only", action="append", help="names of the pictures to take")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with serve(arguments.documents, arguments.model) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for shot in shots():
            if not arguments.only or shot.name in arguments.only:
                target = take(browser, address, shot, arguments.output)
                print(f"{target} {target.stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
