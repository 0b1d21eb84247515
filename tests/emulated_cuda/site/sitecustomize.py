"""Loaded by every Python process whose ``PYTHONPATH`` has this directory: prepares cupy for the emulated CUDA when it is imported."""

import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec

os.environ.setdefault("CUPY_ACCELERATORS", "")  # CUB is compiled for GPUs only


class _PatchingLoader(Loader):
    """The loader of cupy, which patches it after it is loaded."""

    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        from tests.emulated_cuda import compiler, host_functions
        from tests.emulated_cuda.thrust import Thrust

        compiler.patch(module.cuda.compiler)
        host_functions.patch(module)
        module._core._routines_sorting.thrust = module._sorting.sort.thrust = Thrust(module)


class _Finder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "cupy":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _PatchingLoader(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
