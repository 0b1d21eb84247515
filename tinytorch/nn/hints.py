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


def missing_attribute_hint(name: str, names: Iterable[str]) -> str:
    """The end of the error for an unknown attribute of a module: what to write, or a similar name."""
    return f"; {MODULE_METHODS[name]}" if name in MODULE_METHODS else suggest(name, [n for n in names if not n.startswith("_")])


def missing_name(package: str, names: Iterable[str], hints: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package, whose error names what to write instead, or a similar name.

    Args:
        package: name of the package, such as ``"tinytorch.nn"``.
        names: its public names.
        hints: what to write instead of a name, by name.
    """

    def __getattr__(name: str) -> Any:
        hint = f"; {hints[name]}" if name in hints else suggest(name, names)
        raise AttributeError(f"module {package!r} has no attribute {name!r}{hint}")

    return __getattr__
