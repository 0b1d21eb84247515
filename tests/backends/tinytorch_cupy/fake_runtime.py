"""The CUDA runtime of the fake cupy: GPUs, memory pools, streams and graphs.

Freed memory is overwritten with NaN immediately, so that a graph that still reads it gives wrong results. A pool's memory is freed with
the pool, even if an array still uses it, as in cupy 14.0.1. Operations that invalidate a capture on a GPU also invalidate it here.
"""

from __future__ import annotations

import gc
import weakref
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy

OUT_OF_MEMORY, CAPTURE_INVALIDATED = 2, 901  # cudaError_t
_ALIGNED = 512
_MAX_FREED = 1 << 20  # size up to which freed blocks are kept, so that stale addresses read NaN instead of faulting


class CUDARuntimeError(RuntimeError):
    """cupy's exception for errors of the CUDA runtime, with their ``status``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class OutOfMemoryError(MemoryError):
    """Raised by a pool if an allocation still fails after it has freed its unused blocks."""


class CaptureError(RuntimeError):
    """An operation that is not allowed during capture."""


class Machine:
    """The GPUs, the current GPU, and a stack of allocators.

    Attributes:
        limit: size limit of new pools in bytes, 0 for none; as CUPY_GPU_MEMORY_LIMIT.
        sorts_during_capture: whether Thrust can sort during capture, instead of ending the process.
    """

    def __init__(self, capability: str, count: int, capacity: int) -> None:
        self.limit = 0
        self.sorts_during_capture = False
        self.gpus = [Gpu(self, number, capability, capacity) for number in range(count)]
        self.current = 0
        self.default_pool = MemoryPool(self)
        self.allocators: list[Callable[[int], Any]] = [self.default_pool.malloc]
        self._starts: list[int] = []
        self._memories: dict[int, weakref.ref[Memory]] = {}

    @property
    def gpu(self) -> Gpu:
        """The current GPU."""
        return self.gpus[self.current]

    @contextmanager
    def using_allocator(self, allocator: Callable[[int], Any]) -> Iterator[None]:
        self.allocators.append(allocator)
        try:
            yield
        finally:
            self.allocators.pop()

    def register(self, memory: Memory) -> None:
        if memory.ptr not in self._memories:
            self._starts.insert(bisect_right(self._starts, memory.ptr), memory.ptr)
        self._memories[memory.ptr] = weakref.ref(memory)

    def memory_at(self, address: int) -> Memory | None:
        """The memory block that contains ``address``; ``None`` if it was freed or never allocated."""
        while (place := bisect_right(self._starts, address)) > 0:
            memory = self._memories[self._starts[place - 1]]()
            if memory is not None:
                return memory if address < memory.ptr + memory.size else None
            del self._memories[self._starts.pop(place - 1)]
        return None


class Gpu:
    """One GPU.

    Attributes:
        launched: number of launches; a replayed graph counts as one.
        graph: launches of the current capture; ``None`` outside a capture.
        addresses: addresses that these read and write.
        broken: what invalidated the capture.
        allocated: bytes allocated by the driver, of ``capacity``.
    """

    def __init__(self, machine: Machine, number: int, capability: str, capacity: int) -> None:
        self.machine = machine
        self.number = number
        self.capability = capability
        self.capacity = capacity
        self.streams: list[Stream] = [Stream(self, 0)]
        self.graph: list[Callable[[], None]] | None = None
        self.addresses: set[int] = set()
        self.broken: str | None = None
        self.allocated = 0
        self.launched = 0
        self.freed_blocks: list[numpy.ndarray[Any, Any]] = []

    def do(self, work: Callable[[], None]) -> None:
        """Launch ``work``: run it immediately, or record it during capture."""
        self.launched += 1
        if self.graph is None:
            work()
        elif self.broken is not None:
            raise CUDARuntimeError(CAPTURE_INVALIDATED, "cudaErrorStreamCaptureInvalidated: " + self.broken)
        else:
            self.graph.append(work)

    def note(self, *addresses: int) -> None:
        """Record addresses that a launch reads or writes, during capture."""
        if self.graph is not None:
            self.addresses.update(addresses)

    def invalidate(self, what: str) -> None:
        """Invalidate the current capture, if any."""
        if self.graph is not None:
            self.broken = what


class Device:
    """``cupy.cuda.Device``."""

    def __init__(self, machine: Machine, number: int | None = None) -> None:
        self._machine = machine
        self.id = machine.current if number is None else number
        self.compute_capability = machine.gpus[self.id].capability
        self._before: list[int] = []

    def __enter__(self) -> Device:
        self._before.append(self._machine.current)
        return self.use()

    def __exit__(self, *exc_info: object) -> None:
        self._machine.current = self._before.pop()

    def use(self) -> Device:
        self._machine.current = self.id
        return self

    def synchronize(self) -> None:
        pass

    @property
    def mem_info(self) -> tuple[int, int]:
        gpu = self._machine.gpus[self.id]
        return gpu.capacity - gpu.allocated, gpu.capacity


# ---- memory ----


class Memory:
    """``cupy.cuda.Memory``: memory of the current GPU, freed with this object."""

    def __init__(self, machine: Machine, size: int) -> None:
        self.gpu = machine.gpu
        self.ptr = 0  # 0 until allocated, for __del__
        self.size = size
        if self.gpu.allocated + size > self.gpu.capacity:
            raise CUDARuntimeError(OUT_OF_MEMORY, "cudaErrorMemoryAllocation: out of memory")
        longer = numpy.empty(size + _ALIGNED, numpy.uint8)
        start = -longer.ctypes.data % _ALIGNED
        self.bytes = longer[start : start + size]
        self.ptr = self.bytes.ctypes.data
        self.gpu.allocated += size
        self.overwrite()
        machine.register(self)

    def overwrite(self) -> None:
        if self.size <= _MAX_FREED:
            self.bytes.fill(0xFF)

    def __del__(self) -> None:
        if self.ptr:
            self.gpu.allocated -= self.size
            self.overwrite()
            if self.size <= _MAX_FREED:
                self.gpu.freed_blocks.append(self.bytes)


class PooledMemory:
    """Memory from a pool. It keeps neither the pool nor the memory alive."""

    def __init__(self, pool: MemoryPool, memory: Memory, place: tuple[int, int, int]) -> None:
        self._pool = weakref.ref(pool)
        self._place = place
        self.gpu, self.ptr, self.bytes = memory.gpu, memory.ptr, memory.bytes

    def __del__(self) -> None:
        pool = self._pool()
        if pool is not None:
            pool.free(self.ptr, self._place)


class MemoryPointer:
    """``cupy.cuda.MemoryPointer``."""

    def __init__(self, mem: Any, offset: int) -> None:
        self.mem = mem
        self.ptr = mem.ptr + offset


class MemoryPool:
    """``cupy.cuda.MemoryPool``: freed blocks are reused for allocations of the same size on the same GPU and stream."""

    def __init__(self, machine: Machine, allocator: Callable[[int], MemoryPointer] | None = None) -> None:
        self._machine = machine
        self._allocator = allocator or (lambda size: MemoryPointer(Memory(machine, size), 0))
        self._used: dict[int, Memory] = {}
        self._idle: dict[tuple[int, int, int], list[Memory]] = defaultdict(list)
        self._limit = machine.limit

    def malloc(self, size: int) -> MemoryPointer:
        size = max(1, -(-size // _ALIGNED)) * _ALIGNED
        place = (self._machine.current, self._machine.gpu.streams[-1].ptr, size)
        memory = self._idle[place].pop() if self._idle[place] else self._new(size)
        self._used[memory.ptr] = memory
        return MemoryPointer(PooledMemory(self, memory, place), 0)

    def _new(self, size: int) -> Memory:
        for free_memory in (self.free_all_blocks, gc.collect, self.free_all_blocks):
            if not self._limit or self.total_bytes() + size <= self._limit:
                try:
                    memory: Memory = self._allocator(size).mem
                    return memory
                except CUDARuntimeError as error:
                    if error.status != OUT_OF_MEMORY:
                        raise
            free_memory()
        raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes")

    def free(self, ptr: int, place: tuple[int, int, int]) -> None:
        memory = self._used.pop(ptr)
        memory.overwrite()
        self._idle[place].append(memory)

    def free_all_blocks(self) -> None:
        for place in list(self._idle):
            if place[0] == self._machine.current:
                del self._idle[place]

    def set_limit(self, size: int) -> None:
        self._limit = size

    def used_bytes(self) -> int:
        return sum(memory.size for memory in self._used.values())

    def total_bytes(self) -> int:
        return self.used_bytes() + sum(memory.size for idle in self._idle.values() for memory in idle)


class ArrayBase:
    """The base of a numpy array. It keeps the memory allocated as long as the array, or a view of it, exists."""

    def __init__(self, pointer: MemoryPointer, size: int) -> None:
        self.pointer = pointer
        self.__array_interface__ = {"version": 3, "shape": (size,), "typestr": "|u1", "data": (pointer.ptr, False)}


def allocated(machine: Machine, shape: tuple[int, ...], dtype: Any) -> numpy.ndarray[Any, Any]:
    """A numpy array in memory of the current GPU, from the current allocator."""
    dtype = numpy.dtype(dtype)
    size = int(numpy.prod(shape, dtype=int)) * dtype.itemsize
    if size == 0:
        return numpy.empty(shape, dtype)
    return numpy.asarray(ArrayBase(machine.allocators[-1](size), size)).view(dtype).reshape(shape)


def by_address(array: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    """View the same memory by address, as a graph does, without keeping it alive."""
    base: Any = array
    while base is not None and not isinstance(base, ArrayBase):
        base = base.base if isinstance(base, numpy.ndarray) else None
    if base is None:
        return array.view(numpy.ndarray)
    raw, gpu = base.pointer.mem.bytes, base.pointer.mem.gpu
    gpu.note(array.ctypes.data)
    return numpy.ndarray(array.shape, array.dtype, raw, array.ctypes.data - raw.ctypes.data, array.strides)


# ---- streams and graphs ----


class Stream:
    """A CUDA stream, which runs everything immediately.

    Attributes:
        waited: streams that it has waited for.
    """

    def __init__(self, gpu: Gpu, ptr: int) -> None:
        self._gpu = gpu
        self.ptr = ptr
        self.waited: list[Stream] = []

    def __enter__(self) -> Stream:
        if self._gpu.machine.gpu is not self._gpu:
            raise RuntimeError("The device that the stream is created on does not match with the current device")
        self._gpu.streams.append(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._gpu.streams.pop()

    def begin_capture(self) -> None:
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        assert self._gpu.graph is None, "nested capture"
        self._gpu.graph, self._gpu.addresses, self._gpu.broken = [], set(), None

    def end_capture(self) -> Graph:
        work, self._gpu.graph = self._gpu.graph, None
        assert work is not None
        if self._gpu.broken is not None:
            raise CUDARuntimeError(CAPTURE_INVALIDATED, "cudaErrorStreamCaptureInvalidated: " + self._gpu.broken)
        return Graph(self._gpu, work, self._gpu.addresses)

    def is_capturing(self) -> bool:
        return self._gpu.graph is not None

    def synchronize(self) -> None:
        if self._gpu.graph is not None:
            raise CaptureError("synchronize")

    def record(self) -> SimpleNamespace:
        return SimpleNamespace(stream=self)

    def wait_event(self, event: SimpleNamespace) -> None:
        self.waited.append(event.stream)


class Graph:
    """A captured graph."""

    def __init__(self, gpu: Gpu, work: list[Callable[[], None]], addresses: set[int]) -> None:
        self._gpu = gpu
        self._work = work
        self._addresses = addresses

    def launch(self, stream: Stream | None = None) -> None:
        assert self._gpu.machine.gpu is self._gpu, f"a graph of GPU {self._gpu.number} was launched on GPU {self._gpu.machine.current}"
        memories = [self._gpu.machine.memory_at(address) for address in self._addresses]
        assert all(memory is not None and memory.gpu is self._gpu for memory in memories), "a graph uses freed memory"
        self._gpu.launched += 1
        for work in self._work:
            work()

    def upload(self, stream: Stream | None = None) -> None:
        pass

    def __del__(self) -> None:
        self._gpu.invalidate("a graph was destroyed")
