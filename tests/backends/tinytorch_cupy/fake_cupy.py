"""A cupy for machines without a GPU: numpy arrays behind cupy's names, with streams that can be captured.

While a stream is being captured nothing is computed. What would have been launched is kept, with the memory that it reads and writes, and
a launch of the graph does it on what that memory holds then. So a step that reads a result on the host, or that was baked with a value
which should have come from a buffer, goes wrong here as it would on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_compat.numpy as compat
import numpy

from tests.backends.tinytorch_cupy.emulator import fake_cupy as emulator


class CaptureError(RuntimeError):
    """What is not allowed while a stream is being captured."""


class Device:
    """The one GPU, as far as work on it is concerned."""

    def __init__(self, capability: str) -> None:
        self.capability = capability
        self.streams: list[Stream] = [Stream(self, 0)]
        self.graph: list[Callable[[], None]] | None = None
        self.memory: list[Any] = []  # what a graph being captured has addresses of, as its pool would keep it
        self.launched = 0

    def do(self, work: Callable[[], None]) -> None:
        """A launch: done at once, or kept for the graph."""
        self.launched += 1
        if self.graph is None:
            work()
        else:
            self.graph.append(work)


class Chosen:
    """``cupy.cuda.Device(0)``."""

    mem_info = (60 << 30, 80 << 30)

    def __init__(self, capability: str) -> None:
        self.compute_capability = capability

    def __enter__(self) -> Chosen:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def use(self) -> None:
        pass

    def synchronize(self) -> None:
        pass


class Stream:
    """A CUDA stream; everything on it is done at once."""

    def __init__(self, device: Device, ptr: int) -> None:
        self._device = device
        self.ptr = ptr

    def __enter__(self) -> Stream:
        self._device.streams.append(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._device.streams.pop()

    def begin_capture(self) -> None:
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self._device.graph, self._device.memory = [], []

    def end_capture(self) -> Graph:
        work, self._device.graph = self._device.graph, None
        assert work is not None
        return Graph(self._device, work, self._device.memory)

    def is_capturing(self) -> bool:
        return self._device.graph is not None

    def synchronize(self) -> None:
        if self._device.graph is not None:
            raise CaptureError("synchronize")

    def record(self) -> SimpleNamespace:
        return SimpleNamespace()

    def wait_event(self, event: object) -> None:
        pass


class Graph:
    """What was captured."""

    def __init__(self, device: Device, work: list[Callable[[], None]], memory: list[Any]) -> None:
        self._device = device
        self._work = work
        self._memory = memory

    def launch(self, stream: Stream | None = None) -> None:
        self._device.launched += 1
        for work in self._work:
            work()

    def upload(self, stream: Stream | None = None) -> None:
        pass


class FakeArray(numpy.ndarray):
    """An array on the fake GPU."""

    gpu: Device

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data, device_id=0)

    @property
    def device(self) -> Any:
        return SimpleNamespace(id=0, compute_capability=self.gpu.capability)

    def __array_finalize__(self, other: Any) -> None:
        self.gpu = getattr(other, "gpu", None)  # type: ignore[assignment]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        gpu = _gpu_of(inputs)
        plain = [_plain(x) for x in inputs]
        written = None if out is None else tuple(_plain(x) for x in out)
        if written is None:
            with numpy.errstate(all="ignore"):
                found = getattr(ufunc, method)(*plain, **options)
            results = found if isinstance(found, tuple) else (found,)
            held = tuple(_array(numpy.array(x), gpu) for x in results)
            _compute(gpu, held, lambda: getattr(ufunc, method)(*plain, **options))
            return held if isinstance(found, tuple) else held[0]
        gpu.do(lambda: getattr(ufunc, method)(*plain, out=written, **options))
        return out[0]

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        gpu = _gpu_of((args, kwargs))
        plain_args, plain_kwargs = _plain(args), _plain(kwargs)
        if function is numpy.copyto:
            return gpu.do(lambda: function(*plain_args, **plain_kwargs))
        with numpy.errstate(all="ignore"):
            found = function(*plain_args, **plain_kwargs)
        if not isinstance(found, numpy.ndarray | numpy.generic):
            return found  # a shape, a type, a truth about types
        if isinstance(found, numpy.ndarray) and any(numpy.shares_memory(found, x) for x in _arrays((plain_args, plain_kwargs))):
            return _array(found, gpu)  # a view
        out = _array(numpy.array(found), gpu)
        _compute(gpu, (out,), lambda: function(*plain_args, **plain_kwargs))
        return out

    def __setitem__(self, key: Any, value: Any) -> None:
        target, key, value = _plain(self), _plain(key), _plain(value)
        self.gpu.do(lambda: target.__setitem__(key, value))

    def __getitem__(self, key: Any) -> Any:
        if self.gpu.graph is not None and any(x.dtype == bool for x in _arrays(key)):
            raise CaptureError("how many a mask chooses is counted on the host")
        here, key = _plain(self), _plain(key)
        found = here[key]
        if isinstance(found, numpy.ndarray) and numpy.shares_memory(found, here):
            return _array(found, self.gpu)
        if isinstance(found, numpy.generic):  # cupy has views without dimensions, numpy has numbers
            return _array(here[(key if isinstance(key, tuple) else (key,)) + (Ellipsis,)], self.gpu)
        out = _array(numpy.array(found), self.gpu)
        _compute(self.gpu, (out,), lambda: here[key])
        return out

    def astype(self, dtype: Any, copy: bool = True, **options: Any) -> FakeArray:  # type: ignore[override]
        if not copy and self.dtype == dtype:
            return self
        here = _plain(self)
        out = _array(here.astype(dtype), self.gpu)
        _compute(self.gpu, (out,), lambda: here.astype(dtype))
        return out

    def reshape(self, *shape: Any, **options: Any) -> FakeArray:  # type: ignore[override]
        return numpy.reshape(self, shape[0] if len(shape) == 1 else shape, **options)  # type: ignore[return-value]

    def copy(self, order: Any = "C") -> FakeArray:
        here = _plain(self)
        out = _array(here.copy(), self.gpu)
        _compute(self.gpu, (out,), here.copy)
        return out

    def fill(self, value: Any) -> None:
        self[...] = value

    def _refused(self, *args: Any, **options: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def get(self) -> numpy.ndarray:
        if self.gpu.graph is not None:
            raise RuntimeError("the current stream is capturing, so D2H transfers are disallowed")
        return numpy.array(_plain(self))

    def item(self) -> Any:  # type: ignore[override]
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __bool__(self) -> bool:
        return bool(self.get())


def _array(array: numpy.ndarray, gpu: Device) -> FakeArray:
    out = array.view(FakeArray)
    out.gpu = gpu
    if gpu.graph is not None:
        gpu.memory.append(array)
    return out


def _plain(value: Any) -> Any:
    """Fake arrays as numpy's, inside lists, tuples and dictionaries too."""
    if isinstance(value, FakeArray):
        return value.view(numpy.ndarray)
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _arrays(tree: Any) -> Iterator[numpy.ndarray]:
    if isinstance(tree, numpy.ndarray):
        yield tree
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from _arrays(item)
    elif isinstance(tree, dict):
        yield from _arrays(list(tree.values()))


