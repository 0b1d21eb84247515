"""The content of the wheel."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import tinytorch

ROOT = Path(__file__).parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def test_backends_is_not_a_package() -> None:
    assert not (ROOT / "backends" / "__init__.py").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_listed_package_is_a_package(package: str) -> None:
    assert (ROOT / package / "__init__.py").is_file()


def test_every_plugin_is_in_the_wheel_and_type_checked() -> None:
    plugins = sorted(folder.name for folder in (ROOT / "backends").iterdir() if folder.name.startswith("tinytorch_"))
    assert sorted(package.removeprefix("backends/") for package in PACKAGES) == ["tinytorch", *plugins]
    assert sorted(PYPROJECT["tool"]["mypy"]["packages"]) == ["tinytorch", *plugins]


def test_the_package_has_a_py_typed_marker() -> None:
    assert (ROOT / "tinytorch" / "py.typed").is_file()


def test_the_version_is_defined_once() -> None:
    assert "version" not in PYPROJECT["project"]
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "tinytorch/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", tinytorch.__version__)


def test_tests_are_not_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
