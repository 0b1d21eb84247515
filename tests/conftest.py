"""The `backend` fixture: a test with this fixture runs once on each installed array library."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

# JAX reads it at import; without it there is no float64, which the tests of derivatives need
os.environ.setdefault("JAX_ENABLE_X64", "1")
# JAX would allocate three quarters of the GPU memory, which other backends need in the same process
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# SciPy reads it at import; its functions then use the namespace of an array
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import pytest

import tinytorch as tt
from tinytorch.backend import Backend, backend_status
from tinytorch.backend.selection import ENVIRONMENT_VARIABLE

# a shell ignores SIGINT in background jobs, nohup SIGHUP; processes started by the tests would inherit that
for _number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler)

#: The backend set in the environment; the tests then run on this backend only.
REQUESTED = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()

#: The backends that cannot run here, with reason and hint. The tests need at least numpy and strict.
UNAVAILABLE = {status.name: f"{status.reason}; {status.hint}" for status in backend_status() if not status.ready}

BACKENDS = [REQUESTED] if REQUESTED else ["numpy", "strict", *[name for name in ("cupy", "torch", "jax") if name not in UNAVAILABLE]]


def pytest_report_header() -> list[str]:
    excluded = [] if REQUESTED else [f"not {name}: {reason}" for name, reason in UNAVAILABLE.items()]
    return [f"backends: {', '.join(BACKENDS)}", *excluded]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """A backend, the current one during the test. The test is skipped, with the reason, if the backend cannot run here."""
    try:
        value = tt.get_backend(request.param)
    except tt.BackendUnavailableError as error:
        pytest.skip(str(error))
    with tt.use_backend(value):
        yield value
