"""tinytorch on a CUDA GPU: its tests, its speed beside PyTorch's, and what only a GPU can tell."""
