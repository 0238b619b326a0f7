"""Making a judge: a minute of plain PyTorch, or a network that was trained already."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darkroom import digests
from darkroom.data.contract import Data, Pictures, Progress
from darkroom.errors import UserError
from darkroom.images import from_uint8, to_uint8
from darkroom.isolation import one_thread, preserve_rng_state
from darkroom.judges.certificate import STRENGTHS
from darkroom.judges.certifying import certify, damaged
from darkroom.judges.judge import Judge, Standardised, TrainingRecord, plain_network
from darkroom.networks.statements import stated

PUZZLES = "turns and damage"  # what a judge is taught when there are no classes
DAMAGE_WEIGHT = 10.0  # of the squared error beside the cross-entropy of turns


def train_judge(
    data: Data,
    seed: int = 0,
    images: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.01,
    width: int = 16,
    feature_dim: int | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Judge:
    """Teach a small network the classes of some data and return it as their judge, not yet certified.

    AdamW with one cycle of the learning rate over ``images`` training pictures (default: 20 passes over a small set,
    falling to 3 over 60,000), each moved by up to a fourteenth of its size. Neither labels nor pictures are smoothed or
    mixed: the judge should say what it sees. The same seed on the same machine gives the same judge, however many cores
    it has; the caller's random state is left alone.

    Pictures without classes are turned (Gidaris et al. 2018, arXiv 1803.07728) and damaged in the ways of a
    certificate, and the network learns to say how they were turned and how strongly each kind of damage was done, from
    60,000 pictures or more. (Asked for kinds alone it is as sure of the weakest damage as of the strongest, and its
    distances stop rising.) ``feature_dim`` is 64, or less where val or test hold too few pictures for a covariance of
    that size.

    Raises `UserError` for classes or turns that it cannot learn.
    """
    with one_thread():
        return _taught(
            data, seed, images, batch_size, learning_rate, weight_decay, width, feature_dim, device, progress
        )


def taught_and_kept(data: Any, folder: Path, say: Callable[[str], None]) -> None:
    """Make and keep the judge of some data."""
    lesson = f"its {len(data.class_names)} classes" if data.class_names else f"{PUZZLES}, since there are no classes"
    say(f"There is no judge for '{data.name}' yet: teaching one {lesson}.")
    judge = train_judge(data.everything)
    judge.certificate = certify(judge, data.everything)
    kept = judge.save(folder)
    what = "validation pictures" if data.class_names else "turns of validation pictures"
    say(f"It names {judge.training_record.val_accuracy:.1%} of the {what} right, and is kept as {kept}.")


def check_certified(judge: Judge, say: Callable[[str], None]) -> None:
    """Warn of a judge that was not certified; refuse one that nothing else speaks for.

    Raises:
        UserError: a judge that was taught without classes and is not certified.
    """
    name = f"the judge {judge.name}-{judge.hash[:8]}"
    if judge.certificate is None:
        say(f"Nobody knows whether {name} sees damage: it has no certificate, which darkroom judge gives.")
    elif not judge.certificate.passed and judge.training_record.taught == PUZZLES:
        raise UserError(
            f"{name[0].upper()}{name[1:]} was taught without classes and failed its certificate"
            f" ({judge.certificate.reasons}): type metrics=none, or give it more pictures."
        )
    elif not judge.certificate.passed:
        say(f"Read its numbers with care: {name} failed its certificate ({judge.certificate.reasons}).")


def _taught(
    data: Data,
    seed: int,
    images: int | None,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    width: int,
    feature_dim: int | None,
    device: torch.device | str,
    progress: Progress | None,
) -> Judge:
    pictures, val = data.pictures("train"), data.pictures("val")
    passes = 20 * len(pictures) if data.class_names else max(60_000, 20 * len(pictures))
    images = images or min(passes, max(180_000, 3 * len(pictures)))
    steps = math.ceil(images / batch_size)
    channels, height, _ = data.image_shape
    turns = _turns(data)
    outputs = len(data.class_names) or turns + len(STRENGTHS)
    network = {
        "channels": channels,
        "classes": outputs,
        "width": width,
        "feature_dim": feature_dim or _feature_dim(data),
    }
    architecture = "convnet.ConvNet"
    generator = torch.Generator().manual_seed(seed)
    with preserve_rng_state():
        torch.default_generator.manual_seed(seed)
        net = plain_network(architecture, network)
    net.to(device).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        while len(order) < batch_size:
            order = torch.cat([order, torch.randperm(len(pictures), generator=generator)])
        indices, order = order[:batch_size], order[batch_size:]
        batch = shifted(pictures.batch(indices), height // 14, generator)
        if pictures.labels is not None and data.class_names:
            loss = F.cross_entropy(net(from_uint8(batch.to(device))), pictures.labels[indices].to(device))
        else:
            posed, turn, damage = puzzles(batch, turns, generator)
            logits = net(from_uint8(posed.to(device)))
            loss = F.cross_entropy(logits[:, :turns], turn.to(device))
            loss = loss + DAMAGE_WEIGHT * F.mse_loss(logits[:, turns:], damage.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        # One wild step at the top of the cycle can silence every unit of the hidden layer for good.
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if progress:
            progress(min(images, (step + 1) * batch_size), images)
    net.eval()
    solved = ""
    if data.class_names:
        val_accuracy, usual = accuracy(net, val, device), _majority(val)
        if val_accuracy < usual + 0.1 * (1 - usual):
            raise UserError(
                f"a judge of the data '{data.name}' names only {val_accuracy:.1%} of the validation pictures right, "
                f"where always saying the same would be right for {usual:.1%}: its features would mean nothing, so "
                "type metrics=inception, metrics.judge=<path of a judge> or metrics=none"
            )
    else:
        val_accuracy, error = puzzle_scores(net, val, turns, seed, device)
        if val_accuracy < 1 / turns + 0.1 * (1 - 1 / turns):
            raise UserError(
                f"a judge of the data '{data.name}', which have no classes, names only {val_accuracy:.1%} of the turns "
                f"of validation pictures right, where guessing gives {1 / turns:.1%}: it would see damage and nothing "
                "of what is shown, so type metrics=none, or give it more pictures, or classes"
            )
        solved = f"; val_accuracy is of turns, damage is told with a mean error of {error:.3f} of the strongest"
    training_record = TrainingRecord(
        data=data.name,
        data_digest=data.digest,
        split_digests=dict(data.split_digests),
        val_accuracy=val_accuracy,
        images_seen=steps * batch_size,
        seed=seed,
        made_with=f"AdamW, one cycle to {learning_rate}, weight decay {weight_decay}, gradients clipped at "
        f"1, batches of {batch_size}, shifts of {height // 14}{solved}",
        taught="classes" if data.class_names else PUZZLES,
    )
    return _standardised(net, architecture, network, data, training_record, device)


def freeze(
    net: nn.Module,
    architecture: str,
    network: Mapping[str, Any],
    data: Data,
    images_seen: int,
    seed: int,
    made_with: str,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Judge:
    """Return a trained classifier of some data as their judge, not yet certified.

    ``architecture`` is the name in `darkroom.networks`, ``network`` the arguments it was built with. Raises `UserError`
    for a network that `check_plain` refuses.
    """
    check_plain(net, architecture)
    with one_thread():
        val_accuracy = accuracy(net.to(device).eval(), data.pictures("val"), device)
        training_record = TrainingRecord(
            data=data.name,
            data_digest=data.digest,
            split_digests=dict(data.split_digests),
            val_accuracy=val_accuracy,
            images_seen=images_seen,
            seed=seed,
            made_with=made_with,
            network_digest=digests.of_tensors(net.state_dict()),
        )
        return _standardised(net, architecture, dict(network), data, training_record, device, progress)


@torch.no_grad()
def _standardised(
    net: nn.Module,
    architecture: str,
    network: dict[str, Any],
    data: Data,
    training_record: TrainingRecord,
    device: torch.device | str,
    progress: Progress | None = None,
) -> Judge:
    """Return the judge with the means and deviations of its features over the training pictures, which are as they are.

    For a judge that was taught by puzzles, the pictures are puzzles.
    """
    pictures = data.pictures("train")
    generator = torch.Generator().manual_seed(training_record.seed)
    look = Standardised(net, 1).to(device).eval()
    parts: list[Tensor] = []
    for part in _ordered(pictures):
        if training_record.taught == PUZZLES:
            # What tells damage is silent on pictures as they are; measured by that, any damage would be astronomical.
            part = from_uint8(puzzles(to_uint8(part), _turns(data), generator)[0])
        parts.append(look(part.to(device))[0].double())
        if progress:
            progress(sum(map(len, parts)), len(pictures))
    hidden = torch.cat(parts)
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
        training_record=training_record,
        architecture=architecture,
    )


def check_plain(net: nn.Module, architecture: str) -> None:
    """Refuse a network with residual connections as a judge.

    They leave features of low entropy, few and large activations that hide the rest, so that distances between
    features say little about pictures (Wang, Li and Vasconcelos 2021, arXiv 2104.05623).
    """
    if not stated(net, "plain", False):
        raise UserError(
            f"{architecture} has residual connections, whose few large activations rule every distance between "
            "features, and so makes no judge: train a plain network, network@model.network=convnet or lenet"
        )


def puzzles(images: Tensor, turns: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return uint8 images turned and damaged, each in its own way, with the two answers.

    Turns, int64 ``(n,)``, count quarters (halves when ``turns`` is 2). Damage, float ``(n, 4)``, is 0 but for the kind
    that was done, where it is the strength's place from 1/6, the weakest, to 1; a fifth of the pictures are left whole.
    """
    count = len(images)
    levels = len(next(iter(STRENGTHS.values()))[1])
    turn = torch.randint(0, turns, (count,), generator=generator)
    kinds = torch.randint(0, 1 + len(STRENGTHS), (count,), generator=generator)
    places = torch.randint(0, levels, (count,), generator=generator)
    damage = torch.zeros(count, len(STRENGTHS))
    posed = images.clone()
    for which in range(1, turns):
        chosen = turn == which
        posed[chosen] = posed[chosen].rot90(which * (4 // turns), dims=(2, 3))
    for column, (kind, (_, strengths)) in enumerate(STRENGTHS.items()):
        for place, strength in enumerate(strengths):
            seed = int(torch.randint(0, 2**31, (1,), generator=generator))
            chosen = (kinds == column + 1) & (places == place)
            if chosen.any():
                posed[chosen] = damaged(posed[chosen], kind, strength, seed)
                damage[chosen, column] = (place + 1) / levels
    return posed, turn, damage


@torch.no_grad()
def puzzle_scores(
    net: nn.Module, pictures: Pictures, turns: int, seed: int, device: torch.device | str = "cpu"
) -> tuple[float, float]:
    """Return the share of turns named right, and by how much the answers about damage are wrong on average."""
    generator = torch.Generator().manual_seed(seed)
    right, wrong = 0.0, 0.0
    for indices in torch.split(torch.arange(len(pictures)), 500):
        posed, turn, damage = puzzles(pictures.batch(indices), turns, generator)
        logits = net(from_uint8(posed.to(device))).cpu()
        right += float((logits[:, :turns].argmax(dim=1) == turn).sum())
        wrong += float((logits[:, turns:] - damage).abs().mean(dim=1).sum())
    return right / len(pictures), wrong / len(pictures)


def _turns(data: Data) -> int:
    """Return in how many ways pictures can be turned and keep their shape."""
    _, height, width = data.image_shape
    return 4 if height == width else 2


def _feature_dim(data: Data) -> int:
    """Return how many features the smaller of val and test can bear: FID needs more pictures than features."""
    fewest = min(len(data.pictures(split)) for split in ("val", "test"))
    return next((features for features in (64, 32) if 2 * features < fewest), 16)


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
def accuracy(net: nn.Module, pictures: Pictures, device: torch.device | str = "cpu") -> float:
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
