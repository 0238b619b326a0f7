"""What scores are seen through: frozen networks, named by the hash of their weights.

A score is a statement about features, so features must not move. `Judge` is this project's own plain classifier of one
data set, `Inception` the network that the literature reports. A number from one says nothing about a number from the
other; the protocol on every score says which it was.
"""

import contextlib
import dataclasses
import glob
import hashlib
import importlib
import io
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor, nn

from darkroom import building, digests, files, paths
from darkroom import images as pictures
from darkroom.data.contract import Data
from darkroom.errors import UserError
from darkroom.isolation import preserve_rng_state
from darkroom.judges.certificate import Certificate
from darkroom.networks.statements import stated

SHIPPED = Path(__file__).parent / "shipped"

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
INCEPTION_SOURCE = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"


class NoJudge(UserError):
    """There is no judge for these data yet, but one can be made with `darkroom.judges.teaching.train_judge`."""


class Extractor(ABC):
    """A frozen network that turns pictures into features and logits.

    Deliberately no ``nn.Module``: as an attribute of a model it would otherwise slip into every checkpoint.
    """

    name: str
    hash: str
    image_shape: tuple[int, int, int] | None
    class_names: list[str]
    names: bool  # whether its logits are of names, which the Inception Score is about
    feature_dim: int
    resizing: str
    chunk: int  # pictures looked at together; it bounds memory and has no influence on the features
    net: nn.Module

    def to(self, device: torch.device) -> "Extractor":
        """Move the network to a device."""
        self.net.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.net.parameters()).device

    def look(self, images: Tensor, rounded: bool = True) -> tuple[Tensor, Tensor]:
        """Return features ``(N, d)`` and logits ``(N, K)``, float32 on the CPU.

        ``images`` are ``(N, C, H, W)``, uint8 or float in [-1, 1]. Floats are first rounded to the nearest of the 256
        levels, because a file would have done so and because features of values that no file can hold flatter a model;
        not so with ``rounded=False``.
        """
        if images.dtype != torch.uint8:
            images = pictures.to_uint8(images) if rounded else images.float().clamp(-1, 1).add(1).mul(127.5)
        features, logits = [], []
        with self._exactly():
            for part in torch.split(images, self.chunk):
                f, z = self._forward(part.to(self.device))
                features.append(f.float().cpu())
                logits.append(z.float().cpu())
        return torch.cat(features), torch.cat(logits)

    @contextmanager
    def _exactly(self) -> Iterator[None]:
        """Compute in full precision and without gradients.

        Neither half precision nor TF32: both move features by 1e-3, more than some differences being measured.
        """
        with (
            torch.no_grad(),
            torch.autocast(self.device.type, enabled=False),
            torch.backends.cudnn.flags(
                enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
            ),
        ):
            yield

    def features(self, images: Tensor) -> Tensor:
        """Return features, float32 ``(N, feature_dim)``."""
        return self.look(images)[0]

    def logits(self, images: Tensor) -> Tensor:
        """Return logits, float32 ``(N, K)``."""
        return self.look(images)[1]

    def matched_channels(self, images: Tensor, channels: int) -> Tensor:
        """Return images with the channels of the network: one channel is tiled, anything else must agree."""
        given = images.shape[1]
        if given == channels:
            return images
        if given == 1:
            return images.expand(-1, channels, -1, -1)
        raise UserError(
            f"the judge '{self.name}' looks at {channels}-channel pictures and was given {given} channels: "
            f"set data.channels={channels} or choose another metrics.judge"
        )

    @abstractmethod
    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits of images on the network's device, uint8 or float in [0, 255]."""


@dataclasses.dataclass(frozen=True)
class TrainingRecord:
    """How a judge was made: what it was taught, and how well it learned."""

    data: str
    data_digest: str
    split_digests: dict[str, str]
    val_accuracy: float
    images_seen: int
    seed: int
    made_with: str
    taught: str = "classes"  # or what stood in for them
    network_digest: str = ""  # of the network of a run that was frozen


