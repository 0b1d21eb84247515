"""The handwritten digits that come with scikit-learn: 1797 images of 8x8, no download.

Source: E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI machine learning repository, 1998, the test part.
"""

from __future__ import annotations

from tinytorch.io.errors import InputError
from tinytorch.vision.images import ImageData


def read_digits() -> tuple[ImageData, ImageData]:
    """The digits, a fifth of them held out: 1438 for training and 359 for the test, each class split alike, the same in every run.

    Their 17 shades are spread over 0 to 255 and stay apart, so nothing is lost.

    Raises:
        InputError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError("the digits come with scikit-learn: install it with `pip install scikit-learn`") from error
    digits = load_digits()
    images = (digits.images * (255 / 16)).round().astype("uint8")[:, None]  # (N, 1, 8, 8)
    return ImageData(images, digits.target.astype("int64"), tuple("0123456789"), "digits").split(0.2, seed=0)
