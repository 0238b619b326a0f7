import pytest
import torch

from darkroom.data.binarised import Binarised
from darkroom.data.module import ImageData
from darkroom.data.pictures import TensorPictures
from darkroom.data.source import Collection
from darkroom.errors import UserError


class Ramp:
    """Pictures whose columns go from black to white."""

    name, flippable = "ramp", True

    def load(self, folder, cache, image_size, channels):
        pixels = torch.arange(0, 256, 51, dtype=torch.uint8).expand(3000, 1, 4, 6)
        labels = torch.arange(3000) % 3
        return Collection({"train": TensorPictures(pixels, labels), "test": TensorPictures(pixels[:30], labels[:30])})


def drawn(seed=0, part="train"):
    return Binarised(Ramp(), seed).load(None, None, None, None).parts[part]


def test_pixels_are_white_as_often_as_their_grey_says():
    pixels = drawn().pixels
    assert set(pixels.flatten().tolist()) == {0, 255}
    shares = (pixels == 255).double().mean(dim=(0, 1, 2))
    torch.testing.assert_close(shares, torch.arange(0, 6).double() / 5, rtol=0, atol=0.02)
    assert shares[0] == 0
    assert shares[5] == 1


def test_they_are_drawn_once():
    assert torch.equal(drawn().pixels, drawn().pixels)
    assert not torch.equal(drawn(seed=0).pixels, drawn(seed=1).pixels)
    assert not torch.equal(drawn().pixels[:30], drawn(part="test").pixels)
    assert drawn().labels.tolist() == [0, 1, 2] * 1000


def test_the_name_tells_the_seed():
    assert Binarised(Ramp(), 7).name == "ramp-binarised-7"
    assert Binarised(Ramp()).flippable


def test_a_size_that_would_make_grey_is_refused(tmp_path):
    data = ImageData(Binarised(Ramp()), image_size=8)
    data.locate(tmp_path, tmp_path)
    with pytest.raises(UserError, match=r"data\.image_size=null"):
        data.prepare()
