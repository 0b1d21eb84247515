"""A fake cupy for machines without a GPU: numpy arrays with cupy's interface, on the GPUs of `fake_runtime`.

During capture nothing is computed. Launches are recorded with the addresses that they read and write, and replaying the graph runs them on
the current contents of that memory. So a step fails here as on a GPU if it reads a result on the host, if a value was captured that should
have been read from a buffer, or if memory of the graph was freed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_compat.numpy as compat
import numpy

from tests.backends.tinytorch_cupy.emulator import fake_cupy as emulator
from tests.backends.tinytorch_cupy.fake_runtime import (
    CaptureError,
    CUDARuntimeError,
    Device,
    Gpu,
    Machine,
    Memory,
    MemoryPointer,
    MemoryPool,
    OutOfMemoryError,
    Stream,
    allocated,
    by_address,
)


class ProcessEnded(BaseException):
    """An error in Thrust, whose exceptions cupy 14.0.1 does not catch."""


class FakeArray(numpy.ndarray):
    """An array on a fake GPU."""

    gpu: Gpu

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data, device_id=self.gpu.number)

    @property
    def device(self) -> Any:
        return SimpleNamespace(id=self.gpu.number, compute_capability=self.gpu.capability)

    def __array_finalize__(self, other: Any) -> None:
        self.gpu = getattr(other, "gpu", None)  # type: ignore[assignment]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        gpu = _gpu_of((inputs, out or ()))
        compute = partial(getattr(ufunc, method), *_by_address(inputs), **options)
        if out is not None:
            gpu.do(partial(compute, out=_by_address(out)))
            return out[0]
        with numpy.errstate(all="ignore"):
            found = compute()
        results = found if isinstance(found, tuple) else (found,)
        held = tuple(_new(x, gpu) for x in results)
        _compute(gpu, held, compute)
        return held if isinstance(found, tuple) else held[0]

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        gpu = _gpu_of((args, kwargs))
        plain_args, plain_kwargs = _plain(args), _plain(kwargs)
        compute = partial(function, *_by_address(args), **_by_address(kwargs))
        if function is numpy.copyto:
            return gpu.do(compute)
        if gpu.graph is not None and not gpu.machine.sorts_during_capture and function in (numpy.sort, numpy.argsort, numpy.unique):
            raise ProcessEnded("Thrust synchronizes the stream after a sort, which fails during capture")
        with numpy.errstate(all="ignore"):
            found = function(*plain_args, **plain_kwargs)
        if isinstance(found, tuple) and any(isinstance(x, numpy.ndarray) for x in found):  # such as from unique
            return tuple(_new(x, gpu) for x in found)
        if not isinstance(found, numpy.ndarray | numpy.generic):
            return found  # a shape, a dtype or a bool
        if isinstance(found, numpy.ndarray) and any(numpy.shares_memory(found, x) for x in _arrays((plain_args, plain_kwargs))):
            return _view(found, gpu)
        out = _new(found, gpu)
        _compute(gpu, (out,), compute)
        return out

    def __setitem__(self, key: Any, value: Any) -> None:
        gpu = _gpu_of((self, key, value))
        target, key, value = by_address(self), _by_address(key), _by_address(value)
        gpu.do(lambda: target.__setitem__(key, value))

    def __getitem__(self, key: Any) -> Any:
        if self.gpu.graph is not None and any(x.dtype == bool for x in _arrays(key)):
            raise CaptureError("boolean indexing reads the number of elements on the host")
        here = _plain(self)
        found = here[_plain(key)]
        if isinstance(found, numpy.ndarray) and numpy.shares_memory(found, here):
            return _view(found, self.gpu)
        if isinstance(found, numpy.generic):  # cupy returns 0-d views, numpy scalars
            return _view(here[(key if isinstance(key, tuple) else (key,)) + (Ellipsis,)], self.gpu)
        gpu = _gpu_of((self, key))
        out = _new(found, gpu)
        _compute(gpu, (out,), partial(by_address(self).__getitem__, _by_address(key)))
        return out

    def astype(self, dtype: Any, copy: bool = True, **options: Any) -> FakeArray:  # type: ignore[override]
        if not copy and self.dtype == dtype:
            return self
        gpu = _gpu_of(self)
        out = _new(_plain(self).astype(dtype), gpu)
        _compute(gpu, (out,), partial(by_address(self).astype, dtype))
        return out

    def reshape(self, *shape: Any, **options: Any) -> FakeArray:  # type: ignore[override]
        return numpy.reshape(self, shape[0] if len(shape) == 1 else shape, **options)  # type: ignore[return-value]

    def copy(self, order: Any = "C") -> FakeArray:
        gpu = _gpu_of(self)
        out = _new(_plain(self).copy(), gpu)
        _compute(gpu, (out,), by_address(self).copy)
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


def _view(array: numpy.ndarray, gpu: Gpu) -> FakeArray:
    """View an array in memory of ``gpu`` as a FakeArray."""
    out = array.view(FakeArray)
    out.gpu = gpu
    return out


def _new(value: Any, gpu: Gpu) -> FakeArray:
    """Copy ``value`` to new memory of the current GPU."""
    array = numpy.asarray(value)
    is_transposed = array.flags.f_contiguous and not array.flags.c_contiguous
    out = allocated(gpu.machine, array.shape[::-1] if is_transposed else array.shape, array.dtype)
    out = out.T if is_transposed else out
    out[...] = array
    return _view(out, gpu)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply ``change`` to fake arrays, also inside lists, tuples and dictionaries."""
    if isinstance(value, FakeArray):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)(_mapped(item, change) for item in value)
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    return value