@dataclasses.dataclass(frozen=True)
class Seen:
    """What every layer of a judge makes of some pictures."""

    maps: list[Tensor]  # (N, C, H, W) of each convolution, from the first to the last
    features: Tensor  # (N, d)

    def distance(self, other: "Seen") -> Tensor:
        """Return how differently pictures are seen, one by one, ``(N,)`` from 0 (alike) to 4.

        At every place of every convolution's maps the channels are a direction; directions are compared by their
        squared distance, averaged over places and then over convolutions (Zhang et al. 2018, arXiv 1801.03924,
        equation 1, with equal weights).
        """
        layers = [
            (F.normalize(mine, dim=1) - F.normalize(theirs, dim=1)).square().sum(dim=1).mean(dim=(1, 2))
            for mine, theirs in zip(self.maps, other.maps, strict=True)
        ]
        return torch.stack(layers).mean(dim=0)


def plain_network(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the network that a judge's file names, ``convnet.ConvNet`` in `darkroom.networks`; nothing else ever is.

    Raises:
        UserError: there is none of that name, or it has residual connections.
    """
    module, _, name = str(architecture).partition(".")
    ours = module.isidentifier() and (paths.PACKAGE / "networks" / f"{module}.py").is_file()
    network = vars(importlib.import_module(f"darkroom.networks.{module}")).get(name) if ours else None
    if not (
        isinstance(network, type)
        and network.__module__ == f"darkroom.networks.{module}"
        and issubclass(network, nn.Module)
        and stated(network, "plain", False)
    ):
        raise UserError(
            f"'{architecture}' is no plain network of darkroom.networks, which alone may be a judge: make the judge "
            "again with darkroom judge"
        )
    return network(**arguments)


class Standardised(nn.Module):
    """A classifier whose features have mean 0 and deviation 1 over its own training pictures.

    Features are what its last layer, ``output``, is given.
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, net: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("feature_mean", torch.zeros(feature_dim))
        self.register_buffer("feature_std", torch.ones(feature_dim))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits."""
        given: list[Tensor] = []
        hook = self.net.get_submodule("output").register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        try:
            logits = self.net(images)
        finally:
            hook.remove()
        return (given[0] - self.feature_mean) / self.feature_std, logits


class _Facts(BaseModel):
    """What a judge's file says about it."""

    name: str
    hash: str = Field(pattern="^[0-9a-f]{64}$")
    network: dict[str, Any]
    image_shape: list[Annotated[int, Field(ge=1, le=4096)]] = Field(min_length=3, max_length=3)
    class_names: list[str]
    upbringing: TrainingRecord
    architecture: str = ""
    certificate: Certificate | None = None


class Judge(Extractor):
    """A plain convolutional classifier of one data set; what it has learned to tell apart is what scores are about.

        judge = Judge.load("mnist-1a2b3c4d.safetensors")
        features = judge.features(images)          # (N, 64); mean 0 and deviation 1 over the judge's training pictures
        names = judge.logits(images).argmax(dim=1)
        far = judge.distance(images, others)       # (N,), picture by picture, through all layers
        judge.certificate.passed                   # whether more damage is more distance, and more FID

    The raw scale of a network's features is arbitrary, and FID and KID are proportional to its square and sixth power;
    standardised features make the numbers of two judges alike in size, though still not comparable.
    """

    def __init__(
        self,
        name: str,
        network: dict[str, Any],
        tensors: dict[str, Tensor],
        image_shape: tuple[int, int, int],
        class_names: list[str],
        training_record: TrainingRecord,
        architecture: str = "convnet.ConvNet",
        certificate: Certificate | None = None,
    ) -> None:
        """Build the network from its constructor's arguments (``network``) and its weights (``tensors``)."""
        feature_dim = len(tensors["feature_mean"])
        with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
            net = Standardised(plain_network(architecture, network), feature_dim)
        net.load_state_dict(tensors, assign=True)
        self.name = name
        self.net = net.eval().requires_grad_(False)
        self.architecture = architecture
        self.network = dict(network)
        self.hash = digests.of_tensors(tensors)
        self.image_shape = image_shape
        self.class_names = list(class_names)
        self.names = bool(class_names)
        self.feature_dim = feature_dim
        self.training_record = training_record
        self.certificate = certificate
        self.resizing = f"bilinear with antialiasing to {image_shape[1]}x{image_shape[2]}"
        self.chunk = 256

    def seen(self, images: Tensor) -> Seen:
        """Return what every convolution makes of uint8 images, and their features; all of it at once in memory."""
        maps: list[Tensor] = []
        hooks = [
            module.register_forward_hook(lambda _, __, output: maps.append(output.float().cpu()))
            for module in self.net.modules()
            if isinstance(module, nn.Conv2d)
        ]
        try:
            with self._exactly():
                features, _ = self._forward(images.to(self.device))
        finally:
            for hook in hooks:
                hook.remove()
        return Seen(maps, features.float().cpu())

    def distance(self, images: Tensor, others: Tensor) -> Tensor:
        """Return how far uint8 images are from ``others``, pair by pair, float32 ``(N,)``; see `Seen.distance`."""
        pairs = zip(torch.split(images, self.chunk), torch.split(others, self.chunk), strict=True)
        return torch.cat([self.seen(one).distance(self.seen(other)) for one, other in pairs])

    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert self.image_shape is not None
        channels, height, width = self.image_shape
        values = pictures.from_uint8(self.matched_channels(images, channels))
        if values.shape[2:] != (height, width):
            values = F.interpolate(values, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
        result: tuple[Tensor, Tensor] = self.net(values)
        return result

    def save(self, folder: Path) -> Path:
        """Write ``<name>-<first 8 of the hash>.safetensors`` into a folder and return its path."""
        facts = {
            "name": self.name,
            "hash": self.hash,
            "architecture": self.architecture,
            "network": self.network,
            "image_shape": self.image_shape,
            "class_names": self.class_names,
            "upbringing": dataclasses.asdict(self.training_record),
            "certificate": self.certificate.to_dict() if self.certificate else None,
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.net.state_dict().items()}
        path = folder / f"{self.name}-{self.hash[:8]}.safetensors"
        files.write(path, safetensors.torch.save(tensors, {"judge": json.dumps(facts, sort_keys=True)}))
        return path

    @classmethod
    def load(cls, path: Path | str) -> "Judge":
        """Read a judge. Raises `UserError` if the file is absent, no judge, or not what its hash says."""
        path = Path(path)
        facts = facts_of(path)
        certificate = facts.get("certificate")
        tensors = _tensors_of(path)
        with building.from_file(path, tensors):
            judge = cls(
                name=facts["name"],
                network=facts["network"],
                tensors=tensors,
                image_shape=(facts["image_shape"][0], facts["image_shape"][1], facts["image_shape"][2]),
                class_names=facts["class_names"],
                training_record=TrainingRecord(**facts["upbringing"]),
                architecture=facts.get("architecture", "convnet.ConvNet"),  # what there was before there were others
                certificate=Certificate.from_dict(certificate) if certificate else None,
            )
        building.check_finite(tensors, path)
        in_name = re.search(r"-([0-9a-f]{8})$", path.stem)
        if judge.hash != facts["hash"] or (in_name and not judge.hash.startswith(in_name[1])):
            raise UserError(
                f"the judge {path} was changed after it was made (its weights hash to {judge.hash[:8]}, it says "
                f"{(in_name[1] if in_name else facts['hash'][:8])}): restore it, or delete it and make a new judge"
            )
        return judge


def facts_of(path: Path) -> dict[str, Any]:
    """Return what a judge's file says about it, without reading its weights."""
    if not path.is_file():
        raise UserError(f"no judge at {path}: give metrics.judge=domain, inception, or the path of a .safetensors file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable judge ({error}): delete it and make a new one") from error
    if "judge" not in metadata:
        raise UserError(f"{path} is a safetensors file but not a judge: give a file that a judge was saved to")
    try:
        facts: dict[str, Any] = json.loads(metadata["judge"])
        _Facts.model_validate_json(metadata["judge"], strict=True)
    except (ValueError, RecursionError) as error:  # a ValidationError is one
        first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error)
        raise UserError(f"{path} is not a readable judge ({reason}): delete it and make a new one") from error
    return facts


def _tensors_of(path: Path) -> dict[str, Tensor]:
    try:
        tensors = safetensors.torch.load_file(path)
    except Exception as error:  # damaged bytes lead the reader into every kind of exception
        raise UserError(f"{path} is not a readable judge ({error}): delete it and make a new one") from error
    mean = tensors.get("feature_mean")
    if mean is None or mean.dim() != 1:
        raise UserError(f"{path} is not a readable judge (it has no feature_mean): delete it and make a new one")
    return tensors


class Inception(Extractor):
    """The InceptionV3 of the FID literature, exactly as torch-fidelity defines it, with weights the user already has.

    Pictures are resized by the network's own rule (TensorFlow 1 bilinear, no antialiasing, to 299x299); one channel is
    tiled to three. Features are the 2048 pooled activations, logits the 1008 without bias.
    """

    def __init__(self, weights: Path | str | None = None, sha256: str = INCEPTION_SHA256) -> None:
        """Load the weights from a path, or from where PyTorch keeps downloads; nothing is downloaded here.

        Raises `UserError` if the file is absent or its sha256 is not the expected one.
        """
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        home = Path(os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch")
        path = Path(weights).expanduser() if weights else home.expanduser() / "hub" / "checkpoints" / INCEPTION_FILE
        if not path.is_file():
            raise UserError(
                f"metrics.judge=inception needs the file {path} (from {INCEPTION_SOURCE}, sha256 {sha256}): put it "
                "there, or type metrics.weights=<path>"
            )
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise UserError(f"{path} has sha256 {found}, expected {sha256}: fetch it again from {INCEPTION_SOURCE}")
        # torch-fidelity unpickles whatever file it is given; it is given only tensors that were read safely.
        safe = io.BytesIO()
        torch.save(torch.load(path, map_location="cpu", weights_only=True), safe)
        safe.seek(0)
        with preserve_rng_state():  # its constructor draws 24 million random numbers before it loads the weights
            self.net = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=safe
            )
        self.name = "inception"
        self.hash = found
        self.image_shape = None
        self.class_names = []
        self.names = True  # ImageNet's
        self.feature_dim = 2048
        self.resizing = "TensorFlow 1 bilinear without antialiasing to 299x299"
        self.chunk = 16  # the fastest on a CPU

    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        images = self.matched_channels(images, 3)
        with (
            contextlib.nullcontext(images) if images.dtype == torch.uint8 else self._in_place_of_bytes(images) as given
        ):
            features, logits = self.net(given)
        return features, logits

    @contextmanager
    def _in_place_of_bytes(self, images: Tensor) -> Iterator[Tensor]:
        """Yield what to give the network so that it looks at float images in [0, 255], though it takes bytes alone.

        Its own bytes, of one pixel, are exchanged for the images before the first layer, enlarged and scaled as it
        does.
        """
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

        side = self.net.INPUT_IMAGE_SIZE
        enlarged = interpolate_bilinear_2d_like_tensorflow1x(images, size=(side, side), align_corners=False)
        hook = self.net.get_submodule("Conv2d_1a_3x3").register_forward_pre_hook(lambda *_: ((enlarged - 128) / 128,))
        try:
            yield images.new_zeros(len(images), 3, 1, 1, dtype=torch.uint8)
        finally:
            hook.remove()


def find(name: str, data: Data, cache: Path, weights: Path | str | None = None) -> Extractor:
    """Return the extractor called ``name`` for these data.

    ``inception`` reads ``weights``; a path ending in .safetensors is that judge; ``domain`` is the judge that ships
    with the project for data of this name and these classes, else the newest made for the same validation and test
    pictures. Raises `NoJudge` when there is none yet, `UserError` when there cannot be one.
    """
    if name == "inception":
        return Inception(weights)
    if name.endswith(".safetensors"):
        return Judge.load(Path(name).expanduser())
    if name != "domain":
        raise UserError(f"metrics.judge={name} is unknown: give domain, inception, or the path of a .safetensors file")
    held_out = data.everything.split_digests  # a judge is taught and certified on all there is
    for path in [*sorted(_judges(SHIPPED, data)), *sorted(_judges(cache / "judges", data), key=_age)]:
        facts = facts_of(path)
        record = facts["upbringing"]
        same_classes = facts["name"] == data.name and facts["class_names"] == list(data.class_names)
        # Training pictures are left out: a run on a hundred of them is judged by the eye that saw them all.
        same_pictures = all(record["split_digests"].get(split) == held_out.get(split) for split in ("val", "test"))
        if same_classes and (path.parent == SHIPPED or same_pictures):
            return Judge.load(path)
    raise NoJudge(
        f"there is no judge for the data '{data.name}' with these {len(data.class_names)} classes yet: make one with "
        "darkroom judge, or type metrics.judge=<path of a judge>"
    )


def _judges(folder: Path, data: Data) -> Iterator[Path]:
    return folder.glob(f"{glob.escape(data.name)}-*.safetensors")


def _age(path: Path) -> tuple[float, str]:
    return -path.stat().st_mtime, path.name


def frozen_before(network_digest: str, folder: Path) -> Path | None:
    """Return the judge in a folder that a run's network, known by its digest, was made into; None if there is none."""
    for path in sorted(folder.glob("*.safetensors")):
        if facts_of(path)["upbringing"].get("network_digest") == network_digest:
            return path
    return None
