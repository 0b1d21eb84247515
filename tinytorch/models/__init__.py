"""Models, from the perceptron to the GPT, built from the layers in `tinytorch.nn`."""

from tinytorch.models.gpt_config import GPTConfig
from tinytorch.models.lenet import LeNet1, LeNet5
from tinytorch.models.mlp import MLP, Perceptron
from tinytorch.models.tiny_gpt import TinyGPT

__all__ = ["GPTConfig", "LeNet1", "LeNet5", "MLP", "Perceptron", "TinyGPT"]
