"""Training steps and decoding on the CPU, compared with PyTorch and JAX. Each library has its own process, and they run in turns."""