def _plain(value: Any) -> Any:
    """Fake arrays as numpy arrays, which keep their memory alive."""
    return _mapped(value, lambda array: array.view(numpy.ndarray))


def _by_address(value: Any) -> Any:
    """Fake arrays by address, as in a launch."""
    return _mapped(value, by_address)


def _arrays(tree: Any) -> Iterator[numpy.ndarray]:
    if isinstance(tree, numpy.ndarray):
        yield tree
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from _arrays(item)
    elif isinstance(tree, dict):
        yield from _arrays(list(tree.values()))


def _gpu_of(tree: Any) -> Gpu:
    """The current GPU. All fake arrays must be on it, because cupy computes there."""
    gpus = {x.gpu for x in _arrays(tree) if isinstance(x, FakeArray)}
    gpu = next(iter(gpus)).machine.gpu
    assert gpus == {gpu}, f"GPU {gpu.number} is current, but arrays are on GPU {', '.join(str(other.number) for other in gpus)}"
    return gpu


def _compute(gpu: Gpu, outs: tuple[FakeArray, ...], function: Callable[[], Any]) -> None:
    """Fill ``outs`` with the results of ``function``. During capture they get wrong values until the graph is replayed."""
    if gpu.graph is None:
        gpu.launched += 1  # computed already
        return
    targets = [by_address(out) for out in outs]
    for target in targets:
        target[...] = numpy.array(123 if target.dtype.kind == "f" else 0, dtype=target.dtype)

    def work() -> None:
        with numpy.errstate(all="ignore"):
            found = function()
        for target, value in zip(targets, found if isinstance(found, tuple) else (found,), strict=True):
            target[...] = value

    gpu.do(work)


