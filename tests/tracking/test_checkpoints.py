"""Checkpoints are whole or not there, and run nothing when read."""

import errno
import os
import pickle
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch

from darkroom.errors import UserError
from darkroom.tracking import checkpoints, run
from darkroom.tracking.checkpoint_io import AtomicCheckpointIO

CHECKPOINT = {
    "state_dict": OrderedDict(weight=torch.arange(6.0).reshape(2, 3)),
    "config": {"model": {"latent_dim": 64, "betas": [0.0, 0.99], "name": None}},
    "random": {"cpu": torch.get_rng_state(), "python": (3, (1, 2, 3), None)},
    "images_seen": 12800,
    "flags": {"a", "b"},
    "shape": torch.Size([1, 28, 28]),
    "dtype": torch.bfloat16,
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints" / "last.ckpt"


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return one == other


def test_what_is_saved_is_loaded(path):
    checkpoints.save(path, CHECKPOINT)
    assert equal(checkpoints.load(path), CHECKPOINT)
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("stranger", [np.float64(1.0), np.zeros(3), object(), torch.nn.Linear(1, 1), print])
def test_what_could_not_be_read_back_is_not_written(path, stranger):
    with pytest.raises(TypeError, match=r"checkpoint\['random'\]\[1\] is a"):
        checkpoints.save(path, {"random": [0, stranger]})
    assert not path.exists()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_previous_checkpoint(path, monkeypatch, call):
    checkpoints.save(path, CHECKPOINT)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(UserError, match=r"No space left on device.*previous one is intact"):
        checkpoints.save(path, {"images_seen": 1})
    monkeypatch.undo()
    assert checkpoints.load(path)["images_seen"] == 12800
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_limit_hit_half_way_leaves_the_previous_checkpoint(path):
    checkpoints.save(path, CHECKPOINT)
    code = """
import resource, signal, sys, torch
from pathlib import Path
from darkroom.errors import UserError
from darkroom.tracking import checkpoints
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    checkpoints.save(Path(sys.argv[1]), {"weights": torch.zeros(1 << 20)})
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "could not be written (File too large); the previous one is intact" in done.stdout, done.stderr
    assert checkpoints.load(path)["images_seen"] == 12800
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_cut_anywhere_is_refused(path):
    checkpoints.save(path, CHECKPOINT)
    whole = path.read_bytes()
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"last\.ckpt is not a checkpoint that can be read"):
            checkpoints.load(path)


def test_what_is_no_checkpoint_is_refused(path):
    path.parent.mkdir()
    for content in (b"hello", b"\x89PNG\r\n" + bytes(100), pickle.dumps({"a": 1})):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"is not a checkpoint that can be read|not written by Darkroom"):
            checkpoints.load(path)
    for foreign in ({"state_dict": {}}, torch.zeros(3), [1, 2]):
        torch.save(foreign, path)
        with pytest.raises(UserError, match="not written by Darkroom"):
            checkpoints.load(path)
    with pytest.raises(UserError, match="There is no checkpoint at"):
        checkpoints.load(path.with_name("other.ckpt"))
    with pytest.raises(UserError, match="is a folder"):
        checkpoints.load(path.parent)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_checkpoint_never_runs(path, tmp_path, write):
    path.parent.mkdir()
    write({"darkroom_version": "1", "state_dict": Bomb(str(tmp_path / "exploded"))}, path)
    with pytest.raises(UserError, match="not a checkpoint that can be read"):
        checkpoints.load(path)
    assert not (tmp_path / "exploded").exists()


@pytest.fixture
def trained(store):
    """Two runs: the first with best and last, the newer with last only."""
    ids = []
    for name, files in (("both", ("best", "last")), ("young", ("last",))):
        with run.start(store, "lab", name, {}, {}, system_metrics=None) as opened:
            for file in files:
                checkpoints.save(opened.folder / "checkpoints" / f"{file}.ckpt", {"name": name})
        ids.append(opened.id)
    return ids


def test_locate(store, trained):
    both, young = (store.find(run_id).folder / "checkpoints" for run_id in trained)
    assert checkpoints.locate("both", store) == both / "best.ckpt"
    assert checkpoints.locate(trained[0][:12], store, "last") == both / "last.ckpt"
    assert checkpoints.locate(f"{trained[0]}/last", store) == both / "last.ckpt"
    assert checkpoints.locate("both/best", store, "last") == both / "best.ckpt"
    assert checkpoints.locate("latest", store) == both / "best.ckpt"
    assert checkpoints.locate("latest/last", store) == young / "last.ckpt"
    assert checkpoints.locate(str(young / "last.ckpt"), store) == young / "last.ckpt"


def test_locate_says_what_is_missing(store, trained, tmp_path):
    with pytest.raises(UserError, match=rf"no checkpoints/best\.ckpt; type {trained[1][:8]}/last"):
        checkpoints.locate("young", store)
    with pytest.raises(UserError, match="There is no checkpoint at"):
        checkpoints.locate(str(tmp_path / "none.ckpt"), store)
    with pytest.raises(UserError, match="is a folder"):
        checkpoints.locate(str(tmp_path), store)
    with pytest.raises(UserError, match=r"Recent runs: .*both"):
        checkpoints.locate("neither/last", store)


def test_lightnings_plugin_uses_the_same_files(path):
    plugin = AtomicCheckpointIO()
    plugin.save_checkpoint(CHECKPOINT, str(path))
    assert equal(plugin.load_checkpoint(str(path), weights_only=False), CHECKPOINT)
    plugin.remove_checkpoint(str(path))
    assert not path.exists()