def _gpu_of(tree: Any) -> Device:
    return next(x.gpu for x in _arrays(tree) if isinstance(x, FakeArray))


def _compute(gpu: Device, outs: tuple[FakeArray, ...], function: Callable[[], Any]) -> None:
    """Have ``outs`` hold what ``function`` gives. While capturing they hold nonsense until the graph is launched."""
    targets = [_plain(out) for out in outs]

    def work() -> None:
        with numpy.errstate(all="ignore"):
            found = function()
        for target, value in zip(targets, found if isinstance(found, tuple) else (found,), strict=True):
            target[...] = value

    if gpu.graph is not None:
        for target in targets:
            target[...] = numpy.array(123 if target.dtype.kind == "f" else 0, dtype=target.dtype)
        gpu.do(work)
    else:
        gpu.launched += 1  # computed already


class Pool:
    """A memory pool that only counts."""

    def __init__(self) -> None:
        self.allocated = 0

    def malloc(self, size: int) -> Any:
        self.allocated += size
        memory = numpy.zeros(size + 256, dtype=numpy.uint8)
        return SimpleNamespace(ptr=memory.ctypes.data + (-memory.ctypes.data) % 256, owner=memory)

    def free_all_blocks(self) -> None:
        pass

    def total_bytes(self) -> int:
        return self.allocated


