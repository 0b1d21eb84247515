"""The interface between tinytorch and an array library: all attributes and methods that the framework uses.

A plugin subclasses `Backend`, sets the attributes and implements the abstract methods. It handles arrays, not neural networks.
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

Array: TypeAlias = Any  #: an array of any library; the standard has no common base class
Namespace: TypeAlias = Any  #: a module or object with the functions of the standard
#: ``step(state, batch) -> (state, aux)``, as for `Backend.compile`
Step: TypeAlias = Callable[[tuple[Array, ...], tuple[Array, ...]], tuple[tuple[Array, ...], tuple[Array, ...]]]


@dataclass(frozen=True)
class Kernel:
    """One implementation of a fused operation on a backend's raw arrays.

    The settings are the keyword-only parameters of the portable forward, with the same names, annotations and defaults.

    Attributes:
        forward: ``forward(*arrays, **settings) -> (out, residuals)``. Returns ``NotImplemented`` for a dtype or layout that it does not
            support; the portable implementation runs instead.
        backward: ``backward(g, residuals, inputs, needs, **settings) -> gradients``: one gradient for each array input, ``None`` where
            ``needs`` is false. ``None`` for an operation that has no derivative, such as an optimizer update. Returns ``NotImplemented``
            if it cannot run although forward did; the portable implementation then runs forward and backward.

    Example:
        >>> from tinytorch.backend import Kernel
        >>> square = Kernel(lambda x: (x * x, None), lambda g, residuals, inputs, needs: [2 * g * inputs[0]])
        >>> square.forward(numpy.asarray([3.0]))[0]
        array([9.])
    """

    forward: Callable[..., Any]
    backward: Callable[..., Sequence[Array | None]] | None = None


@dataclass(frozen=True)
class Capabilities:
    """Properties of a backend that the standard does not define.

    Attributes:
        dtypes: names of the data types it supports.
        host: whether its arrays are in host memory, so that numpy may read them without an explicit transfer.
        inplace: whether its arrays can be written in place.
        deterministic_scatter: whether values at repeated indices are always summed in the same order.
        graph: whether `Backend.compile` captures a step as a graph that is replayed with one launch (a CUDA graph).
        checks_indices: whether the library raises for out-of-bounds indices; otherwise `Backend.out_of_bounds` finds them, and ``xp`` may
            have a ``getitem(x, key)`` that returns NaN for them.

    Example:
        >>> tt.get_backend("numpy").capabilities.host
        True
    """

    dtypes: frozenset[str]
    host: bool = False
    inplace: bool = True
    deterministic_scatter: bool = True
    graph: bool = False
    checks_indices: bool = True


@dataclass(frozen=True)
class MemoryInfo:
    """Memory of a device in bytes.

    Attributes:
        used: bytes used by this process.
        total: bytes of the device.

    Example:
        >>> from tinytorch.backend import MemoryInfo
        >>> MemoryInfo(used=2**30, total=2**34).used
        1073741824
    """

    used: int
    total: int


@dataclass
class Backend(ABC):
    """One array library on one device.

    Attributes:
        name: the name it is registered under.
        device: name of the device within that library, such as ``"cpu"`` or ``"0"``.
        xp: the namespace of the library, with the functions of the standard.
        capabilities: properties that the standard does not define.
        kernels: its implementations of fused operations, by operation name.
        namespace: the differentiable namespace of tinytorch, bound to this backend; set by the registry.

    Example:
        >>> backend = tt.get_backend("numpy")
        >>> backend.spec, backend.owns(numpy.ones(3))
        ('numpy:cpu', True)
    """

    name: str
    device: str
    xp: Namespace
    capabilities: Capabilities
    kernels: Mapping[str, Kernel] = field(default_factory=lambda: MappingProxyType({}))
    namespace: Namespace = None

    def __post_init__(self) -> None:
        # the dtype of an array can differ from the attribute of the namespace (numpy.float32 is a class)
        self._raw_dtypes = {name: self.xp.empty((0,), dtype=self._find_dtype(name)).dtype for name in self.capabilities.dtypes}
        self._dtypes = {raw: DTYPES[name] for name, raw in self._raw_dtypes.items()}

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __repr__(self) -> str:
        return f"<Backend {self.spec}>"

    @property
    def spec(self) -> str:
        """The name that `get_backend` accepts for this backend, such as ``"numpy:cpu"`` or ``"cupy:1"``."""
        return f"{self.name}:{self.device}"

    @property
    def default_int(self) -> str:
        """Name of the default integer dtype: int64, or int32 if the library has no int64."""
        return "int64" if "int64" in self.capabilities.dtypes else "int32"

    def dtype(self, name: str) -> Any:
        """The dtype object of the library for ``name``; raises ``TypeError`` if it has none."""
        try:
            return self._raw_dtypes[name]
        except KeyError:
            have = ", ".join(n for n in DTYPES if n in self._raw_dtypes)
            raise TypeError(f"the {self.name} backend has no data type {name}; it has {have}") from None

    def _find_dtype(self, name: str) -> Any:
        return getattr(self.xp, name)

    def dtype_of(self, array: Array) -> DType:
        """The `DType` of ``array``; raises ``TypeError`` for a dtype outside the standard."""
        try:
            return self._dtypes[array.dtype]
        except KeyError:
            raise TypeError(f"arrays of data type {array.dtype} are not supported; convert to float32 first") from None

    @abstractmethod
    def owns(self, array: object) -> bool:
        """Whether ``array`` is an array of this library on this device."""

    @abstractmethod
    def from_host(self, array: numpy.ndarray, dtype: str | None = None) -> Array:
        """Copy a host array to the device, converted to the dtype named ``dtype``. The copy shares no memory with ``array``."""

    @abstractmethod
    def to_host(self, array: Array) -> numpy.ndarray:
        """Copy ``array`` to a read-only host array. `from_host` and `to_host` are the only transfers between host and device."""

    def out_of_bounds(self, indices: Array, length: int) -> int | None:
        """An index outside ``-length <= i < length``, or ``None``; called only if the library does not check indices.

        Also returns ``None`` while a step is being compiled, where the values are not known yet.
        """
        return None

    def rng(self, seed: int) -> Generator:
        """A random number generator for use outside training steps. It runs on the host, so that all backends get the same numbers."""
        from tinytorch.backend.rng import Generator  # loads numpy.random, which array code does not need

        return Generator(seed, self.from_host, self.default_int)

    def synchronize(self) -> None:
        """Wait until the device has finished all submitted work."""

    def memory_info(self) -> MemoryInfo | None:
        """Memory of the device, or ``None`` if the library does not report it."""
        return None

    def lacks_precision(self, name: str) -> str | None:
        """Why the device does not support a precision (float32, tf32, bfloat16 or float16), as a clause; ``None`` if it does."""
        if name == "tf32":
            return "it has no TF32"
        return None if name in self.capabilities.dtypes else f"it has no data type {name}"

    def matmul_precision(self, precision: str) -> AbstractContextManager[None]:
        """A context manager in which float32 matmuls are computed in TF32 if ``precision`` is ``tf32``."""
        return nullcontext()

    def versions(self) -> dict[str, str]:
        """Versions of the libraries that this backend uses, by name, for reports."""
        return {}

    def self_check_key(self) -> dict[str, str] | None:
        """What the results of a check of `kernels` depend on, by name, such as the device, the versions, and a hash of the sources.

        ``None``, the default, if kernels are not checked on the first use of a device.
        """
        return None

    def compile(self, step: Step, donate: bool = False) -> Step:
        """Compile ``step(state, batch) -> (state, aux)``, such as with ``jax.jit`` or as a CUDA graph, once for each set of shapes.

        The default implementation returns ``step`` unchanged.

        Args:
            step: a function of two flat tuples of arrays.
            donate: donate the buffers of ``state``, as with ``donate_argnums`` of ``jax.jit``: the compiled step may write into them.

        Returns:
            The compiled step, which raises ``MemoryError`` if the device runs out of memory.
        """
        return step

    def tune(self) -> list[str]:
        """Tune the process for speed. Returns a sentence for each change. Called once, by `tinytorch.tune`."""
        return []

    def shard_count(self, terms: int, parameters: int) -> int:
        """Number of shards to split a batch into, for `parallel`; 1 does not split it.

        Args:
            terms: number of terms in the loss of the batch, such as tokens or images.
            parameters: number of values in the gradient. Every shard computes a full gradient; these are then summed.
        """
        return 1

    def parallel(self, thunks: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run independent calls and return their results in order; sequential by default."""
        return [thunk() for thunk in thunks]
