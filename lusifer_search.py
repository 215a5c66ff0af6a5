"""The one name an installation puts into an environment; app, store and the other packages lie behind it.

In a wheel this module is ``lusifer_search/__init__.py`` and the packages are folders beside it, so
``site-packages`` gets no ``app`` and no ``store``. In a checkout they are folders beside it, too. The command
puts that folder first on the path. A program that uses the model as a library imports this module, then
``lusifer``; the folder comes last on its path, so its own packages keep their names.
"""

from __future__ import annotations

import sys
from pathlib import Path

HOME = str(Path(__file__).parent)

if HOME not in sys.path:
    sys.path.append(HOME)


def main() -> None:
    """Run the ``lusifer`` command."""
    sys.path.insert(0, HOME)
    from app.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
