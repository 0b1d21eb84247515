"""The functions of the Array API standard on Tensors, differentiable; a file for each chapter of the standard, rules beside functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytorch.array_api import fft as fft, linalg as linalg
from tinytorch.array_api.arithmetic import *
from tinytorch.array_api.constants import *
from tinytorch.array_api.creation import *
from tinytorch.array_api.data_types import *
from tinytorch.array_api.indexing import *
from tinytorch.array_api.info import NamespaceInfo
from tinytorch.array_api.linear_algebra import *
from tinytorch.array_api.logic import *
from tinytorch.array_api.manipulation import *
from tinytorch.array_api.powers import *
from tinytorch.array_api.searching import *
from tinytorch.array_api.sets import *
from tinytorch.array_api.statistics import *
from tinytorch.array_api.trigonometry import *

__array_api_version__ = "2024.12"
__array_namespace_info__ = NamespaceInfo

if not TYPE_CHECKING:  # type checkers know the names from the imports above: they cannot read this list
    from tinytorch.array_api import (
        arithmetic,
        constants,
        creation,
        data_types,
        indexing,
        linear_algebra,
        logic,
        manipulation,
        powers,
        searching,
        sets,
        statistics,
        trigonometry,
    )

    __all__ = [
        "__array_api_version__",
        "__array_namespace_info__",
        "fft",
        "linalg",
        *arithmetic.__all__,
        *constants.__all__,
        *creation.__all__,
        *data_types.__all__,
        *indexing.__all__,
        *linear_algebra.__all__,
        *logic.__all__,
        *manipulation.__all__,
        *powers.__all__,
        *searching.__all__,
        *sets.__all__,
        *statistics.__all__,
        *trigonometry.__all__,
    ]
