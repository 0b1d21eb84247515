"""tinytorch on a CUDA GPU: tests, comparison with PyTorch, and checks that need a GPU."""
