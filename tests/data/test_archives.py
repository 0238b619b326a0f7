"""An .npz from elsewhere is measured before it is unpacked, and read a piece at a time."""

import resource
import struct
import zipfile

import numpy as np
import pytest

from darkroom.data import archives
from darkroom.errors import UserError

IMAGES = np.arange(5 * 4 * 4 * 3, dtype=np.uint8).reshape(5, 4, 4, 3)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_are_the_array(tmp_path, save, order):
    save(tmp_path / "a.npz", images=np.array(IMAGES, order=order), labels=np.arange(5))
    found = archives.stored(tmp_path / "a.npz")
    assert found["images"].shape == IMAGES.shape
    blocks = list(found["images"].blocks(2))
    assert [len(block) for block in blocks] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), IMAGES)
    np.testing.assert_array_equal(found["labels"].read(), np.arange(5))


def written(path, header, content=b"", times=1):
    told = header.ljust(117) + "\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("images.npy", "w") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(told)) + told.encode())
        for _ in range(times):
            file.write(content)
    return path


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ("(5, 4, 4, 3)", "240 bytes, and there are 0"),
        ("(-5, 4, 4, 3)", "damaged"),
        ("(10**12, 4)", "damaged"),
        ("(1000000000000, 4, 4, 3)", "48000000000000 bytes, and there are 0"),
        ("'x'", "damaged"),
    ],
)
def test_a_header_is_compared_with_what_is_there(tmp_path, shape, what):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    with pytest.raises(UserError, match=what):
        archives.stored(written(tmp_path / "a.npz", header))


def test_a_bomb_is_not_unpacked(tmp_path):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**16}, 32, 32, 3), }}"
    bomb = written(tmp_path / "a.npz", header, bytes(2**20), times=192)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="would unpack from 0 MB to 192 MB"):
        archives.stored(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # 64 MB


def test_objects_are_left_out_and_doubles_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.array([{}], object))
    assert archives.stored(tmp_path / "a.npz") == {}
    np.savez(tmp_path / "c.npz", images=IMAGES)
    with zipfile.ZipFile(tmp_path / "c.npz", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("images.npy", b"x")
    with pytest.raises(UserError, match=r"damaged|twice"):
        archives.stored(tmp_path / "c.npz")


def test_damage_that_shows_late_is_said_too(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.index(IMAGES.tobytes()) + 100] ^= 1
    (tmp_path / "a.npz").write_bytes(bytes(content))
    with pytest.raises(UserError, match="damaged"):
        list(archives.stored(tmp_path / "a.npz")["images"].blocks(2))
