import gzip
import struct
import urllib.error

import numpy as np
import pytest
import torch

from darkroom.data.cifar10 import Cifar10
from darkroom.data.mnist import FILES, Mnist, read_idx
from darkroom.data.module import ImageData
from darkroom.errors import UserError


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def contents(seed=0):
    random = np.random.default_rng(seed)
    for name, count in zip(FILES, (300, 300, 100, 100), strict=True):
        shape = (count, 28, 28) if "images" in name else (count,)
        yield name, random.integers(0, 256 if "images" in name else 10, shape, dtype=np.uint8)


@pytest.fixture
def write(tmp_path):
    """Writes the four files into a folder below the data folder."""

    def written(place, packed):
        folder = tmp_path / place
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in contents():
            content = idx(array)
            (folder / f"{name}{'.gz' * packed}").write_bytes(gzip.compress(content) if packed else content)
        return tmp_path

    return written


def load(source, folder):
    return source.load(folder, folder, None, None)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("name", "place"),
    [("mnist", "MNIST/raw"), ("mnist", "mnist"), ("mnist", "."), ("fashion_mnist", "FashionMNIST/raw")],
)
def test_files_are_used_where_they_lie(write, name, place, packed):
    found = load(Mnist(name), write(place, packed))
    arrays = dict(contents())
    assert found.parts["train"].pixels[:, 0].equal(torch.from_numpy(arrays[FILES[0]]))
    assert found.parts["test"].labels.equal(torch.from_numpy(arrays[FILES[3]].astype(np.int64)))
    assert found.class_names[0] == ("0" if name == "mnist" else "T-shirt/top")


def test_the_official_test_split_stays_and_val_leaves_train(write):
    data = ImageData(Mnist(val=50), image_size=32)
    data.locate(write("mnist", True), write("mnist", True))
    data.prepare()
    assert [len(data.pictures(split)) for split in ("train", "val", "test")] == [250, 50, 100]
    assert data.image_shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda content: content[:-1], "cut short or damaged"),
        (lambda content: content + b"x", "cut short or damaged"),
        (lambda content: b"\0\0\x0d\x03" + content[4:], "begins with 00000d03, expected 00000803"),
        (lambda content: content[:9], "begins with"),
        (lambda content: b"", "begins with nothing"),
        (lambda content: gzip.compress(content)[:-20], "cannot be read"),
    ],
)
def test_damaged_files_are_named(tmp_path, damage, sentence):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(idx(np.zeros((3, 28, 28), np.uint8))))
    with pytest.raises(UserError, match=sentence) as error:
        read_idx(path, 3)
    assert str(path) in str(error.value)


def test_a_missing_file_and_unequal_counts_are_named(write):
    folder = write("mnist", False)
    (folder / "mnist" / FILES[1]).write_bytes(idx(np.zeros(299, np.uint8)))
    with pytest.raises(UserError, match=r"300 pictures but .* 299 labels"):
        load(Mnist(), folder)
    (folder / "mnist" / FILES[1]).unlink()
    with pytest.raises(UserError, match=r"lacks train-labels-idx1-ubyte\.gz"):
        load(Mnist(), folder)


def test_bare_mnist_files_are_not_taken_for_clothes(write):
    with pytest.raises(UserError, match="fashion_mnist is not in"):
        load(Mnist("fashion_mnist", download=False), write(".", True))


@pytest.mark.parametrize("source", [Mnist(), Mnist("fashion_mnist"), Cifar10()], ids=lambda source: source.name)
def test_without_a_network_one_sentence_says_what_to_put_where(source, tmp_path, monkeypatch):
    asked = []

    def refused(url, *_):
        asked.append(url)
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", refused)
    with pytest.raises(UserError, match=r"could not be fetched .*no route to host.*: put .*gz .*into") as error:
        load(source, tmp_path)
    assert asked
    assert str(tmp_path / source.name) in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_fetched_is_kept_whole_and_only_once(tmp_path, monkeypatch):
    arrays, asked = dict(contents()), []

    def given(url, folder, name, md5):
        asked.append((name, md5))
        with open(f"{folder}/{name}", "wb") as file:
            file.write(gzip.compress(idx(arrays[name.removesuffix(".gz")])))

    monkeypatch.setattr("torchvision.datasets.utils.download_url", given)
    first, again = load(Mnist(), tmp_path), load(Mnist(), tmp_path)
    assert first.parts["train"].digest == again.parts["train"].digest
    assert len(asked) == 4
    assert all(len(md5) == 32 for _, md5 in asked)
    kept = {path.name for path in (tmp_path / "MNIST" / "raw").iterdir() if not path.name.startswith(".")}
    assert kept == {f"{name}.gz" for name in FILES}


def test_an_interrupted_download_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(url, folder, name, md5):
        with open(f"{folder}/{name}", "wb") as file:
            file.write(b"half")
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", broken)
    with pytest.raises(UserError, match="corrupted"):
        load(Mnist(), tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".fetching.lock"] == []


def test_an_unknown_name_is_refused():
    with pytest.raises(UserError, match="'mnist'"):
        Mnist("mnits")
