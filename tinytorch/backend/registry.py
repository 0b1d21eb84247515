"""Which backends there are, and the one instance of each.

A name leads to a factory by one of three ways, in this order: the table of plugins shipped with tinytorch, `register_backend`, and entry
points in the group ``tinytorch.backends`` of other installed packages. Nothing is imported before its name is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias, cast

from tinytorch.backend.contract import Backend, Namespace
from tinytorch.backend.errors import BackendUnavailableError, UnknownBackendError

ENTRY_POINT_GROUP: Final = "tinytorch.backends"

Factory: TypeAlias = Callable[[str | None], Backend]  #: makes the backend for a device; None asks for the library's default device


class HasBackend(Protocol):
    """Anything that knows its backend, such as a tinytorch ``Device``."""

    @property
    def backend(self) -> Backend: ...


BackendSpec: TypeAlias = str | Backend | HasBackend  #: ``"cupy"``, ``"cupy:1"``, ``"auto"``, a Backend or a Device

_SHIPPED: Final = MappingProxyType(
    {
        "numpy": "tinytorch_numpy:create_backend",
        "cupy": "tinytorch_cupy:create_backend",
        "torch": "tinytorch_torch:create_backend",
        "jax": "tinytorch_jax:create_backend",
        "strict": "tinytorch_strict:create_backend",
    }
)
_AUTO: Final = "auto"
_AUTO_ORDER: Final = ("cupy", "numpy")

_lock = threading.RLock()  # re-entrant: a plugin or the namespace factory may itself ask for a backend
_registered: dict[str, Factory] = {}
_instances: dict[tuple[str, str | None], Backend] = {}  # by name and device, as asked for and as the backend calls it
_namespace_factory: Callable[[Backend], Namespace] | None = None


def get_backend(spec: BackendSpec) -> Backend:
    """The backend that ``spec`` names, created on first use; the same object every time.

    Args:
        spec: a name (``"cupy"``), a name and a device (``"cupy:1"``), ``"auto"`` for the first of cupy and numpy that can run,
            a `Backend`, or an object that carries one as ``.backend``.

    Raises:
        UnknownBackendError: no backend has that name, or the colon is misplaced.
        BackendUnavailableError: it cannot run on this machine. Only ``"auto"`` ever falls back to another one.
        TypeError: ``spec`` is something else.
    """
    if isinstance(spec, Backend):
        return spec
    if not isinstance(spec, str):
        backend = getattr(spec, "backend", None)
        if isinstance(backend, Backend):
            return backend
        raise TypeError(f"expected the name of a backend such as 'cupy:1', a Backend or a Device, but got {spec!r}")
    key = _parse(spec)
    found = _instances.get(key)
    if found is not None:
        return found
    with _lock:
        return _instances.get(key) or _create(*key)


def register_backend(name: str, factory: Factory) -> None:
    """Make ``factory`` the way to create the backend called ``name``; a later registration of the same name replaces it.

    Tensors that were made on a replaced backend keep theirs.

    Args:
        name: what users will type, without a colon.
        factory: called with the text after the colon in ``"name:device"``, or ``None``; returns a `Backend` of that name, or raises
            `BackendUnavailableError`.

    Raises:
        ValueError: the name is malformed, or belongs to a backend that comes with tinytorch.
    """
    if not name or ":" in name or name != name.strip():
        raise ValueError(f"a backend's name must be a word without a colon or spaces around it, but got {name!r}")
    if name in _SHIPPED or name == _AUTO:
        raise ValueError(f"the name {name!r} is taken by tinytorch itself; register your backend under another one")
    with _lock:
        _registered[name] = factory
        for key in [key for key in _instances if key[0] == name]:
            del _instances[key]


def known_backends() -> tuple[str, ...]:
    """The names that `get_backend` accepts, usable here or not: shipped, then registered, then from entry points."""
    return tuple(dict.fromkeys([*_SHIPPED, *_registered, *sorted(point.name for point in _entry_points())]))


def set_namespace_factory(factory: Callable[[Backend], Namespace]) -> None:
    """Say how a backend gets its ``namespace``. Called once by ``tinytorch`` itself, which is built above this package."""
    global _namespace_factory
    with _lock:
        _namespace_factory = factory
        for backend in _instances.values():
            if backend.namespace is None:
                backend.namespace = factory(backend)


def _parse(spec: str) -> tuple[str, str | None]:
    """Split ``"name:device"`` at the first colon; the device may hold more of them (``"torch:cuda:1"``)."""
    name, colon, device = spec.strip().partition(":")
    if colon and (not device or name == _AUTO):
        raise UnknownBackendError(
            f"expected a backend and its device such as 'cupy:1', but got {spec!r}; type {name!r} for its default device"
        )
    return name, device or None


def _create(name: str, device: str | None) -> Backend:
    """Create and remember a backend; the caller holds the lock."""
    if name == _AUTO:
        backend = _first_usable()
    else:
        made = _find_factory(name)(device)
        if not isinstance(made, Backend):
            raise TypeError(f"the factory of the {name} backend must return a tinytorch Backend, but returned {made!r}")
        if name not in _SHIPPED:
            _check_owns(name, made)
        # "numpy" and "numpy:cpu" are one device, which only the backend itself knows: the first object made for it stays
        backend = _instances.get((name, made.device), made)
        if backend.namespace is None and _namespace_factory is not None:
            backend.namespace = _namespace_factory(backend)
        _instances[name, backend.device] = backend
    _instances[name, device] = backend
    return backend


def _check_owns(name: str, backend: Backend) -> None:
    """Raise ``TypeError`` where a plugin does not own what its library returns, such as the scalars that numpy makes of 0-d results."""
    ones = backend.xp.ones((1,))
    for result in (ones, backend.xp.sum(ones)):
        if not backend.owns(result):
            raise TypeError(
                f"owns() of the {name} backend must accept every array of its library on its device, 0-d results included, "
                f"but it refuses a {type(result).__module__}.{type(result).__name__} of shape {tuple(result.shape)}"
            )


def _first_usable() -> Backend:
    for name in _AUTO_ORDER[:-1]:
        try:
            return get_backend(name)
        except BackendUnavailableError:
            continue
    return get_backend(_AUTO_ORDER[-1])


def _find_factory(name: str) -> Factory:
    if name in _SHIPPED:
        return _load_shipped(name)
    if name in _registered:
        return _registered[name]
    for point in _entry_points():
        if point.name == name:
            try:
                return cast(Factory, point.load())
            except Exception as error:  # other people's module: whatever it raises, the user needs to hear whose it is
                reason = f"its plugin {point.value} does not load ({type(error).__name__}: {error})"
                raise BackendUnavailableError(name, reason, "update or reinstall the package it comes from") from error
    raise UnknownBackendError(_unknown(name))


def _load_shipped(name: str) -> Factory:
    module_name, _, attribute = _SHIPPED[name].partition(":")
    try:
        return cast(Factory, getattr(import_module(module_name), attribute))
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        hint = "install tinytorch with `pip install -e .`, or set PYTHONPATH=.:backends in a bare clone"
        raise BackendUnavailableError(name, f"Python does not find its plugin {module_name}", hint) from error


def _unknown(name: str) -> str:
    from difflib import get_close_matches  # only this error needs it

    known = (*known_backends(), _AUTO)
    close = get_close_matches(name.lower(), known, n=1)
    return f"no backend is called {name!r}; there are {', '.join(known)}" + (f" (did you mean {close[0]!r}?)" if close else "")


class _EntryPoint(Protocol):
    """The part of ``importlib.metadata.EntryPoint`` used here."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    def load(self) -> object: ...


def _entry_points() -> tuple[_EntryPoint, ...]:
    from importlib.metadata import entry_points  # reads the disk: only for names that are not in the tables

    return tuple(entry_points(group=ENTRY_POINT_GROUP))
