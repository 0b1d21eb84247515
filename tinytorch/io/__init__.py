"""Atomic file writes, file locks, and the error for bad input."""
