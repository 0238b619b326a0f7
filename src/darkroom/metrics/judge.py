"""Making a judge: a minute of plain PyTorch."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom.errors import UserError
from darkroom.images import from_uint8
from darkroom.metrics.features import Judge, Upbringing
from darkroom.metrics.isolation import untouched
from darkroom.metrics.subjects import Data, Pictures, Progress
from darkroom.networks.convnet import ConvNet


def train_judge(
    data: Data,
    seed: int = 0,
    images: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.01,
    width: int = 16,
    feature_dim: int = 64,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Judge:
    """Teach a small network the classes of some data and return it as their judge.

    AdamW with one cycle of the learning rate over ``images`` training pictures (default: 20 passes over a small set,
    falling to 3 over 60,000), each moved by up to a fourteenth of its size. Neither labels nor pictures are smoothed or
    mixed: the judge should say what it sees. The same seed on the same machine gives the same judge; the caller's
    random state is left alone. Raises `UserError` for data without classes, and for classes that it cannot learn.
    """
    if not data.class_names:
        raise UserError(f"the data '{data.name}' have no classes to teach a judge: use labelled data")
    pictures = data.pictures("train")
    labels = pictures.labels
    assert labels is not None
    images = images or min(20 * len(pictures), max(180_000, 3 * len(pictures)))
    steps = math.ceil(images / batch_size)
    channels, height, _ = data.image_shape
    network = {"channels": channels, "classes": len(data.class_names), "width": width, "feature_dim": feature_dim}
    generator = torch.Generator().manual_seed(seed)
    with untouched():
        torch.default_generator.manual_seed(seed)
        net = ConvNet(channels, len(data.class_names), width=width, feature_dim=feature_dim)
    net.to(device).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        while len(order) < batch_size:
            order = torch.cat([order, torch.randperm(len(pictures), generator=generator)])
        indices, order = order[:batch_size], order[batch_size:]
        batch = shifted(pictures.batch(indices), height // 14, generator)
        loss = F.cross_entropy(net(from_uint8(batch.to(device))), labels[indices].to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        # One wild step at the top of the cycle can silence every unit of the hidden layer for good.
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if progress:
            progress(min(images, (step + 1) * batch_size), images)
    net.eval()
    val_accuracy = accuracy(net, data.pictures("val"), device)
    usual = _majority(data.pictures("val"))
    if val_accuracy < usual + 0.1 * (1 - usual):
        raise UserError(
            f"a judge of the data '{data.name}' names only {val_accuracy:.1%} of the validation pictures right, where "
            f"always saying the same would be right for {usual:.1%}: its features would mean nothing, so type "
            "metrics=inception, metrics.judge=<path of a judge> or metrics=none"
        )

    # "feature_mean" and "feature_std" are read off the pictures as they are, not as augmentation moved them.
    with torch.no_grad():
        hidden = torch.cat([net.features(part.to(device)).double() for part in _ordered(pictures)])
    deviation = hidden.std(dim=0)
    tensors = {f"net.{name}": tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    tensors["feature_mean"] = hidden.mean(dim=0).float().cpu()
    # A unit that is all but silent on real pictures must not rule the score because a generated one wakes it.
    tensors["feature_std"] = deviation.clamp(min=0.05 * deviation.mean().item()).float().cpu()
    return Judge(
        name=data.name,
        network=network,
        tensors=tensors,
        image_shape=data.image_shape,
        class_names=data.class_names,
        upbringing=Upbringing(
            data=data.name,
            data_digest=data.digest,
            split_digests=dict(data.split_digests),
            val_accuracy=val_accuracy,
            images_seen=steps * batch_size,
            seed=seed,
            made_with=f"AdamW, one cycle to {learning_rate}, weight decay {weight_decay}, gradients clipped at "
            f"1, batches of {batch_size}, shifts of {height // 14}",
        ),
    )


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return each of ``(B, C, H, W)`` images moved by up to ``most`` pixels each way, its border repeated behind it."""
    if most == 0:
        return images
    count, channels, height, width = images.shape
    padded = F.pad(images.float(), (most, most, most, most), mode="replicate").to(images.dtype)
    top, left = torch.randint(0, 2 * most + 1, (2, count, 1), generator=generator)
    rows = (top + torch.arange(height))[:, None, :, None]
    columns = (left + torch.arange(width))[:, None, None, :]
    return padded[torch.arange(count)[:, None, None, None], torch.arange(channels)[None, :, None, None], rows, columns]


@torch.no_grad()
def accuracy(net: ConvNet, pictures: Pictures, device: torch.device | str = "cpu") -> float:
    """Return the share of pictures that a classifier names right."""
    labels = pictures.labels
    assert labels is not None
    named = torch.cat([net(part.to(device)).argmax(dim=1).cpu() for part in _ordered(pictures)])
    return (named == labels).double().mean().item()


def _majority(pictures: Pictures) -> float:
    assert pictures.labels is not None
    return pictures.labels.bincount().max().item() / len(pictures)


def _ordered(pictures: Pictures, size: int = 500) -> Iterator[Tensor]:
    """Yield float images in order."""
    for indices in torch.split(torch.arange(len(pictures)), size):
        yield from_uint8(pictures.batch(indices))
