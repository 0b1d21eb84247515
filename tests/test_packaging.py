"""What the wheel is made of."""

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


def test_backends_is_a_folder_and_not_a_package() -> None:
    assert not (ROOT / "backends" / "__init__.py").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_of_the_wheel_is_one(package: str) -> None:
    assert (ROOT / package / "__init__.py").is_file()


def test_every_plugin_is_in_the_wheel_and_type_checked() -> None:
    plugins = sorted(folder.name for folder in (ROOT / "backends").iterdir() if folder.name.startswith("tinytorch_"))
    assert sorted(package.removeprefix("backends/") for package in PACKAGES) == ["tinytorch", *plugins]
    assert sorted(PYPROJECT["tool"]["mypy"]["packages"]) == ["tinytorch", *plugins]


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "tinytorch" / "py.typed").is_file()


def test_the_version_is_written_once() -> None:
    assert "version" not in PYPROJECT["project"]
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "tinytorch/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", tinytorch.__version__)


def test_tests_mirror_the_source_without_becoming_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
