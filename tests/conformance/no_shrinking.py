"""A pytest plugin for the official suite that disables shrinking: only pass or fail matters, and minimizing a failing example is slow."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Replace the hypothesis profile that the suite's own hook has loaded."""
    settings.register_profile("unshrunk", settings.default, phases=[Phase.explicit, Phase.generate])
    settings.load_profile("unshrunk")
