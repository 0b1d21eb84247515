"""From the arguments that the library's errors name to the options of the subcommand that was typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

#: By subcommand: what the library says, and what is typed for it where that is no option of the same name.
OTHER_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "train": {
        "with `Run.start`": "without --resume",
        "with `Run.resume`": "with --resume",
        "`directory`": "directory with --out",
        "`file`": "TEXT",
    },
    "evolution": {"`directory`": "directory with --out"},
}


def in_options(sentence: str, subcommand: str, options: Mapping[str, str]) -> str:
    """A sentence of the library in the words of the command.

    Args:
        sentence: names arguments in backticks: `` `batch_size` ``, or with a value, `` `batch_size=8` ``.
        subcommand: that was typed.
        options: its options by the names of their arguments, such as ``{"batch_size": "--batch-size"}``.

    Returns:
        The sentence with ``--batch-size`` and ``--batch-size 8``; what is no argument of the subcommand keeps its backticks.
    """
    for name, typed in OTHER_NAMES.get(subcommand, {}).items():
        sentence = sentence.replace(name, typed)

    def option(found: re.Match[str]) -> str:
        name, equals, value = found[1].partition("=")
        if name not in options:
            return found[0]
        return f"{options[name]} {value}" if equals else options[name]

    return re.sub(r"`([^`]+)`", option, sentence)
