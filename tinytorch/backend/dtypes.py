"""The data types of the standard, as tinytorch names them.

Array libraries disagree about what a dtype *is* (``numpy.dtype``, ``torch.float32``, a class of array-api-strict). A Tensor reports one
of the objects below, the same on every backend, and a backend translates by name (`Backend.dtype`).
"""

from __future__ import annotations

from typing import Any, Final


class DType:
    """A data type of the Array API standard; there is one object for each name, so ``is`` and ``==`` agree.

    Attributes:
        name: the standard's name, such as ``"float32"``.
        kind: ``"bool"``, ``"signed integer"``, ``"unsigned integer"``, ``"real floating"`` or ``"complex floating"``, as in `isdtype`.
        itemsize: bytes an element.
    """

    __slots__ = ("itemsize", "kind", "name")

    def __init__(self, name: str, kind: str, itemsize: int) -> None:
        self.name: Final = name
        self.kind: Final = kind
        self.itemsize: Final = itemsize

    def __repr__(self) -> str:
        return f"tinytorch.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return dtype_named, (self.name,)  # copies and pickles give back the one object

    @property
    def is_floating(self) -> bool:
        """Whether a Tensor of this type can carry a gradient."""
        return self.kind.endswith("floating")


_TABLE: Final = {
    "bool": ("bool", 1),
    "int8": ("signed integer", 1),
    "int16": ("signed integer", 2),
    "int32": ("signed integer", 4),
    "int64": ("signed integer", 8),
    "uint8": ("unsigned integer", 1),
    "uint16": ("unsigned integer", 2),
    "uint32": ("unsigned integer", 4),
    "uint64": ("unsigned integer", 8),
    "float16": ("real floating", 2),  # float16 and bfloat16 are common extensions, not part of the standard
    "bfloat16": ("real floating", 2),
    "float32": ("real floating", 4),
    "float64": ("real floating", 8),
    "complex64": ("complex floating", 8),
    "complex128": ("complex floating", 16),
}

DTYPES: Final[dict[str, DType]] = {name: DType(name, kind, size) for name, (kind, size) in _TABLE.items()}


def dtype_named(name: str) -> DType:
    """The `DType` called ``name``; raises ``TypeError`` listing the names there are."""
    try:
        return DTYPES[name]
    except KeyError:
        raise TypeError(f"no data type is called {name!r}; there are {', '.join(DTYPES)}") from None
