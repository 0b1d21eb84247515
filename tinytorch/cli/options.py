"""Replaces argument names in library errors by the options of the subcommand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

#: By subcommand: replacements for names that do not correspond to an option of the same name.
OTHER_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "train": {
        "with `Run.start`": "without --resume",
        "with `Run.resume`": "with --resume",
        "`directory`": "directory with --out",
        "`file`": "TEXT",
    },
    "evolution": {"`directory`": "directory with --out"},
}


def with_option_names(message: str, subcommand: str, options: Mapping[str, str]) -> str:
    """Replace argument names in an error message by option names.

    Args:
        message: a message with arguments in backticks: `` `batch_size` ``, or with a value, `` `batch_size=8` ``.
        subcommand: the name of the subcommand.
        options: the option of each argument, such as ``{"batch_size": "--batch-size"}``.

    Returns:
        The message with ``--batch-size`` and ``--batch-size 8``. Names that are not arguments of the subcommand keep their backticks.
    """
    for name, replacement in OTHER_NAMES.get(subcommand, {}).items():
        message = message.replace(name, replacement)

    def option(match: re.Match[str]) -> str:
        name, equals, value = match[1].partition("=")
        if name not in options:
            return match[0]
        return f"{options[name]} {value}" if equals else options[name]

    return re.sub(r"`([^`]+)`", option, message)
