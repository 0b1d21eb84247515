"""Differentiable functions on Tensors: those of the Array API standard, and common ones beyond it. Each derivative rule is next to its
function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytorch.array_api import fft as fft, linalg as linalg
from tinytorch.array_api.arithmetic import *
from tinytorch.array_api.clipping import *
from tinytorch.array_api.closeness import *
from tinytorch.array_api.complex_numbers import *
from tinytorch.array_api.constants import *
from tinytorch.array_api.contraction import *
from tinytorch.array_api.creation import *
from tinytorch.array_api.cumulative import *
from tinytorch.array_api.data_types import *
from tinytorch.array_api.encoding import *
from tinytorch.array_api.error_functions import *
from tinytorch.array_api.gamma_functions import *
from tinytorch.array_api.indexing import *
from tinytorch.array_api.info import NamespaceInfo
from tinytorch.array_api.joining import *
from tinytorch.array_api.linear_algebra import *
from tinytorch.array_api.logic import *
from tinytorch.array_api.logistic import *
from tinytorch.array_api.manipulation import *
from tinytorch.array_api.padding import *
from tinytorch.array_api.powers import *
from tinytorch.array_api.ranking import *
from tinytorch.array_api.rounding import *
from tinytorch.array_api.searching import *
from tinytorch.array_api.sets import *
from tinytorch.array_api.softmax_functions import *
from tinytorch.array_api.splitting import *
from tinytorch.array_api.statistics import *
from tinytorch.array_api.stopping import *
from tinytorch.array_api.trigonometry import *
from tinytorch.autograd.keywords import accept_dim as _accept_dim

__array_api_version__ = "2024.12"
__array_namespace_info__ = NamespaceInfo

if not TYPE_CHECKING:  # type checkers take the names from the imports above; they cannot evaluate this list
    from tinytorch.array_api import (
        arithmetic,
        clipping,
        closeness,
        complex_numbers,
        constants,
        contraction,
        creation,
        cumulative,
        data_types,
        encoding,
        error_functions,
        gamma_functions,
        indexing,
        joining,
        linear_algebra,
        logic,
        logistic,
        manipulation,
        padding,
        powers,
        ranking,
        rounding,
        searching,
        sets,
        softmax_functions,
        splitting,
        statistics,
        stopping,
        trigonometry,
    )

    __all__ = [
        "__array_api_version__",
        "__array_namespace_info__",
        "fft",
        "linalg",
        *arithmetic.__all__,
        *clipping.__all__,
        *closeness.__all__,
        *complex_numbers.__all__,
        *constants.__all__,
        *contraction.__all__,
        *creation.__all__,
        *cumulative.__all__,
        *data_types.__all__,
        *encoding.__all__,
        *error_functions.__all__,
        *gamma_functions.__all__,
        *indexing.__all__,
        *joining.__all__,
        *linear_algebra.__all__,
        *logic.__all__,
        *logistic.__all__,
        *manipulation.__all__,
        *padding.__all__,
        *powers.__all__,
        *ranking.__all__,
        *rounding.__all__,
        *searching.__all__,
        *sets.__all__,
        *softmax_functions.__all__,
        *splitting.__all__,
        *statistics.__all__,
        *stopping.__all__,
        *trigonometry.__all__,
    ]

    _accept_dim(globals(), __all__)
