"""``python -m app.cli``: the ``lusifer`` command."""

from app.cli.main import main

main()
