"""The `Backend` for array-api-strict."""

from __future__ import annotations

from typing import Any, Final, cast

import array_api_strict
import numpy

from tinytorch.backend.contract import Array, Backend, Capabilities
from tinytorch.backend.dtypes import DTYPES
from tinytorch.backend.errors import BackendUnavailableError
from tinytorch_strict.namespace import STRICT_ARRAY, StrictNamespace

_CPU: Final = array_api_strict.Device("CPU_DEVICE")


class StrictBackend(Backend):
    """array-api-strict on one of its devices.

    Args:
        device: ``"cpu"``, or the name of a device that imitates another library (see `create_backend`).

    Raises:
        BackendUnavailableError: if the installed array-api-strict has no such device.
    """

    def __init__(self, device: str) -> None:
        self._device = _find_device(device)
        supported = array_api_strict.__array_namespace_info__().dtypes(device=self._device)
        super().__init__(
            name="strict",
            device=device,
            xp=array_api_strict if self._device == _CPU else StrictNamespace(array_api_strict, self._device),
            capabilities=Capabilities(dtypes=frozenset(supported) & frozenset(DTYPES), host=self._device == _CPU),
        )

    def owns(self, array: object) -> bool:
        return isinstance(array, STRICT_ARRAY) and array.device == self._device

    def from_host(self, array: numpy.ndarray, dtype: str | None = None) -> Array:
        raw = self.dtype(dtype or array.dtype.name)
        return array_api_strict.asarray(numpy.array(array, order="C"), dtype=raw, device=self._device, copy=True)

    def to_host(self, array: Array) -> numpy.ndarray:
        # numpy may read only arrays on the CPU device
        view = numpy.asarray(array.to_device(_CPU)).view()
        view.setflags(write=False)
        return cast("numpy.ndarray[Any, Any]", view)

    def versions(self) -> dict[str, str]:
        return {"array-api-strict": array_api_strict.__version__}


def _find_device(name: str) -> Any:
    others = {device._device: device for device in array_api_strict.__array_namespace_info__().devices() if device != _CPU}
    devices = {"cpu": _CPU, **others}
    try:
        return devices[name]
    except KeyError:
        hint = f"type 'strict' for its CPU, or one of {', '.join(f'strict:{known}' for known in devices)}"
        raise BackendUnavailableError("strict", f"it has no device {name!r}", hint) from None
