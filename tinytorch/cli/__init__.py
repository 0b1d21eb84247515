"""The `tinytorch` command, one file a subcommand."""

from tinytorch.cli.app import main

__all__ = ["main"]
