"""Labeled images: validation, splits and statistics."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy
import pytest

from tinytorch.io.errors import InputError
from tinytorch.vision import ImageData, load_images, read_digits


def numbered(labels: list[int], classes: int = 3) -> ImageData:
    """Images of one pixel, whose value is the index of the image."""
    images = numpy.arange(len(labels), dtype=numpy.uint8).reshape(-1, 1, 1, 1)
    return ImageData(images, numpy.array(labels, dtype=numpy.int64), tuple("abcdefghij"[:classes]), "numbers")


def test_a_subset_keeps_images_and_labels_together() -> None:
    subset = numbered([0, 1, 2, 1]).subset([3, 0])
    assert subset.images.reshape(-1).tolist() == [3, 0]
    assert subset.labels.tolist() == [1, 0]
    assert (subset.classes, subset.name) == (("a", "b", "c"), "numbers")


def test_a_split_is_a_stratified_partition() -> None:
    data = numbered([0] * 50 + [1] * 30 + [2] * 20)
    rest, held_out = data.split(0.1, seed=3)
    assert (len(rest), len(held_out)) == (90, 10)
    assert numpy.bincount(held_out.labels).tolist() == [5, 3, 2]
    together = [*rest.images.reshape(-1).tolist(), *held_out.images.reshape(-1).tolist()]
    assert sorted(together) == list(range(100))
    assert held_out.images.reshape(-1).tolist() == sorted(held_out.images.reshape(-1).tolist())


def test_a_split_depends_on_its_seed_only() -> None:
    data = numbered([0, 1] * 40)
    first, again, other = (data.split(0.3, seed=seed)[1].images.reshape(-1).tolist() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("fraction", [0.1, 0.3, 1 / 3, 0.7, 0.999])
def test_a_split_holds_out_the_fraction_to_within_one_image_per_class(fraction: float) -> None:
    labels = [0] * 61 + [1] * 1 + [2] * 100
    _, held_out = numbered(labels).split(fraction)
    for label in range(3):
        assert abs(int((held_out.labels == label).sum()) - fraction * labels.count(label)) <= 1


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 1.5])
def test_a_fraction_out_of_range_raises(fraction: float) -> None:
    with pytest.raises(InputError, match=f"`fraction` must be greater than 0 and less than 1, got {re.escape(str(fraction))}"):
        numbered([0, 1]).split(fraction)


def test_an_empty_split_raises() -> None:
    with pytest.raises(InputError, match=r"2 images of numbers are too few for `fraction=0\.1`"):
        numbered([0, 1]).split(0.1)


def test_statistics_are_the_mean_and_standard_deviation_of_each_channel() -> None:
    images = numpy.random.default_rng(0).integers(0, 256, (2500, 2, 3, 4), dtype=numpy.uint8)
    images[:, 1] //= 4
    data = ImageData(images, numpy.zeros(2500, dtype=numpy.int64), ("a",), "random")
    mean, std = data.statistics()
    numpy.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    numpy.testing.assert_allclose(std, (images / 255).std(axis=(0, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": numpy.zeros((2, 1, 4, 4), dtype=numpy.float32)}, "images must be uint8"),
        ({"images": numpy.zeros((2, 4, 4), dtype=numpy.uint8)}, r"of shape \(N, C, H, W\)"),
        ({"labels": numpy.zeros(2, dtype=numpy.uint8)}, "labels must be int64"),
        ({"labels": numpy.zeros(3, dtype=numpy.int64)}, r"of shape \(2,\)"),
        ({"labels": numpy.array([0, 2])}, "between 0 and 1, got 0 to 2"),
        ({"labels": numpy.array([-1, 1])}, "between 0 and 1, got -1 to 1"),
    ],
)
def test_invalid_images_or_labels_raise(change: dict[str, Any], message: str) -> None:
    arguments = {"images": numpy.zeros((2, 1, 4, 4), dtype=numpy.uint8), "labels": numpy.zeros(2, dtype=numpy.int64)}
    with pytest.raises(ValueError, match=message):
        ImageData(**{**arguments, **change}, classes=("a", "b"), name="bad")


# ---- scikit-learn's digits ----


def test_a_fifth_of_the_digits_is_held_out() -> None:
    pytest.importorskip("sklearn")
    train, test = read_digits()
    assert (train.images.shape, test.images.shape) == ((1438, 1, 8, 8), (359, 1, 8, 8))
    assert numpy.bincount(test.labels).min() >= 34
    assert train.images.min() == 0
    assert train.images.max() == 255
    assert len(numpy.unique(train.images)) == 17  # all 17 gray levels remain distinct


def test_the_digits_are_the_same_every_time() -> None:
    pytest.importorskip("sklearn")
    numpy.testing.assert_array_equal(load_images("digits")[1].images, read_digits()[1].images)


def test_the_error_without_scikit_learn_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match="pip install scikit-learn"):
        read_digits()


def test_digits_with_a_directory_raise() -> None:
    with pytest.raises(InputError, match="leave `data_dir` out"):
        load_images("digits", "somewhere")


def test_the_error_for_an_unknown_data_set_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="there is no data set 'svhn': choose one of digits, mnist, fashion, cifar10"):
        load_images("svhn")
