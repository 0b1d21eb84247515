"""The ways to run PyTorch, by name, for those who do not load it."""

#: Eager, ``torch.compile``, and ``torch.compile(mode="reduce-overhead")``, in the order of `Workload.at_most`.
PEERS = ("torch", "torch-compile", "torch-graphs")
