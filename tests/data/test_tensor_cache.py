"""What is kept on disk is read back as it was written, or not at all."""

import random

import pytest
import torch

from darkroom.data import tensor_cache

TENSORS = {"pixels": torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4), "grey": torch.tensor([True, False]),
           "empty": torch.zeros(0, 3), "one": torch.tensor(2.5)}  # fmt: skip


def test_what_was_kept_comes_back(tmp_path):
    tensor_cache.save(tmp_path / "a.safetensors", TENSORS, [[1, "broken"]])
    found = tensor_cache.load(tmp_path / "a.safetensors")
    assert found is not None
    assert found[1] == [[1, "broken"]]
    assert all(torch.equal(found[0][name], tensor) for name, tensor in TENSORS.items())
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    assert tensor_cache.load(tmp_path / "b.safetensors") is None


@pytest.mark.parametrize("seed", range(30))
def test_a_changed_bit_anywhere_is_noticed(tmp_path, seed, caplog):
    path = tmp_path / "a.safetensors"
    tensor_cache.save(path, TENSORS, [[1, "broken"]])
    content = bytearray(path.read_bytes())
    while content[place := random.Random(seed).randrange(len(content))] == ord(" "):  # padding of the header
        seed += 1000
    content[place] ^= 1 << seed % 8
    path.write_bytes(bytes(content))
    assert tensor_cache.load(path) is None
    assert "making" in caplog.text
