"""Transforms, compared with loops over pixels, and bit-identical on every backend."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

import tinytorch as tt
from tests.helpers import host
from tinytorch import nn, optim
from tinytorch.backend import Backend
from tinytorch.ops import random
from tinytorch.ops.random_bits import random_bits
from tinytorch.tensor import Tensor
from tinytorch.training import Trainer
from tinytorch.vision import Augment, DataLoader, ImageData, Normalize, shift_and_flip

MEAN, STD = [0.5, 0.4, 0.3], [0.25, 0.2, 0.1]
HostArray = numpy.ndarray[Any, Any]


def example_images(b: int = 6, c: int = 3, h: int = 5, w: int = 7) -> HostArray:
    return numpy.random.default_rng(0).integers(1, 256, (b, c, h, w), dtype=numpy.uint8)


def key(run: int = 3, step: int = 8) -> Tensor:
    return tt.asarray(numpy.array([run, step], dtype=numpy.int32))


def normalize_slowly(images: HostArray) -> HostArray:
    mean, std = (numpy.array(values)[:, None, None] for values in (MEAN, STD))
    out: HostArray = (images / 255 - mean) / std
    return out


def shift_and_flip_slowly(images: HostArray, run_key: HostArray, site: int, shift: int, flip: bool, padding: str) -> HostArray:
    """Pixel by pixel: pad, crop to the original size, flip."""
    b, _, h, w = images.shape
    bits = random_bits(numpy, run_key, site, (3, b))
    widths = [(0, 0), (shift, shift), (shift, shift)]
    out = numpy.empty_like(images)
    for n in range(b):
        padded = numpy.pad(images[n], widths, mode="reflect") if padding == "reflect" else numpy.pad(images[n], widths)
        top, left = int(bits[0, n]) % (2 * shift + 1), int(bits[1, n]) % (2 * shift + 1)
        flipped = flip and int(bits[2, n]) >= 2**30
        for i in range(h):
            for j in range(w):
                out[n, :, i, w - 1 - j if flipped else j] = padded[:, top + i, left + j]
    return out


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shift", [0, 1, 2, 4])
def test_shift_and_flip_equals_a_loop_over_pixels(backend: Backend, shift: int, flip: bool, padding: str) -> None:
    images = example_images(b=16)
    out = shift_and_flip(tt.asarray(images), key(), site=2, shift=shift, flip=flip, padding=padding)
    assert out.dtype.name == "uint8"
    expected = shift_and_flip_slowly(images, numpy.array([3, 8], dtype=numpy.int32), 2, shift, flip, padding)
    numpy.testing.assert_array_equal(host(out), expected)


def test_a_shift_larger_than_the_image_gives_zeros(backend: Backend) -> None:
    images = example_images(b=32, h=2, w=2)
    out = shift_and_flip(tt.asarray(images), key(), site=0, shift=5)
    numpy.testing.assert_array_equal(host(out), shift_and_flip_slowly(images, numpy.array([3, 8], dtype=numpy.int32), 0, 5, False, "zeros"))


def test_all_shifts_are_equally_likely() -> None:
    images = numpy.zeros((9000, 1, 3, 3), dtype=numpy.uint8)
    images[:, 0, 1, 1] = 1  # the position of the only bright pixel shows the shift
    out = host(shift_and_flip(tt.asarray(images, device="numpy"), key().to("numpy"), site=0, shift=1))
    assert abs(out.sum(axis=(0, 1)).astype(int) - 1000).max() < 120  # four standard deviations


def test_about_half_of_the_images_are_flipped() -> None:
    images = numpy.zeros((4000, 1, 1, 2), dtype=numpy.uint8)
    images[..., 1] = 1
    out = host(shift_and_flip(tt.asarray(images, device="numpy"), key().to("numpy"), site=0, flip=True))
    assert abs(int(out[..., 0].sum()) - 2000) < 130


def test_normalize_equals_the_formula(backend: Backend) -> None:
    images = example_images()
    out = Normalize(MEAN, STD)(images)
    assert out.dtype.name == "float32"
    assert out.backend is backend
    numpy.testing.assert_allclose(host(out), normalize_slowly(images), rtol=1e-5, atol=1e-6)


def test_augment_shifts_and_flips_then_normalizes(backend: Backend) -> None:
    images = example_images()
    with random.step_draws(key()):
        out = Augment(MEAN, STD, shift=2)(images)
    expected = shift_and_flip_slowly(images, numpy.array([3, 8], dtype=numpy.int32), 0, 2, True, "zeros")
    numpy.testing.assert_allclose(host(out), normalize_slowly(expected), rtol=1e-5, atol=1e-6)


def test_augment_in_eval_mode_only_normalizes(backend: Backend) -> None:
    images = example_images()
    augment, normalize = Augment(MEAN, STD).eval(), Normalize(MEAN, STD)
    numpy.testing.assert_array_equal(host(augment(images)), host(normalize(images)))


def test_results_are_bit_identical_on_every_backend(backend: Backend) -> None:
    def run(device: str) -> HostArray:
        with tt.use_backend(device), random.step_draws(key()):
            return host(Augment(MEAN, STD, shift=2, padding="reflect")(example_images()))

    numpy.testing.assert_array_equal(run(backend.spec), run("numpy"))


def test_the_same_step_gives_the_same_images_and_another_step_different_ones(backend: Backend) -> None:
    augment = Augment(MEAN, STD, shift=2)

    def run(step: int) -> HostArray:
        with random.step_draws(key(step=step)):
            return host(augment(example_images(b=20)))

    numpy.testing.assert_array_equal(run(1), run(1))
    assert (run(1) != run(2)).any()


def test_outside_a_step_the_result_depends_on_the_global_seed(backend: Backend) -> None:
    augment = Augment(MEAN, STD, shift=2)

    def run() -> list[HostArray]:
        tt.seed(4)
        return [host(augment(example_images(b=20))) for _ in range(2)]

    (first, second), (again, _) = run(), run()
    numpy.testing.assert_array_equal(first, again)
    assert (first != second).any()


def test_images_are_not_modified(backend: Backend) -> None:
    images = tt.asarray(example_images())
    if isinstance(images.raw, numpy.ndarray):
        images.raw.setflags(write=False)
    Augment(MEAN, STD, shift=2)(images)
    numpy.testing.assert_array_equal(host(images), example_images())


def test_a_gradient_through_shift_and_flip_raises() -> None:
    def loss(x: Tensor) -> Tensor:
        return tt.sum(shift_and_flip(x, key(), site=0, shift=1))

    with pytest.raises(tt.NotDifferentiableError, match="augments input images"):
        tt.grad(loss)(tt.asarray(example_images().astype(numpy.float32)))


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (example_images().astype(numpy.float32), TypeError, r"of dtype uint8, got float32"),
        (example_images(c=1), ValueError, r"of shape \(B, 3, H, W\), got \(6, 1, 5, 7\)"),
        (example_images()[0], ValueError, r"of shape \(B, 3, H, W\), got \(3, 5, 7\)"),
    ],
)
def test_images_of_other_dtypes_or_shapes_raise(images: HostArray, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"Augment expects images {message}"):
        Augment(MEAN, STD)(images)


def test_invalid_settings_raise() -> None:
    with pytest.raises(ValueError, match="needs a mean and a std for each channel, got 3 and 1"):
        Normalize(MEAN, [1.0])
    with pytest.raises(ValueError, match="needs std above 0"):
        Normalize([0.5], [0.0])
    with pytest.raises(ValueError, match="shift must be at least 0, got -1"):
        Augment(MEAN, STD, shift=-1)
    with pytest.raises(ValueError, match=r"padding must be one of .*'zeros', 'reflect'.*got 'wrap'"):
        Augment(MEAN, STD, padding="wrap")
    with pytest.raises(ValueError, match="images of 5x7 pixels are too small for a reflected shift of 5 pixels"):
        Augment(MEAN, STD, shift=5, padding="reflect")(example_images())


def test_the_state_dict_has_mean_and_std(backend: Backend) -> None:
    saved = Augment(MEAN, STD).state_dict()
    other = Normalize([0.0] * 3, [1.0] * 3)
    other.load_state_dict(saved)
    numpy.testing.assert_array_equal(host(other(example_images())), host(Normalize(MEAN, STD)(example_images())))


class Classifier(nn.Module):
    """A linear classifier of images of 3x5x7."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(105, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(tt.reshape(x, (x.shape[0], -1)))  # type: ignore[no-any-return]


def fit(steps: int) -> tuple[list[float], float]:
    """The training losses of a few steps with augmentation, and the evaluation loss."""
    tt.seed(7)
    labels = numpy.arange(24) % 4
    data = ImageData(example_images(b=24), labels, tuple("abcd"), "noise")
    model = nn.Sequential(Augment(MEAN, STD, shift=1), Classifier())
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.01), nn.CrossEntropyLoss())
    records = trainer.fit(DataLoader(data, 8, shuffle=True, drop_last=True).next_batch, steps)
    return [record.train_loss for record in records], trainer.evaluate(DataLoader(data, 10))["loss"]


def test_training_with_augmentation_is_reproducible(backend: Backend) -> None:
    losses, eval_loss = fit(12)
    assert (losses, eval_loss) == fit(12)
    assert len(losses) == 12
    assert eval_loss < losses[0]
