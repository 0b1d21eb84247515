"""Labelled images: what they refuse, and how they are split and measured."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy
import pytest

from tinytorch.io.errors import InputError
from tinytorch.vision import ImageData, load_images, read_digits


def numbered(labels: list[int], classes: int = 3) -> ImageData:
    """Images of one pixel that holds the image's number."""
    images = numpy.arange(len(labels), dtype=numpy.uint8).reshape(-1, 1, 1, 1)
    return ImageData(images, numpy.array(labels, dtype=numpy.int64), tuple("abcdefghij"[:classes]), "numbers")


def test_a_subset_keeps_images_and_labels_together() -> None:
    part = numbered([0, 1, 2, 1]).subset([3, 0])
    assert part.images.reshape(-1).tolist() == [3, 0]
    assert part.labels.tolist() == [1, 0]
    assert (part.classes, part.name) == (("a", "b", "c"), "numbers")


def test_a_split_gives_every_image_to_one_part_and_every_class_its_share() -> None:
    data = numbered([0] * 50 + [1] * 30 + [2] * 20)
    rest, held = data.split(0.1, seed=3)
    assert (len(rest), len(held)) == (90, 10)
    assert numpy.bincount(held.labels).tolist() == [5, 3, 2]
    together = [*rest.images.reshape(-1).tolist(), *held.images.reshape(-1).tolist()]
    assert sorted(together) == list(range(100))
    assert held.images.reshape(-1).tolist() == sorted(held.images.reshape(-1).tolist())


def test_a_split_depends_on_its_seed_alone() -> None:
    data = numbered([0, 1] * 40)
    first, again, other = (data.split(0.3, seed=seed)[1].images.reshape(-1).tolist() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("fraction", [0.1, 0.3, 1 / 3, 0.7, 0.999])
def test_a_split_holds_out_the_share_to_within_one_image_a_class(fraction: float) -> None:
    labels = [0] * 61 + [1] * 1 + [2] * 100
    _, held = numbered(labels).split(fraction)
    for label in range(3):
        assert abs(int((held.labels == label).sum()) - fraction * labels.count(label)) <= 1


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 1.5])
def test_a_share_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match=f"over 0 and under 1, and it is {re.escape(str(fraction))}"):
        numbered([0, 1]).split(fraction)


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(InputError, match=r"2 images of numbers cannot be split at 0\.1"):
        numbered([0, 1]).split(0.1)


def test_statistics_are_the_mean_and_deviation_of_each_channel() -> None:
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
def test_what_does_not_fit_together_is_refused(change: dict[str, Any], message: str) -> None:
    parts = {"images": numpy.zeros((2, 1, 4, 4), dtype=numpy.uint8), "labels": numpy.zeros(2, dtype=numpy.int64)}
    with pytest.raises(ValueError, match=message):
        ImageData(**{**parts, **change}, classes=("a", "b"), name="bad")


# ---- scikit-learn's digits ----


def test_a_fifth_of_the_digits_is_held_out() -> None:
    pytest.importorskip("sklearn")
    train, test = read_digits()
    assert (train.images.shape, test.images.shape) == ((1438, 1, 8, 8), (359, 1, 8, 8))
    assert numpy.bincount(test.labels).min() >= 34
    assert train.images.min() == 0
    assert train.images.max() == 255
    assert len(numpy.unique(train.images)) == 17  # no two of the 17 shades fell together


def test_the_digits_are_the_same_every_time() -> None:
    pytest.importorskip("sklearn")
    numpy.testing.assert_array_equal(load_images("digits")[1].images, read_digits()[1].images)


def test_digits_without_scikit_learn_name_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match="pip install scikit-learn"):
        read_digits()


def test_digits_take_no_directory() -> None:
    with pytest.raises(InputError, match="leave `data_dir` out"):
        load_images("digits", "somewhere")


def test_an_unknown_data_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="there is no data set 'svhn': choose one of digits, mnist, fashion, cifar10"):
        load_images("svhn")
