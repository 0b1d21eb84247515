"""Automatic differentiation: function transformations on Tensors and pytrees (nested tuples, lists and dictionaries) of Tensors.

Transformations can be nested and combined. The result of a transformation is recorded in the graph, and so can be differentiated again, if
and only if it depends on another differentiated value: an argument of an outer transformation, or a Tensor that requires a gradient.

The gradient of a real output with respect to a complex input ``z = x + iy`` is ``d/dx - i d/dy``, as in JAX and HIPS autograd. Gradient
descent therefore subtracts its conjugate.
"""
