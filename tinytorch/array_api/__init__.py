"""Differentiable functions of the Array API standard on Tensors. Each derivative rule is next to its function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytorch.array_api import fft as fft, linalg as linalg
from tinytorch.array_api.arithmetic import *
from tinytorch.array_api.clipping import *
from tinytorch.array_api.complex_numbers import *
from tinytorch.array_api.constants import *
from tinytorch.array_api.creation import *
from tinytorch.array_api.cumulative import *
from tinytorch.array_api.data_types import *
from tinytorch.array_api.indexing import *
from tinytorch.array_api.info import NamespaceInfo
from tinytorch.array_api.joining import *
from tinytorch.array_api.linear_algebra import *
from tinytorch.array_api.logic import *
from tinytorch.array_api.manipulation import *
from tinytorch.array_api.powers import *
from tinytorch.array_api.rounding import *
from tinytorch.array_api.searching import *
from tinytorch.array_api.sets import *
from tinytorch.array_api.statistics import *
from tinytorch.array_api.trigonometry import *
from tinytorch.autograd.keywords import accept_dim as _accept_dim

__array_api_version__ = "2024.12"
__array_namespace_info__ = NamespaceInfo

if not TYPE_CHECKING:  # type checkers take the names from the imports above; they cannot evaluate this list
    from tinytorch.array_api import (
        arithmetic,
        clipping,
        complex_numbers,
        constants,
        creation,
        cumulative,
        data_types,
        indexing,
        joining,
        linear_algebra,
        logic,
        manipulation,
        powers,
        rounding,
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
        *clipping.__all__,
        *complex_numbers.__all__,
        *constants.__all__,
        *creation.__all__,
        *cumulative.__all__,
        *data_types.__all__,
        *indexing.__all__,
        *joining.__all__,
        *linear_algebra.__all__,
        *logic.__all__,
        *manipulation.__all__,
        *powers.__all__,
        *rounding.__all__,
        *searching.__all__,
        *sets.__all__,
        *statistics.__all__,
        *trigonometry.__all__,
    ]

    _accept_dim(globals(), __all__)
