"""Benchmarks of tinytorch and its peers, PyTorch and JAX. The library does not import or need them."""
