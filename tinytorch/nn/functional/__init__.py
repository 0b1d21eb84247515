"""Functions with the names, argument order and behaviour of ``torch.nn.functional``, usually imported as ``F``.

They call the layers of `tinytorch.nn`, the fused operations of `tinytorch.ops` and the functions of the namespace.
"""

from tinytorch.nn.functional.activations import (
    gelu,
    leaky_relu,
    log_softmax,
    logsigmoid,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from tinytorch.nn.functional.attention import scaled_dot_product_attention
from tinytorch.nn.functional.images import avg_pool2d, conv2d, max_pool2d
from tinytorch.nn.functional.layers import dropout, embedding, layer_norm, linear, normalize, one_hot, pad
from tinytorch.nn.functional.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
    nll_loss,
)

__all__ = [
    "avg_pool2d",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "relu",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]
