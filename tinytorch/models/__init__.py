"""Models, from the MLP to the GPT, made of the layers in `tinytorch.nn`."""

from tinytorch.models.tiny_gpt import TinyGPT

__all__ = ["TinyGPT"]
