"""Training steps and decoding on the CPU, ours beside PyTorch's and JAX's, each in a process of its own and turn by turn."""