def new_cupy(capability: str = "90", gpus: int = 1, capacity: int = 80 << 30) -> ModuleType:
    """A fake module ``cupy`` with everything that the backend uses; ``capacity`` is the memory of each GPU in bytes."""
    cupy: Any = ModuleType("cupy")
    machine = Machine(capability, gpus, capacity)
    pointers = iter(range(256, 1 << 30, 256))

    def created(function: Callable[..., Any]) -> Callable[..., Any]:
        def create(*args: Any, **options: Any) -> FakeArray:
            options.pop("device", None)
            gpu = machine.gpu
            from_gpu = any(isinstance(x, FakeArray) for x in _arrays(args))
            made = function(*_plain(args), **_plain(options))
            if from_gpu and any(numpy.shares_memory(made, x) for x in _arrays(_plain(args))):
                return _view(made, gpu)
            if gpu.graph is not None and function in (numpy.array, numpy.asarray) and not from_gpu:
                raise RuntimeError("the current stream is capturing, so H2D transfers are disallowed")
            out = _new(made, gpu)
            _compute(gpu, (out,), partial(function, *_by_address(args), **_by_address(options)))
            return out

        return create

    for name in ("zeros", "ones", "full", "arange", "array", "asarray", "ascontiguousarray", "eye", "linspace"):
        setattr(cupy, name, created(getattr(numpy, name)))
    cupy.empty = lambda shape, dtype="float64", **options: _view(
        allocated(machine, (shape,) if isinstance(shape, int) else tuple(shape), dtype), machine.gpu
    )
    cupy.ndarray = FakeArray
    cupy.get_default_memory_pool = lambda: machine.default_pool
    cupy.__version__ = "14.0.1"
    cupy.copyto = numpy.copyto
    cupy.asnumpy = lambda array: array.get()
    cupy.add = SimpleNamespace(at=_add_at)
    cupy.fmod = numpy.fmod
    cupy.matmul = _matmul
    cupy.machine = machine
    cupy.gpu = machine.gpus[0]
    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDevice=lambda: machine.current,
        getDeviceCount=lambda: gpus,
        getDeviceProperties=lambda number: {"name": b"Fake GPU"},
        runtimeGetVersion=lambda: 12080,
        driverGetVersion=lambda: 12080,
        memcpyAsync=None,
    )
    cupy.cuda = SimpleNamespace(
        runtime=runtime,
        Device=partial(Device, machine),
        Stream=lambda non_blocking=False: Stream(machine.gpu, next(pointers)),
        get_current_stream=lambda: machine.gpu.streams[-1],
        Memory=partial(Memory, machine),
        MemoryPointer=MemoryPointer,
        MemoryPool=partial(MemoryPool, machine),
        using_allocator=machine.using_allocator,
        alloc=lambda size: machine.allocators[-1](size),
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    )
    return cupy


def _by_value(arg: Any) -> Any:
    """Copy an argument of a launch, so that later changes of Python objects have no effect."""
    if isinstance(arg, FakeArray):
        return by_address(arg).view(emulator.ndarray)
    return arg.copy() if isinstance(arg, numpy.ndarray) else arg


def with_cuda(cupy: Any) -> Any:
    """Add emulated CUDA kernels to the module; their launches are captured as well."""

    class RawModule(emulator.RawModule):
        def get_function(self, name: str) -> Any:
            run = super().get_function(name).kernel
            loaded = cupy.machine.gpu

            def launch(grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
                assert _gpu_of(args) is loaded, f"{name} was compiled for GPU {loaded.number}"
                copied = [_by_value(arg) for arg in args]
                loaded.do(lambda: run(grid, block, tuple(copied)))

            return SimpleNamespace(kernel=launch)

    cupy.RawModule = RawModule
    return cupy


def _matmul(a: Any, b: Any) -> Any:
    """cupy's matmul, which raises during capture."""
    gpu = _gpu_of((a, b))
    if gpu.graph is not None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    return _new(_plain(a) @ _plain(b), gpu)


def _add_at(out: FakeArray, indices: FakeArray, rows: FakeArray) -> None:
    _gpu_of((out, indices, rows)).do(lambda: numpy.add.at(by_address(out), by_address(indices), by_address(rows)))


def _repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    if isinstance(repeats, FakeArray):
        raise ValueError("cupy.ndaray cannot be specified as `repeats` argument.")
    return compat.repeat(x, repeats, axis=axis)


def new_namespace(cupy: Any) -> Any:
    """A fake ``array_api_compat.cupy`` namespace."""
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
