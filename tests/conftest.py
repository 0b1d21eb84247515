"""The `backend` fixture: a test that takes it runs once on each array library that this machine has."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

# JAX reads it once, when it is loaded; without it there is no float64 to hold derivatives to
os.environ.setdefault("JAX_ENABLE_X64", "1")
# JAX would take three quarters of a GPU's memory from the other backends that are tested beside it
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# and scipy this one: its functions then ask an array for its namespace
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import pytest

import tinytorch as tt
from tinytorch.backend import Backend, backend_status
from tinytorch.backend.selection import ENVIRONMENT_VARIABLE

# a shell starts what runs in the background with SIGINT ignored, nohup with SIGHUP; processes that the tests start would inherit that
for _number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler)

#: The backend that the environment asks for, which then runs alone.
ASKED = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()

#: The backends that cannot run here, with what is missing and the mend. The two that come with the tests must run everywhere.
UNUSABLE = {status.name: f"{status.reason}; {status.hint}" for status in backend_status() if not status.ready}

BACKENDS = [ASKED] if ASKED else ["numpy", "strict", *[name for name in ("cupy", "torch", "jax") if name not in UNUSABLE]]


def pytest_report_header() -> list[str]:
    left_out = [] if ASKED else [f"not {name}: {reason}" for name, reason in UNUSABLE.items()]
    return [f"backends: {', '.join(BACKENDS)}", *left_out]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """A backend, chosen for the length of the test; one that cannot run here skips the test and says why."""
    try:
        chosen = tt.get_backend(request.param)
    except tt.BackendUnavailableError as error:
        pytest.skip(str(error))
    with tt.use_backend(chosen):
        yield chosen
