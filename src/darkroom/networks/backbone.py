"""Any classifier that the timm library knows, by name."""

from typing import Any

import torch
from torch import Tensor, nn

from darkroom.errors import UserError, did_you_mean
from darkroom.numbers import Supplied


class Backbone(nn.Module):
    """A network of the timm library (Wightman 2019), an optional extra: ``pip install 'darkroom-lab[timm]'``.

    Weights start at random unless ``pretrained`` asks timm to download some.

        net = Backbone(channels=1, classes=10, name="resnet18")
        logits = net(images)             # images (B, C, H, W) in [-1, 1]  ->  (B, 10)
        features = net.features(images)  # (B, what the network has under its last layer)

    Raises `UserError` when timm is not installed or knows no such network.
    """

    plain = False

    def __init__(
        self, channels: Supplied[int], classes: Supplied[int], name: str = "resnet18", pretrained: bool = False
    ) -> None:
        super().__init__()
        try:
            import timm
        except ImportError:
            raise UserError("network=timm needs the timm library: type pip install 'darkroom-lab[timm]'.") from None
        if not timm.is_model(name):
            raise UserError(f"timm knows no network '{name}'{did_you_mean(name, timm.list_models())}.")
        self.body: Any = timm.create_model(name, pretrained=pretrained, in_chans=channels, num_classes=0)
        self.output = nn.Linear(self._feature_dim(channels), classes)

    def _feature_dim(self, channels: int) -> int:
        """Return how many features come out: what timm says of it is not true of every network."""
        height, width = self.body.default_cfg["input_size"][1:]
        with torch.no_grad():
            found: Tensor = self.body.eval()(torch.zeros(1, channels, height, width))
        self.body.train()
        return found.shape[1]

    def features(self, images: Tensor) -> Tensor:
        """Return the activations under the last layer."""
        pooled: Tensor = self.body(images)
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        """Return class logits, ``(B, classes)``."""
        logits: Tensor = self.output(self.features(images))
        return logits