def new_cupy(capability: str = "90") -> ModuleType:
    """The module ``cupy``, with what the backend uses of it."""
    cupy: Any = ModuleType("cupy")
    gpu = Device(capability)
    pools = [Pool()]
    pointers = iter(range(256, 1 << 30, 256))

    def created(function: Callable[..., Any]) -> Callable[..., Any]:
        def create(*args: Any, **options: Any) -> FakeArray:
            options.pop("device", None)
            plain_args, plain_options = _plain(args), _plain(options)
            made = function(*plain_args, **plain_options)
            if any(numpy.shares_memory(made, x) for x in _arrays(plain_args)):
                if any(isinstance(x, FakeArray) for x in _arrays(args)):
                    return _array(made, gpu)
                made = made.copy()  # a transfer
            sent = function in (numpy.array, numpy.asarray) and not any(isinstance(x, FakeArray) for x in _arrays(args))
            if gpu.graph is not None and sent:
                raise RuntimeError("the current stream is capturing, so H2D transfers are disallowed")
            out = _array(made, gpu)
            _compute(gpu, (out,), lambda: function(*plain_args, **plain_options))
            return out

        return create

    @contextmanager
    def using_allocator(allocator: Callable[[int], Any]) -> Iterator[None]:
        pools.append(allocator.__self__)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            pools.pop()

    for name in ("empty", "zeros", "ones", "full", "arange", "array", "asarray", "ascontiguousarray", "eye", "linspace"):
        setattr(cupy, name, created(getattr(numpy, name)))
    cupy.empty = lambda shape, dtype="float64", **options: _array(numpy.empty(shape, dtype), gpu)
    cupy.ndarray = FakeArray
    cupy.get_default_memory_pool = lambda: pools[0]
    cupy.__version__ = "fake"
    cupy.copyto = numpy.copyto
    cupy.asnumpy = lambda array: array.get()
    cupy.matmul = lambda a, b: _refuse_matmul(gpu, a, b)
    cupy.gpu = gpu
    cupy.pools = pools
    runtime = SimpleNamespace(
        getDevice=lambda: 0,
        getDeviceCount=lambda: 1,
        runtimeGetVersion=lambda: 12080,
        driverGetVersion=lambda: 12080,
        memcpyAsync=None,
    )
    cupy.cuda = SimpleNamespace(
        runtime=runtime,
        Device=lambda number=0: Chosen(capability),
        Stream=lambda non_blocking=False: Stream(gpu, next(pointers)),
        get_current_stream=lambda: gpu.streams[-1],
        MemoryPool=Pool,
        using_allocator=using_allocator,
        alloc=lambda size: pools[-1].malloc(size),
        memory=SimpleNamespace(OutOfMemoryError=type("OutOfMemoryError", (MemoryError,), {})),
    )
    return cupy


def _by_value(arg: Any) -> Any:
    """An argument of a launch as it is now: what becomes of Python's own objects afterwards must not be seen."""
    if isinstance(arg, FakeArray):
        return _plain(arg).view(emulator.ndarray)
    return arg.copy() if isinstance(arg, numpy.ndarray) else arg


def with_cuda(cupy: Any) -> Any:
    """The same module, with CUDA that is emulated on the CPU; launches are kept for the graph as the others are."""

    class RawModule(emulator.RawModule):
        def get_function(self, name: str) -> Any:
            run = super().get_function(name).kernel

            def launch(grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
                given = [_by_value(arg) for arg in args]
                cupy.gpu.do(lambda: run(grid, block, tuple(given)))

            return SimpleNamespace(kernel=launch)

    cupy.RawModule = RawModule
    return cupy


def _refuse_matmul(gpu: Device, a: Any, b: Any) -> Any:
    """cupy's own products do not run while a stream is being captured."""
    if gpu.graph is not None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    return _array(numpy.array(_plain(a) @ _plain(b)), gpu)


def _repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    if isinstance(repeats, FakeArray):
        raise ValueError("cupy.ndaray cannot be specified as `repeats` argument.")
    return compat.repeat(x, repeats, axis=axis)


def new_namespace(cupy: Any) -> Any:
    """The namespace that stands for ``array_api_compat.cupy``."""
    module = ModuleType("array_api_compat.fake")
    for name in dir(compat):
        if not name.startswith("__"):
            setattr(module, name, getattr(compat, name))
    for name in ("empty", "zeros", "ones", "full", "arange", "asarray", "eye", "linspace"):
        setattr(module, name, getattr(cupy, name))
    module.asarray = lambda x, dtype=None, copy=None, **options: (  # type: ignore[attr-defined]
        (x.astype(dtype) if dtype is not None else x.copy()) if copy and isinstance(x, FakeArray) else cupy.asarray(x, dtype=dtype)
    )
    module.repeat = _repeat  # type: ignore[attr-defined]
    module.astype = lambda x, dtype, copy=True, **options: x.astype(dtype, copy=copy)  # type: ignore[attr-defined]
    return module
