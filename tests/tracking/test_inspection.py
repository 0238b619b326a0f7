"""A checkpoint's file is believed in nothing that it says of itself."""

import io
import os
import pickle
import resource
import struct
import zipfile

import pytest
import torch

from darkroom.errors import UserError
from darkroom.tracking import checkpoints

CHECKPOINT = {"darkroom_version": "0", "weight": torch.arange(6.0), "seen": 12}


@pytest.fixture
def rewritten(tmp_path):
    """Return what saves a checkpoint with its archive's parts changed, checksums right, and returns the path."""

    def write(change, content=CHECKPOINT, kind=zipfile.ZIP_STORED):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        with zipfile.ZipFile(buffer) as archive:
            parts = {entry.filename.split("/", 1)[1]: archive.read(entry) for entry in archive.infolist()}
        path = tmp_path / "x.ckpt"
        with zipfile.ZipFile(path, "w", kind) as archive:
            for name, inside in change(parts):
                archive.writestr(f"x/{name}", inside)
        return path

    return write


def pickled(of):
    return lambda parts: [(name, of(inside) if name == "data.pkl" else inside) for name, inside in parts.items()]


def refused(path, what):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=what):
        checkpoints.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # 256 MB


def test_an_archive_that_was_written_again_is_still_a_checkpoint(rewritten):
    loaded = checkpoints.load(rewritten(lambda parts: parts.items()))
    assert torch.equal(loaded["weight"], torch.arange(6.0))


def test_a_storage_is_no_larger_than_its_bytes(rewritten):
    # BININT1 6, the numbers of the storage, becomes LONG1 of 2 ** 40
    longer = b"\x8a\x06" + (2**40).to_bytes(6, "little")
    forged = pickled(lambda content: content.replace(b"K\x06tq", longer + b"tq", 1))
    refused(rewritten(forged), r"storage 0 holds 1099511627776 numbers, and there are 24 bytes")


def test_a_tensor_is_no_larger_than_its_storage(rewritten):
    forged = pickled(lambda content: content.replace(b"K\x06\x85q", b"K\x07\x85q", 1))
    refused(rewritten(forged), r"shape \(7,\) that is larger than its storage")


def test_a_view_that_repeats_one_number_without_end_is_refused(tmp_path):
    torch.save({**CHECKPOINT, "weight": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "x.ckpt")
    refused(tmp_path / "x.ckpt", "tensors are larger than its file")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda parts: [*parts.items(), ("data.pkl", parts["data.pkl"])], "holds x/data.pkl twice"),
        (lambda parts: [item for item in parts.items() if item[0] != "data.pkl"], "no description of its content"),
        (lambda parts: [item for item in parts.items() if item[0] != "data/0"], "storage 0 holds 6 numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_a_part_too_many_or_few_is_refused(rewritten, change, what):
    refused(rewritten(change), what)


def test_a_packed_archive_is_refused_before_it_is_unpacked(rewritten):
    bomb = rewritten(lambda parts: [*parts.items(), ("data/9", bytes(2**28))], kind=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 2**20
    refused(bomb, "it is packed")


def test_a_flipped_bit_in_the_weights_is_seen(rewritten):
    path = rewritten(lambda parts: parts.items())
    content = bytearray(path.read_bytes())
    place = content.index(struct.pack("<6f", *range(6)))
    content[place + 7] ^= 1
    path.write_bytes(bytes(content))
    refused(path, "x/data/0 is not what was written")


class Call:
    def __init__(self, function, *arguments):
        self.called = (function, arguments)

    def __reduce__(self):
        return self.called


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"darkroom_version": "0", "a": Call(bytearray, 10**12)}, protocol=2),
        pickle.dumps({"darkroom_version": "0", "a": Call(os.getcwd)}, protocol=2),
        pickle.dumps({"darkroom_version": "0", "a": Call(torch.zeros, 10**12)}, protocol=2),
    ],
)
def test_no_function_is_called_but_those_that_make_tensors(rewritten, content):
    refused(rewritten(pickled(lambda _: content)), "more than tensors and plain containers")


def test_a_memo_far_away_takes_no_memory(rewritten):
    opcode = b"r" + struct.pack("<I", 2**32 - 2)  # LONG_BINPUT, for which Python's reader in C makes 64 GB
    with pytest.raises(UserError):
        checkpoints.load(rewritten(pickled(lambda content: content[:2] + b"K\x01" + opcode + b"0")))


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def repeated(times):
    value = ["x"] * 10
    for _ in range(times):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (nested(100), "more than 64 deep"),
        (repeated(7), "more than 2000000 parts"),
        (10**30, "more than 64 bits"),
        ("x" * 10_000_001, "a text of 10000001 characters"),
    ],
)
def test_containers_can_be_walked(tmp_path, value, what):
    torch.save({**CHECKPOINT, "value": value}, tmp_path / "x.ckpt")
    refused(tmp_path / "x.ckpt", what)
