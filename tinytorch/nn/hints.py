"""What to write instead of a name of PyTorch that does not exist here, for the errors of `tinytorch.nn` and `tinytorch.optim`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tinytorch.suggestions import suggest

#: Methods of ``torch.nn.Module``.
MODULE_METHODS = {
    "add_module": "assign the module: setattr(model, name, module)",
    "compile": "a Trainer compiles its training steps",
    "cpu": "use model.to('numpy')",
    "cuda": "use model.to('cupy')",
    "get_buffer": "use dict(model.named_buffers())[name]",
    "get_parameter": "use dict(model.named_parameters())[name]",
    "get_submodule": "use dict(model.named_modules())[name]",
    "register_forward_hook": "override forward() in a subclass",
    "register_module": "assign the module: setattr(model, name, module)",
    "register_parameter": "assign a Parameter: setattr(model, name, nn.Parameter(...))",
    "type": "use model.to(dtype)",
}

#: Names of ``torch.nn``.
LAYERS = {
    "BCEWithLogitsLoss": "use nn.BCELoss()(nn.Sigmoid()(logits), targets)",
    "DataParallel": "a Trainer shards batches over threads and processes",
    "L1Loss": "subclass nn.Loss, whose documentation defines this loss as an example",
    "MultiheadAttention": "use nn.MultiHeadAttention(d_model, num_heads), which returns the output only, and whose masks are true where "
    "attention is allowed",
    "NLLLoss": "use nn.CrossEntropyLoss, whose input are logits, without LogSoftmax",
    "TransformerEncoderLayer": "use nn.TransformerBlock(d_model, num_heads, d_ff)",
    "parallel": "a Trainer shards batches over threads and processes",
}

#: Names of ``torch.optim``.
OPTIMIZERS = {
    "lr_scheduler": "pass schedule= to the optimizer: a function of (xp, step) that returns a factor on lr, such as optim.WarmupCosine",
}


def missing_attribute_hint(name: str, module: object) -> str:
    """The end of the error for an unknown attribute of a module: what to write, or a similar name."""
    if name.startswith("_"):  # libraries look for protocols, such as __deepcopy__
        return ""
    return f"; {MODULE_METHODS[name]}" if name in MODULE_METHODS else suggest(name, [n for n in dir(module) if not n.startswith("_")])


def missing_name(package: str, names: Iterable[str], hints: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package, whose error names what to write instead, or a similar name.

    Args:
        package: name of the package, such as ``"tinytorch.nn"``.
        names: its public names.
        hints: what to write instead of a name, by name.
    """

    def __getattr__(name: str) -> Any:
        hint = f"; {hints[name]}" if name in hints else "" if name.startswith("_") else suggest(name, names)
        raise AttributeError(f"module {package!r} has no attribute {name!r}{hint}")

    return __getattr__
