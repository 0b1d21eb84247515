"""Derivatives as functions: of functions of Tensors, and of nested tuples, lists and dictionaries of Tensors.

They nest and mix freely. A derivative is itself recorded when, and only when, it depends on something else that is being differentiated:
the argument of an outer transformation, or a Tensor that requires a gradient.

Gradients of real numbers with respect to complex ones are ``d/dx - i d/dy`` for ``z = x + iy``, as in JAX and HIPS autograd: a step
downhill goes along the conjugate.
"""
