"""Small data with what draws and judges them, for tests of judges, scores and audits."""

import hashlib
from typing import ClassVar

import pytest
import torch

from darkroom.images import from_uint8
from darkroom.judges.judge import Judge, TrainingRecord
from darkroom.networks.convnet import ConvNet

CLASSES = ["upright", "level", "cross"]


class MemoryPictures:
    def __init__(self, pixels, labels):
        self.pixels, self.labels = pixels, labels
        self.looked_at = 0

    def __len__(self):
        return len(self.pixels)

    def batch(self, indices):
        self.looked_at += len(indices)
        return self.pixels[indices]


class Bars:
    """Grey 12x12 pictures with a bright upright bar, a level one, or both."""

    flippable = True
    held_out = None
    actions: ClassVar[dict] = {}

    def __init__(self, seed=0, train=300, val=120, test=150, name="bars", class_names=CLASSES):
        self.name, self.class_names, self.image_shape = name, list(class_names), (1, 12, 12)
        generator = torch.Generator().manual_seed(seed)
        self.splits = {}
        for split, count in {"train": train, "val": val, "test": test}.items():
            labels = torch.arange(count) % 3
            self.splits[split] = MemoryPictures(self.draw(labels, generator), labels if class_names else None)
        self.split_digests = {
            split: hashlib.sha256(pictures.pixels.numpy().tobytes()).hexdigest()
            for split, pictures in self.splits.items()
        }
        self.digest = hashlib.sha256("".join(self.split_digests.values()).encode()).hexdigest()

    @staticmethod
    def draw(labels, generator):
        pixels = torch.randint(0, 90, (len(labels), 1, 12, 12), generator=generator)
        bright = torch.randint(140, 256, (len(labels), 1, 12, 3), generator=generator)
        pixels[labels != 1, :, :, 4:7] = bright[labels != 1]
        pixels[labels != 0, :, 6:9, :] = bright[labels != 0].transpose(2, 3)
        return pixels.to(torch.uint8)

    @property
    def everything(self):
        return self

    def pictures(self, split):
        return self.splits[split]


class Copyist(torch.nn.Module):
    """A conditional painter: fresh pictures of the class asked for, moved ``shift`` classes on."""

    def __init__(self, classes=3, shift=0, noise=0.1):
        super().__init__()
        self.classes, self.shift, self.noise = classes, shift, noise
        self.frozen = torch.nn.Dropout().eval()
        self.largest = 0

    device = torch.device("cpu")
    averaged = True
    vocabulary = ()

    def sample(self, indices, seed, labels=None):
        assert not self.training
        assert not torch.is_grad_enabled()
        torch.rand(3)  # a careless model draws from the global generator
        self.largest = max(self.largest, len(indices))
        labels = indices % 3 if labels is None else labels
        pictures = []
        for index, label in zip(indices.tolist(), labels, strict=True):
            generator = torch.Generator().manual_seed(seed * 100_000 + index)
            picture = from_uint8(Bars.draw((label[None] + self.shift) % 3, generator))
            pictures.append(picture + self.noise * torch.randn(picture.shape, generator=generator))
        return torch.cat(pictures).clamp(-1, 1)


@pytest.fixture
def make_data():
    return Bars


@pytest.fixture
def data():
    return Bars()


@pytest.fixture
def make_painter():
    return Copyist


@pytest.fixture
def painter():
    return Copyist()


@pytest.fixture
def make_judge():
    def make(seed=0, channels=1, size=12, name="bars", class_names=CLASSES, digests=None):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = ConvNet(channels, len(class_names), width=4, feature_dim=8)
        tensors = {f"net.{key}": tensor for key, tensor in net.state_dict().items()}
        tensors |= {"feature_mean": torch.full((8,), 0.05), "feature_std": torch.full((8,), 0.1)}
        return Judge(
            name=name,
            network={"channels": channels, "classes": len(class_names), "width": 4, "feature_dim": 8},
            tensors=tensors,
            image_shape=(channels, size, size),
            class_names=class_names,
            training_record=TrainingRecord(name, "d" * 64, digests or {}, 0.5, 0, seed, "random weights"),
        )

    return make


@pytest.fixture
def judge(make_judge):
    return make_judge()


@pytest.fixture
def random_state():
    """Call it twice: the states of every global generator must be equal."""
    import random

    import numpy as np

    def state():
        numpy_state = np.random.get_state()
        return (
            torch.get_rng_state().tolist(),
            numpy_state[1].tolist(),
            numpy_state[2:],
            random.getstate(),
        )

    return state
