"""The 1,797 handwritten digits that come with scikit-learn: real data, no download."""

from pathlib import Path

import torch

from darkroom.data.pictures import TensorPictures
from darkroom.data.source import Collection
from darkroom.numbers import Positive


class Digits:
    """Scans of handwritten digits, 8x8 pixels in 17 grey levels (Alpaydin and Kaynak 1998, the UCI test part)."""

    name = "digits"
    flippable = False

    def __init__(self, val: Positive = 0.2, test: Positive = 0.2) -> None:
        self.val = float(val)
        self.test = float(test)

    def load(self, folder: Path, cache: Path, image_size: int | None, channels: int | None) -> Collection:
        """Return all digits in one part, their levels 0..16 spread over 0..255."""
        from sklearn.datasets import load_digits  # takes most of a second, so only when wanted

        digits = load_digits()
        pixels = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)
        labels = torch.from_numpy(digits.target).to(torch.int64)
        names = [str(number) for number in range(10)]
        return Collection({"train": TensorPictures(pixels, labels)}, names, val=self.val, test=self.test)
