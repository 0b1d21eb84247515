"""``python -m tinytorch`` runs the `tinytorch` command."""

from __future__ import annotations

import sys

from tinytorch.cli import main

if __name__ == "__main__":
    sys.exit(main())
