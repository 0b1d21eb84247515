"""From the perceptron to GPT: train historical models from the same layers, and measure how much code they share."""
