"""The methods that a Tensor has besides the operators of the standard: those that numpy's and PyTorch's arrays share.

`tinytorch.tensor.Tensor` inherits them. Most call the function of the same name in the namespace of the Tensor.
"""

from __future__ import annotations

from tinytorch.tensor_methods.attributes import Attributes as Attributes
from tinytorch.tensor_methods.conversions import Conversions as Conversions
from tinytorch.tensor_methods.forwarded import Forwarded as Forwarded
from tinytorch.tensor_methods.shapes import Shapes as Shapes
from tinytorch.tensor_methods.types import Types as Types
from tinytorch.tensor_methods.updates import Updates as Updates
