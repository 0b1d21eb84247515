"""The registry of backends: their factories by name, and one instance for each device.

The factory of a name is looked up in this order: the table of plugins shipped with tinytorch, `register_backend`, and entry points of
other installed packages in the group ``tinytorch.backends``. A plugin is imported when its name is first used.
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

Factory: TypeAlias = Callable[[str | None], Backend]  #: creates the backend for a device; None means the default device of the library


class HasBackend(Protocol):
    """An object with a ``backend`` attribute, such as a tinytorch ``Device``."""

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

_lock = threading.RLock()  # re-entrant: a plugin or the namespace factory may call get_backend
_registered: dict[str, Factory] = {}
_instances: dict[tuple[str, str | None], Backend] = {}  # by name and device; the device both as requested and as reported by the backend
_namespace_factory: Callable[[Backend], Namespace] | None = None


def get_backend(spec: BackendSpec) -> Backend:
    """Return the backend named by ``spec``; it is created on first use, and later calls return the same object.

    Args:
        spec: a name (``"cupy"``), a name and a device (``"cupy:1"``), ``"auto"`` for the first of cupy and numpy that can run,
            a `Backend`, or an object with a ``.backend`` attribute, such as a `Device`.

    Raises:
        UnknownBackendError: no backend has this name, or the colon is misplaced.
        BackendUnavailableError: it cannot run on this machine. Only ``"auto"`` falls back to another backend.
        TypeError: ``spec`` has another type.

    Example:
        >>> tt.get_backend("numpy")
        <Backend numpy:cpu>
    """
    if isinstance(spec, Backend):
        return spec
    if not isinstance(spec, str):
        backend = getattr(spec, "backend", None)
        if isinstance(backend, Backend):
            return backend
        raise TypeError(f"expected the name of a backend such as 'cupy:1', a Backend or a Device, got {spec!r}")
    key = _parse(spec)
    found = _instances.get(key)
    if found is not None:
        return found
    with _lock:
        return _instances.get(key) or _create(*key)


def register_backend(name: str, factory: Factory) -> None:
    """Register a factory for the backend ``name``; registering the same name again replaces the factory.

    Existing Tensors keep the backend that they were created on.

    Args:
        name: name of the backend, without a colon.
        factory: called with the text after the colon in ``"name:device"``, or ``None``; returns a `Backend` with this name, or raises
            `BackendUnavailableError`.

    Raises:
        ValueError: the name is malformed, or is the name of a backend that is shipped with tinytorch.

    Example:
        >>> from tinytorch.backend import known_backends
        >>> tt.register_backend("mine", lambda device: MyBackend(device or "cpu"))
        >>> "mine" in known_backends()
        True
    """
    if not name or ":" in name or name != name.strip():
        raise ValueError(f"the name of a backend must not be empty, contain a colon or start or end with a space, got {name!r}")
    if name in _SHIPPED or name == _AUTO:
        raise ValueError(f"the name {name!r} is reserved by tinytorch; register your backend under another name")
    with _lock:
        _registered[name] = factory
        for key in [key for key in _instances if key[0] == name]:
            del _instances[key]


def known_backends() -> tuple[str, ...]:
    """The names of all backends, whether or not they can run here: shipped, then registered, then from entry points.

    Example:
        >>> from tinytorch.backend import known_backends
        >>> known_backends()[:3]
        ('numpy', 'cupy', 'torch')
    """
    return tuple(dict.fromkeys([*_SHIPPED, *_registered, *sorted(point.name for point in _entry_points())]))


def set_namespace_factory(factory: Callable[[Backend], Namespace]) -> None:
    """Set the factory of ``Backend.namespace``. Called once, by ``tinytorch/__init__.py``, since this package cannot import ``array_api``.

    Example:
        >>> from tinytorch import array_api
        >>> from tinytorch.array_api.namespace import BoundNamespace
        >>> from tinytorch.backend import set_namespace_factory
        >>> set_namespace_factory(lambda backend: BoundNamespace(backend, array_api))
    """
    global _namespace_factory
    with _lock:
        _namespace_factory = factory
        for backend in _instances.values():
            if backend.namespace is None:
                backend.namespace = factory(backend)


def _parse(spec: str) -> tuple[str, str | None]:
    """Split ``"name:device"`` at the first colon; the device may contain more colons (``"torch:cuda:1"``)."""
    name, colon, device = spec.strip().partition(":")
    if colon and (not device or name == _AUTO):
        raise UnknownBackendError(f"expected a backend and its device such as 'cupy:1', got {spec!r}; type {name!r} for its default device")
    return name, device or None


def _create(name: str, device: str | None) -> Backend:
    """Create a backend and cache it; the caller holds the lock."""
    if name == _AUTO:
        backend = _first_usable()
    else:
        made = _find_factory(name)(device)
        if not isinstance(made, Backend):
            raise TypeError(f"the factory of the {name} backend must return a tinytorch Backend, got {made!r}")
        if name not in _SHIPPED:
            _check_owns(name, made)
        # "numpy" and "numpy:cpu" are the same device, known only from the backend; keep the object that was created first
        backend = _instances.get((name, made.device), made)
        if backend.namespace is None and _namespace_factory is not None:
            backend.namespace = _namespace_factory(backend)
        _instances[name, backend.device] = backend
    _instances[name, device] = backend
    return backend


def _check_owns(name: str, backend: Backend) -> None:
    """Raise ``TypeError`` if ``owns`` rejects a result of the library, such as the scalars that numpy returns instead of 0-d arrays."""
    ones = backend.xp.ones((1,))
    for result in (ones, backend.xp.sum(ones)):
        if not backend.owns(result):
            raise TypeError(
                f"owns() of the {name} backend must accept every array of its library on its device, 0-d results included, "
                f"but it returns False for a {type(result).__module__}.{type(result).__name__} of shape {tuple(result.shape)}"
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
            except Exception as error:  # third-party code may raise anything; the error must name the plugin
                reason = f"its plugin {point.value} failed to load ({type(error).__name__}: {error})"
                raise BackendUnavailableError(name, reason, "update or reinstall its package") from error
    raise UnknownBackendError(_unknown(name))


def _load_shipped(name: str) -> Factory:
    module_name, _, attribute = _SHIPPED[name].partition(":")
    try:
        return cast(Factory, getattr(import_module(module_name), attribute))
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        hint = "install tinytorch with `pip install -e .`, or set PYTHONPATH=.:backends in a bare clone"
        raise BackendUnavailableError(name, f"its plugin {module_name} is not found", hint) from error


def _unknown(name: str) -> str:
    from difflib import get_close_matches  # needed for this error only

    known = (*known_backends(), _AUTO)
    close = _DEVICES.get(name.lower()) or next(iter(get_close_matches(name.lower(), known, n=1)), None)
    return f"unknown backend {name!r}; expected one of {', '.join(known)}" + (f" (did you mean {close!r}?)" if close else "")


#: Devices of PyTorch, and the backend to write instead.
_DEVICES = {"cpu": "numpy", "cuda": "cupy", "gpu": "cupy"}


class _EntryPoint(Protocol):
    """The attributes of ``importlib.metadata.EntryPoint`` that are used here."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    def load(self) -> object: ...


def _entry_points() -> tuple[_EntryPoint, ...]:
    from importlib.metadata import entry_points  # reads the disk, so it runs only for names that are not in the tables

    return tuple(entry_points(group=ENTRY_POINT_GROUP))
