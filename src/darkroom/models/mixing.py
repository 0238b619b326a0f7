"""Pictures mixed with each other while a classifier learns."""

import torch
from torch import Tensor
from torchvision.transforms import v2


class Mixing:
    """MixUp (Zhang et al. 2018) and CutMix (Yun et al. 2019): each batch is blended with itself, labels included.

    ``mixup`` and ``cutmix`` are the alpha of the Beta distribution that the share of the second picture is drawn from,
    once a batch; with both, a coin decides. ``share`` is the share of batches that are mixed at all. Random numbers
    come from torch's global generator. With several processes each mixes its own part of the batch.
    """

    def __init__(self, classes: int, mixup: float, cutmix: float, share: float) -> None:
        self.classes, self.share = classes, share
        self.ways = [
            way(alpha=alpha, num_classes=classes)
            for way, alpha in ((v2.MixUp, mixup), (v2.CutMix, cutmix))
            if alpha > 0 and share > 0
        ]

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return images like those given, with labels as shares ``(B, classes)``, or both as they were."""
        if not self.ways or torch.rand(()).item() >= self.share:
            return images, labels
        way = self.ways[int(torch.randint(len(self.ways), ()).item())]
        mixed: tuple[Tensor, Tensor] = way(images, labels)
        return mixed
