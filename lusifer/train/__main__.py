"""``python -m lusifer.train``: the training commands, as launchers of several processes start them."""

from __future__ import annotations

import sys

from lusifer.errors import LusiferError
from lusifer.train.cli import app


def main() -> None:
    """Run a training command; say what went wrong in one line."""
    try:
        app(prog_name="python -m lusifer.train")
    except LusiferError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
