"""Measurements of tinytorch beside its peers. Nothing here is imported by the library or needed to use it."""
