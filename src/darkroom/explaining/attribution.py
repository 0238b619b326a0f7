"""Which pixels does an answer rest on? The methods of captum (Kokhlikyan et al. 2020), with one signature."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from darkroom.errors import UserError, did_you_mean
from darkroom.models.explainable import Explainable

# A method returns what each pixel contributes to the target's logit, (B, H, W): positive speaks for the target.
Method = Callable[[Explainable, Tensor, Tensor], Tensor]

CHUNK = 64  # pictures explained at once
INTERNAL = 256  # points between baseline and picture differentiated at once


def colourless(images: Tensor) -> Tensor:
    """Return pictures of one colour, the mean of each: what is left of a picture when all it shows is taken away.

    Not black: on a black ground the contribution of every background pixel would then be zero in any network, trained
    or not. The places where integrated gradients from black are large stay the same when the weights of a convnet for
    MNIST are drawn anew (rank correlation 0.99); from the mean fewer do (0.34).
    """
    return images.mean(dim=(2, 3), keepdim=True).expand_as(images)


def grad_cam(explainable: Explainable, images: Tensor, targets: Tensor, layer: str | None = None) -> Tensor:
    """Weigh a layer's maps by their mean gradient, enlarge what is positive in the sum (Selvaraju et al. 2017).

    Without a ``layer`` those of all sizes are put together, each on its own scale. On small pictures the last maps have
    3 to 7 pixels a side and show no more than a blob, and which layer is best depends on the network. Deletion areas of
    the fused map, and from the best single layer to the worst, on 64 test pictures: 0.35, 0.29 to 0.53 (convnet,
    mnist); 0.41, 0.36 to 0.49 (lenet, mnist); 0.25, 0.28 to 0.32 (speedrun, cifar10-small).
    """
    from captum.attr import LayerGradCam

    def cam(module: nn.Module) -> Tensor:
        found: Tensor = LayerGradCam(explainable.outputs, module).attribute(
            images.clone().requires_grad_(), additional_forward_args=(targets,), relu_attributions=True
        )
        return found

    return _over_layers(cam, explainable, images, layer)


def hires_cam(explainable: Explainable, images: Tensor, targets: Tensor, layer: str | None = None) -> Tensor:
    """Weigh every pixel of a layer's maps by its own gradient (Draelos & Carin 2020); fused as by `grad_cam`.

    The same as Grad-CAM for maps that are averaged before the answer, and better for those that a dense layer reads.
    """
    from captum.attr import LayerGradientXActivation

    def cam(module: nn.Module) -> Tensor:
        found: Tensor = LayerGradientXActivation(explainable.outputs, module).attribute(
            images.clone().requires_grad_(), additional_forward_args=(targets,)
        )
        return found.sum(dim=1, keepdim=True)

    return _over_layers(cam, explainable, images, layer)


def _over_layers(
    cam: Callable[[nn.Module], Tensor], explainable: Explainable, images: Tensor, layer: str | None
) -> Tensor:
    """Return the map of one layer, enlarged to the picture, or the mean over all, each divided by its largest value."""
    from captum.attr import LayerAttribution

    found = []
    for module in [explainable.layers[layer]] if layer else explainable.layers.values():
        enlarged: Tensor = LayerAttribution.interpolate(cam(module), tuple(images.shape[2:]), "bilinear")
        found.append(enlarged.detach().squeeze(1))
    if len(found) == 1:
        return found[0]
    largest = [maps.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-12) for maps in found]
    return torch.stack([maps / size for maps, size in zip(found, largest, strict=True)]).mean(dim=0)


def integrated_gradients(explainable: Explainable, images: Tensor, targets: Tensor, steps: int = 32) -> Tensor:
    """Add up gradients on the straight way from the picture without content to the picture (Sundararajan et al. 2017).

    The contributions of all pixels add up to the difference between the logits at both ends, but for the error of
    ``steps`` points of Gauss-Legendre quadrature: for trained networks on MNIST 1.4% of it with 32, 0.3% with 128.
    """
    from captum.attr import IntegratedGradients

    found: Tensor = IntegratedGradients(explainable.outputs).attribute(
        images,
        baselines=colourless(images),
        additional_forward_args=(targets,),
        n_steps=steps,
        internal_batch_size=max(INTERNAL, len(images)),
    )
    return found.detach().sum(dim=1)


def saliency(explainable: Explainable, images: Tensor, targets: Tensor) -> Tensor:
    """Return how steeply the logit changes with a pixel, in either direction (Simonyan et al. 2014): never negative."""
    from captum.attr import Saliency

    found: Tensor = Saliency(explainable.outputs).attribute(
        images.clone().requires_grad_(), additional_forward_args=(targets,)
    )
    return found.detach().amax(dim=1)


def occlusion(explainable: Explainable, images: Tensor, targets: Tensor) -> Tensor:
    """Return how far the logit falls when a square around a pixel loses its content (Zeiler & Fergus 2014).

    The square has a seventh of the picture's side and moves by half of its own.
    """
    from captum.attr import Occlusion

    channels, side = images.shape[1], max(2, min(images.shape[2:]) // 7)
    stride = max(1, side // 2)
    with torch.no_grad():
        found: Tensor = Occlusion(explainable.outputs).attribute(
            images,
            sliding_window_shapes=(channels, side, side),
            strides=(channels, stride, stride),
            baselines=colourless(images),
            additional_forward_args=(targets,),
            perturbations_per_eval=4,
        )
    return found.sum(dim=1)


def edges(explainable: Explainable, images: Tensor, targets: Tensor) -> Tensor:
    """Return where the picture changes, whatever the network says of it: what an explanation must not be mistaken for.

    Symmetric differences of neighbours, over all channels.
    """
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    return (across.square() + down.square()).sum(dim=1).sqrt()


METHODS: dict[str, Method] = {
    "grad_cam": grad_cam,
    "hires_cam": hires_cam,
    "integrated_gradients": integrated_gradients,
    "saliency": saliency,
    "occlusion": occlusion,
}
OF_MAPS = ("grad_cam", "hires_cam")  # these look at maps inside of the network


def chosen(
    names: Sequence[str], explainable: Explainable, layer: str | None = None, steps: int = 32
) -> dict[str, Method]:
    """Return methods by name, with their settings.

    Raises:
        UserError: an unknown method or layer, or Grad-CAM for a network without maps.
    """
    if not names:
        raise UserError(f"methods=[] asks for nothing: type methods={','.join(METHODS)} or some of these.")
    if layer is not None and layer not in explainable.layers:
        known = ", ".join(explainable.layers) or "none at all"
        hint = did_you_mean(layer, explainable.layers)
        raise UserError(f"layer={layer}: this network has no maps of that size{hint}; it has {known}.")
    methods: dict[str, Method] = {}
    for name in names:
        if name not in METHODS:
            hint = did_you_mean(name, METHODS)
            raise UserError(f"methods: there is no '{name}'{hint}; there are {', '.join(METHODS)}.")
        if name in OF_MAPS and not explainable.layers:
            raise UserError(
                f"methods: {name} needs a network with maps, and this one has none: type"
                " methods=[integrated_gradients]."
            )
        settings = {"layer": layer} if name in OF_MAPS else {"steps": steps} if name == "integrated_gradients" else {}
        methods[name] = partial(METHODS[name], **settings)
    return methods


def attribute(method: Method, explainable: Explainable, images: Tensor, targets: Tensor) -> Tensor:
    """Return the map of each picture, ``(B, H, W)`` on the CPU, for an explainable that is ``ready``."""
    parts = []
    for some, wanted in zip(torch.split(images, CHUNK), torch.split(targets, CHUNK), strict=True):
        # captum warns that it asks for gradients itself
        with (
            warnings.catch_warnings(action="ignore", category=UserWarning),
            torch.autocast(images.device.type, enabled=False),
        ):
            parts.append(method(explainable, some, wanted).float().cpu())
    return torch.cat(parts)
