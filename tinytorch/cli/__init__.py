"""The `tinytorch` command, with one module per subcommand."""

from tinytorch.cli.app import main

__all__ = ["main"]
