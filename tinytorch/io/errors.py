"""Errors that any module may raise and that the command converts to an exit code."""

from __future__ import annotations


class InputError(ValueError):
    """A file, text or option given by the user is invalid.

    The message is one sentence that says what is wrong and how to fix it. The command prints it and exits with code 2.
    """
