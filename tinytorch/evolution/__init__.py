"""The story from the multilayer perceptron to GPT: the same parts, used again and again."""
