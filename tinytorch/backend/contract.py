"""The contract between tinytorch and an array library: everything the framework may ask of a backend.

A plugin subclasses `Backend`, sets the attributes and implements what has no default here. It knows arrays, not neural networks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from tinytorch.backend.dtypes import DTYPES, DType

if TYPE_CHECKING:
    import numpy

    from tinytorch.backend.rng import Generator

Array: TypeAlias = Any  #: an array of some library; the standard has no common base class
Namespace: TypeAlias = Any  #: a module or object with the functions of the standard
Step: TypeAlias = Callable[[tuple[Array, ...], tuple[Array, ...]], tuple[tuple[Array, ...], tuple[Array, ...]]]


@dataclass(frozen=True)
class Kernel:
    """One implementation of a fused operation on a backend's raw arrays.

    ``forward(*arrays, **settings) -> (out, residuals) | NotImplemented``: it declines what it cannot do (a dtype, a layout) by returning
    ``NotImplemented``, and the portable implementation runs in its place.
    ``backward(g, residuals, inputs, needs, **settings) -> gradients``: one gradient per array input, ``None`` where ``needs`` is false.
    The settings are the keyword-only parameters of the portable forward: both declare the same names, annotations and defaults.
    An operation that is never differentiated (an optimizer's update) has no ``backward`` and returns its results as ``out``.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Sequence[Array | None]] | None = None


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do beyond the standard.

    Attributes:
        dtypes: names of the data types it supports.
        host: whether its arrays lie in host memory, so that numpy may read them unasked.
        inplace: whether its arrays can be written in place.
        deterministic_scatter: whether repeated indices are summed in the same order every time.
        graph: whether `Backend.compile` turns a step into one launch.
        checks_indices: whether the library raises for indices that are out of bounds; otherwise `Backend.out_of_bounds` looks for them, and
            ``xp`` may have a ``getitem(x, key)`` that reads NaN there.
    """

    dtypes: frozenset[str]
    host: bool = False
    inplace: bool = True
    deterministic_scatter: bool = True
    graph: bool = False
    checks_indices: bool = True


@dataclass(frozen=True)
class MemoryInfo:
    """Bytes of the device's memory that are in use by this process, and that there are."""

    used: int
    total: int


@dataclass
class Backend(ABC):
    """One array library on one device.

    Attributes:
        name: the name it is registered under.
        device: which device of that library, such as ``"cpu"`` or ``"0"``.
        xp: the library's namespace, with the functions of the standard.
        kernels: its own versions of fused operations, by the operation's name.
        namespace: tinytorch's differentiable namespace bound to this backend; the registry sets it.
    """

    name: str
    device: str
    xp: Namespace
    capabilities: Capabilities
    kernels: Mapping[str, Kernel] = field(default_factory=lambda: MappingProxyType({}))
    namespace: Namespace = None

    def __post_init__(self) -> None:
        # what an array reports as its dtype can be another object than the namespace's attribute (numpy.float32 is a class)
        self._raw_dtypes = {name: self.xp.empty((0,), dtype=self._find_dtype(name)).dtype for name in self.capabilities.dtypes}
        self._dtypes = {raw: DTYPES[name] for name, raw in self._raw_dtypes.items()}

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __repr__(self) -> str:
        return f"<Backend {self.spec}>"

    @property
    def spec(self) -> str:
        """What to pass to get this backend again, such as ``"numpy:cpu"`` or ``"cupy:1"``."""
        return f"{self.name}:{self.device}"

    @property
    def default_int(self) -> str:
        """Name of the default integer type: int64, or int32 where the library lacks it."""
        return "int64" if "int64" in self.capabilities.dtypes else "int32"

    def dtype(self, name: str) -> Any:
        """The library's own object for the data type ``name``; raises ``TypeError`` where it has none."""
        try:
            return self._raw_dtypes[name]
        except KeyError:
            have = ", ".join(n for n in DTYPES if n in self._raw_dtypes)
            raise TypeError(f"the {self.name} backend has no data type {name}; it has {have}") from None

    def _find_dtype(self, name: str) -> Any:
        return getattr(self.xp, name)

    def dtype_of(self, array: Array) -> DType:
        """tinytorch's name for the data type of ``array``; raises ``TypeError`` for one outside the standard."""
        try:
            return self._dtypes[array.dtype]
        except KeyError:
            raise TypeError(f"arrays of data type {array.dtype} are not supported; convert to float32 first") from None

    @abstractmethod
    def owns(self, array: object) -> bool:
        """Whether ``array`` is an array of this library that lies on this device."""

    @abstractmethod
    def from_host(self, array: numpy.ndarray, dtype: str | None = None) -> Array:
        """Copy a host array to the device, converted to the data type named ``dtype``. The copy shares no memory with ``array``."""

    @abstractmethod
    def to_host(self, array: Array) -> numpy.ndarray:
        """The values as a read-only host array; the other one of the only two transfer points."""

    def out_of_bounds(self, indices: Array, length: int) -> int | None:
        """Some index outside ``-length <= i < length``, or ``None``; asked where the library does not check indices itself.

        ``None`` also where the values are not known yet, inside a step that is being compiled.
        """
        return None

    def rng(self, seed: int) -> Generator:
        """A generator for draws outside steps. It draws on the host, so that the numbers are the same on every backend."""
        from tinytorch.backend.rng import Generator  # draws need numpy.random, which is not loaded for array work

        return Generator(seed, self.from_host, self.default_int)

    def synchronize(self) -> None:
        """Wait until the device has finished what it was given."""

    def memory_info(self) -> MemoryInfo | None:
        """The device's memory, or ``None`` where the library cannot tell."""
        return None

    def lacks_precision(self, name: str) -> str | None:
        """Why the device cannot compute in float32, tf32, bfloat16 or float16, as half a sentence; ``None`` where it can."""
        if name == "tf32":
            return "it has no TF32"
        return None if name in self.capabilities.dtypes else f"it has no data type {name}"

    def matmul_precision(self, precision: str) -> AbstractContextManager[None]:
        """A ``with`` block in which products of float32 arrays are computed in TF32 where ``precision`` is ``tf32``."""
        return nullcontext()

    def versions(self) -> dict[str, str]:
        """Versions of the libraries behind this backend, by name, for reports."""
        return {}

    def compile(self, step: Step, donate: bool = False) -> Step:
        """Make ``step(state, batch) -> (state, aux)`` fast; arrays keep their shapes, and with ``donate`` the state may be overwritten.

        The result raises ``MemoryError`` where the device's memory does not suffice.
        """
        return step

    def tune(self) -> list[str]:
        """Set the process up for speed and say what was changed, a sentence each; called once, by `tinytorch.tune`."""
        return []

    def shard_count(self, terms: int, parameters: int) -> int:
        """Number of shards of a batch to run with `parallel`; 1 keeps the batch whole.

        Args:
            terms: number of terms of the batch's loss, such as tokens or images.
            parameters: number of values in the gradient; every shard computes as many, and they are added up.
        """
        return 1

    def parallel(self, thunks: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run independent calls and return their results in order; one after another by default."""
        return [thunk() for thunk in thunks]
