"""The handwritten digits that come with scikit-learn: 1797 images of 8x8 pixels, without a download.

Source: E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI machine learning repository, 1998, the test set.
"""

from __future__ import annotations

from tinytorch.io.errors import InputError
from tinytorch.vision.images import ImageData


def read_digits() -> tuple[ImageData, ImageData]:
    """Load scikit-learn's handwritten digits, with a fifth of them held out as the test set.

    The split is stratified by class and always the same. The 17 gray levels are scaled to 0 to 255 without loss.

    Returns:
        1438 training images and 359 test images.

    Raises:
        InputError: scikit-learn is not installed.

    Example:
        >>> from tinytorch.vision import read_digits
        >>> train, test = read_digits()
        >>> len(train), len(test)
        (1438, 359)
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError("the digits come with scikit-learn: install it with `pip install scikit-learn`") from error
    digits = load_digits()
    images = (digits.images * (255 / 16)).round().astype("uint8")[:, None]  # (N, 1, 8, 8)
    return ImageData(images, digits.target.astype("int64"), tuple("0123456789"), "digits").split(0.2, seed=0)
