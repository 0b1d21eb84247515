"""A pytest plugin for the official suite: whether a test fails is wanted, not its smallest failing example, which takes long to find."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Change the profile that the suite's own hook has loaded."""
    settings.register_profile("unshrunk", settings.default, phases=[Phase.explicit, Phase.generate])
    settings.load_profile("unshrunk")
