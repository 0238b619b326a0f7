"""Inputs that are not what they should be are read, or refused in a sentence: a few of those that the benchmark makes.

    python -m benchmarks.mutations 1000

reads a thousand, by the commands, each in a process of its own with its time and its memory.
"""

import gzip
import json
import random
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import mutating
from darkroom import documents, lab
from darkroom.data import archives, csv_tables, tensor_cache
from darkroom.data.mnist import read_idx
from darkroom.errors import UserError
from darkroom.judges.judge import SHIPPED, Judge
from darkroom.sweeping.study import Record


@pytest.fixture(scope="module")
def inputs(trained, tmp_path_factory):
    """Return valid files by kind."""
    folder = tmp_path_factory.mktemp("inputs")
    checkpoint = min(trained.glob("mlruns/*/*/artifacts/checkpoints/last.ckpt"), key=lambda path: path.stat().st_size)
    shutil.copy(checkpoint, folder / "checkpoint")
    shutil.copy(min(SHIPPED.glob("digits-*"), key=lambda path: path.stat().st_size), folder / "judge")
    with (folder / "npz").open("wb") as file:
        np.savez_compressed(file, images=np.zeros((5, 8, 8, 1), np.uint8), labels=np.arange(5))
    tensor_cache.save(folder / "cache", {"pixels": torch.arange(40, dtype=torch.uint8)}, [[1, "broken"]])
    point = {"number": 1, "values": {"lr": 0.1}, "curve": {"1": 0.5}, "objectives": [1.0], "state": "finished"}
    (folder / "json").write_text(json.dumps({"points": [point, {**point, "number": 2}]}))
    (folder / "yaml").write_text("# @package _global_\nseed: 1\nmodel: {latent_dim: 8, widths: [1, 2]}\n")
    (folder / "csv").write_text("file_name,camera\na.png,one\nb.png,two\n")
    idx = struct.pack(">4B3I", 0, 0, 8, 3, 4, 28, 28) + bytes(4 * 28 * 28)
    (folder / "idx").write_bytes(gzip.compress(idx))
    return folder


def pictures(path: Path) -> object:
    return [list(array.blocks(2)) for array in archives.stored(path).values()]


KINDS = {
    "checkpoint": (lab.restore, (mutating.of_checkpoint, mutating.repacked, mutating.flipped)),
    "judge": (Judge.load, (mutating.of_safetensors, mutating.flipped)),
    "npz": (pictures, (mutating.repacked, mutating.flipped, mutating.forged)),
    "cache": (tensor_cache.load, (mutating.of_safetensors, *mutating.CHANCE)),
    "json": (lambda path: documents.read_json(path, Record), (mutating.of_json, mutating.cut)),
    "yaml": (documents.read_yaml, (mutating.of_yaml, mutating.headed)),
    "csv": (csv_tables.rows, (mutating.of_csv, mutating.inserted)),
    "idx": (lambda path: read_idx(path, 3), (mutating.flipped, mutating.cut, mutating.forged)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_nothing_was_done_to_is_read(inputs, kind):
    KINDS[kind][0](inputs / kind)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_not_as_it_should_be_is_read_or_refused_in_a_sentence(inputs, tmp_path, kind, seed):
    read, mutations = KINDS[kind]
    chance = random.Random(seed)
    content = (inputs / kind).read_bytes()
    (tmp_path / "file").write_bytes(chance.choice(mutations)(chance, content))
    refused = ""
    try:
        read(tmp_path / "file")
    except UserError as error:
        refused = str(error)
    assert "\n" not in refused
    assert len(refused) < 1000
