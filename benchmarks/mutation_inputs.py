"""Small valid inputs of every kind that the lab reads, and the line that reads each."""

import gzip
import pickle
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import mutating
from benchmarks.mutating import CHANCE, Mutation
from darkroom.judges.judge import SHIPPED

GAN = (
    "train name=painter profile=smoke budget.images=256 data.image_size=8 model.latent_dim=8 model.generator.width=4"
    " model.discriminator.width=4 metrics.images=100 metrics.test_images=100 metrics.every=256 metrics.kid_subsets=2"
    " saving.samples=10"
)
CLASSIFIER = (
    "train name=namer model=classifier profile=smoke budget.images=256 data.image_size=8 model.network.width=4"
    " metrics.every=256 saving.samples=10"
)
RESTORER = (
    "train name=mender model=restorer profile=smoke budget.images=64 data=digits data.image_size=16 metrics.every=64"
    " saving.samples=4 network@model.network=naf model.network.width=8"
)
SAMPLES = "data=digits data.image_size=8 metrics=generative metrics.kid_subsets=2 metrics.test_images=100"
SORTER = (
    "train name=sorter model=classifier profile=smoke data=folder data.source.root=photos data.image_size=8"
    " model.network.width=4 budget.images=64 metrics.every=64 saving.samples=4"
)
FILMS = "prepare data=videos data.source.root=films data.image_size=8 data.source.frames=4"
PHOTOS = "prepare data=folder data.source.root=photos data.image_size=8"
ON = "budget.images=320 metrics=none saving.samples=4 name=on"


@dataclass(frozen=True)
class Kind:
    """A kind of input: the file that is changed, how it is, and what reads it (typed, or called with the file)."""

    name: str
    file: str
    read: str | Callable[[Path], object]
    mutations: Sequence[Mutation] = CHANCE
    succeeds: bool = False  # whatever is in the file, as a cache can be made again


