import io
import os
import pickle
import struct
import tarfile
from typing import ClassVar

import numpy as np
import pytest
import torch

from darkroom.data.cifar10 import FILES, FOLDER, Cifar10, read_batch
from darkroom.errors import UserError


def batch(seed, count=20):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
    return {b"data": pixels, b"labels": random.integers(0, 10, count).tolist(), b"batch_label": b"training batch"}


@pytest.fixture
def write(tmp_path):
    def written(place):
        folder = tmp_path / place
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(FILES["train"] + FILES["test"]):
            (folder / name).write_bytes(pickle.dumps(batch(number)))
        return tmp_path

    return written


@pytest.mark.parametrize("place", [FOLDER, "cifar10", f"cifar10/{FOLDER}", "."])
def test_batches_are_used_where_they_lie(write, place):
    found = Cifar10().load(write(place), write(place), None, None)
    assert found.parts["train"].pixels.shape == (100, 3, 32, 32)
    assert found.parts["test"].pixels.flatten(1).equal(torch.from_numpy(batch(5)[b"data"]))
    assert found.parts["train"].labels[20:40].tolist() == batch(1)[b"labels"]


def test_the_archive_is_unpacked(write, tmp_path):
    write(f"made/{FOLDER}")
    (tmp_path / "data").mkdir()
    with tarfile.open(tmp_path / "data" / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "made" / FOLDER, FOLDER)
        tar.add(tmp_path / "made" / FOLDER / FILES["test"][0], "../outside")
        tar.add(tmp_path / "made" / FOLDER / FILES["test"][0], f"{FOLDER}/../../outside")
    found = Cifar10(download=False).load(tmp_path / "data", tmp_path, None, None)
    assert len(found.parts["train"]) == 100
    assert {entry.name for entry in tmp_path.iterdir()} == {"data", "made"}


class OldPickler(pickle._Pickler):
    """Writes what Python 2 wrote, as the published files are: every string is a string of bytes."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, text):
        content = text.encode() if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch[str] = dispatch[bytes] = save_string


def test_pickles_of_python_2_are_read(tmp_path):
    buffer = io.BytesIO()
    OldPickler(buffer, protocol=2).dump(batch(0))
    old = buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"cnumpy.core.multiarray\n_reconstruct" in old
    (tmp_path / "data_batch_1").write_bytes(old)
    pixels, labels = read_batch(tmp_path / "data_batch_1")
    assert pixels.flatten(1).equal(torch.from_numpy(batch(0)[b"data"]))
    assert labels.tolist() == batch(0)[b"labels"]


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps({b"data": Bomb(), b"labels": []}))
    with pytest.raises(UserError, match=r"asks for (posix|nt)\.mkdir"):
        read_batch(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (pickle.dumps(batch(0))[:-100], "is not a CIFAR-10 batch"),
        (b"", "is not a CIFAR-10 batch"),
        (pickle.dumps([1, 2]), "holds no uint8 pictures"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.float32), b"labels": [0, 1]}), "holds no uint8 pictures"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]}), "labels from 0 to 9"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, [1]]}), "labels from 0 to 9"),
    ],
)
def test_other_files_are_refused(tmp_path, content, sentence):
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_batch(path)


def test_missing_batches_are_named(write, tmp_path):
    write("cifar10")
    (tmp_path / "cifar10" / "data_batch_3").unlink()
    with pytest.raises(UserError, match="lacks data_batch_3"):
        Cifar10().load(tmp_path, tmp_path, None, None)
    with pytest.raises(UserError, match="cifar10 is not in"):
        Cifar10(download=False).load(tmp_path / "elsewhere", tmp_path, None, None)
