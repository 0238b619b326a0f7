"""Models that give pictures a style: the one of a picture, learnt once, or that of any picture they are shown."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from darkroom.errors import UserError
from darkroom.imaging import styles as pictures
from darkroom.imaging.colour import recoloured
from darkroom.imaging.patches import resized
from darkroom.losses.patches import directions, patch_distance
from darkroom.losses.structure import structure
from darkroom.models.averaged import Averaged
from darkroom.models.model import Shown
from darkroom.models.schedule import Schedule
from darkroom.networks.style import StyleCoder, adaptive, statistics
from darkroom.numbers import BelowOne, Count, NotNegative, Positive, Range, Supplied


class Stylizer(Averaged):
    """One network for the style of one picture (Johnson et al. 2016), learnt without any pretrained network.

    Where they compare the features of VGG, this compares patches: those of each result with those of the style, as
    distributions, at ``scales`` scales (the sliced Wasserstein distance of GPDM, Elnekave & Weiss 2022); and content is
    the local correlation of brightness. What the network is shown has the style's colours already, by a linear map, so
    that strokes are all it has to learn. The style picture travels in the checkpoint.
    """

    any_style = False
    style: Tensor

    def __init__(
        self,
        network: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Supplied[Sequence[int]],
        class_names: Supplied[Sequence[str]],
        style: str = "tissue",
        style_size: Annotated[int, Range(8, 4096)] = 128,
        scales: Count = 3,
        directions: Count = 32,
        style_weight: NotNegative = 10.0,
        content_weight: NotNegative = 0.7,
        average_half_life: NotNegative = 0,
        average_ramp: NotNegative = 0.1,
        gradient_clip: Positive | None = None,
    ) -> None:
        """State the style's ``picture`` file, and the side that the square in its middle is brought to."""
        super().__init__(image_shape, class_names, schedule)
        self.set_network(network(channels=image_shape[0]), optimizer, average_half_life, average_ramp, gradient_clip)
        _check_scales(scales, min(*image_shape[1:], style_size))
        self.reference, self.scales, self.directions = style, scales, directions
        self.style_weight, self.content_weight = style_weight, content_weight
        self.register_buffer("style", torch.zeros(image_shape[0], style_size, style_size))
        self.initialised = False

    def init_from_data(self, shown: Shown) -> None:
        """Look at the style."""
        self.style.copy_(_square(pictures.picture(self.reference, len(self.style)), self.style.shape[1]))
        self.initialised = True

    def migrate(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a state with the style that was asked for, if one was: weights may come from those of another."""
        return {**state, "style": self.style} if self.initialised and "style" in state else state

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss on this batch, and both of its parts."""
        images = batch["images"]
        made = self.network(recoloured(images, self.style[None]))
        self.count(batch)
        style = _patches_apart(made, self.style[None], self.scales, self.directions)
        content = 1 - _likeness(made, images)
        total = self.style_weight * style + self.content_weight * content
        return {"loss": total, "style_loss": style.detach(), "content_loss": content.detach()}

    def dummy_loss(self, images: Tensor) -> Tensor:
        """Return the error of a copy: forwards and backwards it costs most of what a step costs."""
        total: Tensor = copy.deepcopy(self.network)(images).float().square().sum()
        return total

    @torch.no_grad()
    def stylise(self, images: Tensor, styles: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """Return pictures ``(B, C, H, W)`` in [-1, 1] in the style that was learnt, mixed with themselves.

        ``alpha`` is the share of the style; of 0 the pictures themselves come back.

        Raises:
            UserError: another style was asked for.
        """
        if styles is not None:
            raise UserError("This run knows the one style that it has learnt: leave style= out, or train model=adain.")
        images = images.to(self.device)
        if alpha == 0:
            return images
        made = self.inference_network(recoloured(images, self.style[None])).float().clamp(-1, 1)
        return torch.lerp(images, made, alpha)


class AdaIn(Averaged):
    """Any style in one pass, with an encoder of our own (Huang & Belongie 2017).

    For the share ``autoencoding`` of the budget encoder and decoder learn to return pictures. Then the encoder rests,
    and the decoder learns to draw what the encoder reads as the content's maps with the style's means and deviations:
    of those maps (content), and of the means and deviations at all four depths (style), each depth weighed so that it
    counts the same. ``patch_weight`` asks the patches of the style of the result too, ``identity_weight`` that the
    decoder go on returning pictures.

    Beyond the paper: pictures have the style's colours, by a linear map, before they are encoded, and what comes out is
    the picture plus what the decoder draws of the restyled maps less what it draws of the maps as they were. So nothing
    is lost that the autoencoder cannot hold, and a picture in its own style is itself.

    Styles to learn from are ``count`` squares cut from the pictures of a folder, and other pictures of the batch.
    """

    any_style = True
    style: Tensor | None = None
    styles: Tensor

    def __init__(
        self,
        network: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        image_shape: Supplied[Sequence[int]],
        class_names: Supplied[Sequence[str]],
        styles: str | None = None,
        count: Count = 256,
        autoencoding: BelowOne = 0.4,
        style_weight: NotNegative = 3.0,
        patch_weight: NotNegative = 5.0,
        identity_weight: NotNegative = 1.0,
        scales: Count = 3,
        directions: Count = 32,
        average_half_life: NotNegative = 0,
        average_ramp: NotNegative = 0.1,
        gradient_clip: Positive | None = None,
    ) -> None:
        """State the folder of ``styles``; None takes the pictures that scikit-image carries."""
        super().__init__(image_shape, class_names, schedule)
        coder = network(channels=image_shape[0])
        if not isinstance(coder, StyleCoder):
            raise UserError("model=adain needs an encoder and a decoder of styles: type network@model.network=style.")
        self.set_network(coder, optimizer, average_half_life, average_ramp, gradient_clip)
        _check_scales(scales, min(image_shape[1:]))
        self.folder, self.scales, self.directions = styles, scales, directions
        self.autoencoding, self.style_weight = autoencoding, style_weight
        self.patch_weight, self.identity_weight = patch_weight, identity_weight
        side = min(image_shape[1:])
        self.register_buffer("styles", torch.zeros(count, image_shape[0], side, side), persistent=False)

    def init_from_data(self, shown: Shown) -> None:
        """Cut squares from the style pictures, of any size from the one wanted to the whole."""
        found = [pictures.picture(reference, self.styles.shape[1]) for reference in pictures.references(self.folder)]
        generator = torch.Generator().manual_seed(0)
        side = self.styles.shape[2]
        for number in range(len(self.styles)):
            whole = found[number % len(found)]
            share, top, left = torch.rand(3, generator=generator).tolist()
            largest = min(whole.shape[1:])
            size = round(largest * (min(side, largest) / largest) ** share)  # even on a logarithmic scale
            top, left = round(top * (whole.shape[1] - size)), round(left * (whole.shape[2] - size))
            self.styles[number] = _square(whole[:, top : top + size, left : left + size], side)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss on this batch: of the autoencoder first, then of the styles."""
        images = batch["images"]
        self.count(batch)
        learning = self.fraction < self.autoencoding
        self.network.encoder.requires_grad_(learning)
        if learning:
            loss = F.l1_loss(self.network(images), images) + F.mse_loss(self.network(images), images)
            return {"loss": loss, "autoencoder_loss": loss.detach()}
        asked = self._drawn(images)
        with torch.no_grad():
            shown = recoloured(images, asked)
            content, style = self.network.encoder(shown), self.network.encoder(asked)
            aims = [statistics(maps.float()) for maps in style]
            wanted = adaptive(content[-1].float(), aims[-1:])
        there, here = self.network.decoder(torch.cat([wanted, content[-1].float()])).chunk(2)
        made = shown + there - here
        seen = self.network.encoder(made)
        kept = F.mse_loss(seen[-1].float(), wanted) / wanted.var()
        gained = torch.stack([_apart(maps.float(), aim) for maps, aim in zip(seen, aims, strict=True)]).sum()
        curves = {"content_loss": kept.detach(), "style_loss": gained.detach()}
        loss = kept + self.style_weight * gained
        if self.patch_weight:
            apart = _patches_apart(made, asked, self.scales, self.directions)
            loss = loss + self.patch_weight * apart
            curves["patch_loss"] = apart.detach()
        if self.identity_weight:
            loss = loss + self.identity_weight * F.l1_loss(here, shown)
        return {"loss": loss, **curves}

    def on_after_backward(self) -> None:
        """Let the encoder learn again wherever somebody asks: whether it rests is decided at each step."""
        self.network.encoder.requires_grad_(True)

    def _drawn(self, images: Tensor) -> Tensor:
        """Return a style for each picture: one of the folder's for every other, its neighbour in the batch else."""
        chosen = self.of_this_process(torch.rand, len(images), 1)[:, 0]
        found = self.styles[(chosen * len(self.styles)).long()]
        others = images.roll(1, dims=0)
        if found.shape[2:] != others.shape[2:]:
            found = F.interpolate(found, size=images.shape[2:], mode="bicubic", antialias=True).clamp(-1, 1)
        every_other = (torch.arange(len(images), device=images.device) % 2).view(-1, 1, 1, 1)
        return torch.where(every_other == 0, found, others)

    def dummy_loss(self, images: Tensor) -> Tensor:
        """Return the error of a copy: forwards and backwards it costs about half of what a step costs."""
        sides = [side - side % 4 for side in images.shape[2:]]
        total: Tensor = copy.deepcopy(self.network)(images[:, :, : sides[0], : sides[1]]).float().square().sum()
        return total

    @torch.no_grad()
    def stylise(
        self,
        images: Tensor,
        styles: Tensor | Sequence[Tensor] | None = None,
        alpha: float = 1.0,
        weights: Sequence[float] | None = None,
    ) -> Tensor:
        """Return pictures ``(B, C, H, W)`` in [-1, 1], each in its style of ``styles`` ``(B, C, h, w)``.

        With ``weights`` the styles are mixed instead, pictures ``(C, h, w)`` of any sizes, each by its weight, and all
        pictures get the mixture. ``alpha`` goes from the picture itself (0, exactly) to the whole style, in colours and
        in maps.

        Raises:
            UserError: no style was given.
        """
        if styles is None:
            raise UserError("This run takes any style, and none was given: type style=<picture>.")
        images = images.to(self.device)
        if alpha == 0:
            return images
        height, width = images.shape[2:]
        whole, coder = _whole(images), self.inference_network
        if weights is None:
            looks, shares = [_whole(styles.to(self.device))], [1.0]  # type: ignore[union-attr]
        else:
            looks = [_whole(style.to(self.device)[None]) for style in styles]
            shares = [weight / sum(weights) for weight in weights]
        bases = [share * recoloured(whole, look) for look, share in zip(looks, shares, strict=True)]
        shown = torch.lerp(whole, torch.stack(bases).sum(dim=0), alpha)
        maps = coder.encoder(shown)[-1].float()
        aims = [statistics(coder.encoder(look)[-1].float()) for look in looks]
        there, here = coder.decoder(torch.cat([torch.lerp(maps, adaptive(maps, aims, shares), alpha), maps])).chunk(2)
        made: Tensor = shown + there - here
        return made[:, :, :height, :width].clamp(-1, 1)


def _whole(images: Tensor) -> Tensor:
    """Return images whose sides are multiples of 4, the edges repeated."""
    return F.pad(images, (0, -images.shape[3] % 4, 0, -images.shape[2] % 4), mode="replicate")


def _square(picture: Tensor, side: int) -> Tensor:
    """Return the square in the middle of a picture, brought to a side."""
    size = min(picture.shape[1:])
    top, left = ((length - size) // 2 for length in picture.shape[1:])
    middle = picture[:, top : top + size, left : left + size]
    return resized(middle, torch.Size([side, side])).clamp(-1, 1)


def _check_scales(scales: int, smallest: int) -> None:
    if smallest >> (scales - 1) < 8:
        raise UserError(
            f"model.scales={scales} halves {smallest} pixels to fewer than the 8 that patches need: type"
            f" model.scales={max(1, (smallest // 8).bit_length())} or less, or larger pictures."
        )


def _patches_apart(made: Tensor, styles: Tensor, scales: int, count: int) -> Tensor:
    """Return the mean distance of patches over scales, each half the size of the one before."""
    total = made.new_zeros(())
    for scale in range(scales):
        if scale:
            made, styles = F.avg_pool2d(made, 2), F.avg_pool2d(styles, 2)
        stride = 2 if min(made.shape[2:]) >= 48 else 1
        corners = torch.randint(stride, (2,)).tolist()
        filters = directions(count, made.shape[1])
        first, second = (images[:, :, corners[0] :, corners[1] :].float() for images in (made, styles))
        total = total + patch_distance(first, second, filters, stride).mean() / scales
    return total


def _likeness(made: Tensor, images: Tensor) -> Tensor:
    """Return how much of the structure is there, at full and at half size."""
    halves = F.avg_pool2d(made, 2), F.avg_pool2d(images, 2)
    return (structure(made, images).mean() + structure(*halves).mean()) / 2


def _apart(maps: Tensor, aim: tuple[Tensor, Tensor]) -> Tensor:
    """Return how far means and deviations of maps are from an aim, as a share of the spread of the aims."""
    scale = (aim[0].square().mean() + aim[1].square().mean()).clamp(min=1e-8)
    mean, deviation = statistics(maps)
    return ((mean - aim[0]).square().mean() + (deviation - aim[1]).square().mean()) / scale