def _with(*more: Mutation) -> tuple[Mutation, ...]:
    """Return mutations by chance and, as often as all those together, those that know the format."""
    return (*CHANCE, *(more * -(-len(CHANCE) // len(more))))


def _load(path: Path) -> object:
    import darkroom

    return darkroom.load(path)


CHECKPOINT = _with(mutating.of_checkpoint, mutating.of_checkpoint, mutating.repacked)
KINDS = (
    Kind("checkpoint, generate", "painter.ckpt", "generate checkpoint=painter.ckpt count=4 output=o.npz", CHECKPOINT),
    Kind("checkpoint, load", "namer.ckpt", _load, CHECKPOINT),
    Kind("checkpoint, edit", "mender.ckpt",
         "edit operation=denoise checkpoint=mender.ckpt input=photo.png output=o.png track=false", CHECKPOINT),
    Kind("checkpoint, explain", "namer.ckpt",
         "explain checkpoint=namer.ckpt count=2 images=4 steps=4 methods=[grad_cam] output=o.png", CHECKPOINT),
    Kind("checkpoint, evaluate", "namer.ckpt", "evaluate checkpoint=namer.ckpt", CHECKPOINT),
    Kind("checkpoint, audit", "namer.ckpt", "audit checkpoint=namer.ckpt resamples=100", CHECKPOINT),
    Kind("checkpoint, fork", "painter.ckpt", f"train fork=painter.ckpt {ON}", CHECKPOINT),
    Kind("checkpoint, resume", "run:namer/checkpoints/last.ckpt", "train resume=namer budget.images=320", CHECKPOINT),
    Kind("checkpoint, init", "namer.ckpt",
         f"train init=namer.ckpt model=classifier data.image_size=8 model.network.width=4 {ON}", CHECKPOINT),
    Kind("judge", "judge.safetensors", f"evaluate samples=samples.npz {SAMPLES} metrics.judge=judge.safetensors",
         _with(mutating.of_safetensors)),
    Kind("samples, npz", "samples.npz", f"evaluate samples=samples.npz {SAMPLES}",
         _with(mutating.of_arrays, mutating.repacked)),
    Kind("samples, csv", "drawn/labels.csv", f"evaluate samples=drawn {SAMPLES}", _with(mutating.of_csv)),
    Kind("metadata.csv", "photos/metadata.csv", "audit checkpoint=sorter groups=camera resamples=100 split=train",
         _with(mutating.of_csv)),
    Kind("picture, folder", "photos/cats/03.png", PHOTOS),
    Kind("picture, edit", "photo.png",
         "edit operation=denoise checkpoint=mender input=photo.png output=o.png track=false"),
    Kind("picture, style", "photo.png",
         "edit operation=stylize method=colour style=photo.png input=photos/cats output=o track=false"),
    Kind("picture, explain", "photo.png",
         "explain checkpoint=namer input=photo.png images=4 steps=4 methods=[grad_cam] output=o.png"),
    Kind("picture, mask", "mask.png",
         "edit operation=denoise checkpoint=mender input=photo.png mask=mask.png output=o.png track=false"),
    Kind("idx", "data/mnist/train-images-idx3-ubyte.gz", "prepare data=mnist data.source.val=10 paths.data=data",
         _with(mutating.of_gzip)),
    Kind("idx, labels", "data/mnist/train-labels-idx1-ubyte", "prepare data=mnist data.source.val=10 paths.data=data"),
    Kind("cifar", "data/cifar-10-batches-py/data_batch_2",
         "prepare data=cifar10 data.source.val=10 paths.data=data"),
    Kind("film, gif", "films/1.gif", FILMS),
    Kind("film, avi", "films/2.avi", FILMS),
    Kind("film, frames", "films/3/05.png",
         FILMS),
    Kind("yaml, experiment", "own/experiment/mine.yaml", "train --config-dir own experiment=mine --cfg job",
         _with(mutating.of_yaml)),
    Kind("yaml, group", "own/data/mine.yaml", "prepare --config-dir own data=mine", _with(mutating.of_yaml)),
    Kind("typed", "typed.txt", "train {words} --cfg job", (mutating.of_words,)),
    Kind("typed, edit", "typed.txt", "edit operation=denoise input=photo.png {words}", (mutating.of_words,)),
    Kind("config.yaml", "run:namer/config.yaml", "reproduce run=namer", _with(mutating.of_yaml)),
    Kind("metrics.json", "run:painter/metrics.json", "compare", _with(mutating.of_json)),
    Kind("metrics.json, report", "run:painter/metrics.json", "report output=o.html", _with(mutating.of_json)),
    Kind("environment.json", "run:painter/environment.json", "report output=o.html", _with(mutating.of_json)),
    Kind("run.json", "left/run.json", "generate checkpoint=left count=2 output=o.npz", _with(mutating.of_json)),
    Kind("store", "mlruns/mlflow.db", "compare"),
    Kind("cache, pictures", "cache:folder/*.safetensors",
         PHOTOS, _with(mutating.of_safetensors), succeeds=True),
    Kind("cache, films", "cache:videos/*.safetensors",
         FILMS,
         _with(mutating.of_safetensors), succeeds=True),
    Kind("cache, references", "cache:**/real-*.safetensors", f"evaluate samples=samples.npz {SAMPLES}",
         _with(mutating.of_safetensors), succeeds=True),
)  # fmt: skip


def lines() -> list[str]:
    """Return what is typed, in this order, to make what only the lab can make."""
    return [
        GAN + " output=left",
        CLASSIFIER,
        RESTORER,
        SORTER,
        "generate checkpoint=painter count=100 output=samples.npz",
        "generate checkpoint=painter count=100 output=drawn",
        f"evaluate samples=samples.npz {SAMPLES}",
        PHOTOS,
        FILMS,
    ]


def write(folder: Path) -> None:
    """Write what needs no lab: pictures, films, data sets, tables and settings."""
    chance = np.random.default_rng(0)
    for name in ("photo.png", *(f"photos/{kind}/{n:02d}.png" for kind in ("cats", "dogs") for n in range(12))):
        _picture(folder / name, chance.integers(0, 256, (16, 16, 3)))
    mask = np.zeros((16, 16), int)
    mask[4:9, 4:9] = 255
    _picture(folder / "mask.png", mask)
    named = [f"{kind}/{n:02d}.png,camera{n % 3}" for kind in ("cats", "dogs") for n in range(12)]
    (folder / "photos/metadata.csv").write_text("\n".join(["file_name,camera", *named]) + "\n")
    _films(folder / "films", chance)
    _mnist(folder / "data/mnist", chance)
    _cifar(folder / "data/cifar-10-batches-py", chance)
    for place in ("experiment", "data"):
        (folder / "own" / place).mkdir(parents=True)
    (folder / "own/experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /data: digits\n  - _self_\nseed: 3\nmodel:\n  latent_dim: 8\n"
        "budget: {images: 100}\n"
    )
    (folder / "own/data/mine.yaml").write_text(
        "_target_: darkroom.data.module.ImageData\nsource: {_target_: darkroom.data.shapes.Shapes, train: 40, val: 20,"
        " test: 20}\nimage_size: 8\nchannels: 1\nbatch_size: 4\n"
    )
    (folder / "typed.txt").write_text("seed=1")


def gather(folder: Path) -> None:
    """Put what the lab made where the kinds look for it."""
    for name in ("painter", "namer", "mender"):
        shutil.copy(run_folder(folder, name) / "checkpoints/last.ckpt", folder / f"{name}.ckpt")
    shutil.copy(sorted(SHIPPED.glob("digits-*.safetensors"))[0], folder / "judge.safetensors")


def run_folder(folder: Path, name: str) -> Path:
    """Return the folder of a run, by what the run recorded of itself."""
    for config in folder.glob("mlruns/*/*/artifacts/config.yaml"):
        if f"\nname: {name}\n" in config.read_text():
            return config.parent
    raise FileNotFoundError(name)


def find(folder: Path, kind: Kind) -> Path:
    """Return the file that a kind changes."""
    where, _, rest = kind.file.rpartition(":")
    if where == "run":
        name, _, inside = rest.partition("/")
        return run_folder(folder, name) / inside
    return sorted((folder / "cache").glob(rest))[0] if where == "cache" else folder / rest


def _picture(path: Path, levels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(levels, dtype=np.uint8)).save(path)


def _films(folder: Path, chance: np.random.Generator) -> None:
    import cv2

    folder.mkdir()
    for number in (0, 1):
        frames = [Image.fromarray(chance.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(8)]
        frames[0].save(folder / f"{number}.gif", save_all=True, append_images=frames[1:])
    fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    film = cv2.VideoWriter(str(folder / "2.avi"), fourcc, 10.0, (16, 16))
    for _ in range(8):
        film.write(chance.integers(0, 256, (16, 16, 3), np.uint8))
    film.release()
    for number in range(8):
        _picture(folder / f"3/{number:02d}.png", chance.integers(0, 256, (16, 16, 3)))


def _mnist(folder: Path, chance: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for split, count in (("train", 100), ("t10k", 40)):
        images = chance.integers(0, 256, (count, 28, 28), np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        header = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28)
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, count) + labels.tobytes())


def _cifar(folder: Path, chance: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        batch = {b"data": chance.integers(0, 256, (20, 3072), np.uint8), b"labels": [n % 10 for n in range(20)]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=4))
