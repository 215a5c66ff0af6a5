"""Write docs/settings.md from the settings themselves: ``python tools/settings_doc.py``."""

from __future__ import annotations

from pathlib import Path

from app.settings import Settings

PATH = Path(__file__).parents[1] / "docs" / "settings.md"

_HEAD = """# Settings

Each setting is an environment variable; those that a command also takes as an option
(`lusifer COMMAND --help`) follow the option first. Empty variables count as not set.
This page is made by `python tools/settings_doc.py`.

| Variable | Default | Meaning |
| --- | --- | --- |
"""

_OTHERS = """
| Variable | Default | Meaning |
| --- | --- | --- |
| `LUSIFER_DAEMON_IDLE_SECONDS` | 60 | How long the store's daemon stays when nobody needs it. |
"""


def render() -> str:
    """Return the page."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "the platform's user data folder" if name == "data" else _show(field.default)
        rows.append(f"| `LUSIFER_{name.upper()}` | {default} | {field.description} |\n")
    return _HEAD + "".join(rows) + _OTHERS


def _show(value: object) -> str:
    if value is None or value == ():
        return "not set"
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
