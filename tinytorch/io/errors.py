"""Errors that any part of the framework may raise and the command turns into an exit code."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used: a file, a text, an option.

    The message is one sentence that says what is wrong and what to type next. The command prints it and ends with exit code 2.
    """
