"""A convolutional network on small images, in the style of PyTorch's basic MNIST example. `test_scripts.py` runs it on PyTorch and here."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, 1)
        self.conv2 = nn.Conv2d(4, 8, 3, 1)
        self.dropout1 = nn.Dropout(0.0)
        self.dropout2 = nn.Dropout(0.0)
        self.fc1 = nn.Linear(8 * 4 * 4, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x):
        x = self.conv1(x)
        x = F.relu(x)
        x = self.conv2(x)
        x = F.relu(x)
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = self.fc1(x)
        x = F.relu(x)
        x = self.dropout2(x)
        x = self.fc2(x)
        output = F.log_softmax(x, dim=1)
        return output


def train_epoch(model, device, train_loader, optimizer, losses):
    model.train()
    for batch_idx, (data, target) in enumerate(train_loader):
        data, target = data.to(device), target.to(device)
        optimizer.zero_grad()
        output = model(data)
        loss = F.nll_loss(output, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())


def test_epoch(model, device, test_loader):
    model.eval()
    test_loss = 0
    correct = 0
    count = 0
    with torch.no_grad():
        for data, target in test_loader:
            data, target = data.to(device), target.to(device)
            output = model(data)
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            pred = output.argmax(dim=1, keepdim=True)
            correct += pred.eq(target.view_as(pred)).sum().item()
            count += len(data)
    return test_loss / count, correct


def build():
    torch.manual_seed(1)
    return Net()


def train(model, steps):
    random = np.random.RandomState(0)
    images = random.rand(steps, 8, 1, 12, 12).astype(np.float32)
    labels = random.randint(0, 10, (steps, 8))
    images[np.arange(steps)[:, None], np.arange(8), 0, labels] += 2.0  # a bright row for each class
    loader = [(torch.tensor(x), torch.tensor(y)) for x, y in zip(images, labels)]
    device = next(model.parameters()).device
    model = model.to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    losses = []
    train_epoch(model, device, loader, optimizer, losses)
    test_loss, correct = test_epoch(model, device, loader)
    assert 0 <= correct <= 8 * steps
    return [*losses, test_loss]
