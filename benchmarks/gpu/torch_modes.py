"""The names of PyTorch's modes, in a module that does not import PyTorch."""

#: Eager, ``torch.compile``, and ``torch.compile(mode="reduce-overhead")``, in the order of `Workload.at_most`.
PEERS = ("torch", "torch-compile", "torch-graphs")
