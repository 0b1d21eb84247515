"""Files that are written whole or not at all, locks on them, and the error for bad input."""
